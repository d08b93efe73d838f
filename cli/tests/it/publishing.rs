//! From a packed patch to a finalised one.

use crate::archives::{file, tar};
use crate::double::{Fault, Node};
use crate::hands::Hands;
use serde_json::Value;

/// Packs a patch of the scenario's namespace into `packed`.
pub(crate) fn pack(hands: &Hands, release: &str) -> Value {
    hands.write(&format!("in-{release}.tar"), tar(&[file("bin/hello", 0o755, &"hello ".repeat(100_000))]));
    let (input, out) = (format!("in-{release}.tar"), format!("packed-{release}"));
    let arguments = [
        "patch",
        "pack",
        "--product",
        "acme/hello",
        "--version",
        "1.0",
        "--release",
        release,
        "--class",
        "security",
        "--severity",
        "important",
        "--title",
        "Says hello",
        "--out",
        &out,
        "-o",
        "json",
        &input,
    ];
    hands.run(&arguments).done().json()
}

#[test]
fn a_packed_patch_is_published_with_its_artifact() {
    let node = Node::start();
    let hands = node.hands();
    let packed = pack(&hands, "1");
    let published = hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key", "-o", "json"]).done();
    // What is signed is shown, from the signed transaction.
    for shown in ["This is what is published:", "acme/hello", "Says hello", "acme (publisher key"] {
        assert!(published.stderr.contains(shown), "{shown}: {}", published.stderr);
    }
    let blake3 = packed["artifacts"][0]["blake3"].as_str().unwrap();
    assert!(published.stderr.contains(blake3));
    let view = published.json();
    assert_eq!(view["patch"], packed["patch"]);
    assert_eq!(view["position"]["height"], 1);
    assert_eq!(view["position"]["index"], 0);
    assert_eq!(node.artifact(blake3).unwrap(), hands.read(&format!("packed-1/artifacts/{blake3}")));
    assert_eq!((node.uploads(), node.submissions()), (1, 1));
}

#[test]
fn an_artifact_the_node_has_is_not_uploaded_again() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    pack(&hands, "2");
    for packed in ["packed-1", "packed-2"] {
        hands.run(&["patch", "publish", packed, "--key", "vendor.key"]).done();
    }
    assert_eq!((node.uploads(), node.finalised()), (1, 2));
}

#[test]
fn publishing_twice_is_refused_by_name() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    let publish = ["patch", "publish", "packed-1", "--key", "vendor.key"];
    hands.run(&publish).done();
    let again = hands.run(&publish);
    again.fails(1, "error: refused by check rule: patch ");
    again.fails(1, "is already published");
    again.fails(1, "hint: about rule");
}

#[test]
fn what_is_refused_is_not_uploaded() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    let publish = ["patch", "publish", "packed-1", "--key", "vendor.key"];
    let manifest = String::from_utf8(hands.read("packed-1/manifest.json")).unwrap();
    for (from, to, says) in [
        ("acme/hello", "bank/hello", "does not own namespace bank"),
        ("\"release\": 1", "\"release\": 5000", "release"),
    ] {
        hands.write("packed-1/manifest.json", manifest.replace(from, to));
        hands.run(&publish).fails(1, says);
    }
    hands.write("packed-1/manifest.json", &manifest);
    // Signed elsewhere, and as bad.
    hands.run(&[&publish[..], &["--offline", "--out", "late.tx", "--expires", "1ms"]].concat()).done();
    hands.run(&["submit", "late.tx", "--artifacts", "packed-1"]).fails(1, "expired");
    assert_eq!((node.uploads(), node.submissions()), (0, 0));
    // An older node cannot be asked: then it refuses as it always did.
    node.cannot_check();
    hands.run(&publish).done();
    assert_eq!((node.uploads(), node.submissions()), (1, 1));
}

#[test]
fn a_namespace_of_somebody_else_is_refused_by_name() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    let manifest = String::from_utf8(hands.read("packed-1/manifest.json")).unwrap();
    hands.write("packed-1/manifest.json", manifest.replace("acme/hello", "bank/hello"));
    hands
        .run(&["patch", "publish", "packed-1", "--key", "vendor.key"])
        .fails(1, "organisation acme does not own namespace bank");
}

const HEALTH_OF_A_HOST_NAME: &str = "\"health\": [{\"probe\": {\"tcp\": {\"port\": \"db.example:5432\"}}, \
\"timeout_ms\": 1, \"attempts\": 1, \"interval_ms\": 1}]";

#[test]
fn what_was_altered_after_packing_is_not_published() {
    let node = Node::start();
    let hands = node.hands();
    let blake3 = pack(&hands, "1")["artifacts"][0]["blake3"].as_str().unwrap().to_owned();
    let artifact = format!("packed-1/artifacts/{blake3}");
    let (honest, manifest) = (hands.read(&artifact), hands.read("packed-1/manifest.json"));
    let manifest = String::from_utf8(manifest).unwrap();
    let publish = ["patch", "publish", "packed-1", "--key", "vendor.key"];

    let mut altered = honest.clone();
    altered[1000] ^= 1;
    hands.write(&artifact, &altered);
    hands.run(&publish).fails(1, "its BLAKE3 is");
    hands.write(&artifact, [honest.as_slice(), b"x"].concat());
    hands.run(&publish).fails(1, "its length is");
    hands.write(&artifact, &honest);

    for (from, to, says) in [
        ("\"reboot\"", "\"rebot\"", "missing field `reboot`"),
        ("\"reboot\": \"never\"", "\"reboot\": \"never\", \"comment\": 1", "/comment is not what a manifest has there"),
        ("\"release\": 1", "\"release\": 0", "release counter must be at least 1"),
        ("\"title\": \"Says hello\"", "\"title\": \"Says \\u0007\"", "control character U+0007"),
        ("\"health\": []", HEALTH_OF_A_HOST_NAME, "health check: \"db.example:5432\" is no port"),
        ("{", "", "is no manifest"),
    ] {
        hands.write("packed-1/manifest.json", manifest.replacen(from, to, 1));
        hands.run(&publish).fails(1, says);
    }
    hands.run(&["patch", "publish", "absent", "--key", "vendor.key"]).fails(2, "cannot read manifest");
    assert_eq!((node.uploads(), node.submissions()), (0, 0));
}

#[test]
fn a_patch_is_signed_on_one_machine_and_submitted_from_another() {
    let node = Node::start();
    let (safe, hands) = (Hands::new(), node.hands());
    for name in ["genesis", "vendor.key"] {
        safe.write(name, hands.read(name));
    }
    crate::hands::set_mode(&safe.path("vendor.key"), 0o600);
    let packed = pack(&safe, "1");
    let sign = [
        "patch",
        "publish",
        "packed-1",
        "--key",
        "vendor.key",
        "--genesis",
        "genesis",
        "--offline",
        "--out",
        "p.tx",
        "-o",
        "json",
    ];
    let signed = safe.run(&sign).done().json();
    assert_eq!((&signed["file"], &signed["patch"]), (&"p.tx".into(), &packed["patch"]));
    assert!(signed.get("position").is_none());

    let blake3 = packed["artifacts"][0]["blake3"].as_str().unwrap();
    let artifact = format!("packed-1/artifacts/{blake3}");
    for name in ["p.tx", &format!("p.tx.{}.grant", &blake3[..12]), &artifact] {
        hands.write(name, safe.read(name));
    }
    // Final all the same, but what no host can fetch is told.
    let forgotten = hands.run(&["submit", "p.tx", "-o", "json"]).done();
    let warning = "warning: the node has not got tree.tar: no host can fetch this patch from it\n\
                   hint: `countersign submit p.tx --artifacts DIR` uploads what `patch pack` made\n";
    assert!(forgotten.stderr.ends_with(warning), "{}", forgotten.stderr);
    assert_eq!(forgotten.json()["missing_artifacts"], serde_json::json!(["tree.tar"]));
    let submitted = hands.run(&["submit", "p.tx", "--artifacts", "packed-1", "-o", "json"]).done().json();
    assert!(submitted.get("missing_artifacts").is_none());
    assert_eq!((&submitted["transaction"], &submitted["kind"]), (&signed["transaction"], &"publish".into()));
    assert!(node.artifact(blake3).is_some());
    // Nothing is signed over an earlier file.
    safe.run(&sign).fails(2, "exists");
}

#[test]
fn a_busy_node_is_asked_again() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.will(&[Fault::Busy, Fault::Busy, Fault::Busy]);
    hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key"]).done();
    assert_eq!((node.submissions(), node.finalised()), (4, 1));
}

#[test]
fn a_node_that_stays_busy_is_left_after_ten_offers() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.will(&[Fault::Busy; 20]);
    let ran = hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key"]);
    ran.fails(1, "error: refused by check mempool-full: no room\nhint: about mempool-full\n");
    assert_eq!((node.submissions(), node.finalised()), (10, 0));
}

#[test]
fn a_lost_answer_is_no_lost_transaction_and_no_second_one() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.will(&[Fault::AnswerLost]);
    let view = hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key", "-o", "json"]).done().json();
    assert_eq!(view["position"]["index"], 0);
    assert_eq!((node.submissions(), node.finalised()), (1, 1));
}

#[test]
fn a_lost_request_is_offered_again() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.will(&[Fault::RequestLost, Fault::RequestLost]);
    hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key"]).done();
    assert_eq!((node.submissions(), node.finalised()), (3, 1));
}

#[test]
fn a_slow_transaction_is_waited_for() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.will(&[Fault::Slow]);
    hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key"]).done();
    assert_eq!((node.submissions(), node.finalised()), (1, 1));
}
