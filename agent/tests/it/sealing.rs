//! A sealed key of a host: what opens it, and that its secret is nowhere on the disk.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved, says};
use crate::support::eventually;
use crate::support::node::World;
use keyring::{PublicPart, Secret};
use ledger::bounded::List;
use ledger::receipt::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::leaks;

/// A host whose secret lies in a directory of its own.
struct Host {
    endpoint: Endpoint,
    elsewhere: tempfile::TempDir,
}

impl Host {
    fn new(endpoint: Endpoint) -> Self {
        let host = Self { endpoint, elsewhere: tempfile::tempdir().unwrap() };
        host.secret("unseal", &Secret::generate());
        host
    }

    /// A file that only its owner reads.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.elsewhere.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Says in the configuration what opens the key.
    fn opened_by(&mut self, place: &str) {
        self.endpoint.top = format!("unseal = {{ {place} }}");
        self.endpoint.configure("");
    }

    fn file(&self) -> PathBuf {
        self.elsewhere.path().join("unseal")
    }

    fn key(&self) -> PathBuf {
        self.endpoint.path("endpoint.key")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--config").arg(self.endpoint.config_path());
        command.env_remove("COUNTERSIGN_LOG").env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    /// How a command ended, and the answer it gave programs.
    async fn run(&self, words: &[&str], credentials: Option<&Path>) -> (i32, Value, String) {
        let mut command = tokio::process::Command::from(self.command(words));
        command.args(["-o", "json"]);
        if let Some(directory) = credentials {
            command.env("CREDENTIALS_DIRECTORY", directory);
        }
        let output = command.output().await.unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let answer = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        (output.status.code().unwrap(), answer, err)
    }

    /// What the doctor says of the key.
    async fn doctor(&self) -> (String, String) {
        let (_, report, _) = self.run(&["doctor"], None).await;
        let findings = report["findings"].as_array().unwrap();
        let key = findings.iter().find(|finding| finding["about"] == "key").unwrap();
        (key["mark"].as_str().unwrap().to_owned(), key["said"].as_str().unwrap().to_owned())
    }
}

/// Everything a host has, and everything its agent said, while it was patched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_of_a_sealed_key_is_nowhere_on_the_host_that_was_patched_with_it() {
    let world = World::new();
    let node = world.node().await;
    let mut host = Host::new(Endpoint::new(&world, &[&node], ""));
    let seed = *host.endpoint.key.seed();
    let directory = host.endpoint.directory.path().to_owned();
    assert_eq!(leaks(&directory, &seed).0, [host.key()], "unsealed, it is there, and the search finds it");

    host.opened_by(&format!("file = {:?}", host.file()));
    let (code, said, err) = host.run(&["key", "seal"], None).await;
    assert_eq!((code, &said["sealed"], &said["overwritten"]), (0, &true.into(), &true.into()), "{said} {err}");
    host.endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let log = File::create(directory.join("agent.log")).unwrap();
    let mut command = host.command(&["run"]);
    command.env("COUNTERSIGN_LOG", "trace").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut agent = command.spawn().unwrap();
    approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.health = List::new(vec![says("{tree}/bin/version", "1.0.2")]).unwrap();
    });
    let receipts = async || world.receipts().first().cloned();
    let receipt = eventually("the receipt, signed with the key", receipts).await;
    assert_eq!((receipt.outcome, receipt.to_version.as_str()), (Outcome::Applied, "1.0.2"));
    kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
    assert!(agent.wait().unwrap().success());

    let (found, looked_at) = leaks(&directory, &seed);
    assert!(found.is_empty() && looked_at > 10, "{found:?} of {looked_at}");
    assert!(fs::read_to_string(directory.join("agent.log")).unwrap().contains("agent runs"));
    // What opens it is not there either.
    let opens = fs::read_to_string(host.file()).unwrap();
    assert!(leaks(&directory, opens.trim_end().as_bytes()).0.is_empty());
    let (mark, said) = host.doctor().await;
    assert!(mark == "ok" && said.contains("sealed; ") && said.ends_with("opens it"), "{mark} {said}");
}

#[tokio::test]
async fn a_host_is_sealed_by_what_its_configuration_names_and_told_what_is_missing() {
    let world = World::new();
    let node = world.node().await;
    let mut host = Host::new(Endpoint::new(&world, &[&node], ""));
    let before = fs::read(host.key()).unwrap();
    let public = host.endpoint.key.public().to_string();
    assert_eq!(host.doctor().await, ("ok".to_owned(), format!("endpoint {public}, not sealed")));
    // An agent that cannot open it again does not seal it.
    let secret = host.file();
    let (code, answer, _) = host.run(&["key", "seal", "--secret-file", secret.to_str().unwrap()], None).await;
    assert_eq!((code, &answer["error"]["code"]), (2, &"key-file".into()), "{answer}");
    assert!(answer["error"]["hint"].as_str().unwrap().contains("unseal = { file ="), "{answer}");
    // A passphrase would be written down, and takes more memory than a host gives.
    let words = host.secret("words", "correct horse battery staple\n");
    host.opened_by(&format!("file = {words:?}"));
    let (code, answer, err) = host.run(&["key", "seal"], None).await;
    assert!(code == 2 && err.contains("it is a passphrase") && err.contains("age-keygen"), "{answer} {err}");
    assert_eq!(fs::read(host.key()).unwrap(), before);
    assert_eq!(host.doctor().await.0, "warn", "it says what opens the key, and the key is open");

    host.opened_by(&format!("file = {:?}", host.file()));
    host.run(&["key", "seal"], None).await;
    let sealed = fs::read(host.key()).unwrap();
    assert_eq!(PublicPart::read(&host.key()).unwrap().public_key.to_string(), public);
    assert_eq!(host.run(&["key", "seal"], None).await.1["error"]["code"], "key-file");
    // Without being opened: who asks how things stand is told.
    host.endpoint.top.clear();
    host.endpoint.configure("");
    let (code, status, _) = host.run(&["status"], None).await;
    assert_eq!((code, status["endpoint"].as_str().unwrap()), (0, public.as_str()));
    let (code, answer, err) = host.run(&["run"], None).await;
    assert!(code == 2 && err.contains("is sealed, and nothing was given that opens it"), "{answer} {err}");
    assert!(answer["error"]["hint"].as_str().unwrap().contains("unseal = { credential ="), "{answer}");
    assert_eq!(host.doctor().await.0, "fail");
    // Another machine's secret.
    let other = host.secret("other", &Secret::generate());
    host.opened_by(&format!("file = {other:?}"));
    let (code, answer, _) = host.run(&["run"], None).await;
    assert_eq!((code, &answer["error"]["code"]), (2, &"key-file".into()), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().ends_with("is not opened by what was given, or was changed"));
    assert_eq!(fs::read(host.key()).unwrap(), sealed);

    // Sealed anew with that one, which the configuration names already; and open again.
    let (first, other) = (secret.to_str().unwrap(), other.to_str().unwrap());
    let (code, _, err) = host.run(&["key", "reseal", "--secret-file", first, "--new-secret-file", other], None).await;
    assert!(code == 0 && err.is_empty(), "{err}");
    assert_eq!(host.doctor().await.0, "ok");
    let (code, _, err) = host.run(&["key", "reseal", "--new-secret-file", first], None).await;
    assert!(code == 0 && err.contains("does not open the key: the agent will not start like this"), "{err}");
    assert_eq!(host.run(&["key", "unseal"], None).await.0, 2);
    assert_eq!(host.run(&["key", "unseal", "--secret-file", first], None).await.1["sealed"], false);
    assert_eq!(fs::read(host.key()).unwrap(), before);
}

/// As a unit with `LoadCredentialEncrypted=countersign-unseal` has it: in a directory that the service manager names.
#[tokio::test]
async fn a_credential_of_the_service_manager_opens_the_key_and_only_the_service_has_it() {
    let world = World::new();
    let node = world.node().await;
    let mut host = Host::new(Endpoint::new(&world, &[&node], ""));
    host.opened_by("credential = \"countersign-unseal\"");
    let secret = fs::copy(host.file(), host.elsewhere.path().join("countersign-unseal")).map(|_| host.file()).unwrap();
    let (code, said, err) = host.run(&["key", "seal", "--secret-file", secret.to_str().unwrap()], None).await;
    assert!(code == 0 && err.is_empty(), "{said} {err}");
    let (mark, said) = host.doctor().await;
    assert!(
        mark == "ok" && said.contains("credential countersign-unseal, which only the service has"),
        "{mark} {said}"
    );

    let (code, answer, err) = host.run(&["run"], None).await;
    assert!(code == 2 && err.contains("no credential countersign-unseal"), "{answer} {err}");
    assert!(
        answer["error"]["hint"].as_str().unwrap().contains("LoadCredentialEncrypted=countersign-unseal"),
        "{answer}"
    );
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let credentials = host.elsewhere.path().to_owned();
    let (code, verdict, err) = host.run(&["apply", &patch.to_string()], Some(&credentials)).await;
    assert_eq!((code, host.endpoint.version().as_deref()), (0, Some("1.0.1")), "{verdict} {err}");

    for wrong in
        ["credential = \"../unseal\"", "credential = \"\"", "passphrase = \"x\"", "file = \"a\", credential = \"b\""]
    {
        host.opened_by(wrong);
        let (code, answer, _) = host.run(&["run"], Some(&credentials)).await;
        assert_eq!((code, &answer["error"]["code"]), (2, &"configuration".into()), "{wrong}: {answer}");
    }
}
