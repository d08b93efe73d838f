//! Hosts with two slots: files of a fixed size, real squashfs images in them, and the boot loader's documented script,
//! which runs over the same boot environment as the agent.
//!
//! Starting such a host is what a machine does: the script chooses a slot, the "kernel" unpacks what is in it as its
//! root, and where that cannot be done the machine starts over.

use super::bench::{Bench, Snapshot, snapshot};
use super::endpoint::{Endpoint, says};
use ledger::patch::{HealthCheck, InstallerKind, Reboot};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tests::Dice;

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: u64 = 1 << 20;
/// How often a machine that does not come up is started over.
const STARTS_MAX: usize = 12;

/// What GRUB's commands do, for the script of the guide.
const COMMANDS: &str = r##"
is_block() { [ "$(stat -c %s "$ENVIRONMENT")" = 1024 ] && [ "$(head -n 1 "$ENVIRONMENT" | tr -d '\0')" = "# GRUB Environment Block" ]; }
load_env() {
  shift 2; is_block || return 1
  local name; for name in "$@"; do printf -v "$name" %s "$(sed -n "s/^$name=//p" "$ENVIRONMENT" | head -n 1)"; done
}
save_env() { # in place, as GRUB does what has the same length
  is_block && [ -w "$ENVIRONMENT" ] && [ -z "${READ_ONLY:-}" ] || return 1
  local at; at=$(grep -abo "^$3=" "$ENVIRONMENT" | head -n 1 | cut -d: -f1)
  printf %s "${!3}" | dd of="$ENVIRONMENT" bs=1 seek=$((at + ${#3} + 1)) conv=notrunc status=none
}
set() { printf -v "${1%%=*}" %s "${1#*=}"; }
linux() { echo "$*"; }
initrd() { :; }; boot() { :; }; sleep() { :; }; reboot() { :; }
"##;

/// The script of the guide: what people copy is what is tested.
pub(crate) fn documented_script() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/image-slots.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, script) = guide.split_once("```grub\n").expect("the guide has the loader's script");
    script.split_once("```").unwrap().0.to_owned()
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Whether images can be made and looked into here.
pub(crate) fn lacking() -> Result<(), String> {
    let has = |tool: &str| Command::new(tool).arg("-version").output().is_ok();
    match ["mksquashfs", "unsquashfs"].into_iter().find(|tool| !has(tool)) {
        Some(tool) => Err(format!("no {tool} here (squashfs-tools)")),
        None => Ok(()),
    }
}

/// A squashfs image of a whole "system": a program that says the version, and so many random bytes.
pub(crate) fn image(version: &str, filler_bytes: usize) -> Vec<u8> {
    let room = tempfile::tempdir().unwrap();
    let (root, file) = (room.path().join("root"), room.path().join("image"));
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/version"), format!("#!/bin/sh\necho {version}\n")).unwrap();
    fs::set_permissions(root.join("bin/version"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut dice = Dice::new(version.bytes().map(u64::from).sum());
    let filler: Vec<u8> = (0..filler_bytes).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
    fs::write(root.join("filler"), filler).unwrap();
    let (from, to) = (root.to_string_lossy().into_owned(), file.to_string_lossy().into_owned());
    let plainly = ["-all-time", "0", "-mkfs-time", "0", "-all-root", "-no-xattrs", "-no-progress", "-quiet"];
    assert!(run("mksquashfs", &[&[from.as_str(), to.as_str()], &plainly[..]].concat()));
    fs::read(file).unwrap()
}

/// A host with two slots.
pub(crate) struct ImageSlots {
    pub(crate) room: TempDir,
    starts: Cell<u32>,
    /// Other places of the slots, for those that are devices.
    pub(crate) slots: Option<[PathBuf; 2]>,
}

impl ImageSlots {
    pub(crate) fn host(&self) -> PathBuf {
        self.room.path().join("host")
    }

    pub(crate) fn slot(&self, name: &str) -> PathBuf {
        match &self.slots {
            Some([a, b]) => if name == "a" { a } else { b }.clone(),
            None => self.host().join(format!("slot-{name}")),
        }
    }

    pub(crate) fn environment(&self) -> PathBuf {
        self.host().join("countersign.env")
    }

    fn kernel(&self, name: &str) -> PathBuf {
        self.room.path().join("kernel").join(name)
    }

    /// Where the image that runs is.
    pub(crate) fn root(&self) -> PathBuf {
        self.room.path().join("root")
    }

    /// The value of a variable of the boot environment.
    pub(crate) fn says(&self, name: &str) -> String {
        let block = fs::read(self.environment()).unwrap();
        let block = String::from_utf8_lossy(&block).into_owned();
        let found =
            block.lines().find_map(|line| line.strip_prefix(&format!("countersign_{name}=")).map(str::to_owned));
        found.unwrap_or_default()
    }

    /// What it says as a whole.
    pub(crate) fn chosen(&self) -> String {
        format!("{} {} {}", self.says("active"), self.says("trying"), self.says("tries_left"))
    }

    pub(crate) fn set_environment(&self, active: &str, trying: &str, tries_left: u8) {
        let mut block = format!(
            "# GRUB Environment Block\n# WARNING: Do not edit this file by tools other than grub-editenv!!!\n\
             countersign_active={active}\ncountersign_trying={trying}\ncountersign_tries_left={tries_left}\n"
        )
        .into_bytes();
        block.resize(1024, b'#');
        fs::write(self.environment(), block).unwrap();
    }

    /// Which slot runs, as the kernel was told.
    pub(crate) fn running(&self) -> String {
        let line = fs::read_to_string(self.kernel("cmdline")).unwrap_or_default();
        line.split_whitespace().find_map(|word| word.strip_prefix("countersign.slot=")).unwrap_or_default().to_owned()
    }

    /// What the script starts, with what it writes into the boot environment first.
    pub(crate) fn loads(&self, read_only: bool) -> String {
        let script = format!("{COMMANDS}\n{}", documented_script());
        let mut bash = Command::new("bash");
        bash.env_clear().env("PATH", "/usr/bin:/bin").env("ENVIRONMENT", self.environment());
        if read_only {
            bash.env("READ_ONLY", "1");
        }
        let output = bash.arg("-c").arg(script).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fills a slot from its beginning, as somebody at the factory would.
    pub(crate) fn fill(&self, name: &str, bytes: &[u8]) {
        fs::OpenOptions::new().write(true).open(self.slot(name)).unwrap().write_all_at(bytes, 0).unwrap();
    }

    /// The machine is started, over and over, until something comes up; whether anything did.
    pub(crate) fn starts(&self) -> bool {
        for _ in 0..STARTS_MAX {
            let line = self.loads(false);
            fs::create_dir_all(self.kernel("proc/sys/kernel/random")).unwrap();
            fs::write(self.kernel("cmdline"), line).unwrap();
            self.starts.set(self.starts.get() + 1);
            let boot_id = format!("00000000-0000-4000-8000-{:012}\n", self.starts.get());
            fs::write(self.kernel("proc/sys/kernel/random/boot_id"), boot_id).unwrap();
            fs::write(self.kernel("proc/uptime"), "1000.00 2000.00\n").unwrap();
            let _ = fs::remove_dir_all(self.root());
            let (root, slot) = (self.root(), self.slot(&self.running()));
            let (root, slot) = (root.to_string_lossy().into_owned(), slot.to_string_lossy().into_owned());
            if run("unsquashfs", &["-quiet", "-no-progress", "-no-xattrs", "-d", &root, &slot]) {
                return true;
            }
        }
        false
    }

    /// How often it was started so far.
    pub(crate) fn started(&self) -> u32 {
        self.starts.get()
    }

    /// The configuration, with the restart as the house wants it.
    pub(crate) fn config_with(&self, when: &str) -> String {
        format!(
            "[installers.images]\nenabled = true\nslot_a = \"{}\"\nslot_b = \"{}\"\nenvironment = \"{}\"\n\
             command_line = \"{}\"\nroot = \"{}\"\n\
             [reboot]\nwhen = \"{when}\"\ncommand = [\"/bin/true\"]\nroot = \"{}\"",
            self.slot("a").display(),
            self.slot("b").display(),
            self.environment().display(),
            self.kernel("cmdline").display(),
            self.root().display(),
            self.room.path().join("kernel").display(),
        )
    }

    /// The image that is in a slot, without what lies behind it.
    fn content(&self, name: &str) -> Vec<u8> {
        let mut bytes = fs::read(self.slot(name)).unwrap();
        let used = bytes.get(40..48).map_or(0, |used| u64::from_le_bytes(used.try_into().unwrap()));
        bytes.truncate(usize::try_from(used).unwrap_or(0).min(bytes.len()));
        bytes
    }
}

impl Bench for ImageSlots {
    fn new() -> Result<Self, String> {
        lacking()?;
        Ok(Self { room: tempfile::tempdir().unwrap(), starts: Cell::new(0), slots: None })
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::ImageSlot
    }

    fn config(&self) -> String {
        self.config_with("now")
    }

    fn target(&self, _: &Endpoint) -> PathBuf {
        self.host()
    }

    fn build(&mut self, _: &Endpoint) {
        fs::create_dir_all(self.host()).unwrap();
        for name in ["a", "b"] {
            if self.slots.is_none() {
                fs::write(self.slot(name), vec![0; usize::try_from(SLOT_BYTES).unwrap()]).unwrap();
            }
        }
        self.fill("a", &image("factory", 1000));
        self.set_environment("a", "-", 0);
        assert!(self.starts());
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        vec![("system.squashfs".to_owned(), image(&format!("1.0.{release}"), 300_000))]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        says("{tree}/bin/version", &format!("1.0.{release}"))
    }

    fn reboot(&self) -> Reboot {
        Reboot::Required
    }

    fn restarts(&self) -> bool {
        assert!(self.starts(), "something comes up");
        true
    }

    fn snapshot(&self, _: &Endpoint) -> Snapshot {
        let fact = |text: String| (0, 0, 0, text.into_bytes());
        let mut seen = snapshot(&self.root(), &[]);
        seen.insert("running".to_owned(), fact(self.running()));
        seen.insert("chosen".to_owned(), fact(self.chosen()));
        seen.insert("slot".to_owned(), (0, 0, 0, self.content(&self.says("active"))));
        seen
    }
}
