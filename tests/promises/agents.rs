//! Patches on real hosts: nothing is applied without proof, and whatever happens is a signed receipt.

use crate::support::ledger::Ledger;
use crate::support::wait_for;
use devnet::layout::Agent;
use devnet::processes;
use devnet::raise::agent_subscriptions;
use proto::v1::{GetPatchRequest, ListReceiptsRequest, Receipt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tests::Dice;

const PRODUCT: &str = "vendor-a/app";
/// How often an agent is killed at some moment of an update.
const KILLS: u64 = 4;

/// A ledger, and the vendor's workshop.
struct Stage {
    ledger: Ledger,
    /// While it exists, hosts are healthy; until then their checks wait.
    go: PathBuf,
}

/// A directory's files and what is in them.
type Tree = BTreeMap<PathBuf, Vec<u8>>;

fn tree(directory: &Path) -> Tree {
    let (mut found, mut waiting) = (Tree::new(), vec![directory.to_owned()]);
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Names of everything below a directory: what changes while an agent works.
fn names(directory: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![directory.to_owned()]);
    while let Some(place) = waiting.pop() {
        // It may be gone already: the agent is at work.
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

impl Stage {
    async fn set() -> Self {
        let ledger = Ledger::raise().await;
        let go = ledger.beside("flags").join("go");
        fs::create_dir(go.parent().unwrap()).unwrap();
        fs::write(&go, "").unwrap();
        Self { ledger, go }
    }

    fn source(&self, release: u64) -> PathBuf {
        self.ledger.beside(&format!("release-{release}"))
    }

    /// Makes a release, a small tree, and packs it; the patch.
    fn pack(&self, release: u64) -> String {
        let source = self.source(release);
        fs::create_dir_all(source.join("bin")).unwrap();
        fs::create_dir_all(source.join("share/texts")).unwrap();
        fs::write(source.join("version"), format!("1.0.{release}\n")).unwrap();
        for number in 0..40 {
            fs::write(source.join(format!("share/texts/{number}")), format!("{release}.{number}\n").repeat(500))
                .unwrap();
        }
        let health = source.join("bin/health");
        let script = format!(
            "#!/bin/sh\n: > \"$1/reached-{release}\"\nwhile [ ! -e \"$1/go\" ]; do /bin/sleep 0.02; done\necho well\n"
        );
        fs::write(&health, script).unwrap();
        fs::set_permissions(&health, fs::Permissions::from_mode(0o755)).unwrap();
        let (version, release) = (format!("1.0.{release}"), release.to_string());
        let (out, source) = (self.packed(&release), source.display().to_string());
        let mut command = vec!["patch", "pack", "--product", PRODUCT, "--version", &version, "--release", &release];
        command.extend(["--class", "bugfix", "--severity", "moderate", "--probe-attempts", "1"]);
        command.extend(["--probe-timeout", "60s", "--expect", "well"]);
        command.extend(["--health-command", "{tree}/bin/health {flags}", "--out", &out, "-o", "json", &source]);
        let packed: Value = serde_json::from_str(&self.ledger.must(&command, &[])).unwrap();
        packed["patch"].as_str().unwrap().to_owned()
    }

    fn packed(&self, release: &str) -> String {
        self.ledger.beside(&format!("packed-{release}")).display().to_string()
    }

    fn publish(&self, release: u64) -> String {
        let patch = self.pack(release);
        let who = self.ledger.as_client("vendor-a", Some(("vendor-a", "publisher")));
        self.ledger.must(&["patch", "publish", &self.packed(&release.to_string())], &who);
        patch
    }

    async fn approve(&self, patch: &str, organisation: &str) {
        // The patch may not have reached this organisation's node yet.
        self.await_known(patch, organisation).await;
        let who = self.ledger.as_client(organisation, Some((organisation, "approver")));
        self.ledger.must(&["approve", patch], &who);
    }

    async fn await_known(&self, patch: &str, node: &str) {
        let mut client = self.ledger.connect(node).await;
        let id = hex::decode(patch).unwrap();
        wait_for("the patch", async || client.get_patch(GetPatchRequest { id: id.clone() }).await.ok()).await;
    }

    async fn await_standing(&self, patch: &str, standing: &str) {
        let mut client = self.ledger.connect("site").await;
        let id = hex::decode(patch).unwrap();
        wait_for(standing, async || {
            let found = client.get_patch(GetPatchRequest { id: id.clone() }).await.ok()?.into_inner();
            (found.standing == standing).then_some(())
        })
        .await;
    }

    async fn release(&self, release: u64) -> String {
        let patch = self.publish(release);
        self.approve(&patch, "approver-a").await;
        self.approve(&patch, "approver-b").await;
        self.await_standing(&patch, "approved").await;
        patch
    }

    fn host(&mut self, name: &str) -> Agent {
        let flags = self.go.parent().unwrap().display().to_string();
        let subscriptions = agent_subscriptions(&[PRODUCT.to_owned()]);
        self.ledger.add_agent(name, &format!("{subscriptions}\n[parameters]\nflags = \"{flags}\"\n"))
    }

    /// The receipts of a host for a patch, the oldest first.
    async fn receipts(&self, agent: &Agent, patch: &str) -> Vec<Receipt> {
        let (patch, endpoint) = (hex::decode(patch).unwrap(), hex::decode(&agent.key).unwrap());
        let request = ListReceiptsRequest { patch, endpoint, page_size: 1_000, page_token: String::new() };
        let mut client = self.ledger.connect("site").await;
        let mut receipts = client.list_receipts(request).await.unwrap().into_inner().receipts;
        receipts.sort_by_key(|receipt| receipt.attempt);
        receipts
    }

    /// Waits until there are so many; the last one.
    async fn await_receipt(&self, agent: &Agent, patch: &str, attempt: u32) -> Receipt {
        wait_for(&format!("receipt {attempt} of {}", agent.name), async || {
            self.receipts(agent, patch).await.into_iter().find(|receipt| receipt.attempt == attempt)
        })
        .await
    }

    fn ask_to_apply(&self, agent: &Agent, patch: &str) -> (Option<i32>, String) {
        let config = agent.config.display().to_string();
        let output = processes::output("countersign-agent", &["apply", patch, "--config", &config]).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    }

    /// How a host says it stands.
    fn status(agent: &Agent) -> Value {
        let config = agent.config.display().to_string();
        let output = processes::output("countersign-agent", &["status", "--config", &config, "-o", "json"]).unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// The version a host says it has, and where it stands.
    fn installed(agent: &Agent) -> Option<(String, PathBuf)> {
        let status = Self::status(agent);
        let installed = status["installed"].as_array().unwrap().first()?;
        Some((installed["version"].as_str().unwrap().to_owned(), installed["tree"].as_str().unwrap().into()))
    }

    /// The host has exactly one release, whole and nothing of another; which.
    fn assert_exactly_one_release(&self, agent: &Agent, allowed: &[u64]) -> u64 {
        let (version, place) = Self::installed(agent).unwrap();
        let release = allowed.iter().find(|release| version == format!("1.0.{release}"));
        let release = *release.unwrap_or_else(|| panic!("{version} is installed, none of {allowed:?}"));
        assert!(tree(&place) == tree(&self.source(release)), "{version} is not what the vendor packed");
        release
    }
}

/// What an agent may ever hold, in KiB: 32 MiB.
const RESIDENT_KIB_MAX: u64 = 32 * 1024;

/// The most memory a host's agent ever had, as the kernel counts it.
fn assert_small(ledger: &Ledger, name: &str) {
    let pid = ledger.devnet.agents.iter().find(|agent| agent.name == name).and_then(|agent| agent.pid).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()).unwrap();
    let peak: u64 = peak.parse().unwrap();
    assert!((1_024..=RESIDENT_KIB_MAX).contains(&peak), "{peak} KiB");
}

/// Attempts are numbered from one, without a gap.
fn assert_numbered(receipts: &[Receipt]) {
    let attempts: Vec<u32> = receipts.iter().map(|receipt| receipt.attempt).collect();
    let expected: Vec<u32> = (1..).take(attempts.len()).collect();
    assert_eq!(attempts, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_patch_without_proof_and_every_apply_has_a_receipt() {
    let mut stage = Stage::set().await;
    let host = stage.host("agent-1");

    // Published and approved once: the refusal names what is missing.
    let patch = stage.publish(1);
    stage.approve(&patch, "approver-a").await;
    stage.await_known(&patch, "site").await;
    let (code, said) = stage.ask_to_apply(&host, &patch);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("approval-rule") && said.contains("approver-b"), "{said}");
    let receipt = stage.await_receipt(&host, &patch, 1).await;
    assert_eq!((receipt.outcome.as_str(), receipt.reason.as_str()), ("refused", "approval-rule"));
    assert_eq!(Stage::installed(&host), None, "something was installed without proof");

    // Approved twice: it comes by itself.
    stage.approve(&patch, "approver-b").await;
    let receipt = stage.await_receipt(&host, &patch, 2).await;
    assert_eq!((receipt.outcome.as_str(), receipt.health.as_str()), ("applied", "passed"), "{receipt:?}");
    stage.assert_exactly_one_release(&host, &[1]);
    assert_numbered(&stage.receipts(&host, &patch).await);

    // Recalled: a host that comes late refuses, and says why.
    let who = stage.ledger.as_client("vendor-a", Some(("vendor-a", "publisher")));
    stage.ledger.must(&["patch", "recall", &patch, "--reason", "a regression was found"], &who);
    stage.await_standing(&patch, "recalled").await;
    let late = stage.host("agent-2");
    let (code, said) = stage.ask_to_apply(&late, &patch);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("recalled"), "{said}");
    let receipt = stage.await_receipt(&late, &patch, 1).await;
    assert_eq!((receipt.outcome.as_str(), receipt.reason.as_str()), ("refused", "recalled"));
    assert_eq!(Stage::installed(&late), None, "something recalled was installed");

    assert_eq!(Stage::status(&late)["running"], true);

    // And the one that runs it already is told by itself, with the reason that was signed.
    wait_for("the host that runs it to say so", async || {
        let status = Stage::status(&host);
        let reason = status["installed"][0]["recalled"]["reason"].as_str()?;
        (reason == "a regression was found").then_some(())
    })
    .await;
    assert_eq!(Stage::status(&host)["enrolment"], "enrolled");
    // And so are its people, of that host alone: where it was refused nothing runs.
    wait_for("an alarm of the recall", async || {
        let alarms = crate::inventory::alarms(&stage.ledger);
        let [(health, what)] = &alarms[..] else { return None };
        (health == "unhealthy" && what[0]["why"] == "recalled: a regression was found").then_some(())
    })
    .await;
    assert_small(&stage.ledger, "agent-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_in_an_update_ends_exactly_old_or_exactly_new_and_its_receipt_says_which() {
    let mut stage = Stage::set().await;
    let host = stage.host("agent-1");
    let patch = stage.release(1).await;
    stage.await_receipt(&host, &patch, 1).await;
    let mut old = stage.assert_exactly_one_release(&host, &[1]);

    // In the middle of the health check: the new one runs, and nobody knows whether it is well.
    fs::remove_file(&stage.go).unwrap();
    let patch = stage.release(2).await;
    let reached = stage.go.with_file_name("reached-2");
    wait_for("the health check", async || reached.exists().then_some(())).await;
    stage.ledger.kill_agent("agent-1");
    fs::write(&stage.go, "").unwrap();
    stage.ledger.start_agent("agent-1");
    let receipt = stage.await_receipt(&host, &patch, 1).await;
    assert_eq!((receipt.outcome.as_str(), receipt.reason.as_str()), ("rolled-back", "interrupted"), "{receipt:?}");
    assert_eq!((receipt.from_version.as_str(), receipt.to_version.as_str()), ("1.0.1", "1.0.1"));

    // Asked again, it is tried again.
    let (code, said) = stage.ask_to_apply(&host, &patch);
    assert_eq!(code, Some(0), "{said}");
    old = stage.assert_exactly_one_release(&host, &[old, 2]);
    assert_eq!(old, 2);

    // At any moment, as the directory it works in changes.
    let mut dice = Dice::new(5);
    for release in 3..3 + KILLS {
        let patch = stage.publish(release);
        stage.approve(&patch, "approver-a").await;
        let (mut seen, mut changes, wanted) = (names(&host.data_dir), 0, dice.below(8) + 1);
        stage.approve(&patch, "approver-b").await;
        wait_for("the update to go on", async || {
            let now = names(&host.data_dir);
            if now != seen {
                (seen, changes) = (now, changes + 1);
            }
            // It may be over before so much has changed.
            let over = changes > 0 && !stage.receipts(&host, &patch).await.is_empty();
            (changes >= wanted || over).then_some(())
        })
        .await;
        stage.ledger.kill_agent("agent-1");
        stage.ledger.start_agent("agent-1");
        let receipt = stage.await_receipt(&host, &patch, 1).await;
        // Whatever it says, it is so; and if it went back, asking again brings it.
        assert!(["applied", "rolled-back"].contains(&receipt.outcome.as_str()), "{receipt:?}");
        if receipt.outcome == "rolled-back" {
            assert_eq!(receipt.to_version, format!("1.0.{old}"), "{receipt:?}");
            let (code, said) = stage.ask_to_apply(&host, &patch);
            assert_eq!(code, Some(0), "{said}");
        } else {
            assert_eq!(receipt.to_version, format!("1.0.{release}"), "{receipt:?}");
        }
        old = stage.assert_exactly_one_release(&host, &[release]);
        assert_numbered(&stage.receipts(&host, &patch).await);
    }
}
