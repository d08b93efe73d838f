//! What each target begins with: the published vectors, and one of everything the story has.

mod programs;

use crate::doors::Carried;
use crate::story::{self, Story};
use crate::targets::TARGETS;
use consensus::log::Tail;
use consensus::member::PeerMessage;
use consensus::{
    Binding, GuardRecord, LogEntry, Message, Polka, ProposalBody, RoundVote, Signed, SignedProposal, SignedVote, Skip,
    SkipReason, Timer, TimerKind, VoteKind,
};
use ledger::artifact::{TREE_SUFFIX, UploadGrant, shelf_path};
use ledger::block::Block;
use ledger::bounded::{Blob, List, Name, Product};
use ledger::certificate::VoteBody;
use ledger::encoding::{decode, encode};
use ledger::evidence::{CertifiedHeader, Evidence, TwoCertificates};
use ledger::fork::{Branch, EvidenceFile, Fork, HeadFile};
use ledger::id::{BlockHash, Digest, PatchId, TransactionId};
use ledger::inclusion::InclusionProof;
use ledger::invitation::SignedInvitation;
use ledger::key::{PublicKey, SecretKey};
use ledger::proof::ProofBundle;
use ledger::snapshot::SnapshotPart;
use ledger::state::RecordKey;
use ledger::transaction::{Payload, SignedTransaction};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Inputs by target.
#[derive(Default)]
struct Seeds(BTreeMap<&'static str, Vec<Vec<u8>>>);

impl Seeds {
    fn put(&mut self, target: &'static str, bytes: Vec<u8>) {
        self.0.entry(target).or_default().push(bytes);
    }

    fn encoded<T: Serialize>(&mut self, target: &'static str, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.put(target, encode(&value)));
    }
}

/// Writes them beneath a directory, a folder for each target.
pub fn write(into: &str) -> Result<(), String> {
    if into.is_empty() {
        return Err("seeds DIRECTORY".to_owned());
    }
    let (mut seeds, story) = (Seeds::default(), story::get());
    of_vectors(&mut seeds).map_err(|problem| format!("docs/vectors: {problem}"))?;
    of_texts(&mut seeds).map_err(|problem| format!("texts: {problem}"))?;
    of_transactions(&mut seeds, story);
    of_chain(&mut seeds, story);
    of_consensus(&mut seeds, story);
    of_forks(&mut seeds, story);
    of_verifiers(&mut seeds, story);
    of_snapshots(&mut seeds, story);
    of_archives(&mut seeds).map_err(|problem| format!("archives: {problem}"))?;
    of_images(&mut seeds);
    of_sources(&mut seeds);
    programs::of_streams(&mut seeds, story);
    programs::of_keys(&mut seeds);
    programs::of_an_agent(&mut seeds, story);
    programs::of_answers(&mut seeds);
    programs::of_images(&mut seeds);
    programs::of_packages(&mut seeds);
    programs::of_people(&mut seeds);
    for target in TARGETS {
        let folder = Path::new(into).join(target.name);
        let inputs = seeds.0.remove(target.name).ok_or(format!("{} begins with nothing", target.name))?;
        let written = fs::create_dir_all(&folder).and_then(|()| {
            inputs.iter().try_for_each(|input| fs::write(folder.join(&Digest::blake3(input).to_string()[..16]), input))
        });
        written.map_err(|problem| format!("{}: {problem}", folder.display()))?;
    }
    match seeds.0.keys().next() {
        Some(left) => Err(format!("{left} is no target")),
        None => Ok(()),
    }
}

/// Files of `docs/vectors/` whose path begins so.
fn vectors(begins: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors");
    let (folder, prefix) = begins.rsplit_once('/').unwrap_or(("", begins));
    let mut files: Vec<PathBuf> =
        fs::read_dir(root.join(folder))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| {
        path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    files.sort();
    files.iter().map(fs::read).collect()
}

fn of_vectors(seeds: &mut Seeds) -> std::io::Result<()> {
    let files: [(&'static str, &[&str]); 17] = [
        ("decode-transaction", &["transactions/", "near-misses/transaction-"]),
        ("decode-block", &["block.bin"]),
        ("decode-header", &["header.bin"]),
        ("decode-certificate", &["certificate.bin", "certificates/"]),
        ("decode-validator-set", &["validator-set.bin"]),
        ("decode-genesis", &["genesis.bin"]),
        ("decode-proof", &["proofs/", "near-misses/proof-"]),
        ("decode-state-proof", &["state-proofs/"]),
        ("decode-upload-grant", &["upload-grant.bin"]),
        ("decode-invitation", &["invitation.bin"]),
        ("decode-inventory", &["inventory.bin"]),
        ("decode-inventory-report", &["inventory-report.bin"]),
        ("decode-inventory-read", &["inventory-read.bin"]),
        ("decode-record", &["records/"]),
        ("decode-evidence", &["evidence/"]),
        ("decode-head-file", &["forks/head"]),
        ("decode-evidence-file", &["forks/", "near-misses/evidence-"]),
    ];
    for (target, places) in files {
        for place in places {
            vectors(place)?.into_iter().for_each(|bytes| seeds.put(target, bytes));
        }
    }
    for bytes in vectors("inventory.bin")? {
        let packed = [&[][..], &bytes[..]].into_iter().filter_map(|base| proto::packed::pack(&bytes, base).ok());
        packed.for_each(|packed| seeds.put("unpack-inventory", packed));
    }
    for bytes in vectors("transactions/")? {
        match decode::<SignedTransaction>(&bytes).map(|signed| signed.transaction.payload) {
            Ok(Payload::Publish { manifest }) => seeds.encoded("decode-manifest", [manifest]),
            Ok(Payload::Propose { proposal }) => seeds.encoded("decode-proposal", [proposal]),
            _ => {}
        }
    }
    for bytes in vectors("proofs/")? {
        if let Ok(bundle) = decode::<ProofBundle>(&bytes) {
            seeds.encoded("decode-epoch-link", bundle.epochs.iter());
            seeds.encoded("decode-history-path", [Carried(bundle.publish.path)]);
        }
    }
    Ok(())
}

fn of_transactions(seeds: &mut Seeds, story: &Story) {
    for proven in story.transactions.iter() {
        seeds.encoded("decode-transaction", [&proven.transaction]);
        seeds.encoded("decode-history-path", [&proven.path]);
    }
    let (key, patch, name) = (PublicKey([1; 32]), PatchId([2; 32]), Name::new("acme").expect("a name"));
    let product = Product::new("acme/widget").expect("a product");
    let mut keys = vec![RecordKey::Parameters, RecordKey::Validators, RecordKey::ApprovalRules, RecordKey::Halts];
    keys.extend([RecordKey::Organisation(name.clone()), RecordKey::Key(key), RecordKey::Product(product, name)]);
    keys.extend([RecordKey::Patch(patch), RecordKey::Endpoint(key), RecordKey::Receipt(key, patch)]);
    keys.extend([RecordKey::Members, RecordKey::Proposal(TransactionId([3; 32]))]);
    seeds.encoded("decode-record-key", keys);
    let grant =
        UploadGrant { chain_id: story.chain(), publisher: key, blake3: Digest::ZERO, size: 1, expires_at_ms: u64::MAX };
    seeds.encoded("decode-upload-grant", [grant.sign(&SecretKey::from_seed(&[1; 32]))]);
}

fn of_chain(seeds: &mut Seeds, story: &Story) {
    seeds.put("decode-genesis", story.genesis.clone());
    seeds.encoded("decode-validator-set", [story.validators()]);
    for (bytes, certificate) in &story.blocks {
        let Ok(block) = decode::<Block>(bytes) else { continue };
        seeds.put("decode-block", bytes.clone());
        seeds.encoded("decode-header", [&block.header]);
        seeds.encoded("decode-certificate", [certificate]);
        let hash = block.header.hash();
        let ids = block.transactions.iter().map(|signed| signed.clone().verify(&story.chain()).map(|known| known.id()));
        let ids: Vec<TransactionId> = ids.filter_map(Result::ok).collect();
        let carried = block.transactions.iter().map(|signed| Blob::new(encode(signed)).expect("within its limit"));
        let given = block.transactions.iter().map(|signed| Blob::new(encode(signed)).expect("within its limit"));
        let (fits, few) = ("a block is within every bound", List::new((0..ids.len() as u32).collect()));
        seeds.encoded(
            "decode-peer-message",
            [
                PeerMessage::Transactions(List::new(carried.collect()).expect(fits)),
                PeerMessage::Given(List::new(given.collect()).expect("a block is within every bound")),
                PeerMessage::Body { header: block.header.clone(), transactions: List::new(ids).expect(fits) },
                PeerMessage::WantBody { block: hash },
                PeerMessage::WantTransactions { block: hash, places: few.expect(fits) },
                PeerMessage::Status { height: block.header.height },
                PeerMessage::WantBlocks { from: block.header.height, count: 3 },
                PeerMessage::FinalisedBlock { block, certificate: certificate.clone() },
            ],
        );
    }
    for validator in [None, Some(PublicKey([4; 32]))] {
        let hello = PeerMessage::Hello { version: 1, chain: story.chain(), height: 3, validator };
        seeds.encoded("decode-peer-message", [hello]);
    }
}

fn of_consensus(seeds: &mut Seeds, story: &Story) {
    let (chain, keys) = (story.chain(), &story.stolen);
    let body = |round, block| VoteBody { height: 6, round, block };
    let some = Some(BlockHash([5; 32]));
    let vote = |kind, place: usize, block| SignedVote::sign(kind, body(1, block), &keys[place], &chain);
    let votes: Vec<SignedVote> = (0..4).map(|place| vote(VoteKind::Prevote, place, some)).collect();
    let (other, precommit) = (vote(VoteKind::Prevote, 0, None), vote(VoteKind::Precommit, 1, some));
    let proposed = |pol_round, block| {
        let body = ProposalBody { height: 6, round: 1, pol_round, block: BlockHash([block; 32]) };
        SignedProposal::sign(body, &keys[0], &chain)
    };
    let fits = "four are within the bound";
    let prevotes = List::new(votes.iter().map(|vote| (vote.voter, vote.signature)).collect()).expect(fits);
    let polka = Polka { height: 6, round: 1, block: BlockHash([5; 32]), prevotes };
    let round_vote = |vote: &SignedVote| RoundVote {
        kind: vote.kind,
        block: vote.body.block,
        voter: vote.voter,
        signature: vote.signature,
    };
    let skip = |reason| Skip {
        height: 6,
        round: 1,
        reason,
        votes: List::new(votes.iter().chain([&other]).map(round_vote).collect()).expect(fits),
    };
    let decided = story.blocks[0].1.clone();
    let messages = [
        Message::Vote(votes[0]),
        Message::Vote(other),
        Message::Proposal(proposed(None, 5)),
        Message::Proposal(proposed(Some(0), 6)),
        Message::Polka(polka.clone()),
        Message::Skip(skip(SkipReason::Ahead)),
        Message::Skip(skip(SkipReason::Over)),
        Message::WantProposal { height: 6, round: 1 },
        Message::Decided(decided.clone()),
    ];
    seeds.encoded("decode-consensus-message", &messages);
    seeds.encoded("decode-peer-message", messages.map(PeerMessage::Consensus));
    let evidence = [
        Evidence::Votes(votes[0], other),
        Evidence::Votes(votes[0], votes[1]),
        Evidence::Proposals(proposed(None, 5), proposed(None, 6)),
        Evidence::Proposals(proposed(None, 5), proposed(Some(0), 5)),
    ];
    seeds.encoded("decode-evidence", &evidence);
    seeds.encoded("decode-evidence-file", evidence.map(|evidence| EvidenceFile::evidence(chain, evidence)));
    let verdict = LogEntry::Verdict { height: 6, round: 1, block: BlockHash([5; 32]), valid: true, certified: false };
    let entries = [
        LogEntry::Vote(precommit),
        LogEntry::Proposal(proposed(None, 5)),
        LogEntry::Polka(polka.clone()),
        verdict,
        LogEntry::Timer(Timer { kind: TimerKind::Propose, height: 6, round: 1 }),
        LogEntry::Decided(decided),
    ];
    seeds.encoded("decode-log-entry", &entries);
    logs(seeds, &entries);
    let binding = Some(Binding { proposal: proposed(None, 5), polka });
    let guarded = [
        GuardRecord { slot: 0, signed: Signed::Proposal(proposed(None, 5)), binding: None },
        GuardRecord { slot: 1, signed: Signed::Vote(precommit), binding },
    ];
    seeds.encoded("decode-guard-record", guarded);
}

/// A log, one that was started over, and one with zeros behind it; with checksums made to fit and without.
fn logs(seeds: &mut Seeds, entries: &[LogEntry]) {
    let mut tail = Tail::blank();
    let whole: Vec<u8> = entries[..5].iter().flat_map(|entry| tail.append(entry)).collect();
    let mut tail = tail.start_over();
    let mut over = whole.clone();
    let again = tail.append(&entries[3]);
    over[..again.len()].copy_from_slice(&again);
    let padded = [&whole[..], &[0; 64]].concat();
    for file in [whole, over, padded] {
        for repaired in [0, 1] {
            seeds.put("scan-vote-log", [&[repaired][..], &file].concat());
        }
    }
}

/// Honest heads, and what is made of them by somebody who would like to see a fork.
fn of_forks(seeds: &mut Seeds, story: &Story) {
    let heads = story.honest.iter().map(|honest| {
        let head =
            CertifiedHeader { header: honest.bundle.header.clone(), certificate: honest.bundle.certificate.clone() };
        (honest.bundle.epochs.clone(), head)
    });
    let heads: Vec<_> = heads.collect();
    for ((epochs, head), (_, other)) in heads.iter().zip(heads.iter().rev()) {
        let file = HeadFile { version: 1, chain_id: story.chain(), epochs: epochs.clone(), head: head.clone() };
        seeds.encoded("decode-head-file", [file]);
        let branch = |head: &CertifiedHeader| Branch { epochs: List::default(), head: head.clone() };
        let fork = Fork { epochs: epochs.clone(), one: branch(head), other: branch(other) };
        seeds.encoded("decode-evidence-file", [EvidenceFile::fork(story.chain(), fork)]);
        let two = TwoCertificates { validators: story.validators(), one: head.clone(), other: other.clone() };
        seeds.encoded("decode-evidence", [Evidence::Certificates(Box::new(two))]);
    }
}

fn of_verifiers(seeds: &mut Seeds, story: &Story) {
    for liars in [0u8, 1, 7, 255] {
        for form in 0..4u8 {
            seeds.put("verify-evidence", vec![liars, form, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 1, 1]);
        }
    }
    for (place, honest) in story.honest.iter().enumerate() {
        let place = place as u8;
        seeds.put("verify-proof-file", honest.bundle.bytes());
        seeds.put("verify-bundle", vec![place, place]);
        for deed in 0..16u8 {
            seeds.put("verify-bundle", vec![place, place.wrapping_add(deed) % 12, deed, deed / 2, 1, 2, 3, deed]);
        }
        let proof = &honest.bundle.state;
        seeds.encoded("decode-state-proof", [&proof.patch, &proof.rules, &proof.halts]);
    }
    for size in 0..3u8 {
        // All sign; all but one; all but two; and an altered bitmap, list or signature after it.
        for mask in [0u8, 1, 3] {
            seeds.put("verify-certificate", vec![size, 0, mask, 0]);
            for alteration in 0..9u8 {
                seeds.put("verify-certificate", vec![size, 0, mask, 0, 7, alteration, 1, 1, 2, 1, 1]);
            }
        }
        for deed in 2..7u8 {
            seeds.put("verify-certificate", vec![size, 0, 0, 0, deed, 1, 2, 3, 0, 0, 1]);
        }
    }
    for count in [0u8, 1, 2, 6, 7, 8, 63, 64, 200] {
        for deed in 0..7u8 {
            seeds.put("verify-block-path", vec![count, 0, 9, 0, count / 2, deed, 1, 1, 1]);
            seeds.put("verify-history-path", vec![count, 0, 9, 0, 3, 250, 5, 1, 2, deed, 1, 1]);
            let written: Vec<u8> = (0..80).map(|byte| (byte as u8).wrapping_mul(count | 1) ^ deed).collect();
            seeds.put("verify-state-proof", written);
        }
    }
}

fn of_snapshots(seeds: &mut Seeds, story: &Story) {
    seeds.encoded("decode-snapshot-part", &story.snapshot);
    let old = story.blocks.iter().filter_map(|(block, certificate)| {
        let block: Block = decode(block).ok()?;
        let transactions = (block.header.history_size..).zip(block.transactions.iter().cloned()).collect();
        let (header, certificate) = (block.header, certificate.clone());
        Some(SnapshotPart::Kept { header, certificate, transactions: List::new(transactions).ok()? })
    });
    seeds.encoded("decode-snapshot-part", old);
    let outcomes = List::new(vec![(PatchId([2; 32]), [1, 2, 3, 4, 5])]).expect("one is within the bound");
    seeds.encoded("decode-snapshot-part", [SnapshotPart::Outcomes(outcomes)]);
    for honest in &story.honest {
        let ProofBundle { header, certificate, publish, approvals, .. } = honest.bundle.clone();
        for proven in [publish].into_iter().chain(approvals.iter().cloned()) {
            let (header, certificate) = (header.clone(), certificate.clone());
            let proof = InclusionProof { header, certificate, index: proven.index, path: proven.path };
            seeds.encoded("decode-inclusion-proof", [proof]);
        }
    }
    seeds.put("verify-snapshot", Vec::new());
    for place in 0..story.snapshot.len() as u8 {
        for deed in 0..6u8 {
            seeds.put("verify-snapshot", vec![place, deed, place, deed, deed, 1, 1]);
        }
    }
}

/// A boot environment as GRUB makes one, and the superblock of an image of one small file.
fn of_images(seeds: &mut Seeds) {
    for (before, trying, left) in [("", "-", "0"), ("# WARNING: Do not edit\nsaved_entry=a\\\nb\n", "b", "3")] {
        let lines = format!("countersign_active=a\ncountersign_trying={trying}\ncountersign_tries_left={left}\n");
        let mut block = format!("# GRUB Environment Block\n{before}{lines}").into_bytes();
        seeds.put("read-boot-environment", block.clone());
        block.resize(1024, b'#');
        seeds.put("read-boot-environment", block);
    }
    let mut image = Vec::new();
    for number in SUPERBLOCK {
        image.extend(number.to_le_bytes());
    }
    image.resize(218, 0);
    seeds.put("read-superblock", image);
}

/// Of an image that `mksquashfs` made, in words of 64 bits.
const SUPERBLOCK: [u64; 12] = [
    0x273717368,
    0x2000000000000,
    0x11000100000001,
    0x4000102c0,
    0x20,
    0xda,
    0xd2,
    0xffffffffffffffff,
    0x66,
    0x87,
    0xac,
    0xc4,
];

/// An invitation as it is pasted, and calendars.
fn of_texts(seeds: &mut Seeds) -> std::io::Result<()> {
    for invitation in vectors("invitation.bin")? {
        let invitation: SignedInvitation = decode(&invitation).map_err(std::io::Error::other)?;
        seeds.put("parse-invitation", invitation.to_string().into_bytes());
    }
    for text in [
        "Europe/Berlin\nFREQ=MONTHLY;BYDAY=2TU\n2026-01-13\n02:30",
        "UTC\nFREQ=WEEKLY;INTERVAL=2;BYDAY=SA,SU",
        "America/New_York\n0 22 * * TUE#2",
        "UTC\n2026-12-20/2027-01-06",
        "Pacific/Apia\n12-24/01-01",
        "UTC\n02-29",
    ] {
        seeds.put("read-schedule", text.as_bytes().to_vec());
    }
    Ok(())
}

fn of_sources(seeds: &mut Seeds) {
    seeds.put("check-tree", vec![0, 0]);
    seeds.put("check-tree", vec![0, 1, 1, 3, 9, 0]);
    seeds.put("check-tree", vec![1, 0]);
    seeds.put("decode-delta", crate::sources::honest_delta());
    let path = shelf_path(&Digest::blake3(b"an artifact"));
    for (suffix, range) in [("", ""), (TREE_SUFFIX, "\nbytes=0-"), ("", "\nbytes=16384-32767"), ("/..", "\nbytes=9-1")]
    {
        seeds.put("cache-request", format!("/{path}{suffix}{range}").into_bytes());
    }
}

/// An archive with one of everything that may be in one.
fn honest_archive() -> std::io::Result<Vec<u8>> {
    use tar::{Builder, EntryType, Header};
    let mut archive = Builder::new(Vec::new());
    let mut add = |kind, path: &str, link: &str, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        match kind {
            EntryType::Symlink | EntryType::Link => archive.append_link(&mut header, path, link),
            _ => archive.append_data(&mut header, path, data),
        }
    };
    add(EntryType::Directory, "bin/", "", b"")?;
    add(EntryType::Regular, "bin/tool", "", b"#!/bin/sh\n")?;
    add(EntryType::Link, "bin/same", "bin/tool", b"")?;
    add(EntryType::Symlink, "bin/link", "../bin/tool", b"")?;
    add(EntryType::Regular, &format!("{}/deep", "long-name-".repeat(12)), "", b"x")?;
    add(EntryType::XGlobalHeader, "pax_global_header", "", b"19 comment=harmless\n")?;
    archive.into_inner()
}

fn of_archives(seeds: &mut Seeds) -> std::io::Result<()> {
    let honest = honest_archive()?;
    for (from, to) in [
        ("bin/tool", "../canary"),
        ("bin/tool", "/tmp/tool"),
        ("../bin/tool", "../../canary"),
        ("../bin/tool", "/etc/passwd"),
        ("bin/same", "bin/link/x"),
        ("bin/same", "BIN/TOOL"),
    ] {
        let mut altered = honest.clone();
        let place = altered.windows(from.len()).position(|window| window == from.as_bytes()).unwrap_or(0);
        altered[place..place + 12].fill(0);
        altered[place..place + to.len()].copy_from_slice(to.as_bytes());
        seeds.put("unpack-archive", [&[1][..], &altered].concat());
        seeds.put("lay-layers", [&[1, 3][..], &altered].concat());
    }
    let records = b"18 path=bin/other\n11 size=10\n";
    let mut pax = vec![0; 1536];
    pax[..4].copy_from_slice(b"pax/");
    pax[100..107].copy_from_slice(b"0000644");
    pax[124..135].copy_from_slice(format!("{:011o}", records.len()).as_bytes());
    pax[156] = b'x';
    pax[512..512 + records.len()].copy_from_slice(records);
    let tail = &honest[512..];
    seeds.put("unpack-archive", [&[1][..], &pax[..1024], tail].concat());
    let (mut owned, records) = (pax[..1024].to_vec(), b"15 uid=3000000\n15 gid=4000000\n");
    owned[124..135].copy_from_slice(format!("{:011o}", records.len()).as_bytes());
    owned[512..512 + records.len()].copy_from_slice(records);
    seeds.put("lay-layers", [&[1, 0][..], &owned, tail].concat());
    for (from, to) in [("bin/link", "bin/.wh.tool"), ("bin/same", ".wh.bin"), ("bin/same", "bin/.wh..wh..opq")] {
        let mut hiding = honest.clone();
        let place = hiding.windows(from.len()).position(|window| window == from.as_bytes()).unwrap_or(0);
        hiding[place..place + to.len()].copy_from_slice(to.as_bytes());
        let blocks = u8::try_from(honest.len() / 512).unwrap_or(u8::MAX);
        seeds.put("lay-layers", [&[1, blocks][..], &honest, &hiding].concat());
    }
    seeds.put("unpack-archive", [&[0][..], &honest].concat());
    seeds.put("unpack-archive", [&[1][..], &honest].concat());
    Ok(())
}
