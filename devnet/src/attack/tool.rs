//! Running the programs people use, so that whoever is interrupted leaves none of them behind.

use super::error::AttackError;
use super::judge::Ending;
use crate::processes::{ToolError, program};
use serde_json::Value;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// How long one program may take: says only that something hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// What programs of this house end with when a check said no.
const REFUSED: i32 = 1;

/// Runs a program to its end and gives what it printed, whatever its exit code.
pub(super) async fn output(name: &str, arguments: &[&str]) -> Result<Output, AttackError> {
    let program = program(name);
    // Its answer is read here, whoever asked us for JSON.
    let mut command = Command::new(&program);
    command.args(arguments).env_remove(terminal::OUTPUT_VARIABLE).stdin(Stdio::null()).kill_on_drop(true);
    let running = command.output();
    match tokio::time::timeout(PATIENCE, running).await {
        Ok(output) => output.map_err(|source| ToolError::Start { program, source }.into()),
        Err(_) => Err(AttackError::GaveUp(format!("the end of `{name} {}`", arguments.join(" ")))),
    }
}

/// Runs a program, and kills it (SIGKILL) when `moment` is over, if it has not ended before.
pub(super) async fn killed_after(
    name: &str,
    arguments: &[&str],
    moment: impl Future<Output = Result<(), AttackError>>,
) -> Result<(), AttackError> {
    let program = program(name);
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| ToolError::Start { program, source })?;
    let moment = moment.await;
    child.kill().await.map_err(AttackError::io(format!("cannot kill {name}")))?;
    moment
}

/// Runs a program that must succeed; its answer.
pub(super) async fn answer(name: &str, arguments: &[&str]) -> Result<Value, AttackError> {
    let output = output(name, arguments).await?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        let (command, code) = (format!("{name} {}", arguments.join(" ")), output.status.to_string());
        return Err(ToolError::Failed { command, code, stderr }.into());
    }
    parsed(name, &output)
}

/// The JSON a program printed.
pub(super) fn parsed(name: &str, output: &Output) -> Result<Value, AttackError> {
    serde_json::from_slice(&output.stdout).map_err(|_| AttackError::Answer {
        from: name.to_owned(),
        answer: String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    })
}

/// Runs a command of `countersign` that may be refused. By its exit code; the check from its JSON.
pub(super) async fn attempt(arguments: &[&str]) -> Result<Ending, AttackError> {
    let output = output("countersign", arguments).await?;
    let answer = parsed("countersign", &output)?;
    let error = answer.get("error").unwrap_or(&Value::Null);
    Ok(match output.status.code() {
        Some(0) => Ending::Done { what: format!("`countersign {}` did it", arguments.first().unwrap_or(&"")) },
        Some(REFUSED) => Ending::Refused { check: text(error, "code"), detail: text(error, "message") },
        _ => Ending::Neither { what: text(error, "message") },
    })
}

/// A field's text; empty when there is none.
pub(super) fn text(of: &Value, field: &str) -> String {
    of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
