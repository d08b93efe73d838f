//! The plan of the house, held against the house: floors, doors, pure rooms, names.
//!
//! A developer looks here first. What is written in [`ROOMS`] is the plan; ARCHITECTURE.md tells it to
//! people, and this file makes sure that it does.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One room: a crate of the workspace.
struct Room {
    name: &'static str,
    floor: u8,
    sentence: &'static str,
    /// Rooms it may know; all of them on lower floors.
    knows: &'static [&'static str],
}

const fn room(floor: u8, name: &'static str, sentence: &'static str, knows: &'static [&'static str]) -> Room {
    Room { name, floor, sentence, knows }
}

const ROOMS: &[Room] = &[
    room(0, "ledger", "Say what is recorded, and prove it.", &[]),
    room(1, "consensus", "Agree on the next block.", &["ledger"]),
    room(1, "store", "Keep the chain on disk.", &["ledger"]),
    room(1, "proto", "Speak on the wire.", &["ledger"]),
    room(1, "policy", "Decide what may happen, when, and whether it went well.", &["ledger"]),
    room(1, "terminal", "Answer people and programs.", &[]),
    room(1, "keyring", "Keep secret keys.", &["ledger"]),
    room(2, "node", "Run a member of the ledger.", &["ledger", "consensus", "store", "proto", "terminal", "keyring"]),
    room(2, "agent", "Keep one endpoint patched.", &["ledger", "proto", "policy", "terminal", "keyring"]),
    room(2, "cli", "Give people hands.", &["ledger", "proto", "policy", "terminal", "keyring"]),
    room(3, "devnet", "Raise a whole ledger on one machine.", &["ledger", "proto", "terminal"]),
    room(4, "tests", "Ask of the whole house what it promises.", &["ledger", "proto", "devnet"]),
    room(4, "benches", "Measure what the house promises.", &["ledger", "proto", "devnet"]),
];

/// Crates that one room alone may name: the others get what they need through its words.
const DOORS: &[(&str, &str)] = &[
    ("age", "keyring"),
    ("arc-malachitebft-core-consensus", "consensus"),
    ("arc-malachitebft-core-types", "consensus"),
    ("bincode", "ledger"),
    ("ed25519-dalek", "ledger"),
    ("jmt", "ledger"),
    ("libp2p", "node"),
    ("rocksdb", "store"),
    ("rs_merkle", "ledger"),
    ("tlog_tiles", "ledger"),
];

/// What must not be linked into a program, not even by way of others.
const NEVER_LINKED: &[(&str, &[&str])] = &[
    ("agent", &["rocksdb", "libp2p", "arc-malachitebft-core-consensus"]),
    ("cli", &["rocksdb", "libp2p", "arc-malachitebft-core-consensus"]),
    ("ledger", &["tokio", "rocksdb", "prost"]),
    ("policy", &["tokio", "rocksdb", "prost"]),
    ("store", &["tokio", "prost", "libp2p"]),
    ("keyring", &["tokio", "prost", "clap"]),
];

/// Rooms that decide: values in, values out.
const PURE: &[&str] = &["ledger", "consensus", "policy"];

/// What decides nothing by itself, and so has no place in a pure room.
const IMPURE: &[&str] =
    &["std::fs", "std::net", "std::process", "std::env", "SystemTime", "Instant::now", "tokio::", "thread::sleep"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the tests room is in the house")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace as cargo sees it.
struct House {
    metadata: Value,
}

impl House {
    fn look() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root())
            .output()
            .expect("cargo runs this test, so cargo is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { metadata: serde_json::from_slice(&output.stdout).expect("cargo prints JSON") }
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.metadata["packages"].as_array().into_iter().flatten()
    }

    /// Members of the workspace by name.
    fn members(&self) -> BTreeMap<&str, &Value> {
        let members: Vec<&Value> = self.metadata["workspace_members"].as_array().into_iter().flatten().collect();
        self.packages()
            .filter(|package| members.contains(&&package["id"]))
            .map(|package| (name(package), package))
            .collect()
    }

    /// Everything that is linked into a room, by way of others too.
    fn linked(&self, room: &str) -> BTreeSet<&str> {
        let names: BTreeMap<&str, &str> =
            self.packages().filter_map(|package| Some((package["id"].as_str()?, name(package)))).collect();
        let nodes: BTreeMap<&str, &Value> = self.metadata["resolve"]["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| Some((node["id"].as_str()?, node)))
            .collect();
        let mut waiting = vec![self.members()[room]["id"].as_str().expect("ids are text")];
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if seen.insert(id) {
                let edges = nodes[id]["deps"].as_array().into_iter().flatten();
                let linked = edges.filter(|edge| {
                    edge["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
                });
                waiting.extend(linked.filter_map(|edge| edge["pkg"].as_str()));
            }
        }
        seen.into_iter().map(|id| names[id]).collect()
    }
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// What a package names in its `[dependencies]` and `[build-dependencies]`; tests may reach further.
fn named(package: &Value) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies.filter(|dependency| dependency["kind"] != "dev").map(name).collect()
}

fn sources(room: &str) -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![root().join(room).join("src")]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a room has sources") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_room_is_on_the_plan_and_every_planned_room_is_there() {
    let house = House::look();
    let there: BTreeSet<&str> = house.members().into_keys().collect();
    let planned: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    assert_eq!(there, planned);
}

#[test]
fn rooms_know_lower_floors_only_and_of_those_what_the_plan_allows() {
    let house = House::look();
    let floors: BTreeMap<&str, u8> = ROOMS.iter().map(|room| (room.name, room.floor)).collect();
    for (member, package) in house.members() {
        let room = ROOMS.iter().find(|room| room.name == member).expect("every room is on the plan");
        for known in named(package).into_iter().filter(|known| floors.contains_key(known)) {
            assert!(floors[known] < room.floor, "{member} knows {known}, which is not below it");
            assert!(room.knows.contains(&known), "{member} knows {known}, which the plan does not allow");
        }
    }
}

#[test]
fn what_has_a_door_is_named_by_its_room_alone() {
    let house = House::look();
    for (behind, keeper) in DOORS {
        let names: Vec<&str> = house
            .members()
            .into_iter()
            .filter(|(_, package)| named(package).contains(behind))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, [*keeper], "rooms that name {behind}");
    }
}

#[test]
fn programs_do_not_carry_what_they_must_not_know() {
    let house = House::look();
    for (room, never) in NEVER_LINKED {
        let linked = house.linked(room);
        assert!(linked.contains("ledger"), "{room} is made of something");
        for other in *never {
            assert!(!linked.contains(other), "{other} is linked into {room}");
        }
    }
}

#[test]
fn pure_rooms_have_no_clock_no_file_no_socket() {
    for room in PURE {
        for file in sources(room) {
            let text = fs::read_to_string(&file).expect("a source is text");
            // Tests at the end of a file, or in one of their own, may.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            if file.ends_with("tests.rs") {
                continue;
            }
            for word in IMPURE {
                let found = code.lines().find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert_eq!(found, None, "{} has {word}", file.display());
            }
        }
    }
}

#[test]
fn every_room_says_its_sentence_everywhere() {
    let (house, architecture) = (House::look(), read("ARCHITECTURE.md"));
    for room in ROOMS {
        let description = house.members()[room.name]["description"].as_str().unwrap_or_default().to_owned();
        assert_eq!(description, room.sentence, "description of {}", room.name);
        if room.floor < 4 {
            let line = format!("| `{}` | {} |", room.name, room.sentence);
            assert!(architecture.contains(&line), "ARCHITECTURE.md has no line {line}");
            let first = read(&format!("{}/src/lib.rs", room.name)).lines().next().unwrap_or_default().to_owned();
            assert_eq!(first, format!("//! {}", room.sentence), "first line of {}", room.name);
        }
    }
}

#[test]
fn every_name_in_the_architecture_exists() {
    let architecture = read("ARCHITECTURE.md");
    let code: String = ROOMS
        .iter()
        .filter(|room| room.floor < 4)
        .flat_map(|room| sources(room.name))
        .fold(String::new(), |code, file| code + &fs::read_to_string(file).expect("a source is text"));
    let (mut paths, mut words) = (0, 0);
    for quoted in architecture.split('`').skip(1).step_by(2).filter(|quoted| !quoted.contains('\n')) {
        if quoted.contains('/') {
            assert!(root().join(quoted).exists(), "{quoted} is not there");
            paths += 1;
        } else {
            let word = quoted.rsplit("::").next().unwrap_or_default();
            let known = code.contains(word) || ROOMS.iter().any(|room| room.name == word);
            assert!(known, "nothing is called {quoted}");
            words += 1;
        }
    }
    assert!(paths >= 5 && words >= 15, "{paths} paths and {words} words were checked");
}

/// What a file has in it that reads bytes, or text that came as bytes.
const READS: &[&str] = &[
    "serde_json::from_",
    "toml::from_str",
    "borsh::from_slice",
    "from_le_bytes",
    "from_be_bytes",
    "from_utf8",
    "Archive::new",
    "Decoder::",
    "Canonical for",
    "FromStr for",
    ".split_once(",
];
/// Rooms that nothing from outside comes into but through others: what they print, and what they try.
const READ_NOTHING: &[&str] = &["terminal", "devnet", "tests", "benches"];

#[test]
fn whatever_reads_bytes_is_fuzzed_or_says_why_not() {
    let (page, targets) = (read("fuzz/README.md"), read("fuzz/src/targets.rs"));
    let quoted: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let paths: Vec<&&str> = quoted.iter().filter(|quoted| quoted.ends_with(".rs")).collect();
    for path in &paths {
        let place = if path.starts_with("src/") { format!("fuzz/{path}") } else { (**path).to_owned() };
        assert!(root().join(&place).exists(), "fuzz/README.md names {path}, which is not there");
    }
    for room in ROOMS.iter().filter(|room| !READ_NOTHING.contains(&room.name)) {
        for file in sources(room.name) {
            let text = fs::read_to_string(&file).expect("a source is text");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let file = file.strip_prefix(root()).expect("beneath the root").to_string_lossy().into_owned();
            let reads = READS.iter().find(|word| code.contains(**word));
            if let Some(word) = reads.filter(|_| !file.ends_with("tests.rs")) {
                assert!(
                    quoted.contains(&*file),
                    "{file} has {word:?}: fuzz/README.md says what fuzzes it, or why nothing does"
                );
            }
        }
    }
    let targets: BTreeSet<&str> =
        targets.lines().filter_map(|line| line.trim().strip_prefix("target(\"")?.split('"').next()).collect();
    assert!(targets.len() >= 60 && paths.len() >= 60, "{} targets and {} paths", targets.len(), paths.len());
    for target in &targets {
        assert!(quoted.contains(target), "fuzz/README.md does not say what {target} is about");
        let corpus = root().join("fuzz/corpus").join(target);
        assert!(corpus.is_dir(), "{target} has no corpus: scripts/fuzz 60 {target}, then scripts/fuzz keep {target}");
    }
    for kept in ["fuzz/corpus", "fuzz/regressions"] {
        for folder in fs::read_dir(root().join(kept)).expect("it is there") {
            let name = folder.expect("it can be read").file_name().to_string_lossy().into_owned();
            assert!(targets.contains(&*name), "{kept}/{name} is of no target");
        }
    }
}
