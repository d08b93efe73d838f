//! Sealed keys, on real processes: the secrets are on no disk, and the ledger goes on with them.

use crate::support::ledger::Ledger;
use devnet::processes::program;
use ledger::key::SecretKey;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tests::leaks;

/// The seed in a key file as it is.
fn seed(file: &Path) -> [u8; 32] {
    let text = fs::read_to_string(file).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut seed = [0; 32];
    hex::decode_to_slice(table["secret_key"].as_str().unwrap(), &mut seed).unwrap();
    seed
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A machine's secret in a directory of its own.
fn machine_secret(ledger: &Ledger, name: &str) -> PathBuf {
    let directory = ledger.beside(name);
    fs::create_dir(&directory).unwrap();
    let file = directory.join("unseal");
    ledger.must(&["key", "secret", "--out", file.to_str().unwrap()], &[]);
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_whose_keys_are_sealed_signs_blocks_and_has_its_secrets_on_no_disk() {
    let mut ledger = Ledger::raise().await;
    let config = ledger.node("vendor-a").config.clone();
    let directory = config.parent().unwrap().to_owned();
    let secret = machine_secret(&ledger, "secret-of-vendor-a");
    ledger.stop("vendor-a");
    ledger.await_end("vendor-a").await;
    let keys = ["node.key", "validator.key"].map(|name| directory.join(name));
    let seeds = keys.clone().map(|key| seed(&key));
    for (key, seed) in keys.iter().zip(&seeds) {
        assert_eq!(
            leaks(&directory, seed).0,
            std::slice::from_ref(key),
            "unsealed, it is there, and the search finds it"
        );
        ledger.must(&["key", "seal", key.to_str().unwrap(), "--passphrase-file", secret.to_str().unwrap()], &[]);
    }
    // Without what opens them it does not start, and says why.
    let refused = Command::new(program("countersign-node"))
        .args(["run", "-o", "json", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = &json(&refused)["error"];
    assert_eq!((refused.status.code(), &error["code"]), (Some(2), &"key-file".into()), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("unseal = { credential ="), "{error}");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("unseal = {{ file = {secret:?} }}\n{text}")).unwrap();
    ledger.start("vendor-a");
    // Three of four are a quorum, so the others could go on without it: one of them is stopped, and they cannot.
    ledger.stop("approver-b");
    let height = ledger.height("approver-a").await;
    ledger.await_height("approver-a", height + 3).await;
    ledger.await_height("vendor-a", height + 3).await;
    ledger.stop("vendor-a");
    ledger.await_end("vendor-a").await;
    for seed in &seeds {
        let (found, looked_at) = leaks(&directory, seed);
        assert!(found.is_empty() && looked_at > 10, "{found:?} of {looked_at}");
        assert!(!tests::holds(ledger.log("vendor-a").as_bytes(), seed));
    }
    assert!(ledger.log("vendor-a").contains("serving clients"));
}

/// From the invitation on: there is no moment in which the key lies there as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_enrols_itself_has_a_sealed_key_from_the_start() {
    let ledger = Ledger::raise().await;
    let who = ledger.as_client("site", Some(("site", "operator")));
    let line = ledger.must(&["endpoint", "invite", "--group", "edge", "--hosts", "3"], &who);
    let words: Vec<&str> = line.split_whitespace().collect();
    let enrols = |name: &str, more: &[&str]| {
        let mut command = Command::new(program("countersign-agent"));
        command.args(&words[1..]).args(["--name", name, "-o", "json", "--dir"]).arg(ledger.beside(name)).args(more);
        command.output().unwrap()
    };
    // The secret is made with the host, where there is none yet.
    let safe = ledger.beside("safe");
    fs::create_dir(&safe).unwrap();
    let secret = safe.join("unseal");
    let output = enrols("edge-1", &["--seal-with", secret.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let public = json(&output)["public_key"].as_str().unwrap().to_owned();
    let directory = ledger.beside("edge-1");
    let sealed = fs::read_to_string(directory.join("endpoint.key")).unwrap();
    assert!(sealed.contains("sealed_key") && !sealed.contains("secret_key") && sealed.contains(&public), "{sealed}");
    // It opens, and it is the key that was enrolled.
    let doctor = |name: &str| {
        let mut command = Command::new(program("countersign-agent"));
        let output =
            command.arg("doctor").arg("--config").arg(ledger.beside(name).join("agent.toml")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = doctor("edge-1");
    assert!(said.contains("this host's key is enrolled in the ledger") && said.contains("sealed; "), "{said}");
    let copy = safe.join("opened.key");
    fs::copy(directory.join("endpoint.key"), &copy).unwrap();
    ledger.must(&["key", "unseal", copy.to_str().unwrap(), "--passphrase-file", secret.to_str().unwrap()], &[]);
    let seed = seed(&copy);
    assert_eq!(SecretKey::from_seed(&seed).public().to_string(), public);
    assert!(leaks(&directory, &seed).0.is_empty());

    // A credential is named, and the file is not; one that is there is not written over.
    let before = fs::read(&secret).unwrap();
    let output = enrols("edge-2", &["--seal-with", secret.to_str().unwrap(), "--credential", "countersign-unseal"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config = fs::read_to_string(ledger.beside("edge-2").join("agent.toml")).unwrap();
    assert!(config.contains("\nunseal = { credential = \"countersign-unseal\" }\n") && !config.contains("safe/unseal"));
    assert_eq!(fs::read(&secret).unwrap(), before);
    assert!(doctor("edge-2").contains("which only the service has"));

    // What does not do makes nothing, neither a host nor a secret.
    let absent = safe.join("absent");
    let mut refused = Command::new(program("countersign-agent"));
    refused.args([
        "enroll",
        "https://127.0.0.1:1",
        words[3],
        words[4],
        "--name",
        "edge-3",
        "-o",
        "json",
        "--seal-with",
    ]);
    let refused = refused.arg(&absent).arg("--dir").arg(ledger.beside("edge-3")).output().unwrap();
    assert!(!refused.status.success() && !absent.exists() && !ledger.beside("edge-3").exists(), "{refused:?}");
}
