//! What of this host an agent needs.

use super::{Finding, hint_at};
use crate::config::Config;
use crate::control::{self, Answer, Request};
use crate::data::DataDir;
use crate::files;
use crate::installer::installs;
use crate::installer::journal::{Journal, JournalError, Record};
use crate::installer::kinds::{KindStatus, Kinds};
use crate::installer::restarts;
use crate::key::{self, KeyError};
use crate::own_program::record::Record as Programs;
use crate::services::Phase;
use crate::settled::chain;
use crate::site::own_program;
use crate::status::Status;
use keyring::{KeyFileError, SecretError, Stored};
use ledger::bounded::{Name, Product};
use ledger::moment::Moment;
use policy::Restart;
use rustix::fs::Access;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

/// Free on the agent's disk: with less, no update goes well …
const ROOM_BYTES_MIN: u64 = 64 << 20;
/// … and with less than this, a large one may not.
const ROOM_BYTES_EASY: u64 = 1 << 30;
/// How long a running agent may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Receipts that wait on a host whose nodes answer.
const RECEIPTS_EASY: usize = 8;

pub(super) fn key(config: &Config) -> Finding {
    let (stored, opened) = (key::stored(&config.key), key::open(config));
    let is_sealed = stored.as_ref().is_ok_and(Stored::is_sealed);
    match (opened, &config.unseal) {
        (Ok(key), Some(place)) if is_sealed => {
            Finding::ok("key", format!("endpoint {}, sealed; {place} opens it", key.public()))
        }
        (Ok(key), Some(place)) => {
            let said =
                format!("endpoint {}, not sealed, though the configuration names {place} to open it", key.public());
            Finding::warn("key", said, "`countersign-agent key seal` seals it")
        }
        (Ok(key), None) => Finding::ok("key", format!("endpoint {}, not sealed", key.public())),
        // Only the service has its credentials. Whether it runs is another finding.
        (Err(KeyError::Key(KeyFileError::Secret { source: SecretError::NoCredential { name }, .. })), _) => {
            let endpoint = stored.map_or_else(|error| chain(&error), |stored| stored.public().public_key.to_string());
            let said = format!("endpoint {endpoint}, sealed; credential {name}, which only the service has, opens it");
            Finding::ok("key", said)
        }
        (Err(error), _) => Finding::fail("key", chain(&error), error.hint()),
    }
}

/// The data directory and its parts: the agent's own, nobody else's, and writable.
pub(super) fn directories(config: &Config) -> Vec<Finding> {
    let data = DataDir::at(config.data_dir.clone());
    if let Err(error) = fs::metadata(data.path())
        && error.kind() == ErrorKind::PermissionDenied
    {
        let said = format!("{}: {error}", data.path().display());
        return vec![Finding::fail("directory", said, "run this as the agent's user")];
    }
    if !data.path().exists() {
        let said = format!("{} is not there yet", data.path().display());
        return vec![Finding::warn("directory", said, "`countersign-agent run` makes it")];
    }
    let parts =
        [data.path().to_owned(), data.downloads(), data.installs(), data.receipts(), data.logs(), data.evidence()];
    let found: Vec<_> = parts.iter().filter(|path| path.exists()).filter_map(|path| directory(path)).collect();
    match found.is_empty() {
        true => vec![Finding::ok("directory", format!("{} is the agent's alone", data.path().display()))],
        false => found,
    }
}

fn directory(path: &Path) -> Option<Finding> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Some(Finding::fail("directory", format!("{shown}: {error}"), "run this as the agent's user"));
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_dir() {
        return Some(Finding::fail("directory", format!("{shown} is no directory"), "move it away"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let said = format!("{shown} belongs to user {}", metadata.uid());
        return Some(Finding::fail("directory", said, "run this as the agent's user, or give it the directory"));
    }
    if let Err(error) = rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        return Some(Finding::fail(
            "directory",
            format!("{shown} cannot be written: {error}"),
            "see how it is mounted",
        ));
    }
    let private = mode == files::PRIVATE_DIR_MODE;
    (!private).then(|| Finding::warn("directory", format!("{shown} has mode {mode:o}"), format!("chmod 700 {shown}")))
}

pub(super) fn room(config: &Config) -> Finding {
    let there = config.data_dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let free = match rustix::fs::statvfs(there) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => return Finding::fail("room", format!("{}: {error}", there.display()), ""),
    };
    let said = format!("{} MiB are free in {}", free >> 20, there.display());
    match free {
        _ if free < ROOM_BYTES_MIN => Finding::fail("room", said, "make room: a patch, and what it replaces, need it"),
        _ if free < ROOM_BYTES_EASY => Finding::warn("room", said, "a large patch may not find enough"),
        _ => Finding::ok("room", said),
    }
}

pub(super) fn subscriptions(config: &Config) -> Finding {
    let all: Vec<_> = config.subscriptions().map(|of| format!("{} ({})", of.product, of.channel)).collect();
    match all.is_empty() {
        true => {
            Finding::warn("subscription", "this host follows nothing", "add [[subscriptions]] to the configuration")
        }
        false => Finding::ok("subscription", all.join(", ")),
    }
}

/// What is installed and never updated, because no subscription is to it: a misspelt one, more often than not.
pub(super) fn orphans(config: &Config) -> Vec<Finding> {
    let installed = installs::all_installed(&DataDir::at(config.data_dir.clone()).installs()).unwrap_or_default();
    let is_followed = |(product, channel): &(Product, Name)| {
        config.subscriptions().any(|of| (&of.product, &of.channel) == (product, channel))
    };
    let orphans = installed.into_keys().filter(|of| !is_followed(of));
    let finding = |(product, channel)| {
        let said = format!("{product} ({channel}) is installed, and no subscription brings anything newer");
        Finding::warn("subscription", said, "is its name in [[subscriptions]] spelt as in `status`?")
    };
    orphans.map(finding).collect()
}

/// Kinds the house wants, and the tools they need.
pub(super) fn installers(config: &Config) -> Vec<Finding> {
    let finding = |KindStatus { kind, lacks, .. }: KindStatus| {
        let words = policy::kind_words(kind);
        match lacks {
            None => Finding::ok("installer", words),
            Some(lacks) => {
                Finding::fail("installer", format!("no {words}: {lacks}"), "see [installers] in the configuration")
            }
        }
    };
    let all = Kinds::of(&config.installers, own_program()).statuses().into_iter();
    all.filter(|status| status.wanted).map(finding).collect()
}

/// What restarting the host needs, where the agent may do it.
pub(super) fn restart(config: &Config) -> Option<Finding> {
    if config.policy.restart == Restart::Never {
        return None;
    }
    Some(match restarts::check(&config.reboot) {
        Ok(()) => Finding::ok("restart", format!("by {}", config.reboot.command.join(" "))),
        Err(error) => Finding::fail("restart", error, "see [reboot] in the configuration"),
    })
}

/// Whether the agent updates itself, and could.
pub(super) fn self_update(config: &Config) -> Finding {
    let Some(own) = &config.own_program else { return Finding::ok("self-update", "off") };
    if let Some(lacks) = crate::own_program::lacks(&config.data_dir) {
        return Finding::fail("self-update", lacks, "no patch of the agent is installed meanwhile; see [self]");
    }
    let on = format!("from {} ({})", own.of.product, own.of.channel);
    match Programs::read(&DataDir::at(config.data_dir.clone()).programs()) {
        Err(error) => {
            let hint = hint_at(&error, "move it away: the program at the fixed path runs then");
            Finding::fail("self-update", chain(&error), hint)
        }
        Ok(None) => Finding::ok("self-update", on),
        Ok(Some(Programs { fallen: Some(fallen), .. })) => Finding::warn(
            "self-update",
            format!("{on}; {fallen}"),
            "the program before runs; see the receipt, and the log",
        ),
        Ok(Some(Programs { trial: Some(trial), .. })) => Finding::warn(
            "self-update",
            format!("{on}; {} is on trial", trial.program.version),
            "wait for what comes of it",
        ),
        Ok(Some(Programs { committed: Some(program), .. })) => {
            Finding::ok("self-update", format!("{on}; {} is the agent's program", program.version))
        }
        Ok(Some(_)) => Finding::ok("self-update", format!("{on}; the program at the fixed path is the agent's")),
    }
}

pub(super) fn journal(config: &Config) -> Finding {
    let path = DataDir::at(config.data_dir.clone()).journal();
    let records = match Journal::peek(&path) {
        Ok(records) => records,
        Err(error) => {
            return Finding::fail("journal", chain(&error), hint_at(&error, JournalError::PUT_RIGHT));
        }
    };
    let Some(Record::Begun(begun)) = records.first() else { return Finding::ok("journal", "nothing was updated yet") };
    match records.last() {
        Some(Record::Done) => Finding::ok("journal", format!("patch {} of {} is over", begun.patch, begun.product)),
        Some(Record::Restarting { deadline_ms, .. }) => {
            let said = format!("patch {} waits for the host to restart, by {}", begun.patch, Moment(*deadline_ms));
            Finding::warn("journal", said, "restart the host; `apply --now` asks for it")
        }
        _ => {
            let said = format!("patch {} of {} is not at its end", begun.patch, begun.product);
            Finding::warn("journal", said, "an agent that runs brings it there; `status` says what is in the way")
        }
    }
}

/// What a running agent says of itself.
pub(super) async fn agent(config: &Config) -> Finding {
    let data = DataDir::at(config.data_dir.clone());
    let asked = tokio::time::timeout(ANSWER_WAIT, control::ask(&data, &Request::Status {})).await;
    match asked {
        Err(_) => Finding::fail("agent", format!("does not answer within {} s", ANSWER_WAIT.as_secs()), "see its log"),
        Ok(Err(error)) => Finding::fail("agent", chain(&error), "run this as the agent's user"),
        Ok(Ok(None)) => Finding::warn("agent", "does not run", "`countersign-agent run`, or its unit, starts it"),
        Ok(Ok(Some(Answer::Status(status)))) => of_a_running_one(&status, config),
        Ok(Ok(Some(_))) => Finding::fail("agent", "answers something else", "another version may run: restart it"),
    }
}

fn of_a_running_one(status: &Status, config: &Config) -> Finding {
    let open = status.work.as_ref().and_then(|work| work.open.as_ref());
    let down: Vec<_> = status.services.iter().filter(|service| service.phase != Phase::Running).collect();
    if let Some(open) = open {
        let said = format!("cannot bring patch {} to its end: {}", open.patch, open.why);
        return Finding::fail("agent", said, "nothing else is begun before; it tries again by itself");
    }
    if let Some(trouble) = status.trouble.first() {
        return Finding::fail("agent", trouble, "see what is wrong with that file");
    }
    if let Some(service) = down.first() {
        let said = format!("{} services do not run, {} first", down.len(), service.service);
        return Finding::warn("agent", said, "see its log, and `countersign-agent status`");
    }
    if let Some(paused) = &status.paused {
        return Finding::warn("agent", paused, "nothing is applied meanwhile");
    }
    if status.goes_by_another(config) {
        return Finding::warn("agent", "goes by a configuration that was changed since it began", "restart the agent");
    }
    if status.receipts_waiting > RECEIPTS_EASY {
        let said = format!("{} receipts wait", status.receipts_waiting);
        return Finding::warn("agent", said, "no node takes them: is the key enrolled?");
    }
    if let (1.., Some(trouble)) = (status.receipts_waiting, &status.receipts_trouble) {
        let said = format!("a receipt waits: {trouble}");
        return Finding::warn("agent", said, "it is sent again by itself; see the nodes");
    }
    Finding::ok("agent", "runs")
}
