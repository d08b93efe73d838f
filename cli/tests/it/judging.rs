//! Approvers: what they see, what they sign, and what they refuse to sign.

use crate::double::{Lie, Node};
use ledger::state::record::Role;
use ledger::transaction::Payload;

#[test]
fn two_approvals_approve_and_each_shows_what_it_signs() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    for (key, note) in [("bank.key", "trial passed"), ("clinic.key", "looks good")] {
        let approved = hands.run(&["approve", &id, "--note", note, "--key", key, "-o", "json"]).done();
        for shown in ["This is what is approved:", "acme/widget", "1.0.1", "widget 1.0.1", &id, "acme (publisher key"] {
            assert!(approved.stderr.contains(shown), "{shown}: {}", approved.stderr);
        }
        assert_eq!(approved.json()["patch"], id);
    }
    let shown = hands.run(&["patch", "show", &id, "-o", "json"]).done().json();
    assert_eq!(shown["patch"]["standing"], "approved");
    assert_eq!(shown["patch"]["verdicts"][1]["organisation"], "clinic");
    assert_eq!(shown["manifest"]["product"], "acme/widget");
    let text = hands.run(&["patch", "show", &id]).done().stdout;
    assert!(text.contains("verdict    approve by bank (key ") && text.contains("missing    depot"), "{text}");
}

#[test]
fn whoever_types_only_the_beginning_of_an_id_is_asked_before_signing() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    let verdicts = || {
        let shown = hands.run(&["patch", "show", &id, "-o", "json"]).done().json();
        shown["patch"]["verdicts"].as_array().unwrap().len()
    };
    for command in ["approve", "reject", "hold"] {
        let ran = hands.run(&[command, &id[..12], "--note", "fine", "--key", "bank.key"]);
        ran.fails(2, "is not a whole id, and nobody said yes to what it was completed to");
        assert!(ran.stderr.contains(&id) && ran.stderr.contains("give all 64 digits"), "{}", ran.stderr);
    }
    hands.run(&["patch", "recall", &id[..12], "--reason", "bad", "--key", "vendor.key"]).fails(2, "is not a whole id");
    let at_terminal =
        |typed| hands.run_at_terminal(&["approve", &id[..12], "--note", "fine", "--key", "bank.key"], typed);
    for no in ["n\n", "\n", "yesterday\n", "\u{4}"] {
        let ran = at_terminal(no);
        assert!(ran.stdout.contains("Sign this? [y/N]") && ran.stdout.contains(&id), "{no:?}: {}", ran.stdout);
        assert_eq!((ran.code, verdicts()), (2, 0), "{no:?}: {}", ran.stdout);
    }
    let ran = at_terminal("y\n");
    assert_eq!((ran.code, verdicts()), (0, 1), "{}", ran.stdout);
}

#[test]
fn evidence_note_and_urgency_are_what_is_signed() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    hands.write("trial.log", "all green\n");
    let mut approve = vec!["approve", &id, "--note", "of twelve hours", "--evidence", "trial.log", "--urgent"];
    approve.extend(["--key", "bank.key", "--offline", "--out", "a.tx", "--proof", "p.proof"]);
    hands.run(&["proof", "get", &id, "--out", "p.proof"]).done();
    let told = hands.run(&approve).done().stdout;
    assert!(told.starts_with("done         signed, not submitted\n"), "{told}");
    assert!(told.ends_with("in           a.tx, for `countersign submit`\n"), "{told}");
    let signed: ledger::transaction::SignedTransaction = ledger::encoding::decode(&hands.read("a.tx")).unwrap();
    let Payload::Approve { verdict, urgent } = signed.transaction.payload else { panic!("an approval") };
    assert!(urgent);
    assert_eq!((verdict.patch.to_string(), verdict.note.as_str()), (id, "of twelve hours"));
    assert_eq!(verdict.evidence, ledger::id::Digest::blake3(b"all green\n"));
}

#[test]
fn a_verdict_says_how_the_patch_stood_before_and_stands_now() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    hands.run(&["approve", &id, "--key", "bank.key"]).done();
    let told = hands.run(&["approve", &id, "--key", "clinic.key"]).done().stdout;
    let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert!(line("before ").starts_with("pending: 1 of 2 approvals from 1 of 2 organisations"), "{told}");
    assert!(line("now ").starts_with("approved: 2 of 2 approvals from 2 of 2 organisations"), "{told}");
    assert!(line("now ").ends_with("; hosts may apply it") && !line("before ").contains("hosts"), "{told}");
    // What is final is what was signed, and not how the patch stands.
    assert!(line("finalised ").starts_with("an approval at height "), "{told}");
    let rejected = node.publish([2])[0].to_string();
    let told = hands.run(&["reject", &rejected, "--note", "breaks it", "--key", "bank.key"]).done().stdout;
    let stands = "; no host applies it unless whoever rejected it says otherwise\n";
    assert!(told.contains("finalised    a rejection at height ") && told.contains(stands), "{told}");
    let held = ["hold", &id, "--note", "wait", "--key", "depot.key", "-o", "json"];
    let view = hands.run(&held).done().json();
    assert_eq!((&view["before"]["standing"], &view["after"]["standing"]), (&"approved".into(), &"held".into()));
    let recall = ["patch", "recall", &id, "--reason", "loses writes", "--key", "vendor.key"];
    let told = hands.run(&recall).done().stdout;
    assert!(told.contains("  held: 2 of 2 approvals") && told.contains("  recalled: 2 of 2 approvals"), "{told}");
}

#[test]
fn a_recalled_patch_under_review_is_plainly_recalled_although_it_is_proven() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    for key in ["bank.key", "clinic.key"] {
        hands.run(&["approve", &id, "--key", key]).done();
    }
    hands.run(&["patch", "recall", &id, "--reason", "loses writes", "--key", "vendor.key"]).done();
    let told = hands.run(&["review", &id]).done().stdout;
    for says in [
        "  recalled by acme: it must not be applied any more, whatever was approved\n",
        "  recalled at height 7: it must not be applied, whatever was approved (2 of 2 approvals",
        "proven at  height 8",
        "  loses writes\n",
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }
    let evidence = hands.run(&["review", &id, "-o", "json"]).done().json()["evidence"].clone();
    assert_eq!((&evidence["proven"], &evidence["check"]), (&true.into(), &"recalled".into()));
}

#[test]
fn a_rejection_and_a_hold_are_verdicts_with_a_note() {
    let node = Node::start();
    let hands = node.hands();
    let ids = node.publish([1, 2]);
    let (first, second) = (ids[0].to_string(), ids[1].to_string());
    hands.run(&["reject", &first, "--key", "bank.key"]).fails(2, "--note <TEXT>");
    hands.run(&["reject", &first, "--note", "breaks replication", "--key", "bank.key"]).done();
    hands.run(&["hold", &second, "--note", "waiting", "--key", "bank.key"]).done();
    let standing =
        |id: &str| hands.run(&["patch", "show", id, "-o", "json"]).done().json()["patch"]["standing"].clone();
    assert_eq!((standing(&first), standing(&second)), ("rejected".into(), "held".into()));
}

#[test]
fn a_recall_by_the_vendor_withdraws_at_once() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    let recall = ["patch", "recall", &id, "--reason", "loses writes", "--key", "vendor.key"];
    assert!(hands.run(&recall).done().stderr.contains("This is what is recalled:"));
    assert_eq!(hands.run(&["patch", "show", &id, "-o", "json"]).done().json()["patch"]["standing"], "recalled");
    hands.run(&["approve", &id, "--key", "bank.key"]).fails(1, "is recalled");
    hands
        .run(&["patch", "recall", &id, "--reason", "x", "--key", "operator.key"])
        .fails(2, "role publisher or approver");
}

#[test]
fn nothing_is_signed_that_the_node_made_up() {
    for (lie, says) in [(Lie::OtherPatch, "is of patch"), (Lie::Altered, "does not verify")] {
        let node = Node::start();
        let hands = node.hands();
        let id = node.publish([1, 2])[1].to_string();
        node.lie(lie);
        for (verb, key) in [("approve", "bank.key"), ("reject", "bank.key"), ("hold", "bank.key")] {
            let ran = hands.run(&[verb, &id, "--note", "x", "--key", key]);
            ran.fails(1, &format!("refused by check signature: what the node shows as patch {id} is not"));
            ran.fails(1, says);
            ran.fails(1, "hint: do not sign anything this node shows");
        }
        hands.run(&["patch", "recall", &id, "--reason", "x", "--key", "vendor.key"]).fails(1, says);
        hands.run(&["patch", "show", &id]).fails(1, says);
        hands.run(&["review", &id]).fails(1, says);
        assert_eq!(node.submissions(), 0);
    }
}

#[test]
fn why_somebody_said_yes_or_no_stands_wherever_the_verdict_does() {
    let node = Node::start();
    let hands = node.hands();
    let ids: Vec<String> = node.publish(1..=3).iter().map(ToString::to_string).collect();
    hands.write("trial.log", "all green\n");
    let digest = ledger::id::Digest::blake3(b"all green\n").to_string();
    let trial = ["--note", "trial of 12 hours\nno errors", "--evidence", "trial.log", "--key", "bank.key"];
    hands.run(&[&["approve", &ids[0]][..], &trial].concat()).done();
    let rejected = ["reject", &ids[1], "--note", "breaks replication", "--key", "clinic.key", "-o", "json"];
    let transaction = hands.run(&rejected).done().json()["transaction"].as_str().unwrap().to_owned();
    hands.run(&["hold", &ids[2], "--note", "waiting for the trial", "--key", "depot.key"]).done();

    for command in [["patch", "show"], ["review", "-o=table"]] {
        let shown = hands.run(&[&command[..], &[&ids[0]]].concat()).done().stdout;
        for told in
            ["  approve by bank (key ", "  trial of 12 hours\n", "  no errors\n", &format!("  blake3 {digest}\n")]
        {
            assert!(shown.contains(told), "{told}: {shown}");
        }
    }
    let shown = hands.run(&["patch", "show", &ids[0], "-o", "json"]).done().json()["patch"]["verdicts"][0].clone();
    assert_eq!((&shown["note"], &shown["evidence"]), (&"trial of 12 hours\nno errors".into(), &digest.as_str().into()));

    // In a list, in one line: why not.
    let listed = hands.run(&["patch", "list"]).done().stdout;
    assert!(listed.contains("clinic: breaks replication\n") && listed.contains("depot: waiting for the trial\n"));
    assert!(hands.run(&["review"]).done().stdout.contains("depot: waiting for the trial\n"));
    let listed = hands.run(&["get", "patches", "-o", "json"]).done().json();
    assert_eq!(listed["patches"][1]["verdicts"][0]["note"], "breaks replication");

    // And where the transaction is shown.
    let found = hands.run(&["get", "transaction", &transaction]).done().stdout;
    assert!(found.contains(&ids[1]) && found.contains("  breaks replication\n"), "{found}");
    let found = hands.run(&["get", "transaction", &transaction, "-o", "json"]).done().json();
    assert_eq!((&found["patch"], &found["note"]), (&ids[1].as_str().into(), &"breaks replication".into()));
    assert_eq!(shown["transaction"].as_str().unwrap().len(), 64);
    let height = found["position"]["height"].to_string();
    let block = hands.run(&["chain", "show", &height, "-o", "json"]).done().json();
    assert_eq!(block["transactions"][0]["note"], "breaks replication");
    assert!(hands.run(&["chain", "show", &height]).done().stdout.contains("  breaks replication\n"));
}

#[test]
fn who_recalled_a_patch_and_why_is_told() {
    let node = Node::start();
    let hands = node.hands();
    let ids: Vec<String> = node.publish(1..=2).iter().map(ToString::to_string).collect();
    hands.run(&["patch", "recall", &ids[0], "--reason", "loses writes", "--key", "vendor.key"]).done();
    for key in ["bank.key", "clinic.key"] {
        let reason = format!("fails, says {key}");
        hands.run(&["patch", "recall", &ids[1], "--reason", &reason, "--key", key]).done();
    }
    let shown = hands.run(&["patch", "show", &ids[0]]).done().stdout;
    assert!(shown.contains("  recall by acme (key ") && shown.contains("  loses writes\n"), "{shown}");
    let recall = hands.run(&["review", &ids[0], "-o", "json"]).done().json()["patch"]["recall"].clone();
    assert_eq!(
        (&recall["organisation"], &recall["decision"], &recall["note"]),
        (&"acme".into(), &"recall".into(), &"loses writes".into())
    );
    // Recalled by rule: each of the verdicts is told, once.
    let shown = hands.run(&["patch", "show", &ids[1]]).done().stdout;
    assert_eq!(shown.matches("recall by").count(), 2, "{shown}");
    assert!(shown.contains("fails, says bank.key") && shown.contains("fails, says clinic.key"), "{shown}");
    let listed = hands.run(&["patch", "list"]).done().stdout;
    assert!(listed.contains("acme: loses writes\n") && listed.contains("clinic: fails, says clinic.key\n"), "{listed}");
}

#[test]
fn a_patch_that_is_not_there_is_not_judged() {
    let node = Node::start();
    let hands = node.hands();
    node.publish(1..=3);
    hands.run(&["approve", "0000", "--key", "bank.key"]).is(
        1,
        "",
        "error: no patch begins with 0000\n\
         hint: `countersign get` lists what there is; a node that is behind may not have it yet\n",
    );
    let absent = "1".repeat(64);
    hands.run(&["approve", &absent, "--key", "bank.key"]).fails(1, "refused by check not-found: no such patch");
}

#[test]
fn without_a_node_a_patch_comes_from_its_proof_file() {
    let node = Node::start();
    let (safe, hands) = (crate::hands::Hands::new(), node.hands());
    let ids = node.publish([1, 2]);
    let id = ids[0].to_string();
    hands.run(&["proof", "get", &id, "--out", "p.proof"]).done();
    for name in ["genesis", "bank.key", "p.proof"] {
        safe.write(name, hands.read(name));
    }
    crate::hands::set_mode(&safe.path("bank.key"), 0o600);
    let sign = |more: &[&str]| {
        let start = ["approve", &id, "--key", "bank.key", "--genesis", "genesis", "--offline", "--out", "a.tx"];
        safe.run(&[&start[..], more].concat())
    };
    sign(&[]).fails(2, "without a node there is nothing to show of this patch");
    let mut altered = safe.read("p.proof");
    let place = altered.windows(5).position(|bytes| bytes == b"1.0.1").unwrap();
    altered[place + 4] = b'2';
    safe.write("altered.proof", altered);
    sign(&["--proof", "altered.proof"]).fails(1, "no patch begins with");
    assert!(!safe.path("a.tx").exists());
    let signed = sign(&["--proof", "p.proof", "--note", "seen offline"]).done();
    assert!(signed.stderr.contains("widget 1.0.1"));
    hands.write("a.tx", safe.read("a.tx"));
    let told = hands.run(&["submit", "a.tx"]).done().stderr;
    assert!(told.starts_with("submitting  an approval by key ") && told.contains(&id), "{told}");
    assert!(told.contains("  seen offline\n"), "{told}");
    assert_eq!(node.finalised(), 3);
}

#[test]
fn the_queue_is_what_waits_for_the_approvers_organisation() {
    let node = Node::start();
    let hands = node.hands();
    let ids: Vec<String> = node.publish(1..=4).iter().map(ToString::to_string).collect();
    hands.run(&["approve", &ids[0], "--key", "bank.key"]).done();
    hands.run(&["hold", &ids[1], "--note", "x", "--key", "clinic.key"]).done();
    for key in ["bank.key", "clinic.key"] {
        hands.run(&["approve", &ids[2], "--key", key]).done();
    }
    let queue = |arguments: &[&str]| {
        let view = hands.run(&[&["review", "-o", "json"][..], arguments].concat()).done().json();
        let mut ids: Vec<String> =
            view["patches"].as_array().unwrap().iter().map(|patch| patch["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let of = |places: &[usize]| {
        let mut wanted: Vec<String> = places.iter().map(|place| ids[*place].clone()).collect();
        wanted.sort();
        wanted
    };
    assert_eq!(queue(&[]), of(&[0, 1, 3]));
    assert_eq!(queue(&["--key", "bank.key"]), of(&[1, 3]));
    assert_eq!(queue(&["--key", "clinic.key"]), of(&[0, 3]));
    assert_eq!(queue(&["--key", "depot.key"]), of(&[0, 1, 3]));
    let text = hands.run(&["review", "--key", "bank.key"]).done().stdout;
    assert!(text.starts_with("PATCH") && text.contains("clinic, depot"), "{text}");
}

#[test]
fn an_empty_queue_says_so() {
    let node = Node::start();
    node.hands().run(&["review", "--key", "bank.key"]).is(0, "", "no patches wait\n");
}

#[test]
fn the_arithmetic_under_review_is_proven_from_the_trust_root() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    hands.run(&["approve", &id, "--key", "bank.key"]).done();
    let evidence =
        |hands: &crate::hands::Hands| hands.run(&["review", &id, "-o", "json"]).done().json()["evidence"].clone();
    let pending = evidence(&hands);
    assert_eq!(
        (&pending["proven"], &pending["check"], &pending["rule"]),
        (&true.into(), &"approval-rule".into(), &"default".into())
    );
    let count = "1 of 2 approvals from 1 of 2 organisations; approved by bank; missing clinic, depot";
    assert_eq!(pending["count"], count);
    assert_eq!(pending["height"], 4);

    // Not there yet: then it is the node's word, and says so.
    node.prove_later(1);
    let told = evidence(&hands);
    assert_eq!((&told["proven"], &told["count"]), (&false.into(), &count.into()));
    assert!(told["why_not"].as_str().unwrap().contains("not-yet-provable"));

    hands.run(&["approve", &id, "--key", "clinic.key"]).done();
    let approved = evidence(&hands);
    assert_eq!((&approved["proven"], &approved["check"]), (&true.into(), &serde_json::Value::Null));
    let text = hands.run(&["review", &id]).done().stdout;
    assert!(text.contains("proven at  height 6, "), "{text}");
}

#[test]
fn what_a_node_says_of_itself_does_not_act_on_the_terminal() {
    let node = Node::start();
    let hands = node.hands();
    let id = node.publish([1])[0].to_string();
    node.lie(Lie::Hostile);
    for arguments in [
        vec!["patch", "list"],
        vec!["patch", "list", "-o", "json"],
        vec!["review"],
        vec!["patch", "show", &id],
        vec!["patch", "show", &id, "-o", "json"],
    ] {
        let shown = hands.run(&arguments).done();
        let acts = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!shown.stdout.contains(acts) && !shown.stderr.contains(acts), "{arguments:?}: {:?}", shown.stdout);
    }
    let json = hands.run(&["patch", "list", "-o", "json"]).json();
    assert_eq!(json["patches"][0]["title"], "\u{1b}[2J\u{202e}gnp.\u{7}\u{9b}31m", "the same value for a parser");
    let text = hands.run(&["patch", "list"]).stdout;
    assert!(text.contains("\\u{1b}[2J\\u{202e}gnp.\\u{7}\\u{9b}31m"), "{text}");
}

#[test]
fn an_approvers_own_recall_is_counted_by_the_rule() {
    let node = Node::start();
    let hands = node.hands();
    let patch = node.publish([1])[0];
    let id = patch.to_string();
    let reason = ledger::bounded::Text::cut("seen it fail");
    node.record("depot", Role::Approver, Payload::Recall { patch, reason });
    hands.run(&["patch", "recall", &id, "--reason", "fails here too", "--key", "bank.key"]).done();
    assert_eq!(hands.run(&["patch", "show", &id, "-o", "json"]).done().json()["patch"]["standing"], "recalled");
}

#[test]
fn a_patch_without_a_health_check_is_said_to_have_none() {
    let node = Node::start();
    let hands = node.hands();
    crate::publishing::pack(&hands, "1");
    let published = hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key", "-o", "json"]).done();
    let id = published.json()["patch"].as_str().unwrap().to_owned();
    let warning = "NO CHECK: nothing in this patch tells a version that works from one that does not;\n";
    assert!(published.stderr.contains(warning), "{}", published.stderr);
    assert!(hands.run(&["review", &id]).done().stdout.contains(warning));
    assert!(hands.run(&["approve", &id, "--key", "bank.key"]).done().stderr.contains(warning));
}
