//! The description of a container that `crun` runs: `config.json` of the OCI runtime specification, beside the root
//! file system. Made once from the image's own configuration, recorded with the version, and filled in with what is run
//! each time something is.
//!
//! What a container may do is the same for all: its root is read-only, it gains no rights, it has processes and mounts
//! of its own and the host's network. An image asks for none of that, and cannot.

use super::calls;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The file's name in a bundle.
pub(crate) const CONFIG: &str = "config.json";
/// The root file system's.
pub(crate) const ROOTFS: &str = "rootfs";
/// Directories that a container may write to and that are gone with it. What the image has there is copied.
pub(crate) const SCRATCH: [&str; 3] = ["/tmp", "/run", "/var/tmp"];
/// Files of the host that a container reads instead of its own: it uses the host's network.
pub(crate) const OF_THE_HOST: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Directories that something of the kernel is mounted at.
pub(crate) const OF_THE_KERNEL: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Where programs are looked for when an image does not say.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Rights of root in a container: over files and users of its own, and ports below 1024. Not the one that keeps bits of
/// others' rights on a file that is written to (`CAP_FSETID`): there are none to keep.
const CAPABILITIES: [&str; 7] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"];
/// Most a container may write into one of [`SCRATCH`].
const SCRATCH_SIZE: &str = "size=64m";

/// What is run in a container, as its image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) more_groups: Vec<u32>,
    /// Program and arguments; nothing when the image names none.
    pub(crate) arguments: Vec<String>,
    /// `NAME=VALUE`.
    pub(crate) environment: Vec<String>,
    pub(crate) directory: String,
}

/// Something of the host, mounted in a container.
#[derive(Clone, Debug)]
pub(crate) struct Bind(Value);

impl Bind {
    pub(crate) fn to_read(inside: &str, outside: &Path) -> Self {
        Self::with(inside, outside, "ro")
    }

    pub(crate) fn to_write(inside: &str, outside: &Path) -> Self {
        Self::with(inside, outside, "rw")
    }

    fn with(inside: &str, outside: &Path, access: &str) -> Self {
        let options = ["bind", access, "nosuid", "nodev", "private"];
        Self(json!({ "destination": inside, "type": "bind", "source": outside, "options": options }))
    }
}

/// What one container may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Memory of one process.
    pub(crate) memory_bytes: u64,
    /// One file.
    pub(crate) file_bytes: u64,
    /// Processes of its user.
    pub(crate) processes: u64,
}

/// The description of a container that runs this with no rights and no network, and has nothing but these mounts.
pub(crate) fn describe_alone(process: Process, binds: &[Bind], bounds: Bounds) -> Value {
    let mut config = describe(process);
    config["process"]["capabilities"] = json!({});
    let Bounds { memory_bytes, file_bytes, processes } = bounds;
    let bound = |kind: &str, most: u64| json!({ "type": kind, "soft": most, "hard": most });
    config["process"]["rlimits"] = json!([
        bound("RLIMIT_AS", memory_bytes),
        bound("RLIMIT_FSIZE", file_bytes),
        bound("RLIMIT_NPROC", processes),
        bound("RLIMIT_CORE", 0),
    ]);
    let namespaces = ["pid", "ipc", "mount", "network", "uts"].map(|kind| json!({ "type": kind }));
    config["linux"]["namespaces"] = json!(namespaces);
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.extend(binds.iter().map(|bind| bind.0.clone()));
    }
    config
}

/// The description of a container that runs this.
pub(crate) fn describe(process: Process) -> Value {
    let Process { uid, gid, more_groups, arguments, mut environment, directory } = process;
    if !environment.iter().any(|variable| variable.starts_with("PATH=")) {
        environment.insert(0, PATH.to_owned());
    }
    let directory = if directory.is_empty() { "/".to_owned() } else { directory };
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let kernel = [
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", SCRATCH_SIZE]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let scratch = SCRATCH.map(|path| mount(path, "tmpfs", &["nosuid", "nodev", "tmpcopyup", SCRATCH_SIZE]));
    let mounts: Vec<Value> = kernel.into_iter().chain(scratch).collect();
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": false,
            "user": { "uid": uid, "gid": gid, "additionalGids": more_groups },
            "args": arguments,
            "env": environment,
            "cwd": directory,
            "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
            "noNewPrivileges": true,
        },
        "root": { "path": ROOTFS, "readonly": true },
        "mounts": mounts,
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "mount" }],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
                "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/fs/cgroup",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": calls::filter(),
        },
    })
}

/// Fills in what is run this time: other words than the image's, more environment, and directories and files of the
/// host by where they are mounted. False when there is nothing to run.
pub(crate) fn fill_in(
    config: &mut Value,
    words: &[String],
    environment: &BTreeMap<String, String>,
    directories: &BTreeMap<String, impl AsRef<Path>>,
) -> bool {
    let process = &mut config["process"];
    if !words.is_empty() {
        process["args"] = json!(words);
    }
    let has_words = process["args"].as_array().is_some_and(|words| !words.is_empty());
    if let Some(variables) = process["env"].as_array_mut() {
        let is_replaced = |variable: &Value| {
            let name = variable.as_str().and_then(|variable| variable.split_once('='));
            name.is_some_and(|(name, _)| environment.contains_key(name))
        };
        variables.retain(|variable| !is_replaced(variable));
        variables.extend(environment.iter().map(|(name, value)| json!(format!("{name}={value}"))));
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        let files = OF_THE_HOST.map(Path::new).into_iter().filter(|path| path.is_file());
        mounts.extend(files.map(|path| Bind::to_read(&path.to_string_lossy(), path).0));
        mounts.extend(directories.iter().map(|(inside, outside)| Bind::to_write(inside, outside.as_ref()).0));
    }
    has_words
}
