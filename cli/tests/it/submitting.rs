//! Transactions from files, and what a node may answer.

use crate::double::{Fault, Lie, Node};
use crate::publishing::pack;
use ledger::key::PublicKey;

#[test]
fn submitting_twice_finalises_once() {
    let node = Node::start();
    let hands = node.hands();
    let enroll = [
        "endpoint",
        "enroll",
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
        "--name",
        "host7",
        "--group",
        "web",
        "--label",
        "site=hamburg",
        "--key",
        "operator.key",
        "--offline",
        "--out",
        "e.tx",
    ];
    let signed = hands.run(&enroll).done();
    assert!(signed.stdout.contains("in           e.tx, for `countersign submit`\n"), "{}", signed.stdout);
    assert_eq!(node.submissions(), 0);
    let first = hands.run(&["submit", "e.tx", "-o", "json"]).done().json();
    let second = hands.run(&["submit", "e.tx", "-o", "json"]).done().json();
    assert_eq!(first, second);
    assert_eq!(first["kind"], "enroll");
    assert_eq!(node.finalised(), 1);

    let id = first["transaction"].as_str().unwrap();
    let found = hands.run(&["get", "transaction", id, "-o", "json"]).done().json();
    assert_eq!((&found["state"], &found["kind"]), (&"finalised".into(), &"enroll".into()));
    assert_eq!(found["position"], first["position"]);
    hands.run(&["get", "transaction", &id[..12]]).fails(2, "of a transaction all 64 digits are needed");
    let unknown = hands.run(&["get", "transaction", &"0".repeat(64), "-o", "json"]);
    assert_eq!((unknown.code, unknown.json()["state"].as_str()), (1, Some("unknown")));
}

#[test]
fn an_altered_transaction_is_not_even_sent() {
    let node = Node::start();
    let hands = node.hands();
    let key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    let out = ["--key", "operator.key", "--offline", "--out", "e.tx"];
    hands.run(&[&["endpoint", "enroll", key, "--name", "a", "--group", "b"][..], &out].concat()).done();
    let honest = hands.read("e.tx");
    for place in (0..honest.len()).step_by(7) {
        let mut altered = honest.clone();
        altered[place] ^= 0x10;
        hands.write("altered.tx", altered);
        hands.run(&["submit", "altered.tx"]).fails(2, "altered.tx is no transaction of this ledger");
    }
    assert_eq!(node.submissions(), 0);
    hands.write("large.tx", vec![0; 64 * 1024 + 1]);
    hands.run(&["submit", "large.tx"]).fails(2, "at most 65536 bytes");
}

#[test]
fn endpoints_are_enrolled_from_a_file_and_retired_by_name() {
    let node = Node::start();
    let hands = node.hands();
    let public = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    hands.write("host.pub", format!("role = \"endpoint\"\npublic_key = \"{public}\"\n"));
    let enroll = ["endpoint", "enroll", "host.pub", "--name", "host7", "--group", "web", "--key", "operator.key"];
    let enrolled = hands.run(&[&enroll[..], &["-o", "json"]].concat()).done().json();
    assert_eq!(enrolled["endpoint"], public);
    let again = hands.run(&enroll).done();
    assert!(again.stdout.contains("enrolled already: nothing to do") && again.stderr.is_empty(), "{}", again.stderr);
    let other_name = ["endpoint", "enroll", "host.pub", "--name", "host8", "--group", "web", "--key", "operator.key"];
    hands.run(&other_name).fails(1, &format!("key {public} is already in use"));
    hands.run(&["endpoint", "retire", "ffff", "--key", "operator.key"]).fails(1, "no endpoint begins with ffff");
    let prefix = hands.run(&["endpoint", "retire", "8A88", "--key", "operator.key"]);
    prefix.fails(2, "8a88 is not a whole id");
    let named = hands.run(&["endpoint", "retire", "host7", "--key", "operator.key"]);
    named.fails(2, "host7 is not a whole id");
    assert!(named.stderr.contains(&format!("This is what is retired:\nendpoint  {public}\n")), "{}", named.stderr);
    let other = "30bea96fe49eeb668d7b6a5d3ee7705cb4f14745c5decca815f9c6356ef51dec";
    let namesake = ["endpoint", "enroll", other, "--name", "host7", "--group", "web", "--key", "operator.key"];
    let told = hands.run(&namesake).done().stderr;
    assert!(told.contains("an active endpoint is called host7 already: 8a88e3dd7409"), "{told}");
    hands.run(&["endpoint", "retire", "host7", "--key", "operator.key"]).fails(1, "several endpoints are called host7");
    assert!(prefix.stderr.contains(&format!("This is what is retired:\nendpoint  {public}\n")), "{}", prefix.stderr);
    let retired =
        hands.run(&["endpoint", "retire", &public.to_uppercase(), "--key", "operator.key", "-o", "json"]).done().json();
    assert_eq!(retired["endpoint"], public);
    let listed = hands.run(&["get", "endpoints", "-o", "json"]).done().json();
    let status = |key: &str| {
        let found = listed["endpoints"].as_array().unwrap().iter().find(|endpoint| endpoint["key"] == key);
        found.unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!((status(public), status(other)), ("retired".to_owned(), "active".to_owned()));
    // A member's key is no endpoint's.
    let ran = hands.run(&["endpoint", "enroll", "bank.key", "--name", "a", "--group", "b", "--key", "operator.key"]);
    ran.fails(2, "bank.key is a key with role approver");
}

#[test]
fn a_prefix_must_mean_one() {
    let node = Node::start();
    let hands = node.hands();
    let keys = ["abcd01", "abcd02", "abce00"].map(|start| {
        let mut keys = (0..256).map(|last| format!("{start}{}{last:02x}", "5".repeat(56)));
        keys.find(|key| key.parse::<PublicKey>().unwrap().can_sign()).unwrap()
    });
    for (key, name) in keys.iter().zip(["one", "two", "three"]) {
        let enroll = ["endpoint", "enroll", key, "--name", name, "--group", "web", "--key", "operator.key"];
        hands.run(&enroll).done();
    }
    hands.run(&["endpoint", "retire", "abcd", "--key", "operator.key"]).is(
        1,
        "",
        "error: several endpoints begin with abcd: abcd01555555, abcd02555555\nhint: type more of it\n",
    );
    let narrower = hands.run(&["endpoint", "retire", "abcd02", "--key", "operator.key"]);
    narrower.fails(2, "abcd02 is not a whole id");
    assert!(narrower.stderr.contains(&keys[1]), "{}", narrower.stderr);
    hands.run(&["endpoint", "retire", "abc", "--key", "operator.key"]).fails(1, "no endpoint is called abc");
    hands.run(&["endpoint", "retire", "A b", "--key", "operator.key"]).fails(2, "digits, or a name");
}

#[test]
fn a_node_of_another_ledger_is_refused() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.lie(Lie::OtherChain);
    for arguments in [
        vec!["patch", "publish", "packed-1", "--key", "vendor.key"],
        vec!["status"],
        vec!["get", "patches"],
        vec!["review"],
    ] {
        hands.run(&arguments).fails(1, "refused by check chain-id: the node is of chain");
    }
    assert_eq!(node.submissions(), 0);
}

#[test]
fn an_answer_for_another_transaction_is_not_believed() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.lie(Lie::OtherTransaction);
    let ran = hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key"]);
    ran.fails(1, "the node's answer cannot be believed: it answers for another transaction");
}

#[test]
fn who_does_not_want_to_wait_is_told_how_to_ask_later() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    node.will(&[Fault::RequestLost; 3]);
    let ran = hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key", "--wait", "0s"]);
    ran.fails(2, "hint: it may still be finalised: `countersign get transaction ");
    assert_eq!(node.submissions(), 1);
}

#[test]
fn expiry_is_bounded_before_anything_is_signed() {
    let node = Node::start();
    let hands = node.hands();
    pack(&hands, "1");
    for (expires, says) in [
        ("31d", "a transaction may expire at most 30d from now\nhint: give less with --expires"),
        ("0s", "a transaction that expires after 0s is void before it can be finalised\nhint: give it time with"),
    ] {
        let publish = ["patch", "publish", "packed-1", "--key", "vendor.key", "--expires", expires];
        hands.run(&publish).fails(2, says);
    }
    hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key", "--expires", "29days"]).done();
}

#[test]
fn a_node_without_a_quorum_says_so() {
    let node = Node::start();
    let hands = node.hands();
    let told = hands.run(&["status"]).done().stdout;
    assert!(told.contains("quorum        3 of 4 validators seen from here, 3 needed\n"), "{told}");
    // The ledger of the harness begins in January 2026, and nothing happened since.
    assert!(told.contains(" ago: late, there is to be a block every 1s\n"), "{told}");
    node.is_left_alone();
    let told = hands.run(&["status"]).done().stdout;
    assert!(told.contains("  gone: 1 of 4 validators seen from here, 3 needed; nothing is finalised until"), "{told}");
    let view = hands.run(&["status", "-o", "json"]).done().json();
    assert_eq!((&view["validators_connected"], &view["quorum"]), (&1.into(), &3.into()));
}

#[test]
fn the_connection_is_encrypted_to_a_node_whose_certificate_is_known() {
    let node = Node::start_tls();
    let hands = node.hands();
    hands.run(&["status"]).done();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    hands.write("other.pem", other.cert.pem());
    hands.run(&["status", "--ca", "absent.pem"]).fails(2, "cannot read root certificates absent.pem");
    let url = node.address();
    let told = |arguments: &[&str], error: &str, hint: &str| {
        let ran = hands.run(&[&["status"][..], arguments].concat());
        ran.fails(2, &format!("error: {error}\n"));
        assert!(ran.stderr.contains(&format!("hint: {hint}")), "{}", ran.stderr);
    };
    let of_this_node = "every node has roots of its own: give the ca.pem of this very node with --ca FILE";
    told(&["--ca", "other.pem"], &format!("the certificate of {url} is not from the roots in other.pem"), of_this_node);
    // A file without a certificate in it.
    let broken = other.cert.pem().replace('A', "!");
    for text in ["", "no PEM at all", &other.signing_key.serialize_pem(), &broken] {
        hands.write("none.pem", text);
        told(&["--ca", "none.pem"], "none.pem has no certificate in it", "--ca takes PEM text with BEGIN CERTIFICATE");
    }
    // A good certificate, for another address.
    let by_number = url.replace("localhost", "127.0.0.1");
    let for_another = format!("the certificate of {by_number} is for another address");
    told(&["--node", &by_number], &for_another, "ask it by an address its certificate is for");
    // Plain words to a port that wants TLS, and TLS to one that does not.
    let plain = url.replace("https", "http");
    told(
        &["--node", &plain],
        &format!("{plain} speaks TLS, and was asked without"),
        "write https:// instead of http://",
    );
    let without = Node::start();
    let asked = without.address().replace("http", "https");
    told(&["--node", &asked], &format!("{asked} does not speak TLS"), "give the address clients use");
}
