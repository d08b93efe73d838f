//! What the targets begin with whose bytes programs read: streams, files, answers, packages, words.

use super::{Seeds, honest_archive};
use crate::answers;
use crate::frames::{WAL_NUMBER, repair_records};
use crate::packing::honest_manifest;
use crate::story::Story;
use agent::config::template::Template;
use agent::installer::installs::VersionId;
use agent::installer::journal::{Begun, Record};
use consensus::member::PeerMessage;
use consensus::{Evidence, GuardRecord, Signed, SignedVote, VoteKind, records};
use keyring::{KeyFile, KeyRole};
use ledger::block::Block;
use ledger::bounded::{Name, Product, Version};
use ledger::certificate::VoteBody;
use ledger::encoding::decode;
use ledger::frame::frame;
use ledger::id::{Digest, PatchId};
use ledger::key::SecretKey;
use ledger::patch::InstallerKind;
use proto::lean;
use std::path::Path;

/// A digest, as text.
const DIGEST: &str = "0707070707070707070707070707070707070707070707070707070707070707";

pub(super) fn of_streams(seeds: &mut Seeds, story: &Story) {
    let peer = [PeerMessage::Status { height: 1 }, PeerMessage::WantBlocks { from: 1, count: 3 }];
    let said: Vec<u8> = peer.iter().flat_map(frame).collect();
    seeds.put("read-stream", [&[0][..], &said].concat());
    let snapshot: Vec<u8> = story.snapshot.iter().flat_map(frame).collect();
    seeds.put("read-stream", [&[1][..], &snapshot].concat());
    seeds.put("read-stream", [&[1][..], &snapshot[..snapshot.len() / 2]].concat());
    let block: Block = decode(&story.blocks[0].0).expect("it was encoded");
    let height = u8::try_from(block.header.height).expect("a short story");
    let bodies = [records::body(&block), records::body(&block), vec![0; 64]].concat();
    let vote = |round| {
        let body = VoteBody { height: 6, round, block: None };
        SignedVote::sign(VoteKind::Prevote, body, &story.stolen[0], &story.chain())
    };
    let slot = |slot| {
        let mut bytes = records::slot(&GuardRecord { slot, signed: Signed::Vote(vote(slot)), binding: None });
        bytes.resize(records::SLOT_BYTES, 0);
        bytes
    };
    let evidence = records::evidence(&[Evidence::Votes(vote(0), vote(1)), Evidence::Votes(vote(1), vote(2))]);
    for repaired in [0, 4] {
        seeds.put("read-records", [&[repaired, 0][..], &slot(0), &slot(1)].concat());
        seeds.put("read-records", [&[repaired | 1, height][..], &bodies].concat());
        seeds.put("read-records", [&[repaired | 2, 0][..], &evidence].concat());
    }
    seeds.put("count-messages", vec![3, 0, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1]);
    seeds.put("count-messages", vec![7, 0, 0, 0, 1, 45]);
    let entry = |since: u64| format!(r#"{{"inventory":"{DIGEST}","since_ms":{since},"bytes":900}}"#);
    let record = format!(
        r#"{{"report":"00ff","at_ms":7,"received_ms":8,"summary":{{"os_name":"os","kernel":"6","packages":3}},"entries":[{},{}]}}"#,
        entry(1),
        entry(2)
    );
    seeds.put("read-inventory-record", record.into_bytes());
    for number in [None, Some(WAL_NUMBER)] {
        let record = |kind: u8, payload: &[u8]| {
            let length = u16::try_from(payload.len()).expect("a short record").to_le_bytes();
            let kind = if number.is_some() { kind + 4 } else { kind };
            let number = number.map(u32::to_le_bytes);
            [&[0; 4][..], &length, &[kind], number.as_ref().map_or(&[][..], |number| number), payload].concat()
        };
        let mut log =
            [record(1, b"a batch"), record(2, b"the first part"), record(4, b"and the last"), vec![9; 40]].concat();
        repair_records(&mut log, number);
        let how = u8::from(number.is_some());
        seeds.put("find-log-break", [&[how][..], &log].concat());
        log[20] ^= 1;
        seeds.put("find-log-break", [&[how | 2][..], &log[..30]].concat());
        seeds.put("find-log-break", [&[how][..], &log].concat());
    }
    for token in ["000000000000002a", "2a", "000000000000002A"] {
        seeds.put("parse-page-token", token.as_bytes().to_vec());
    }
}

pub(super) fn of_keys(seeds: &mut Seeds) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keyring/tests/it/vectors");
    for sealed in ["machine.key", "passphrase.key"] {
        seeds.put("read-key-file", std::fs::read(vectors.join(sealed)).unwrap_or_default());
    }
    let secret = SecretKey::from_seed(&[1; 32]);
    let owner = Name::new("acme").expect("a name");
    for key in
        [KeyFile::of(KeyRole::Publisher, Some(owner), secret.clone()), KeyFile::of(KeyRole::Endpoint, None, secret)]
    {
        seeds.put("read-key-file", key.plain().as_bytes().to_vec());
        seeds.put("read-key-file", key.public.toml().into_bytes());
    }
    seeds.put("read-secret", std::fs::read(vectors.join("machine.secret")).unwrap_or_default());
    seeds.put("read-secret", b"correct horse battery staple\n".to_vec());
}

pub(super) fn of_an_agent(seeds: &mut Seeds, story: &Story) {
    let patch = PatchId([7; 32]);
    let begun = Begun {
        run: 1,
        patch,
        product: Product::new("acme/widget").expect("a product"),
        channel: Name::new("stable").expect("a name"),
        from: Some(VersionId::of_baseline(Digest([1; 32]))),
        to: VersionId::of_patch(patch),
        from_version: Version::default(),
        to_version: Version::new("1.2").expect("a version"),
        kind: InstallerKind::DirectoryTree,
        by_hand: false,
        after_restart: false,
        own_program: false,
        unasked: false,
    };
    let json = |record: &Record| serde_json::to_vec(record).expect("it is written into memory");
    let framed = |record: &Record| {
        let payload = json(record);
        let length = u32::try_from(payload.len()).expect("a short record");
        [&length.to_le_bytes()[..], &Digest::blake3(&payload).0[..8], &payload].concat()
    };
    let steps = [
        Record::Begun(begun.clone()),
        Record::Prepared { tree: Digest([2; 32]) },
        Record::Switching,
        Record::Switched,
        Record::Judged { against: None },
        Record::Done,
    ];
    let journal: Vec<u8> = steps.iter().flat_map(framed).collect();
    let other = [Record::Switched, Record::HandedOver, Record::Restarted, Record::Restored].iter().flat_map(framed);
    for (repaired, bytes) in [(0, &journal[..]), (1, &journal[..journal.len() - 3]), (1, &journal[30..])] {
        seeds.put("read-journal", [&[repaired, 40][..], bytes].concat());
    }
    seeds.put("read-journal", [&[1, 9][..], &framed(&steps[0]), &other.collect::<Vec<_>>()].concat());

    let chain = story.chain();
    let kept = |text: &str| text.replace("ID", DIGEST).replace("CHAIN", &chain.to_string());
    let begun = serde_json::to_string(&begun).expect("it is written into memory");
    let program = r#"{"id":"baseline-ID","version":"1.2","path":"versions/x","blake3":"ID","bytes":9}"#;
    let trial = format!(r#"{{"program":{program},"tries_left":1,"patience_ms":60000}}"#);
    let files: [(u8, String); 13] = [
        (0, r#"{"runs":3,"patches":{"ID":{"run":3,"outcome":"rolled-back","interruptions":1,"refusals":0,"not_before_ms":9,"reasons":["interrupted"]}}}"#.to_owned()),
        (1, r#"{"awake_since_ms":1,"awake_at_ms":2,"due_since_ms":{"ID":7}}"#.to_owned()),
        (2, r#"{"ID":{"height":7,"reason":"It melts."}}"#.to_owned()),
        (3, r#"{"chain_id":"CHAIN","height":7,"time_ms":1700000000000,"hash":"ID"}"#.to_owned()),
        (4, format!(r#"{{"fixed":{{"path":"/usr/bin/a","blake3":"ID"}},"committed":{program},"previous":null,"trial":{trial},"fallen":null,"starts":2}}"#)),
        (5, format!(r#"[{{"begun":{begun},"restarted":true}}]"#)),
        (6, r#"{"at_ms":7,"nodes":{"http://127.0.0.1:1":{"taken_at_ms":1,"inventory":"ID","trouble":null,"is_strange":false}}}"#.to_owned()),
        (7, r#"{"settled":{"run":1,"patch":"ID","from_version":"1.0","to_version":"1.2","outcome":"refused","reason":{"code":"stale","detail":"old"},"health":"not-run"},"log_digest":"ID","ended_at_ms":7}"#.to_owned()),
        (8, r#"{"version":"1.2","release":3,"patch":"ID","tree":"ID","kind":"directory-tree","runs_from":"/opt/x"}"#.to_owned()),
        (9, r#"{"apply":{"patch":"0707","proof":"00ff","now":true}}"#.to_owned()),
        (9, r#"{"status":{}}"#.to_owned()),
        (10, r#"{"error":{"code":"request","message":"no","hint":""}}"#.to_owned()),
        (10, r#"{"status":{"program":{"blake3":"ID","standing":"on-trial","ready":true},"ledger":{"freshness":"fresh","height":7,"nodes":[{"reachable":true,"height":7}]}}}"#.to_owned()),
    ];
    for (which, text) in files {
        seeds.put("read-kept-file", [&[which][..], kept(&text).as_bytes()].concat());
    }
    let nodes = ["https://node.example:4810".to_owned()];
    let template = Template {
        name: "host",
        nodes: &nodes,
        ca: None,
        genesis: Some(Path::new("genesis.bin")),
        mirrors: &["https://mirror.example/p".to_owned()],
        directories: &["/srv/patches".into()],
        unseal: None,
    };
    let text = template.text();
    // A part of what stands there as an example, so that there is one of every section.
    let examples = |every: usize| {
        let lines = text.lines().enumerate().map(|(number, line)| match line.strip_prefix("# ") {
            Some(example) if number % every == 0 && example.contains([' ', '=']) && !example.ends_with('.') => example,
            _ => line,
        });
        lines.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    for every in [usize::MAX, 1, 2, 3] {
        seeds.put("read-configuration", examples(every).into_bytes());
    }
}

pub(super) fn of_answers(seeds: &mut Seeds) {
    let status = |status: u16| (status - 100).to_le_bytes();
    for (code, offset, fields) in [
        (200, 0, "1000\n\nidentity\n"),
        (200, 7, "999\n\ngzip\n"),
        (206, 7, "993\nbytes 7-999/1000\n\n"),
        (206, 7, "993\nbytes 8-999/*\n\n"),
        (302, 0, "\n\n\nhttps://other.example/x"),
        (302, 0, "\n\n\n/else\n"),
        (404, 0, ""),
    ] {
        for secure in [0, 1] {
            let begin = [&status(code)[..], &[offset, secure]].concat();
            seeds.put("mirror-answer", [&begin[..], fields.as_bytes()].concat());
        }
    }
    let patch = lean::ListedPatch {
        id: vec![7; 32],
        product: "acme/widget".to_owned(),
        channel: "stable".to_owned(),
        release: 3,
        standing: "approved".to_owned(),
    };
    let receipt =
        lean::ListedReceipt { endpoint: vec![1; 32], patch: vec![2; 32], attempt: 5, transaction_id: vec![4; 32] };
    let next_page_token = "000000000000002a".to_owned();
    let recall = Some(lean::RecalledIn { transaction_id: vec![3; 32] });
    for (which, bytes) in [
        answers::written(&lean::Patches { patches: vec![patch; 3], next_page_token: next_page_token.clone() }),
        answers::written(&lean::Receipts { receipts: vec![receipt; 3], next_page_token }),
        answers::written(&lean::Epochs { links: vec![vec![1], vec![2]] }),
        answers::written(&lean::Recalled { recall }),
        answers::written(&lean::NodeKey { node_key: vec![4; 32] }),
    ]
    .into_iter()
    .enumerate()
    {
        seeds.put("node-answer", [&[which as u8][..], &bytes].concat());
    }
}

pub(super) fn of_images(seeds: &mut Seeds) {
    let platform = r#""platform":{"architecture":"amd64","os":"linux"}"#;
    let index = |kind: &str, number: u8| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.{kind}.v1+json","digest":"sha256:@{number}","size":#{number},{platform}}}]}}"#
        )
    };
    let manifest = |config: u8, kind: &str| {
        let layer = config + 1;
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:@{config}","size":#{config}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar{kind}","digest":"sha256:@{layer}","size":#{layer}}}]}}"#
        )
    };
    let config = |layer: u8| {
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"User":"app:1","Env":["A=b"],"Entrypoint":["/bin/x"],"WorkingDir":"/","Volumes":{{"/data":{{}}}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:@{layer}"]}}}}"#
        )
    };
    let plain = [index("manifest", 1), manifest(2, ""), config(3), "layer".to_owned()];
    let nested = [index("index", 1), index("manifest", 2), manifest(3, "+gzip"), config(4), "layer".to_owned()];
    seeds.put("read-image-layout", plain.join("\0").into_bytes());
    seeds.put("read-image-layout", nested.join("\0").into_bytes());
    for words in ["", "app", "app:staff", "7:9", "root:0"] {
        let lists = "root:x:0:0::/:\napp:x:7:8::/:\n\0staff:x:9:app,root\nusers:x:10:app\n";
        seeds.put("find-image-user", format!("{words}\0{lists}").into_bytes());
    }
}

pub(super) fn of_packages(seeds: &mut Seeds) {
    let tar = honest_archive().expect("an archive in memory");
    let control =
        "Package: app\nVersion: 1:1.0-1\nArchitecture: amd64\nDepends: libc6 (>= 2), libx |\n liby\nProvides: a\n";
    for repaired in [0, 1] {
        seeds.put("examine-debian", [&[repaired][..], &tar].concat());
    }
    seeds.put("examine-debian", [&[2][..], control.as_bytes()].concat());
    let listing = "16877\t4096\t0\t1\t(none)\troot\troot\t\t/opt\n33261\t7\t0\t2\tcap_net_raw=ep\troot\troot\t\t/opt/x\n\
                   41471\t1\t0\t3\t(none)\troot\troot\tx\t/opt/l\n";
    seeds.put("examine-rpm", format!("app\n1:1.0-1\nx86_64\n(none)\n3\n\0{listing}").into_bytes());
    seeds.put("examine-rpm", b"app\n1.0-1\nnoarch\n(none)\n(none)\n\0".to_vec());
    for words in ["cap_net_raw=ep", "all=eip cap_chown-e", "=p cap_sys_admin+i"] {
        let kept = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        seeds.put("read-capabilities", [words.as_bytes(), &[0], &kept].concat());
    }
    let paragraphs = "Package: other\nVersion: 2\n\nPackage: app\nStatus: install ok installed\nVersion: 1.0\n";
    for own in [0, 1] {
        seeds.put("read-package-database", [&[own][..], b"app\n", paragraphs.as_bytes()].concat());
    }

    let small = |path: &str, text: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        let appended = archive.append_data(&mut header, path, text.as_bytes());
        appended.and_then(|()| archive.into_inner()).expect("an archive in memory")
    };
    let member = |name: &str, bytes: &[u8]| {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len());
        [header.as_bytes(), bytes, if bytes.len() % 2 == 1 { b"\n" } else { b"" }].concat()
    };
    let compressed = zstd::stream::encode_all(&small("bin/x", "hello")[..], 3).expect("it is compressed in memory");
    let package = [
        b"!<arch>\n".to_vec(),
        member("debian-binary", b"2.0\n"),
        member("control.tar", &small("control", control)),
        member("data.tar.zst", &compressed),
    ]
    .concat();
    let words = [(1000, "app"), (1001, "1.0"), (1002, "1"), (1022, "noarch"), (1044, "app-1.0-1.src.rpm")];
    let (mut tags, mut store) = (Vec::new(), Vec::new());
    for (tag, word) in words {
        for number in [tag, 6, store.len() as u32, 1] {
            tags.extend(number.to_be_bytes());
        }
        store.extend([word.as_bytes(), b"\0"].concat());
    }
    let header = |tags: &[u8], store: &[u8]| {
        let (count, length) = (tags.len() as u32 / 16, store.len() as u32);
        [&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0][..], &count.to_be_bytes(), &length.to_be_bytes(), tags, store].concat()
    };
    let lead = [&[0xed, 0xab, 0xee, 0xdb][..], &[0; 92]].concat();
    let rpm = [lead, header(&[], &[]), header(&tags, &store)].concat();
    for how in 0..4 {
        seeds.put("pack-input", [&[how, 1][..], &tar].concat());
    }
    seeds.put("pack-input", [&[3, 0][..], &small("run", "#!/bin/sh\n")].concat());
    seeds.put("pack-input", [&[0, 0][..], &compressed].concat());
    for how in [0, 4] {
        seeds.put("pack-input", [&[how, 1][..], &package].concat());
    }
    seeds.put("pack-input", [&[5, 0][..], &rpm].concat());
}

pub(super) fn of_people(seeds: &mut Seeds) {
    seeds.put("read-packed-patch", honest_manifest());
    for (which, example) in [(0, cli::genesis_spec::EXAMPLE), (1, cli::proposal_spec::EXAMPLE)] {
        // Keys that are written, not those of files that are not there.
        let key = format!("public_key = \"{DIGEST}\"");
        let lines = example.lines().filter(|line| !line.trim_start().starts_with('#'));
        let lines = lines.map(|line| if line.contains("key_file") { &*key } else { line });
        let text = lines.collect::<Vec<_>>().join("\n");
        seeds.put("read-description", [&[which][..], text.as_bytes()].concat());
    }
    for change in [
        "kind = \"set-parameters\"\nheartbeat_ms = 1000\nseal_ms = 10\n",
        "kind = \"add-namespace\"\norganisation = \"acme\"\nnamespace = \"acme-labs\"\n",
        "kind = \"remove-organisation\"\nname = \"acme\"\n",
    ] {
        let text = format!("note = \"why\"\ncloses_in_days = 3\n[[change]]\n{change}");
        seeds.put("read-description", [&[1][..], text.as_bytes()].concat());
    }
    for (which, words) in [
        "os=linux,arch=x86_64,hardware=h,label:site=hamburg,from=1.0",
        "/bin/x 'a b' \"it's\"",
        "8{base}0",
        "site=hamburg",
        "acme/redis=3..7",
        "2026-01-31T12:00:00Z",
        "1h 30m",
        "90s",
        "acme",
        "acme/widget",
        "1.2~rc1+b",
        DIGEST,
    ]
    .iter()
    .enumerate()
    {
        seeds.put("parse-words", [&[which as u8][..], words.as_bytes()].concat());
    }
}
