//! A ledger whose members change: it grows, loses some, changes every key, and whoever slept through all
//! of it catches up from the genesis file alone.

use crate::support::invariants::{all_chains_are_equal, nobody_panicked, the_chain_is_sound};
use crate::support::ledger::{Ledger, VALIDATORS};
use crate::support::wait_for;
use devnet::join;
use devnet::processes;
use devnet::raise::{SITE, agent_subscriptions};
use proto::v1::{GetProposalRequest, ListReceiptsRequest};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Who comes.
const NEWCOMERS: [&str; 3] = ["vendor-c", "approver-c", "vendor-d"];
/// Who is left at the end, and votes.
const REMAINING: [&str; 5] = ["vendor-a", "approver-a", "vendor-c", "approver-c", "vendor-d"];
const PRODUCT: &str = "vendor-c/app";

impl Ledger {
    /// The first of these organisations proposes changes, the others are for it, and it passes.
    async fn agree(&self, voices: &[&str], what: &str, changes: &str) {
        let file = self.beside(&format!("{what}.toml"));
        fs::write(&file, format!("note = \"{what}\"\n\n{changes}")).unwrap();
        let who = self.as_client(voices[0], Some((voices[0], "governor")));
        let proposed = self.must(&["propose", &file.display().to_string(), "-o", "json"], &who);
        let proposed: Value = serde_json::from_str(&proposed).unwrap();
        let proposal = proposed["proposal"].as_str().unwrap();
        for voice in &voices[1..] {
            self.await_proposal(voices[0], proposal, "open").await;
            let who = self.as_client(voices[0], Some((voice, "governor")));
            self.must(&["ballot", proposal, "for"], &who);
        }
        self.await_proposal(voices[0], proposal, "passed").await;
    }

    async fn await_proposal(&self, node: &str, proposal: &str, standing: &str) {
        let mut client = self.connect(node).await;
        let id = hex::decode(proposal).unwrap();
        wait_for(&format!("{proposal} {standing}"), async || {
            let found = client.get_proposal(GetProposalRequest { id: id.clone() }).await.ok()?.into_inner();
            (found.standing == standing).then_some(())
        })
        .await;
    }

    async fn await_validator(&self, name: &str) {
        wait_for(&format!("the vote of {name}"), async || {
            self.status(name).await.filter(|status| status.validator).map(drop)
        })
        .await;
    }

    /// Blocks go on, and everybody named has them.
    async fn goes_on(&self, nodes: &[&str]) {
        let highest = self.height(nodes[0]).await;
        for name in nodes {
            self.await_height(name, highest + 3).await;
        }
    }

    /// New keys for all that an organisation has: the changes, and what to do when they passed.
    fn new_keys(&self, organisation: &str) -> (String, Vec<(PathBuf, PathBuf)>) {
        let directory = self.beside("new-keys");
        fs::create_dir_all(&directory).unwrap();
        let node = self.node(organisation).config.parent().unwrap().to_owned();
        let of_people = self.devnet.keys.iter().filter(|key| key.organisation == organisation);
        let of_people = of_people.map(|key| (key.role.clone(), key.file.clone()));
        let of_node = ["node", "validator"].map(|role| (role.to_owned(), node.join(format!("{role}.key"))));
        let of_node = of_node.into_iter().filter(|(_, file)| file.exists());
        let (mut changes, mut files) = (String::new(), Vec::new());
        for (role, old) in of_people.chain(of_node) {
            let new = directory.join(format!("{organisation}-{role}.key"));
            let out = new.display().to_string();
            self.must(&["key", "new", "--role", &role, "--organisation", organisation, "--out", &out], &[]);
            changes += &format!(
                "[[change]]\nkind = \"rotate-key\"\nold_key_file = \"{}\"\nnew_key_file = \"{out}\"\n\n",
                old.display()
            );
            files.push((new, old));
        }
        (changes, files)
    }

    /// An organisation changes every key it has, and its node goes on with the new ones.
    async fn rotate(&mut self, organisation: &str, others: &[&str]) {
        let (changes, files) = self.new_keys(organisation);
        let voices: Vec<&str> = std::iter::once(organisation).chain(others.iter().copied()).collect();
        self.agree(&voices, &format!("new keys of {organisation}"), &changes).await;
        self.stop(organisation);
        self.take_up(organisation, files);
        self.start(organisation);
        self.await_peers(organisation, REMAINING.len() - 1).await;
        self.goes_on(&REMAINING).await;
    }

    /// The new keys lie where the old ones did, and everybody's configuration has the node's.
    fn take_up(&mut self, organisation: &str, files: Vec<(PathBuf, PathBuf)>) {
        let old_node_key = self.node(organisation).node_key.clone();
        for (new, old) in files {
            fs::rename(&new, &old).unwrap();
        }
        let node_key = self.public_key(&self.node(organisation).config.with_file_name("node.key"));
        for node in &self.devnet.nodes {
            let config = fs::read_to_string(&node.config).unwrap().replace(&old_node_key, &node_key);
            fs::write(&node.config, config).unwrap();
        }
        self.devnet.nodes.iter_mut().find(|node| node.name == organisation).unwrap().node_key = node_key;
    }

    /// Waits until a node is connected with so many others.
    async fn await_peers(&self, name: &str, count: usize) {
        wait_for(&format!("the peers of {name}"), async || {
            self.status(name).await.filter(|status| status.peers.len() >= count).map(drop)
        })
        .await;
    }

    fn public_key(&self, file: &std::path::Path) -> String {
        let shown = self.must(&["key", "show", &file.display().to_string(), "-o", "json"], &[]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["public_key"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_grows_loses_members_changes_every_key_and_sleepers_catch_up() {
    let mut ledger = Ledger::raise().await;
    ledger.add_agent("sleeper", &agent_subscriptions(&[PRODUCT.to_owned()]));
    ledger.kill_agent("sleeper");
    ledger.stop(SITE);

    // Four become seven.
    let changes: Vec<String> = NEWCOMERS.iter().map(|name| join::join(&mut ledger.devnet, name).unwrap()).collect();
    ledger.agree(&VALIDATORS, "three more members", &changes.join("\n")).await;
    for name in NEWCOMERS {
        ledger.await_height(name, ledger.height("vendor-a").await).await;
    }
    let seven: Vec<&str> = VALIDATORS.iter().chain(&NEWCOMERS).copied().collect();
    let voices = ["vendor-a", "approver-a", "vendor-b", "approver-b", "vendor-c", "approver-c"];
    let change = join::validators(&ledger.devnet, &seven).unwrap();
    ledger.agree(&voices, "seven validators", &change).await;
    for name in NEWCOMERS {
        ledger.await_validator(name).await;
    }
    ledger.goes_on(&seven).await;

    // Two leave, and the law no longer counts on them.
    let rule = "[[change]]\nkind = \"set-approval-rules\"\n[[change.rule]]\nname = \"two-approvers\"\n\
                approvers = [\"approver-a\", \"approver-c\"]\napprovals = 2\norganisations = 2\n\n";
    let leave = |name: &str| format!("[[change]]\nkind = \"remove-organisation\"\nname = \"{name}\"\n\n");
    let changes = rule.to_owned() + &leave("vendor-b") + &leave("approver-b");
    ledger.agree(&[REMAINING.as_slice(), &[SITE]].concat(), "two members leave", &changes).await;
    ledger.stop("vendor-b");
    ledger.stop("approver-b");
    ledger.goes_on(&REMAINING).await;

    // Everybody changes every key. Six have a voice, five are more than two thirds.
    for (place, organisation) in REMAINING.iter().enumerate() {
        let others: Vec<&str> = (1..5).map(|step| REMAINING[(place + step) % REMAINING.len()]).collect();
        ledger.rotate(organisation, &others).await;
    }
    // And so does the site, whose node sleeps and will wake up with a key that it knows nothing of.
    let (changes, files) = ledger.new_keys(SITE);
    ledger.agree(&REMAINING, "new keys of the site", &changes).await;
    ledger.take_up(SITE, files);
    ledger.goes_on(&REMAINING).await;

    // The newcomers' patch, by the new law and with new keys.
    let patch = publish(&ledger);
    for approver in ["approver-a", "approver-c"] {
        let who = ledger.as_client("vendor-c", Some((approver, "approver")));
        ledger.must(&["approve", &patch], &who);
    }

    // A node that lost everything but its genesis file, and an agent that saw nothing of all this.
    fs::remove_dir_all(ledger.node(SITE).data_dir.join("chain")).unwrap();
    ledger.start(SITE);
    ledger.await_height(SITE, ledger.height("vendor-a").await).await;
    ledger.start_agent("sleeper");
    let mut client = ledger.connect(SITE).await;
    wait_for("the sleeper's receipt", async || {
        let request = ListReceiptsRequest { patch: hex::decode(&patch).unwrap(), page_size: 10, ..Default::default() };
        let receipts = client.list_receipts(request).await.ok()?.into_inner().receipts;
        let receipt = receipts.first()?;
        assert_eq!((receipt.endpoint_name.as_str(), receipt.outcome.as_str()), ("sleeper", "applied"), "{receipt:?}");
        Some(())
    })
    .await;

    // An auditor follows every set of validators from the genesis file.
    let who = ledger.as_client(SITE, None);
    let epochs: Value = serde_json::from_str(&ledger.must(&["chain", "epochs", "-o", "json"], &who)).unwrap();
    // Genesis, seven, five, and one for each new validating key.
    assert_eq!(epochs["epochs"].as_array().unwrap().len(), 3 + REMAINING.len());

    let everybody: Vec<&str> = REMAINING.iter().copied().chain([SITE]).collect();
    assert!(all_chains_are_equal(&ledger, &everybody).await > 20);
    nobody_panicked(&ledger, &everybody);
    for name in everybody {
        ledger.stop(name);
        the_chain_is_sound(&ledger, name);
    }
}

/// A newcomer begins with a snapshot, of which it believes nothing, and votes: without its vote there is no
/// quorum any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_validator_begins_with_a_snapshot() {
    let newcomer = NEWCOMERS[0];
    let mut ledger = Ledger::raise().await;
    let change = join::join(&mut ledger.devnet, newcomer).unwrap();
    ledger.agree(&VALIDATORS, "one more member", &change).await;
    ledger.stop(newcomer);
    let node = ledger.node(newcomer).clone();
    fs::remove_dir_all(node.data_dir.join("chain")).unwrap();
    let snapshot = ledger.beside("ledger.snapshot").display().to_string();
    ledger.must(&["chain", "snapshot", "--out", &snapshot], &ledger.as_client("vendor-a", None));
    let config = node.config.display().to_string();
    let restored = processes::output("countersign-node", &["restore", "--config", &config, "--from", &snapshot]);
    let restored = restored.unwrap();
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(restored.status.success() && said.starts_with("restored at height "), "{said}");

    ledger.start(newcomer);
    let five: Vec<&str> = VALIDATORS.iter().copied().chain([newcomer]).collect();
    let change = join::validators(&ledger.devnet, &five).unwrap();
    ledger.agree(&five, "five validators", &change).await;
    ledger.await_validator(newcomer).await;
    ledger.kill("approver-b");
    ledger.goes_on(&["vendor-a", "approver-a", "vendor-b", newcomer]).await;
    ledger.stop(newcomer);
    the_chain_is_sound(&ledger, newcomer);
}

/// The block after the one in which they leave still needs the votes of those who leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_members_leave_at_once_and_the_ledger_goes_on() {
    let ledger = Ledger::raise().await;
    let leave = |name: &str| format!("[[change]]\nkind = \"remove-organisation\"\nname = \"{name}\"\n\n");
    let changes = leave("vendor-b") + &leave("approver-b");
    ledger.agree(&["vendor-a", "approver-a", "vendor-b", SITE], "half of the members leave", &changes).await;
    ledger.goes_on(&["vendor-a", "approver-a", SITE]).await;
    for name in ["vendor-b", "approver-b"] {
        wait_for(&format!("silence of {name}"), async || is_alone(&ledger, name).await.then_some(())).await;
    }
}

/// Whether nobody is connected with a node any more.
async fn is_alone(ledger: &Ledger, name: &str) -> bool {
    ledger.status(name).await.is_some_and(|status| status.peers.is_empty())
}

/// A small tree, packed and published by the newcomer.
fn publish(ledger: &Ledger) -> String {
    let (source, packed) = (ledger.beside("source"), ledger.beside("packed").display().to_string());
    fs::create_dir(&source).unwrap();
    fs::write(source.join("version"), "1\n").unwrap();
    let source = source.display().to_string();
    let command = ["patch", "pack", "--product", PRODUCT, "--version", "1", "--release", "1", "--class", "feature"];
    let more = ["--severity", "low", "--out", &packed, "-o", "json", &source];
    let printed: Value = serde_json::from_str(&ledger.must(&[command.as_slice(), &more].concat(), &[])).unwrap();
    let who = ledger.as_client("vendor-c", Some(("vendor-c", "publisher")));
    ledger.must(&["patch", "publish", &packed], &who);
    printed["patch"].as_str().unwrap().to_owned()
}
