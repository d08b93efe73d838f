//! What the guides tell people to type is typed here, as it stands there.

use devnet::processes::program;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long a guide may take: what a person has patience for, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(180);

/// The lines of a guide that are to be typed, as one script.
fn typed(guide: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide").join(guide);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.collect::<Vec<_>>().join("\n")
}

/// Types a guide in an empty directory; what was printed, and what was logged.
async fn follow(guide: &str) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let programs = program("countersign").parent().unwrap().display().to_string();
    // Whatever happens, nothing is left running.
    let end =
        "trap 'kill $(jobs -p) 2>/dev/null || true; countersign-devnet down --dir ledger >/dev/null 2>&1 || true' EXIT";
    let script = format!("set -euo pipefail\n{end}\n{}", typed(guide));
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let bash = Command::new("bash")
        .args(["-c", &script])
        .env("PATH", path)
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(PATIENCE, bash.wait_with_output()).await.expect("the guide ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{log}", output.status);
    (said, log)
}

#[tokio::test]
async fn the_guide_to_an_endpoint_leads_from_nothing_to_a_proven_update() {
    let (said, log) = follow("endpoint.md").await;
    for promise in [
        "0 of 2 approvals from 0 of 2 organisations; missing approver-a, approver-b",
        "now          approved: 2 of 2 approvals from 2 of 2 organisations",
        "\ngreetings from 2\n",
        "published, approved, not recalled, not halted",
    ] {
        assert!(said.contains(promise), "{promise:?} is not in\n{said}");
    }
    assert!(log.contains("ended vendor-a"), "{log}");
    for outcome in ["refused ", "applied "] {
        let receipts = said.lines().filter(|line| line.contains("edge-1") && line.contains(outcome));
        assert!(receipts.count() > 0, "no receipt says {outcome}:\n{said}");
    }
}

#[tokio::test]
async fn the_guide_to_sources_leads_from_a_stick_to_a_delta() {
    let (said, _) = follow("sources.md").await;
    assert_eq!(said.matches("\ngreetings from 1\n").count(), 1, "{said}");
    for promise in ["applied", "\ngreetings from 2\n", " 1 artifacts, ", "made out of a delta"] {
        assert!(said.contains(promise), "{promise:?} is not in\n{said}");
    }
}
