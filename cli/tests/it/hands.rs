//! Runs the program in a directory of its own, without the environment of whoever runs the tests.

use ledger::key::SecretKey;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A working directory, and the program run in it.
pub(crate) struct Hands {
    directory: TempDir,
    environment: Vec<(&'static str, String)>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Hands {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// From now on with this in the environment.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Writes a key file as `countersign key new` does.
    pub(crate) fn write_key(&self, name: &str, role: &str, organisation: &str, key: &SecretKey) {
        let (public, secret) = (key.public(), hex::encode(*key.seed()));
        let text = format!(
            "role = \"{role}\"\norganisation = \"{organisation}\"\npublic_key = \"{public}\"\nsecret_key = \"{secret}\"\n"
        );
        set_mode(&self.write(name, text), 0o600);
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_program(Path::new(env!("CARGO_BIN_EXE_countersign")), arguments)
    }

    /// Runs it at a terminal of its own (`script`, of every Debian) where a person types this; what it says
    /// there is in `stdout`.
    pub(crate) fn run_at_terminal(&self, arguments: &[&str], typed: &str) -> Ran {
        let line = [&[env!("CARGO_BIN_EXE_countersign")], arguments].concat().join(" ");
        let mut child = Command::new("/usr/bin/script")
            .args(["--quiet", "--return", "--echo", "never", "--command", &line, "/dev/null"])
            .current_dir(self.directory.path())
            .env_clear()
            .env("SHELL", "/bin/sh")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(typed.as_bytes()).unwrap();
        // The terminal stays open until the program has ended: it is not the end of input that says no.
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = child.wait().unwrap();
        drop(keyboard);
        Ran { code: status.code().expect("no signal"), stdout, stderr: String::new() }
    }

    pub(crate) fn run_program(&self, program: &Path, arguments: &[&str]) -> Ran {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", self.path("bin"))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Exactly this, in all three places.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!(
            (self.code, self.stdout.as_str(), self.stderr.as_str()),
            (code, stdout, stderr),
            "\n--- stdout\n{}--- stderr\n{}",
            self.stdout,
            self.stderr
        );
    }

    /// Done: whatever it says.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Not done, no answer on standard output (of JSON, the error), an error that says this, and what to do.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, says: &str) {
        let is_no_answer = self.stdout.is_empty() || self.json()["error"]["message"].is_string();
        assert!(self.code == code && is_no_answer, "{}: {}{}", self.code, self.stdout, self.stderr);
        assert!(self.stderr.starts_with("error: ") || self.stderr.contains("\nerror: "), "{}", self.stderr);
        assert!(self.stderr.contains(says), "says {says:?}? {}", self.stderr);
        // Of a line that could not be read, the help is the hint.
        let has_a_way_on = self.stderr.contains("\nhint: ") || self.stderr.contains("try '--help'");
        assert!(has_a_way_on, "no hint: {}", self.stderr);
    }

    /// The answer as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

/// A program that can be run at once. Another process writes it: a test beside this one may be starting something
/// just now, which would have this process's open file for a moment, and a program that is open for writing cannot
/// be run ("text file busy").
pub(crate) fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-D", "-m", "755"]).args([from, to]).status().unwrap();
    assert!(status.success(), "install {}", to.display());
}

/// Sets a file's permissions.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A file's permissions.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
