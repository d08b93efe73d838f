//! Raise a whole ledger on one machine: the program.

use clap::Parser as _;
use devnet::ending::{self, Interrupted};
use devnet::join;
use devnet::layout::{self, Devnet};
use devnet::options::{Arguments, Command};
use devnet::processes::ToolError;
use devnet::raise::{self, Plan, RaiseError};
use devnet::story::{self, Script};
use devnet::{client, guide, processes};
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use terminal::{Answer, EXIT_REFUSED, EXIT_USAGE, ErrorView, Format, note as say};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let Arguments { output, command } = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return terminal::not_read(&error, &words, "countersign-devnet COMMAND"),
    };
    match execute(command, output).await {
        Ok(answer) => answer.end(output, EXIT_USAGE),
        Err(error) => {
            let (code, hint) = code_and_hint(&*error);
            ErrorView::of(&*error, code, Some(hint)).tell(output);
            let is_interrupted = error.is::<Interrupted>();
            ExitCode::from(if is_interrupted { ending::INTERRUPTED_CODE } else { EXIT_USAGE })
        }
    }
}

async fn execute(command: Command, format: Format) -> Result<Answer, Box<dyn Error>> {
    match command {
        Command::Up { validators, agents, dir, subscribe, heartbeat_ms, seal_ms } => {
            let (subscriptions, addresses) = (subscribe, Vec::new());
            let plan = Plan { dir, validators, agents, subscriptions, heartbeat_ms, seal_ms, addresses };
            let work = async { Ok(raise::up(&plan, &mut say).await?) };
            let devnet = ending::ended_with_it(&plan.dir, &mut say, work).await?;
            guide::guide(&devnet).iter().for_each(|line| say(line));
            let file = devnet.dir.join(layout::FILE_NAME).display().to_string();
            Ok(Answer::new(file.clone(), &json!({ "file": file })))
        }
        Command::Join { name, dir } => Ok(change(&join::join(&mut Devnet::load(&dir)?, &name)?)),
        Command::Validators { organisations, dir } => {
            let organisations: Vec<&str> = organisations.iter().map(String::as_str).collect();
            Ok(change(&join::validators(&Devnet::load(&dir)?, &organisations)?))
        }
        Command::Down { dir } => Ok(ended(&processes::down(&mut Devnet::load(&dir)?)?, "nothing was running")),
        Command::Env { dir } => {
            let devnet = Devnet::load(&dir)?;
            let view: Value = guide::variables(&devnet).into_iter().collect();
            Ok(Answer::new(guide::environment(&devnet).join("\n"), &view))
        }
        Command::Status { dir } => Ok(status(&Devnet::load(&dir)?).await),
        Command::Stop { name, kill, dir } => stop(&dir, &name, kill),
        Command::Start { name, dir } => start(&dir, name.as_deref()).await,
        Command::Story { dir, old, new, keep, check } => play(Script { dir, old, new, keep }, check, format).await,
    }
}

/// Plays the story, or only looks whether it can be played.
async fn play(script: Script, check_only: bool, format: Format) -> Result<Answer, Box<dyn Error>> {
    story::check(&script)?;
    if check_only {
        return Ok(Answer::new("", &json!({ "will_do": true })));
    }
    // What an earlier one left is evidence, and its ledger may run.
    if [story::LEDGER, story::REPORT].iter().any(|name| script.dir.join(name).exists()) {
        return Err(RaiseError::NotEmpty(script.dir).into());
    }
    let ledger = script.dir.join(story::LEDGER);
    let mut print = |line: &str| match format {
        // Nobody has to read it: the exit code still speaks.
        Format::Table => drop(terminal::print(&format!("{line}\n"))),
        // What programs wait for is the report.
        Format::Json => say(line),
    };
    let mut tell = |line: &str| say(line);
    let story = story::play(&script, &mut tell, &mut print);
    let is_as_promised = ending::ended_with_it(&ledger, &mut |line| say(line), story).await?;
    let report = std::fs::read(script.dir.join(story::REPORT))?;
    let answer = Answer::new("", &serde_json::from_slice::<Value>(&report)?);
    Ok(if is_as_promised { answer } else { answer.with_code(EXIT_REFUSED) })
}

/// The `[[change]]` of a proposal.
fn change(text: &str) -> Answer {
    Answer::new(text, &json!({ "change": text }))
}

fn ended(names: &[String], nobody: &str) -> Answer {
    match names {
        [] => say(nobody),
        names => names.iter().for_each(|name| say(&format!("ended {name}"))),
    }
    Answer::new("", &json!({ "ended": names }))
}

/// Where every node stands.
async fn status(devnet: &Devnet) -> Answer {
    let (mut lines, mut nodes) = (Vec::new(), Vec::new());
    for node in &devnet.nodes {
        let (name, grpc) = (&node.name, &node.grpc);
        let mut view = json!({ "name": name, "organisation": node.organisation, "grpc": grpc });
        let more = match client::status(&node.grpc, &devnet.ca).await {
            Ok(status) => {
                let (height, peers, pending) = (status.height, status.peers.len(), status.pending);
                let kind = if status.validator { "validator" } else { "observer" };
                let finality = story::latency(status.finality_p50_ms);
                lines.push(format!(
                    "{name:<12} {kind:<9} height {height:<6} peers {peers} pending {pending} finality p50 {finality}  {grpc}"
                ));
                json!({
                    "up": true, "validator": status.validator, "height": height, "peers": peers, "pending": pending,
                    "finality_p50_ms": status.finality_p50_ms,
                })
            }
            Err(error) => {
                lines.push(format!("{name:<12} down: {error}"));
                json!({ "up": false, "error": error.to_string() })
            }
        };
        if let (Value::Object(view), Value::Object(mut more)) = (&mut view, more) {
            view.append(&mut more);
        }
        nodes.push(view);
    }
    Answer::new(lines.join("\n"), &json!({ "nodes": nodes }))
}

/// A name that nobody has here.
#[derive(Debug, thiserror::Error)]
#[error("no node or agent {name} in {}", dir.display())]
struct Nobody {
    name: String,
    dir: PathBuf,
    /// Who is there.
    names: Vec<String>,
}

impl Nobody {
    fn new(name: &str, devnet: &Devnet) -> Self {
        let nodes = devnet.nodes.iter().map(|node| node.name.clone());
        let agents = devnet.agents.iter().map(|agent| agent.name.clone());
        Self { name: name.to_owned(), dir: devnet.dir.clone(), names: nodes.chain(agents).collect() }
    }
}

fn stop(dir: &Path, name: &str, at_once: bool) -> Result<Answer, Box<dyn Error>> {
    let mut devnet = Devnet::load(dir)?;
    let node = devnet.nodes.iter_mut().find(|node| node.name == name).map(|node| (&mut node.pid, &node.config));
    let agent = devnet.agents.iter_mut().find(|agent| agent.name == name).map(|agent| (&mut agent.pid, &agent.config));
    let Some((pid, config)) = node.or(agent) else { return Err(Nobody::new(name, &devnet).into()) };
    let names: Vec<String> = processes::is_running(*pid, config).then(|| name.to_owned()).into_iter().collect();
    processes::stop(pid.take(), config, at_once);
    devnet.save()?;
    Ok(ended(&names, &format!("{name} was not running")))
}

/// Starts one that does not run, or all of them, and waits until nodes serve.
async fn start(dir: &Path, name: Option<&str>) -> Result<Answer, Box<dyn Error>> {
    let mut devnet = Devnet::load(dir)?;
    let meant = |other: &str| name.is_none_or(|name| name == other);
    let (mut found, mut started) = (false, Vec::new());
    for node in devnet.nodes.iter_mut().filter(|node| meant(&node.name)) {
        found = true;
        if !processes::is_running(node.pid, &node.config) {
            processes::start_node(node)?;
            started.push(node.name.clone());
        }
    }
    for agent in devnet.agents.iter_mut().filter(|agent| meant(&agent.name)) {
        found = true;
        if !processes::is_running(agent.pid, &agent.config) {
            processes::start_agent(agent)?;
            started.push(agent.name.clone());
        }
    }
    devnet.save()?;
    if let (false, Some(name)) = (found, name) {
        return Err(Nobody::new(name, &devnet).into());
    }
    if started.is_empty() {
        say("it runs already");
    }
    for node in devnet.nodes.iter().filter(|node| started.contains(&node.name)) {
        raise::await_serving(node, &devnet.ca).await?;
    }
    started.iter().for_each(|name| say(&format!("started {name}")));
    Ok(Answer::new("", &json!({ "started": started })))
}

/// A stable word for programs, and what a person can do.
fn code_and_hint(error: &(dyn Error + 'static)) -> (&'static str, String) {
    let of_a_tool = |error: &ToolError| ("program", error.hint().to_owned());
    if error.is::<Interrupted>() {
        return ("interrupted", "what was started has ended, too".to_owned());
    }
    if let Some(Nobody { names, .. }) = error.downcast_ref() {
        return ("not-found", format!("here are {}", names.join(", ")));
    }
    match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref::<io::Error>()) {
        (Some(RaiseError::Tool(error)), ..) => of_a_tool(error),
        (Some(error), ..) => ("raise", error.hint()),
        (_, Some(error), _) => of_a_tool(error),
        (.., Some(error)) if error.kind() == io::ErrorKind::NotFound => {
            ("not-found", "no ledger was raised there: `countersign-devnet up --dir DIR` does it".to_owned())
        }
        (.., Some(_)) => ("file", "can you read and write there, and is there room on the disk?".to_owned()),
        _ => ("failed", "what nodes and agents said is in DIR/logs (of a story in DIR/ledger/logs)".to_owned()),
    }
}
