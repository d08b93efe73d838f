//! Where scripts run: a container of the host's own programs, read-only, with no network, no rights, a user that nobody
//! else is, an end in time, and the directories of the host as copies.

use super::super::deadline::Deadline;
use super::super::install::Story;
use super::super::tool::{Tool, ToolError};
use super::bounds;
use super::nobody::SCRIPT_USER;
use crate::config;
use crate::containers;
use crate::containers::bundle::{self, Bind, Bounds, OF_THE_KERNEL, Process, SCRATCH};
use crate::files::{self, failed};
use crate::services::launch::LAUNCH;
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Where the vendor's archive is in the sandbox.
const GIVEN: &str = "/patch";
/// What of the host a script can use.
const PROGRAMS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// What programs want to know of the host. Whatever else is in `/etc` is not a script's.
const SETTINGS: [&str; 6] =
    ["/etc/alternatives", "/etc/group", "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd"];
/// The sandbox's root and its description, in the holding while the script runs.
const ROOM: &str = "sandbox";
/// Permissions of directories that a script may look into.
const OPEN: u32 = 0o755;
/// Most a file may have that a script writes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Most processes of all scripts together.
const PROCESSES_MAX: u64 = 128;

/// Where scripts run.
pub(super) struct Sandbox {
    program: PathBuf,
    config: config::Scripts,
}

impl Sandbox {
    pub(super) fn new(program: &Path, config: &config::Scripts) -> Self {
        Self { program: program.to_owned(), config: config.clone() }
    }

    /// Runs the program of a vendor's archive to its end, with the copies in `new` in the places of the directories.
    pub(super) fn run(
        &self,
        holding: &Path,
        given: &Path,
        new: &Path,
        (from, to): (&str, &str),
        deadline: Deadline,
        story: &mut Story,
    ) -> Result<(), Refusal> {
        let limits = bounds::Bounds::new(self.config.disk_bytes);
        let room = holding.join(ROOM);
        let root = room.join(bundle::ROOTFS);
        let binds = self.make(&root, given, new)?;
        let environment = [
            ("HOME", "/tmp"),
            ("LC_ALL", "C.UTF-8"),
            ("COUNTERSIGN_FROM_VERSION", from),
            ("COUNTERSIGN_TO_VERSION", to),
        ];
        let process = Process {
            uid: SCRIPT_USER,
            gid: SCRIPT_USER,
            more_groups: Vec::new(),
            arguments: vec![format!("{GIVEN}/{}", super::PROGRAM)],
            environment: environment.map(|(name, value)| format!("{name}={value}")).to_vec(),
            directory: GIVEN.to_owned(),
        };
        let bounds =
            Bounds { memory_bytes: self.config.memory_bytes, file_bytes: FILE_BYTES_MAX, processes: PROCESSES_MAX };
        let description = serde_json::to_vec(&bundle::describe_alone(process, &binds, bounds)).unwrap_or_default();
        files::replace(&room.join(bundle::CONFIG), &description)?;
        let patience = self.config.deadline.min(deadline.left());
        let words = containers::run_words(&room, &room.join("notes"), &room.join(bundle::CONFIG), "script")?;
        // It ends with the agent, unlike tools: what it made is of no use to the next one.
        let begin = [LAUNCH.to_owned(), std::process::id().to_string()];
        let (tool, mut excess) = (Tool::new(&self.program, patience).args(begin).args(words), None);
        let (ended, lines) = tool.run_minded(|_| (), limits.mind(new, &mut excess));
        lines.iter().for_each(|line| story.tell(format!("script: {line}")));
        // Whatever was mounted was mounted where nobody else sees it: here are only empty directories.
        files::remove_tree(&room)?;
        // Also of what it made since somebody looked last.
        if let Some(excess) = excess.or_else(|| limits.check(new).err()) {
            return Err(excess.into());
        }
        ended.map_err(|error| {
            let code = if error.is_disk_full() { ReasonCode::DiskFull } else { ReasonCode::InstallFailed };
            let said = match error {
                ToolError::Deadline { patience, .. } => format!("was not over after {patience:?}, and was killed"),
                // What it said stays in the log of the attempt: it has read what the house keeps to itself, and this ends
                // in the ledger.
                ToolError::Failed { status, .. } => format!("ended with {status}"),
                other => format!("cannot be run: {}", chain(&other)),
            };
            Refusal::new(code, format!("the script {said}"))
        })
    }

    /// Makes the root: empty directories to mount at; what is mounted there.
    fn make(&self, root: &Path, given: &Path, new: &Path) -> Result<Vec<Bind>, Refusal> {
        files::private_dir(root)?;
        open(root)?;
        let place = |inside: &str| -> Result<PathBuf, Refusal> {
            let mut place = root.to_owned();
            for part in inside.split('/').filter(|part| !part.is_empty()) {
                place.push(part);
                files::private_dir(&place)?;
                open(&place)?;
            }
            Ok(place)
        };
        let mut binds = Vec::new();
        for path in OF_THE_KERNEL.into_iter().chain(SCRATCH) {
            place(path)?;
        }
        for path in PROGRAMS {
            let inside = root.join(path.trim_start_matches('/'));
            match fs::read_link(path) {
                // Where programs moved to /usr, this is a link to there.
                Ok(target) => symlink(target, &inside).map_err(failed("link", &inside))?,
                Err(_) if Path::new(path).is_dir() => {
                    place(path)?;
                    binds.push(Bind::to_read(path, Path::new(path)));
                }
                Err(_) => {}
            }
        }
        place("/etc")?;
        for path in SETTINGS.into_iter().filter(|path| Path::new(path).exists()) {
            if Path::new(path).is_dir() {
                place(path)?;
            } else {
                let inside = root.join(path.trim_start_matches('/'));
                files::create_new(&inside, b"", files::PUBLIC_FILE_MODE)?;
            }
            binds.push(Bind::to_read(path, Path::new(path)));
        }
        place(GIVEN)?;
        binds.push(Bind::to_read(GIVEN, given));
        for directory in self.config.relative_directories() {
            place(directory)?;
            binds.push(Bind::to_write(&format!("/{directory}"), &new.join(directory)));
        }
        Ok(binds)
    }
}

/// Lets others look into a directory of the agent's own; that nobody reaches it on the host is what those above it are
/// private for.
fn open(directory: &Path) -> Result<(), Refusal> {
    Ok(fs::set_permissions(directory, fs::Permissions::from_mode(OPEN)).map_err(failed("open", directory))?)
}
