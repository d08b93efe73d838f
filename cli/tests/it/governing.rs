//! Governors: what they are shown, what they sign, what they refuse to sign, and what comes of it.

use crate::double::{Lie, Node};
use crate::hands::{Hands, set_mode};
use crate::proposing::{heartbeat, propose, signed, stranger};
use ledger::governance::{Choice, ProposalStanding};
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, Role};
use ledger::transaction::Payload;
use tests::{ORGANISATIONS, Scenario};

#[test]
fn a_proposal_passes_when_three_of_four_are_for_it() {
    let node = Node::start();
    let hands = node.hands();
    let (joins, file) = stranger(1, "operator", "acme");
    hands.write("d/acme-operator.pub", file);
    hands.write(
        "d/change.toml",
        "note = \"a second operator\"\ncloses_in_days = 3\n[[change]]\nkind = \"add-key\"\n\
         organisation = \"acme\"\nkey_file = \"acme-operator.pub\"\n",
    );
    let ran = hands.run(&["propose", "d/change.toml", "--key", "acme-governor.key"]).done();
    for shown in ["This is what is proposed:", "note      a second operator", "with role operator to acme", &joins] {
        assert!(ran.stderr.contains(shown), "{shown}: {}", ran.stderr);
    }
    assert!(ran.stderr.ends_with("By the node's word it stands open: 1 of 4 organisations for it, 3 needed.\n"));
    let id = ran.stdout.lines().find_map(|line| line.strip_prefix("proposal     ")).unwrap().to_owned();
    assert!(ran.stdout.contains(&format!("transaction  {id}\nfinalised    a proposal at height 1 ")), "{}", ran.stdout);

    let text = hands.run(&["get", "proposal", &id[..10]]).done().stdout;
    for shown in [&id, "(governor of acme)", &joins, "standing  open", "count     1 of 4", "ballot    acme is for it"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for organisation in ["bank", "clinic"] {
        let key = format!("{organisation}-governor.key");
        let ran = hands.run(&["ballot", &id, "for", "--key", &key, "-o", "json"]).done();
        for shown in ["This is what is voted for:", "with role operator to acme", &joins, "a second operator"] {
            assert!(ran.stderr.contains(shown), "{shown}: {}", ran.stderr);
        }
        assert_eq!(ran.json()["proposal"], id.as_str());
        assert!(ran.json()["position"]["height"].is_u64() && ran.json()["transaction"] != id.as_str());
    }
    assert_eq!(node.proposal(&id).standing, ProposalStanding::Passed);
    let owner = node.state(|state| state.key_owner(joins.parse().unwrap()).unwrap().unwrap());
    assert_eq!((owner.organisation.as_str(), owner.role), ("acme", Role::Operator));
    let view = hands.run(&["get", "proposal", &id, "-o", "json"]).done().json();
    assert_eq!(
        (&view["proposal"]["standing"], &view["signed"]["note"]),
        (&"passed".into(), &"a second operator".into())
    );
    assert_eq!(view["signed"]["changes"][0]["add-key"]["key"], joins.as_str());
    assert!(view["proposal"]["settled"]["height"].is_u64());
    // Over: who said what, and where it was settled. How many have a voice today is another matter.
    let text = hands.run(&["get", "proposal", &id]).done().stdout;
    assert!(text.contains("standing  passed\nballot    acme is for it\n") && text.contains("\nsettled   at height "));
    assert!(!text.contains(" of 4"), "{text}");
    let listed = hands.run(&["get", "proposals"]).done().stdout;
    assert!(listed.contains("for it acme, bank, clinic"), "{listed}");
    let depot = hands.run(&["ballot", &id, "against", "--key", "depot-governor.key"]);
    depot.fails(1, "refused by check rule: ");
}

#[test]
fn ballots_can_change_and_two_of_four_against_it_refuse() {
    let node = Node::start();
    let hands = node.hands();
    let id = heartbeat(&hands, 5_000);
    let ballot = |organisation: &str, choice| {
        hands.run(&["ballot", &id, choice, "--key", &format!("{organisation}-governor.key")])
    };
    ballot("bank", "for").done();
    let ran = ballot("bank", "against").done();
    assert!(ran.stderr.contains("This is what is voted against:\n") && ran.stdout.contains("voted against"));
    assert!(ran.stderr.contains("ballot    bank is for it"), "how it stood before: {}", ran.stderr);
    let ran = ballot("clinic", "against").done();
    let told = "By the node's word it stands refused: for it acme; against it bank, clinic.\n";
    assert!(ran.stderr.ends_with(told), "{}", ran.stderr);
    let record = node.proposal(&id);
    assert_eq!(record.standing, ProposalStanding::Refused);
    assert_eq!(record.ballots.iter().filter(|ballot| ballot.choice == Choice::For).count(), 1);
    assert_eq!(node.state(|state| state.parameters().unwrap().unwrap().heartbeat_ms), 60_000);
}

#[test]
fn nothing_is_signed_that_was_not_proposed() {
    for (lie, says) in [
        (Lie::OtherProposal, "it is not what the transaction that proposed it says"),
        (Lie::OtherProposing, "the transaction shown is "),
        (Lie::NotAProposal, "the transaction that proposed it is of kind publish"),
        (Lie::Altered, "does not verify"),
    ] {
        let node = Node::start();
        let hands = node.hands();
        node.publish([1, 2]);
        let id = heartbeat(&hands, 5_000);
        heartbeat(&hands, 6_000);
        let before = node.submissions();
        node.lie(lie);
        let ballot = hands.run(&["ballot", &id, "for", "--key", "bank-governor.key"]);
        let shown = hands.run(&["get", "proposal", &id, "--out", "change.tx"]);
        for ran in [ballot, shown] {
            ran.fails(1, &format!("refused by check signature: what the node shows as proposal {id} is not"));
            ran.fails(1, says);
            ran.fails(1, "hint: do not sign anything this node shows");
        }
        assert_eq!(node.submissions(), before);
        assert!(!hands.path("change.tx").exists());
    }
}

#[test]
fn without_a_node_a_proposal_comes_from_the_transaction_that_proposed_it() {
    let node = Node::start();
    let (safe, hands) = (Hands::new(), node.hands());
    let (id, other) = (heartbeat(&hands, 5_000), heartbeat(&hands, 6_000));
    let got = hands.run(&["get", "proposal", &id, "--out", "change.tx"]).done();
    assert_eq!(got.stderr, "The transaction that proposed it is in change.tx.\n");
    for name in ["genesis", "bank-governor.key", "change.tx"] {
        safe.write(name, hands.read(name));
    }
    set_mode(&safe.path("bank-governor.key"), 0o600);
    let sign = |id: &str, more: &[&str]| {
        let start = ["ballot", id, "for", "--key", "bank-governor.key", "--genesis", "genesis", "--offline"];
        safe.run(&[&start[..], &["--out", "ballot.tx"], more].concat())
    };
    sign(&id, &[]).fails(2, "without a node there is nothing to show of this proposal");
    sign(&other, &["--proposed", "change.tx"]).fails(1, &format!("no proposal begins with {other}"));
    let mut altered = safe.read("change.tx");
    let place = altered.len() - 70;
    altered[place] ^= 1;
    safe.write("altered.tx", altered);
    sign(&id, &["--proposed", "altered.tx"]).fails(2, "altered.tx is no proposal on this ledger");
    assert!(!safe.path("ballot.tx").exists());
    sign(&id[..8], &["--proposed", "change.tx"]).fails(2, "is not a whole id");
    assert!(!safe.path("ballot.tx").exists());
    let ran = sign(&id, &["--proposed", "change.tx"]).done();
    assert!(ran.stderr.contains("set the parameters: heartbeat 5s, seal 20ms"), "{}", ran.stderr);
    let Payload::Ballot { proposal, choice } = signed(&safe, "ballot.tx") else { panic!("a ballot") };
    assert_eq!((proposal.to_string(), choice), (id.clone(), Choice::For));
    hands.write("ballot.tx", safe.read("ballot.tx"));
    assert_eq!(hands.run(&["submit", "ballot.tx", "-o", "json"]).done().json()["kind"], "ballot");
    assert_eq!(node.proposal(&id).ballots.len(), 2);
}

#[test]
fn only_a_governors_key_proposes_and_votes() {
    let node = Node::start();
    let hands = node.hands();
    let id = heartbeat(&hands, 5_000);
    let wrong = "this needs a key with role governor, the key file's role is approver";
    hands.run(&["ballot", &id, "for", "--key", "bank.key"]).fails(2, wrong);
    hands.run(&["propose", "change.toml", "--key", "bank.key"]).fails(2, wrong);
    hands.run(&["propose"]).fails(2, "<FILE>");
    hands.run(&["ballot", &id, "perhaps", "--key", "bank-governor.key"]).fails(2, "[possible values: for, against]");
    hands.run(&["ballot", "abc", "for"]).fails(2, "4 to 64 hexadecimal digits");
}

#[test]
fn lists_of_proposals_are_followed_page_after_page() {
    let node = Node::start();
    let hands = node.hands();
    let ids: Vec<String> = (1..=5).map(|seconds| heartbeat(&hands, seconds * 1_000)).collect();
    hands.run(&["ballot", &ids[0], "against", "--key", "bank-governor.key"]).done();
    hands.run(&["ballot", &ids[0], "against", "--key", "clinic-governor.key"]).done();
    let list = |more: &[&str]| {
        let view = hands.run(&[&["get", "proposals", "-o", "json"][..], more].concat()).done().json();
        let ids = view["proposals"].as_array().unwrap().iter().map(|shown| shown["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), view["more"].as_bool().unwrap())
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(list(&[]), (newest_first.clone(), false));
    assert_eq!(list(&["--limit", "3"]), (newest_first[..3].to_vec(), true));
    assert_eq!(list(&["--standing", "open"]), (newest_first[..4].to_vec(), false));
    assert_eq!(list(&["--standing", "refused"]), (vec![ids[0].clone()], false));
    assert_eq!(list(&["--standing", "void"]), (Vec::new(), false));
    let table = hands.run(&["get", "proposals", "--standing", "refused"]).done().stdout;
    let line = table.lines().nth(1).unwrap();
    let start = format!("{}  acme  refused   for it acme; against it bank, clinic  20", &ids[0][..12]);
    assert!(line.starts_with(&start) && line.ends_with("Z  set-parameters"), "{table}");
    // The oldest is on the last page, and its beginning is enough.
    hands.run(&["get", "proposal", &ids[0][..8]]).done();
    hands.run(&["get", "proposal", "0000"]).is(
        1,
        "",
        "error: no proposal begins with 0000\n\
         hint: `countersign get` lists what there is; a node that is behind may not have it yet\n",
    );
    hands.run(&["get", "proposal", &"1".repeat(64)]).fails(1, "refused by check not-found: no such proposal");
    node.lie(Lie::Endless);
    hands.run(&["get", "proposals"]).fails(1, "1000 pages with nothing on them and another after them");
}

#[test]
fn notes_do_not_act_on_the_terminal() {
    let node = Node::start();
    let hands = node.hands();
    let id = heartbeat(&hands, 5_000);
    node.lie(Lie::Hostile);
    for arguments in [vec!["get", "proposals"], vec!["get", "proposals", "-o", "json"], vec!["get", "proposal", &id]] {
        let shown = hands.run(&arguments).done();
        let acts = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!shown.stdout.contains(acts) && !shown.stderr.contains(acts), "{arguments:?}: {:?}", shown.stdout);
    }
}

#[test]
fn members_are_listed_with_their_keys_and_their_voice() {
    let node = Node::start();
    let hands = node.hands();
    let key = |organisation, role| Scenario::new(7).key(organisation, role).public().to_string();
    let change = |kind: &str, key: &str| format!("[[change]]\nkind = \"{kind}\"\npublic_key = \"{key}\"\n");
    let changes = change("retire-key", &key("depot", Role::Governor)) + &change("revoke-key", &key("bank", Role::Node));
    let ran = propose(&hands, &changes).done();
    assert!(ran.stderr.contains("(governor of depot)\n") && ran.stderr.contains("(node of bank)\n"), "{}", ran.stderr);
    let id = ran.json()["proposal"].as_str().unwrap().to_owned();
    for organisation in ["bank", "clinic"] {
        hands.run(&["ballot", &id, "for", "--key", &format!("{organisation}-governor.key")]).done();
    }
    let view = hands.run(&["get", "members", "-o", "json"]).done().json();
    let members = view["members"].as_array().unwrap();
    let names: Vec<_> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
    assert_eq!(names, ORGANISATIONS);
    let voices: Vec<_> = members.iter().map(|member| member["governs"].as_bool().unwrap()).collect();
    assert_eq!(voices, [true, true, true, false]);
    assert_eq!(members[0]["namespaces"], serde_json::json!(["acme"]));
    let roles: Vec<_> = members[0]["keys"].as_array().unwrap().iter().map(|key| key["role"].clone()).collect();
    assert_eq!(roles, ["approver", "governor", "node", "operator", "publisher", "validator"]);
    let status = |member: usize, role: &str| {
        let keys = members[member]["keys"].as_array().unwrap();
        keys.iter().find(|key| key["role"] == role).unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!((status(1, "node"), status(3, "governor"), status(3, "node")), words("revoked", "retired", "active"));
    let owner = node.state(|state| state.key_owner(key("bank", Role::Node).parse().unwrap()).unwrap().unwrap());
    assert_eq!(owner.status, KeyStatus::Revoked);

    let table = hands.run(&["get", "members"]).done().stdout;
    assert!(table.starts_with("ORGANISATION  NAMESPACES  VOICE  ROLE       STATUS              KEY\n"), "{table}");
    let approver =
        format!("acme          acme        yes    approver   active              {}\n", key("acme", Role::Approver));
    assert!(table.contains(&approver), "{table}");
    let revoked =
        format!("                                 node       revoked             {}\n", key("bank", Role::Node));
    assert!(table.contains(&revoked), "{table}");
    assert_eq!(table.matches("validator  active, in the set  ").count(), 4);

    // A key that the trust root does not know is the node's to tell of, and nobody is taken for somebody.
    let (joined, file) = stranger(1, "approver", "clinic");
    hands.write("new.pub", file);
    let add = "[[change]]\nkind = \"add-key\"\norganisation = \"clinic\"\nkey_file = \"new.pub\"\n";
    let id = propose(&hands, add).done().json()["proposal"].as_str().unwrap().to_owned();
    for organisation in ["bank", "clinic"] {
        hands.run(&["ballot", &id, "for", "--key", &format!("{organisation}-governor.key")]).done();
    }
    let ran = propose(&hands, &change("revoke-key", &joined)).done();
    assert!(
        ran.stderr.contains(&format!("revoke key {joined} (approver of clinic, says the node)\n")),
        "{}",
        ran.stderr
    );
    let ran = propose(&hands, &change("revoke-key", &"1".repeat(64)));
    assert!(ran.stderr.contains("(nobody's, as far as is known here)"), "{}", ran.stderr);
    assert_eq!(ran.code, 1);
}

fn words(a: &str, b: &str, c: &str) -> (String, String, String) {
    (a.to_owned(), b.to_owned(), c.to_owned())
}
