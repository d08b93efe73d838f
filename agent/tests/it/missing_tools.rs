//! A host without the tool of a kind: the agent says so when it starts, and offers no patch of that kind.

use crate::support::bench::{Bench, Packages, Rpms};
use crate::support::containers::Images;
use crate::support::endpoint::{Endpoint, PROGRAM, approved_set};
use crate::support::node::World;
use crate::support::scripts::Scripts;
use crate::support::{PATIENCE, left_out};
use agent::data::DataDir;
use ledger::bounded::List;
use ledger::receipt::{Outcome, ReasonCode};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Where the agent looks for tools.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// In a namespace of its own, where the tool of this name is no file any more wherever it was, something is run.
const WITHOUT: &str = r#"
name=$1; shift
for place in $0; do
  if [ -f "$place/$name" ]; then mount --bind /dev/null "$(readlink -f "$place/$name")" || exit 125; fi
done
exec "$@""#;

/// A command on a host from which a tool was taken away.
fn without(tool: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITHOUT]).arg(PLACES.join(" ")).arg(tool);
    command
}

/// The agent on such a host.
fn agent_without(tool: &str, endpoint: &Endpoint) -> Child {
    let mut command = without(tool);
    command.args([PROGRAM, "run", "--config"]).arg(endpoint.config_path());
    command.env_remove("COUNTERSIGN_LOG").stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// The first line it says that has this in it.
async fn says(agent: &mut Child, wanted: &str) -> String {
    let mut lines = BufReader::new(agent.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let line = tokio::time::timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(wanted) {
                return Some(line);
            }
            said.push(line);
        }
        None
    });
    let line = line.await.ok().flatten().unwrap_or_else(|| panic!("nothing of {wanted:?}: {said:#?}"));
    // Whoever has nobody who reads what he says would wait.
    tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
    line
}

/// What the program answers to this about a patch.
async fn asked(endpoint: &Endpoint, arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["-o", "json", "--config"]).arg(endpoint.config_path());
    let output = command.env_remove("COUNTERSIGN_LOG").output().await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

async fn a_kind_without_its_tool_is_said_at_the_start_and_not_offered<B: Bench>(name: &str) {
    if !without(name).arg("true").output().await.is_ok_and(|output| output.status.success()) {
        return left_out("no tool can be taken away from an agent here: that takes a mount namespace");
    }
    let mut bench = match B::new() {
        Ok(bench) => bench,
        Err(why) => return left_out(&why),
    };
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let kind = bench.kind();
    let patch = approved_set(&world, 1, kind, bench.artifacts(1), |manifest| {
        manifest.health = List::new(vec![bench.probe(1)]).unwrap();
        manifest.reboot = bench.reboot();
    });

    let mut agent = agent_without(name, &endpoint);
    let words = policy::kind_words(kind);
    let said = says(&mut agent, &format!("installs no {words}")).await;
    assert!(said.contains(name), "{said}");
    let data = DataDir::at(endpoint.data());
    crate::support::eventually("an agent that can be asked", async || {
        agent::control::ask(&data, &agent::control::Request::Status {}).await.ok().flatten().map(drop)
    })
    .await;
    let status = asked(&endpoint, &["status"]).await;
    let offered = |status: &serde_json::Value| {
        let kinds = status["installers"].as_array().unwrap();
        let of_kind = kinds.iter().find(|it| it["kind"] == serde_json::to_value(kind).unwrap());
        of_kind.unwrap()["lacks"].is_null()
    };
    assert!(!offered(&status), "{status}");

    let settled = asked(&endpoint, &["apply", &patch.to_string()]).await;
    assert_eq!(settled["reason"]["code"], "installer-missing", "{settled}");
    agent.kill().await.unwrap();
    agent.wait().await.unwrap();
    assert!(node.asked().fetches.is_empty(), "nothing is fetched that cannot be installed");
    let receipts = world.receipts();
    assert!(
        receipts.iter().all(|receipt| {
            let code = receipt.reason.as_ref().map(|reason| reason.code);
            (receipt.outcome, code) == (Outcome::Refused, Some(ReasonCode::InstallerMissing))
        }),
        "{receipts:?}"
    );

    // With its tool, the same host takes the same patch.
    let settled = endpoint.apply(patch).await;
    assert!(matches!(settled.outcome, Outcome::Applied), "{settled}");
}

#[tokio::test]
async fn of_debian_packages() {
    a_kind_without_its_tool_is_said_at_the_start_and_not_offered::<Packages>("dpkg").await;
}

#[tokio::test]
async fn of_rpm_packages() {
    a_kind_without_its_tool_is_said_at_the_start_and_not_offered::<Rpms>("rpm").await;
}

#[tokio::test]
async fn of_container_images() {
    a_kind_without_its_tool_is_said_at_the_start_and_not_offered::<Images>("crun").await;
}

#[tokio::test]
async fn of_scripts() {
    a_kind_without_its_tool_is_said_at_the_start_and_not_offered::<Scripts>("crun").await;
}
