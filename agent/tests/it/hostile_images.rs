//! Images that somebody made in order to do harm.

use crate::containers::Case;
use crate::support::archive::Archive;
use crate::support::bench::Bench as _;
use crate::support::containers::{ENABLED, INDEX, Image, Images, gzip, image, product, sha256};
use crate::support::endpoint::canary;
use crate::support::tricks::{Trick, tricks};
use ledger::receipt::{Outcome, ReasonCode};
use serde_json::json;
use std::fs;
use tar::EntryType::{Block, Char, Directory, Fifo, Regular, XGlobalHeader, XHeader};

/// What is wrong with an image, how that is said, and by which check.
type Row = (&'static str, Vec<u8>, ReasonCode, &'static str);

#[tokio::test]
async fn hostile_images_are_refused_by_name_and_touch_nothing() {
    let Some(mut case) = Case::new(ENABLED).await else { return };
    assert_eq!(case.apply(image("1.0.1").bytes(), vec![]).await.outcome, Outcome::Applied);
    let before = Images.snapshot(&case.endpoint);
    let outside = tempfile::tempdir().unwrap();
    let aim = outside.path().join("aim");
    let check = canary(&aim);
    for (what, layout, code, says) in hostile_layouts().into_iter().chain(hostile_layers(aim.to_str().unwrap())) {
        let settled = case.apply(layout, vec![]).await;
        let reason = settled.reason.clone().unwrap();
        assert_eq!((settled.outcome, reason.code), (Outcome::Refused, code), "{what}: {settled}");
        assert!(reason.detail.as_str().contains(says), "{what}: {reason}");
        check();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{what}: something was made outside");
        assert!(Images.snapshot(&case.endpoint) == before, "{what}");
    }
    let versions = case.endpoint.installed().unwrap().tree.parent().unwrap().to_owned();
    let left = fs::read_dir(versions).unwrap().count();
    assert_eq!(left, 2, "the installed version and its description, and nothing of the others");
}

/// What the refusals of a tree say of what a layer may have (protocol.md 7.9): it is reached from inside of a container alone.
const LAYERS_MAY: [&str; 3] = ["out of the tree", "upper and lower case", "setuid"];
/// … and besides, by what they try: a directory is described again, or something else takes its place, as in a layer above.
const LAYERS_MAY_TRY: [&str; 2] = ["directory twice", "file where a directory is"];
/// … but not these.
const LAYERS_MAY_NOT: [&str; 2] = ["through a link to the outside", "link to nothing at all"];

#[tokio::test]
async fn what_archives_try_layers_try_in_vain() {
    let Some(mut case) = Case::new(ENABLED).await else { return };
    let outside = tempfile::tempdir().unwrap();
    let aim = outside.path().join("aim");
    let check = canary(&aim);
    let mut otherwise = Vec::new();
    for Trick { what, archive, evidence } in tricks(aim.to_str().unwrap()) {
        let image = Image::new().layer("", product("6.6.6").bytes()).layer("+gzip", archive);
        let settled = case.apply(image.bytes(), vec![]).await;
        let may = (LAYERS_MAY.contains(&evidence) && !LAYERS_MAY_NOT.contains(&what)) || LAYERS_MAY_TRY.contains(&what);
        let refused = settled.outcome == Outcome::Refused
            && settled.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::ArchiveUnsafe);
        if may == refused {
            otherwise.push(format!("{what}: {settled}"));
        }
        check();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{what}: something was made outside");
    }
    assert!(otherwise.is_empty(), "{otherwise:#?}");
}

/// An image in which nothing can be run: whatever is wrong with it is found before that.
fn small() -> Image {
    Image::new().layer("+gzip", Archive::new().file("a", "a").bytes()).layer("+zstd", product("6.6.6").bytes())
}

fn hostile_layouts() -> Vec<Row> {
    use ReasonCode::{ArchiveUnsafe, ArtifactDigest, InstallFailed, Io, Target};
    let good = small;
    let indexed = |change: &dyn Fn(&mut Image, serde_json::Value) -> Vec<serde_json::Value>| {
        let mut image = good();
        let manifest = image.manifest();
        let manifests = change(&mut image, manifest);
        image.layout(&manifests)
    };
    let with_field = |field: &str, value: serde_json::Value| {
        indexed(&|_, mut manifest| {
            manifest[field] = value.clone();
            vec![manifest]
        })
    };
    let layered = |change: &dyn Fn(&mut Image)| {
        let mut image = good();
        change(&mut image);
        image.bytes()
    };
    let deep = indexed(&|image, manifest| {
        let within = |image: &mut Image, inner: serde_json::Value| {
            let index = json!({ "schemaVersion": 2, "manifests": [inner] });
            image.blob(INDEX, serde_json::to_vec(&index).unwrap())
        };
        vec![(0..5).fold(manifest, |inner, _| within(image, inner))]
    });
    let wide = indexed(&|image, _| {
        let of = |image: &mut Image, inner: Vec<serde_json::Value>| {
            let index = json!({ "schemaVersion": 2, "manifests": inner });
            image.blob(INDEX, serde_json::to_vec(&index).unwrap())
        };
        let empty = of(image, vec![]);
        let many = of(image, vec![empty; 100]);
        vec![many; 100]
    });
    let zeros = || vec![0_u8; 4 << 20];
    let no_marker = Archive::new().file("index.json", "{}").bytes();
    let version = Archive::new().file("oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}").bytes();
    vec![
        ("no layout", no_marker, ArchiveUnsafe, "no OCI image layout"),
        ("another version", version, ArchiveUnsafe, "2.0.0"),
        ("no tar", vec![1; 600], ArchiveUnsafe, "tar archive"),
        ("nothing in it", indexed(&|_, _| vec![]), Target, "it has no image for linux/"),
        ("two of them", indexed(&|_, one| vec![one.clone(), one]), ArchiveUnsafe, "it has 2 images"),
        ("too many", indexed(&|_, one| vec![one; 300]), ArchiveUnsafe, "300 descriptors"),
        ("too deep", deep, ArchiveUnsafe, "deep"),
        ("too many, in indexes that are few each", wide, ArchiveUnsafe, "descriptors"),
        (
            "for others",
            with_field("platform", json!({ "architecture": "mips", "os": "linux" })),
            Target,
            "it has linux/mips",
        ),
        (
            "for others, and says so only inside",
            layered(&|image| image.architecture = "mips".to_owned()),
            Target,
            "it is for linux/mips",
        ),
        ("another kind", with_field("mediaType", json!("application/x")), Target, "it has application/x"),
        ("wrong size", with_field("size", json!(7)), ArtifactDigest, "its descriptor says 7"),
        ("larger than it is", with_field("size", json!(70_000)), ArtifactDigest, "its descriptor says 70000"),
        ("much too large", with_field("size", json!(u64::MAX)), ArchiveUnsafe, "are the most"),
        ("negative size", with_field("size", json!(-1)), ArchiveUnsafe, "not understood"),
        ("digest that climbs", with_field("digest", json!("sha256:../../../aim")), ArchiveUnsafe, "not understood"),
        (
            "digest of no known kind",
            with_field("digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
            ArchiveUnsafe,
            "only SHA-256",
        ),
        ("blob that is not there", with_field("digest", json!(format!("sha256:{}", sha256(b"x")))), Io, "cannot read"),
        (
            "blob of another",
            layered(&|image| {
                let digest = image.layers[1]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
                let blob = image.blobs.get_mut(&digest).unwrap();
                let middle = blob.len() / 2;
                blob[middle] ^= 1;
            }),
            ArtifactDigest,
            "hashes to",
        ),
        (
            "layer that is not what it unpacks to",
            layered(&|image| image.diffs[1] = format!("sha256:{}", sha256(b"another"))),
            ArtifactDigest,
            "the configuration says",
        ),
        ("one digest too few", layered(&|image| drop(image.diffs.pop())), ArchiveUnsafe, "2 layers, and 1"),
        (
            "no layers",
            layered(&|image| {
                image.layers.clear();
                image.diffs.clear();
            }),
            ArchiveUnsafe,
            "0 layers",
        ),
        (
            "a layer of no known kind",
            layered(&|image| image.layers[0]["mediaType"] = json!("application/vnd.docker.x")),
            ArchiveUnsafe,
            "a layer is application/vnd.docker.x",
        ),
        (
            "digest in the configuration that is none",
            layered(&|image| image.diffs[0] = "sha256:..".to_owned()),
            ArchiveUnsafe,
            "only SHA-256",
        ),
        (
            "not compressed as it says",
            {
                let mut image = good();
                image.layers[0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+zstd");
                image.bytes()
            },
            ArchiveUnsafe,
            "tar archive",
        ),
        (
            "zeros without end",
            {
                let mut image = good();
                let diff = sha256(&zeros());
                let layer = image.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&zeros())[..2000].to_vec());
                image.layers.push(layer);
                image.diffs.push(format!("sha256:{diff}"));
                image.bytes()
            },
            ArchiveUnsafe,
            "tar archive",
        ),
        ("user it does not have", good().config("User", json!("ghost")).bytes(), ArchiveUnsafe, "\"ghost\""),
        ("user that is no text", good().config("User", json!(["a"])).bytes(), ArchiveUnsafe, "not understood"),
        ("variable without a value", good().config("Env", json!(["A"])).bytes(), ArchiveUnsafe, "\"A\""),
        ("word with an end in it", good().config("Cmd", json!(["a\u{0}b"])).bytes(), ArchiveUnsafe, "can be run with"),
        (
            "data that would be lost",
            good().config("Volumes", json!({ "/var/lib/data": {} })).bytes(),
            InstallFailed,
            "keeps data in /var/lib/data",
        ),
        (
            "data that would be lost by a detour",
            good().config("Volumes", json!({ "/tmp/../var/lib/data": {} })).bytes(),
            ArchiveUnsafe,
            "\"/tmp/../var/lib/data\"",
        ),
        ("data in no certain place", good().config("Volumes", json!({ "tmp": {} })).bytes(), ArchiveUnsafe, "\"tmp\""),
        ("directory that climbs", good().config("WorkingDir", json!("/a/../../../aim")).bytes(), ArchiveUnsafe, "`..`"),
    ]
}

fn hostile_layers(aim: &str) -> Vec<Row> {
    let layer = |archive: Archive| small().layer("+gzip", archive.bytes()).bytes();
    let one = |kind, name: &str| Archive::new().entry(kind, name.as_bytes(), 0o666, b"", b"");
    let pax = {
        let record = format!("path={aim}\n");
        let length = record.len() + 4;
        Archive::new().entry(XHeader, b"pax", 0o644, b"", format!("{length} {record}").as_bytes()).file("plain", "x")
    };
    let extended = |records: &[(&str, &str)]| layer(Archive::new().pax(records).file("f", "x"));
    let everybodys = Archive::new().entry(XGlobalHeader, b"pax", 0o644, b"", b"12 uid=1000\n").file("f", "x");
    let odd_owner = {
        let mut bytes = one(Regular, "odd").bytes();
        bytes[108..116].copy_from_slice(&[0xff; 8]);
        let sum: u32 = (0..512).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(bytes[at]) }).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        small().layer("", bytes).bytes()
    };
    let rows = [
        ("climbs", layer(Archive::new().file("../aim", "x")), "`..`"),
        ("absolute", layer(Archive::new().file(aim, "x")), "absolute"),
        ("absolute, in an extended header", layer(pax), "extended header"),
        ("through a link to the host", layer(Archive::new().link("d", "/tmp").file("d/x", "x")), "no directory"),
        ("through a link of its own", layer(Archive::new().link("d", "bin").file("d/x", "x")), "no directory"),
        (
            "through a link of a layer below",
            {
                let below = Archive::new().link("d", aim.trim_end_matches("/aim"));
                let above = Archive::new().file("d/aim", "x");
                small().layer("", below.bytes()).layer("", above.bytes()).bytes()
            },
            "no directory",
        ),
        (
            "hides what a link leads to",
            {
                // Nothing is hidden through a link; then the file beside it, which is one too many.
                let below = Archive::new().link("d", aim.trim_end_matches("/aim"));
                let above = Archive::new().file("d/.wh.aim", "").file("d/.wh..wh..opq", "").file("d/x", "");
                small().layer("", below.bytes()).layer("", above.bytes()).bytes()
            },
            "no directory",
        ),
        ("hides what is above", layer(Archive::new().file(".wh...", "")), "no name"),
        ("hides nothing", layer(Archive::new().file(".wh.", "")), "no name"),
        ("name that is kept for others", layer(Archive::new().file(".wh..wh.plnk", "")), "reserved name"),
        ("hard link to the host", layer(Archive::new().hard_link("x", aim)), "absolute"),
        ("hard link that climbs", layer(Archive::new().hard_link("x", "../../aim")), "`..`"),
        ("hard link to a link", layer(Archive::new().link("l", aim).hard_link("x", "l")), "no file before it"),
        (
            "hard link through a link",
            layer(Archive::new().link("l", "/etc").hard_link("x", "l/passwd")),
            "no file before it",
        ),
        ("character device", layer(one(Char, "null")), "character device"),
        ("block device", layer(one(Block, "sda")), "block device"),
        ("named pipe", layer(one(Fifo, "pipe")), "named pipe"),
        ("twice", layer(Archive::new().file("f", "1").file("f", "2")), "twice"),
        (
            "file where its own directory is",
            layer(Archive::new().file("d", "").entry(Directory, b"d/", 0o755, b"", b"")),
            "twice",
        ),
        ("escape sequence", layer(Archive::new().file("a\x1b[2Jb", "")), "control characters"),
        ("link to nothing", layer(Archive::new().link("a", "")), "is a link to"),
        ("owner below everybody", extended(&[("uid", "-1")]), "extended header"),
        ("group that is nobody", extended(&[("gid", "4294967295")]), "extended header"),
        ("two owners", extended(&[("uid", "1"), ("uid", "2")]), "extended header"),
        ("owner that is no number", extended(&[("uid", "acme")]), "extended header"),
        ("two lengths", extended(&[("size", "7")]), "extended header"),
        ("owner of everything", layer(everybodys), "extended header"),
        ("owner that is nobody", odd_owner, "extended header"),
    ];
    rows.into_iter().map(|(what, layout, says)| (what, layout, ReasonCode::ArchiveUnsafe, says)).collect()
}
