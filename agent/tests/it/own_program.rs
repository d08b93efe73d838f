//! The agent updates itself: with its real program, with programs that are none, and killed in between. Whatever comes,
//! an agent runs afterwards, old or new, and the receipt says which.

use crate::crash::child;
use crate::support::archive::Archive;
use crate::support::disk::{Mount, Squeeze};
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::node::{Node, World};
use crate::support::{PATIENCE, eventually, left_out};
use agent::control::{Answer, Request};
use agent::data::DataDir;
use agent::installer::journal::{Journal, Record};
use agent::own_program::record::Record as Programs;
use agent::own_program::{ProgramView, Standing};
use ledger::id::{Digest, PatchId};
use ledger::receipt::{Outcome, ReasonCode, Receipt};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tests::Dice;
use tokio::process::Child;

/// How many random moments it is killed at.
const KILLS: &str = "COUNTERSIGN_KILLS";
const KILLS_DEFAULT: usize = 4;

/// The agent's program, without what only a debugger wants.
fn program() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let stripped = directory.path().join("agent");
        let strip = std::process::Command::new("strip").arg("-o").arg(&stripped).arg(PROGRAM).status();
        let path = if strip.is_ok_and(|status| status.success()) { stripped } else { PathBuf::from(PROGRAM) };
        fs::read(path).unwrap()
    })
}

/// Another build of it: the same, and not the same file.
fn build(version: &str) -> Vec<u8> {
    [program(), b"\nbuild ", version.as_bytes()].concat()
}

/// A tree with this as the agent's program.
fn tree(program: &[u8]) -> Vec<u8> {
    Archive::new().entry(tar::EntryType::Regular, b"countersign-agent", 0o755, b"", program).bytes()
}

/// A host whose agent updates itself, with a program at its fixed path.
struct House {
    world: Arc<World>,
    node: Node,
    endpoint: Endpoint,
}

impl House {
    async fn new(deadline: &str) -> Self {
        let world = World::new();
        let node = world.node().await;
        Self::of(&world, node, deadline)
    }

    fn of(world: &Arc<World>, node: Node, deadline: &str) -> Self {
        let extra = format!("[self]\nproduct = \"acme/widget\"\ndeadline = \"{deadline}\"");
        let endpoint = Endpoint::new(world, &[&node], &extra).patient();
        put(&endpoint.path("countersign-agent"), program());
        Self { world: world.clone(), node, endpoint }
    }

    fn fixed(&self) -> PathBuf {
        self.endpoint.path("countersign-agent")
    }

    fn data(&self) -> DataDir {
        DataDir::at(self.endpoint.data())
    }

    /// Publishes and approves a release with this program.
    fn release(&self, release: u64, program: &[u8]) -> PatchId {
        approved(&self.world, release, tree(program), |_| {})
    }

    /// Runs the agent, as a service manager would.
    fn run(&self) -> Child {
        let mut command = tokio::process::Command::new(self.fixed());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.endpoint.path("log")).unwrap();
        // Whatever a damaged program does, it does there.
        command.args(["run", "--config"]).arg(self.endpoint.config_path()).current_dir(self.endpoint.directory.path());
        command.stdin(Stdio::null()).stderr(log).process_group(0).kill_on_drop(true).spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.endpoint.path("log")).unwrap_or_default()
    }

    async fn status(&self) -> Option<ProgramView> {
        match agent::control::ask(&self.data(), &Request::Status {}).await {
            Ok(Some(Answer::Status(status))) => status.program,
            _ => None,
        }
    }

    /// Waits until an agent with this program answers.
    async fn runs(&self, program: &[u8], standing: Standing) -> ProgramView {
        let blake3 = Some(Digest::blake3(program));
        let fits = |view: &ProgramView| view.blake3 == blake3 && view.standing == standing;
        eventually(&format!("{standing:?}"), async || self.status().await.filter(fits)).await
    }

    /// Waits until the ledger has so many receipts.
    async fn receipts(&self, count: usize) -> Vec<Receipt> {
        let enough = async || Some(self.world.receipts()).filter(|receipts| receipts.len() >= count);
        eventually(&format!("{count} receipts; the log says {}", self.log()), enough).await
    }

    fn journal(&self) -> Vec<Record> {
        Journal::peek(&self.data().journal()).unwrap_or_default()
    }

    fn programs(&self) -> Option<Programs> {
        Programs::read(&self.data().programs()).unwrap()
    }

    async fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = tokio::process::Command::new(self.fixed());
        let output = command.args(words).arg("--config").arg(self.endpoint.config_path()).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }
}

/// Puts a program where one may run still.
fn put(path: &Path, program: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, program).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

fn pid(agent: &Child) -> Pid {
    Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()).unwrap()
}

async fn stop(mut agent: Child) -> Option<i32> {
    kill_process(pid(&agent), Signal::TERM).unwrap();
    agent.wait().await.unwrap().code()
}

/// Power, or a hand that knows no mercy: whatever was started by the agent goes with it, a moment later.
async fn kill(mut agent: Child, house: &House) {
    agent.kill().await.unwrap();
    let data = house.data();
    eventually("nobody holds the data directory", async || data.lock().ok().map(drop)).await;
}

/// The process whose program is in the data directory, if one runs there.
fn held_process(house: &House) -> Option<Pid> {
    let installs = fs::canonicalize(house.data().installs()).unwrap();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let runs = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&installs));
    pids.into_iter().find(runs).and_then(Pid::from_raw)
}

fn told(receipt: &Receipt) -> (Outcome, Option<ReasonCode>, String) {
    let code = receipt.reason.as_ref().map(|reason| reason.code);
    (receipt.outcome, code, receipt.to_version.as_str().to_owned())
}

#[tokio::test]
async fn a_new_program_that_runs_is_kept_and_started_from_then_on() {
    let house = House::new("60s").await;
    let mut agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    let new = build("1.0.2");
    let patch = house.release(2, &new);
    let receipts = house.receipts(1).await;
    assert_eq!(told(&receipts[0]), (Outcome::Applied, None, "1.0.2".to_owned()), "{}", house.log());
    house.runs(&new, Standing::Committed).await;
    assert!(agent.try_wait().unwrap().is_none(), "whoever started it sees one process that goes on");
    assert_eq!(house.endpoint.version().as_deref(), Some("1.0.2"));
    // Who asks from the fixed path speaks with the one that runs, in its own words.
    let (code, said) = house.command(&["status"]).await;
    assert!(code == Some(0) && said.contains(", committed, runs since "), "{said}");
    let (_, said) = house.command(&["doctor"]).await;
    assert!(said.contains("1.0.2 is the agent's program"), "{said}");

    // One update after the other, with no process left over.
    let third = build("1.0.3");
    house.release(3, &third);
    assert_eq!(told(&house.receipts(2).await[1]).0, Outcome::Applied, "{}", house.log());
    house.runs(&third, Standing::Committed).await;
    assert_eq!(stop(agent).await, Some(0));
    assert_eq!(held_process(&house), None);

    // Started again it is the new one, in the place of the one that was started.
    let agent = house.run();
    house.runs(&third, Standing::Committed).await;
    assert_eq!(held_process(&house), Some(pid(&agent)));
    assert_eq!(
        fs::read_to_string(format!("/proc/{}/comm", agent.id().unwrap())).unwrap().trim_end(),
        "countersign-age"
    );

    // An older one is refused, and by hand one goes back to the one before.
    let (code, said) = house.command(&["apply", &patch.to_string()]).await;
    assert!(code == Some(1) && said.contains("downgrade"), "{said}");
    let last = house.journal();
    let Some(Record::Begun(begun)) = last.first() else { panic!("{last:?}") };
    let (code, said) = house.command(&["rollback", &begun.patch.to_string()]).await;
    assert!(code == Some(0) && said.contains("taken back by hand"), "{said}");
    house.runs(&new, Standing::Committed).await;
    assert_eq!(house.endpoint.version().as_deref(), Some("1.0.2"));
    let receipts = house.receipts(4).await;
    assert_eq!(told(&receipts[3]), (Outcome::RolledBack, Some(ReasonCode::Policy), "1.0.2".to_owned()));
    assert_eq!(stop(agent).await, Some(0));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_new_program_the_one_before_runs_again() {
    use ReasonCode::{HealthFailed, InstallFailed};
    let house = House::new("6s").await;
    let mut agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    let mut wrong_machine = program().to_vec();
    wrong_machine[18] ^= 0x55;
    let elsewhere = format!("#!/bin/sh\nexec {} run --config /nonexistent\n", house.fixed().display());
    let blind = format!("#!/bin/sh\nexec {} status\n", house.fixed().display());
    let flips: Vec<u8> =
        program().iter().enumerate().map(|(at, byte)| byte ^ u8::from(at > 64 && at % 64 == 0)).collect();
    type Row = (&'static str, Vec<u8>, (Outcome, ReasonCode), &'static str);
    let programs: [Row; 10] = [
        ("ends", b"#!/bin/sh\nexit 1\n".to_vec(), (Outcome::RolledBack, HealthFailed), "ended with status 1"),
        ("hangs", b"#!/bin/sh\nexec sleep 100000\n".to_vec(), (Outcome::RolledBack, HealthFailed), "did not answer"),
        (
            "hangs, and hears nothing",
            b"#!/bin/sh\ntrap '' TERM INT\nwhile :; do sleep 1; done\n".to_vec(),
            (Outcome::RolledBack, HealthFailed),
            "not healthy within 6s",
        ),
        ("is cut off", program()[..4096].to_vec(), (Outcome::RolledBack, HealthFailed), ""),
        ("is empty", Vec::new(), (Outcome::RolledBack, HealthFailed), ""),
        ("is damaged", flips, (Outcome::RolledBack, InstallFailed), "could not be started"),
        ("is for another machine", wrong_machine, (Outcome::Refused, InstallFailed), "for another machine"),
        (
            "cannot read its configuration",
            elsewhere.into_bytes(),
            (Outcome::RolledBack, HealthFailed),
            "ended with status 2",
        ),
        ("is no agent", blind.into_bytes(), (Outcome::RolledBack, HealthFailed), "ended with status"),
        ("is not there", b"#!/nonexistent\n".to_vec(), (Outcome::RolledBack, InstallFailed), "could not be started"),
    ];
    for (place, (what, bytes, (outcome, code), evidence)) in programs.into_iter().enumerate() {
        house.release(2 + place as u64, &bytes);
        let receipts = house.receipts(place + 1).await;
        let receipt = &receipts[place];
        let (told, reason) = (told(receipt), receipt.reason.clone().unwrap());
        assert_eq!((told.0, told.2.as_str()), (outcome, ""), "{what}: {reason}\n{}", house.log());
        assert!(told.1 == Some(code) || evidence.is_empty(), "{what}: {reason}");
        assert!(reason.detail.as_str().contains(evidence), "{what}: {reason}");
        house.runs(program(), Standing::Fixed).await;
        assert!(agent.try_wait().unwrap().is_none(), "{what}: the process that was started goes on");
        assert_eq!((house.endpoint.version(), held_process(&house)), (None, None), "{what}");
    }
    // What was wrong with those does not stand in the way of a good one.
    let good = build("good");
    house.release(20, &good);
    assert_eq!(told(house.receipts(11).await.last().unwrap()).0, Outcome::Applied, "{}", house.log());
    house.runs(&good, Standing::Committed).await;
    assert_eq!(stop(agent).await, Some(0));
}

#[tokio::test]
async fn whoever_stops_the_agent_while_a_program_is_on_trial_finds_the_one_before_and_it_is_tried_again_later() {
    let house = House::new("60s").await;
    let mut agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    house.release(2, b"#!/bin/sh\nexec sleep 100000\n");
    let tried = |programs: Programs| programs.trial.is_some_and(|trial| trial.tries_left == 0);
    eventually("it is tried", async || house.programs().is_some_and(tried).then_some(())).await;
    // As a service manager does it: every process of the service at once.
    kill_process_group(pid(&agent), Signal::TERM).unwrap();
    tokio::time::timeout(PATIENCE, agent.wait()).await.unwrap().unwrap();
    let agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    let receipts = house.receipts(1).await;
    assert_eq!(told(&receipts[0]), (Outcome::RolledBack, Some(ReasonCode::Interrupted), String::new()));
    assert_eq!(stop(agent).await, Some(0));
}

#[tokio::test]
async fn what_a_program_on_trial_wrote_and_the_one_before_cannot_read_is_as_it_was() {
    let house = House::new("4s").await;
    let agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    house.release(2, b"#!/bin/sh\nexec sleep 100000\n");
    // One file after the other is copied, and this one behind those that are changed here.
    let is_kept = || house.endpoint.data().join("before-trial/attempts.json").exists();
    eventually("it is tried", async || is_kept().then_some(())).await;
    let before = fs::read(house.data().memory()).unwrap();
    assert_eq!(house.journal().last(), Some(&Record::HandedOver));
    fs::write(house.data().memory(), "{\"a word of tomorrow\":1}").unwrap();
    let mut journal = fs::read(house.data().journal()).unwrap();
    let word = br#""a-step-of-tomorrow""#;
    journal.extend_from_slice(&u32::try_from(word.len()).unwrap().to_le_bytes());
    journal.extend_from_slice(&Digest::blake3(word).0[..8]);
    journal.extend_from_slice(word);
    fs::write(house.data().journal(), &journal).unwrap();
    assert!(Journal::peek(&house.data().journal()).is_err());
    let receipts = house.receipts(1).await;
    assert_eq!(told(&receipts[0]), (Outcome::RolledBack, Some(ReasonCode::HealthFailed), String::new()));
    house.runs(program(), Standing::Fixed).await;
    let height = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap()["height"].as_u64().unwrap();
    assert!(height(&fs::read(house.data().memory()).unwrap()) >= height(&before), "nothing that was seen is forgotten");
    assert_eq!(stop(agent).await, Some(0));
}

/// Nor is it given up: whoever cuts a host off for a moment would else decide which program it has.
#[tokio::test]
async fn a_program_that_hears_nothing_of_the_ledger_is_not_kept_and_is_tried_again() {
    let house = House::new("5s").await;
    let agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    // The node is heard by the old program, and by nobody from when the new one is begun with.
    let new = build("1.0.2");
    let patch = house.release(2, &new);
    eventually("handed over", async || house.journal().contains(&Record::HandedOver).then_some(())).await;
    house.node.behave(|manners| manners.behind = usize::MAX);
    let fell = async || house.programs().filter(|programs| programs.fallen.is_some());
    let fallen = eventually("it is not kept", fell).await.fallen.unwrap();
    assert_eq!(fallen.reason.code, ReasonCode::Interrupted, "{}", fallen.reason);
    assert!(fallen.reason.detail.as_str().contains("it heard nothing fresh of the ledger"), "{}", fallen.reason);
    house.node.behave(|manners| manners.behind = 0);
    let receipts = house.receipts(2).await;
    let ends: Vec<_> = receipts.iter().map(|receipt| (receipt.patch, receipt.outcome)).collect();
    assert_eq!(ends, [(patch, Outcome::RolledBack), (patch, Outcome::Applied)]);
    house.runs(&new, Standing::Committed).await;
    assert_eq!(stop(agent).await, Some(0));
}

#[tokio::test]
async fn a_program_that_was_kept_and_does_not_come_up_any_more_is_gone_back_from() {
    let house = House::new("60s").await;
    let mut agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    let new = build("1.0.2");
    house.release(2, &new);
    house.receipts(1).await;
    house.runs(&new, Standing::Committed).await;
    // From now on it dies whenever it runs; whoever manages services starts the agent again when it ends.
    let gone_back = async || {
        if let Some(process) = held_process(&house) {
            let _ = kill_process(process, Signal::KILL);
        }
        house.programs().filter(|programs| programs.committed.is_none())
    };
    let mut waiting = Box::pin(eventually("it is gone back from", gone_back));
    let programs = loop {
        tokio::select! {
            programs = &mut waiting => break programs,
            _ = agent.wait() => agent = house.run(),
        }
    };
    drop(waiting);
    assert_eq!(programs.fallen.unwrap().reason.code, ReasonCode::HealthFailed);
    house.runs(program(), Standing::Fixed).await;
    let receipts = house.receipts(2).await;
    assert_eq!(told(&receipts[1]), (Outcome::RolledBack, Some(ReasonCode::HealthFailed), String::new()));
    assert_eq!(house.endpoint.version(), None);
    assert_eq!(stop(agent).await, Some(0));
}

#[tokio::test]
async fn what_is_executed_is_what_was_verified_and_another_program_at_the_fixed_path_is_somebodys_decision() {
    let house = House::new("60s").await;
    let agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    let new = build("1.0.2");
    house.release(2, &new);
    house.receipts(1).await;
    house.runs(&new, Standing::Committed).await;
    assert_eq!(stop(agent).await, Some(0));
    // One byte of what was committed is another.
    let path = house.endpoint.installed().unwrap().tree.join("countersign-agent");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    put(&path, &bytes);
    let agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    let receipts = house.receipts(2).await;
    assert_eq!(told(&receipts[1]), (Outcome::RolledBack, Some(ReasonCode::ArtifactDigest), String::new()));

    // A person puts a newer program at the fixed path, while another one is the agent's.
    let third = build("1.0.3");
    house.release(3, &third);
    assert_eq!(told(&house.receipts(3).await[2]).0, Outcome::Applied, "{}", house.log());
    house.runs(&third, Standing::Committed).await;
    let by_hand = build("by hand");
    put(&house.fixed(), &by_hand);
    assert_eq!(stop(agent).await, Some(0));
    let agent = house.run();
    house.runs(&by_hand, Standing::Fixed).await;
    // And goes on from there.
    let fourth = build("1.0.4");
    house.release(4, &fourth);
    assert_eq!(told(&house.receipts(4).await[3]).0, Outcome::Applied, "{}", house.log());
    house.runs(&fourth, Standing::Committed).await;
    assert_eq!(stop(agent).await, Some(0));
}

impl House {
    /// What must be true of a host whatever happened to it, when its agent runs again: an agent runs, it is exactly the
    /// old program or exactly the new one, and what is installed and the receipt say the same.
    async fn check(&self, new: &[u8], receipts: usize, what: &str) -> Outcome {
        let agent = self.run();
        let over = async || {
            let settled = self.journal().last().is_none_or(|last| *last == Record::Done);
            (settled && self.world.receipts().len() > receipts).then_some(())
        };
        eventually(&format!("{what} is over; the log says {}", self.log()), over).await;
        let receipt = self.world.receipts()[receipts].clone();
        match receipt.outcome {
            Outcome::Applied => {
                self.runs(new, Standing::Committed).await;
                assert_eq!((self.endpoint.version().as_deref(), receipt.reason), (Some("1.0.2"), None), "{what}");
            }
            Outcome::RolledBack => {
                self.runs(program(), Standing::Fixed).await;
                let code = receipt.reason.unwrap().code;
                assert!([ReasonCode::Interrupted, ReasonCode::HealthFailed].contains(&code), "{what}: {code:?}");
                assert_eq!((self.endpoint.version(), held_process(self)), (None, None), "{what}");
            }
            other => panic!("{what}: {other}: {:?}", receipt.reason),
        }
        assert_eq!(stop(agent).await, Some(0), "{what}");
        receipt.outcome
    }
}

/// Records of the part of an update that the program before does, each with a place before and one behind it.
const PLACES_OF_THE_OLD: usize = 10;

#[tokio::test]
async fn killed_at_every_record_a_host_has_an_agent_old_or_new() {
    let (world, new) = (World::new(), build("1.0.2"));
    let node = world.node().await;
    let patch = approved(&world, 2, tree(&new), |_| {});
    // By the old program: begun, prepared, switching, switched, handed over.
    for place in 1..=PLACES_OF_THE_OLD {
        let house = House::of(&world, node.clone(), "60s");
        let receipts = world.receipts().len();
        let died = child(&house.endpoint, Some(patch), place).await;
        assert_eq!(died, place < PLACES_OF_THE_OLD, "{place}");
        let outcome = house.check(&new, receipts, &format!("place {place}")).await;
        // What was handed over is tried, by whoever is started next.
        let expected = if place < PLACES_OF_THE_OLD { Outcome::RolledBack } else { Outcome::Applied };
        assert_eq!(outcome, expected, "place {place}: {}", house.log());
    }
    // And by the old one once more, as it takes back what it finds: judged, restored, done.
    for place in 0..6 {
        let house = House::of(&world, node.clone(), "60s");
        let receipts = world.receipts().len();
        assert!(child(&house.endpoint, Some(patch), PLACES_OF_THE_OLD - 1).await);
        assert!(child(&house.endpoint, None, place).await, "{place}");
        let outcome = house.check(&new, receipts, &format!("taking back, place {place}")).await;
        assert_eq!(outcome, Outcome::RolledBack, "{place}");
    }
    // By the new one: about to judge, judged.
    type At = fn(&Record) -> bool;
    let records: [(&str, At); 4] = [
        ("handed over", |record| *record == Record::HandedOver),
        ("about to judge", |record| *record == Record::Restarted),
        ("judged", |record| matches!(record, Record::Judged { .. })),
        ("done", |record| *record == Record::Done),
    ];
    for (what, at) in records {
        let house = House::of(&world, node.clone(), "60s");
        let receipts = world.receipts().len();
        let agent = house.run();
        eventually(what, async || house.journal().iter().any(at).then_some(())).await;
        kill(agent, &house).await;
        house.check(&new, receipts, what).await;
    }
}

#[tokio::test]
async fn killed_at_random_moments_a_host_has_an_agent_old_or_new() {
    let (world, new) = (World::new(), build("1.0.2"));
    let node = world.node().await;
    approved(&world, 2, tree(&new), |_| {});
    let unhindered = House::of(&world, node.clone(), "60s");
    let began = std::time::Instant::now();
    let agent = unhindered.run();
    unhindered.receipts(1).await;
    let longest = u64::try_from(began.elapsed().as_millis()).unwrap();
    assert_eq!(stop(agent).await, Some(0));
    let kills = std::env::var(KILLS).ok().map_or(KILLS_DEFAULT, |kills| kills.parse().unwrap());
    let mut dice = Dice::new(21);
    for round in 0..kills {
        let house = House::of(&world, node.clone(), "60s");
        let (receipts, after_ms) = (world.receipts().len(), dice.below(longest + 1));
        let agent = house.run();
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), std::future::pending::<()>()).await;
        kill(agent, &house).await;
        house.check(&new, receipts, &format!("round {round}, after {after_ms} of {longest} ms")).await;
    }
}

#[tokio::test]
async fn a_full_disk_keeps_no_host_from_having_an_agent() {
    let (world, new) = (World::new(), build("1.0.2"));
    let node = world.node().await;
    let patch = approved(&world, 2, tree(&new), |_| {});
    let house = House::of(&world, node, "60s");
    let megabytes = 64 + 4 * program().len() / (1 << 20);
    let Some(_mount) = Mount::small(&house.endpoint.data(), megabytes) else {
        return left_out("only root may mount a small disk");
    };
    // Handed over; and that it is tried cannot be noted any more.
    let receipts = world.receipts().len();
    assert!(!child(&house.endpoint, Some(patch), usize::MAX).await);
    assert!(Squeeze::ReadOnly.on(&house.endpoint.data()));
    let code = house.run().wait().await.unwrap().code();
    assert_eq!(code, Some(3), "an agent that can write nothing down does nothing, and nothing is begun with");
    assert_eq!(house.programs().unwrap().trial.map(|trial| trial.tries_left), Some(1));
    Squeeze::ReadOnly.off(&house.endpoint.data());
    assert!(Squeeze::FullBut(0).on(&house.endpoint.data()));
    let agent = house.run();
    house.runs(program(), Standing::Fixed).await;
    kill(agent, &house).await;
    Squeeze::FullBut(0).off(&house.endpoint.data());
    house.check(&new, receipts, "the disk is well again").await;
}

#[tokio::test]
async fn where_nothing_can_be_executed_the_agent_is_not_updated_and_says_so() {
    let house = House::new("60s").await;
    let Some(_mount) = Mount::small(&house.endpoint.data(), 256) else {
        return left_out("only root may mount a small disk");
    };
    let remount =
        std::process::Command::new("mount").args(["-o", "remount,noexec"]).arg(house.endpoint.data()).status();
    assert!(remount.unwrap().success());
    let (code, said) = house.command(&["doctor"]).await;
    assert!(code == Some(1) && said.contains("FAIL  self-update") && said.contains("mounted noexec"), "{said}");
    let agent = house.run();
    let view = house.runs(program(), Standing::Fixed).await;
    assert!(view.cannot_update.unwrap().contains("mounted noexec"));
    house.release(2, &build("1.0.2"));
    let receipts = house.receipts(1).await;
    assert_eq!(told(&receipts[0]), (Outcome::Refused, Some(ReasonCode::InstallerMissing), String::new()));
    assert_eq!(stop(agent).await, Some(0));
}
