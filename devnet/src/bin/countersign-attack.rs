//! The drills an endpoint must withstand: the program, also `countersign attack`.

use clap::Parser;
use clap::builder::PossibleValuesParser;
use devnet::attack::{self, AttackError, DRILLS, Drill, Script};
use devnet::ending::{INTERRUPTED_CODE, until_interrupted};
use devnet::guide;
use devnet::layout::Devnet;
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use terminal::{Answer, EXIT_REFUSED, EXIT_USAGE, ErrorView, Format, note as say};

/// Attack endpoints of a throw-away ledger, and show which check refuses each attack.
///
/// Raises four validators and a site on loopback, plays every drill on fresh agents, and ends everything it
/// started.
#[derive(Parser)]
#[command(
    name = "countersign-attack",
    version,
    after_help = "\
Every drill has a control: the same thing unaltered succeeds, so that a refusal means something. Not every threat has \
a drill: floods, disks that are full and more are held by the project's tests, which its README names.
Exit codes: 0 every attack was refused by the check its drill promises, or finished from the honest source where that \
is the promise; 1 something got through, or was refused by another check; 2 usage or environment.
JSON: {\"version\", \"as_promised\", \"ms\", \"drills\": [{\"name\", \"attack\", \"outcome\" (as-promised, not-played, \
unsettled, other-check, control-failed, got-through), \"trials\": [{\"tried\", \"times\", \"checks\", \"verdict\", \
\"detail\"}], \"controls\", \"measured\": [{\"what\", \"value\", \"at_most\"}], \"trouble\", \"ms\"}]}; \
with --list {\"drills\": [{\"name\", \"attack\"}]}; what went wrong {\"error\": {\"code\", \
\"message\", \"because\", \"hint\"}}

Examples:
  countersign attack
  countersign attack --list
  countersign attack --drill freeze --drill hostile-archives -o json
  countersign attack --drill power-cut --times 10
  countersign attack --dir /tmp/drills --keep"
)]
struct Arguments {
    /// Say which drills there are, and play none
    #[arg(long)]
    list: bool,
    /// Play this drill; may be repeated; all of them if not given
    #[arg(long = "drill", value_name = "NAME", value_parser = PossibleValuesParser::new(DRILLS.map(|drill| drill.name)))]
    drills: Vec<String>,
    /// Where everything goes; must not exist, or be empty; a temporary directory, removed at the end, if not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Play so many times as much of what drills draw or spread: moments an agent is killed at (20), places a proof is
    /// changed at (96), hosts whose artifact is exchanged (10)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    times: u16,
    /// Leave the ledger running and its files where they are, and say where to look
    #[arg(long)]
    keep: bool,
    /// How the answer is written
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, env = terminal::OUTPUT_VARIABLE, hide_env_values = true)]
    output: Format,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return terminal::not_read(&error, &words, "countersign-attack"),
    };
    let drills = chosen(&arguments.drills);
    if arguments.list {
        return list(&drills).end(arguments.output, EXIT_USAGE);
    }
    match until_interrupted(execute(&arguments, drills)).await {
        Ok(answer) => answer.end(arguments.output, EXIT_USAGE),
        Err(error) => {
            ErrorView::of(&error, error.code(), Some(error.hint().to_owned())).tell(arguments.output);
            let is_interrupted = matches!(error, AttackError::Interrupted(_));
            ExitCode::from(if is_interrupted { INTERRUPTED_CODE } else { EXIT_USAGE })
        }
    }
}

/// The drills named, in the order they are played; all of them when none is.
fn chosen(names: &[String]) -> Vec<Drill> {
    let is_meant = |drill: &&Drill| names.is_empty() || names.iter().any(|name| name == drill.name);
    DRILLS.iter().filter(is_meant).copied().collect()
}

async fn execute(arguments: &Arguments, drills: Vec<Drill>) -> Result<Answer, AttackError> {
    // Kept until the end: it removes what is in it, after everybody who works there is gone.
    let temporary = match arguments.dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("countersign-attack-").tempdir()?),
    };
    let dir = arguments.dir.clone().or_else(|| temporary.as_ref().map(|made| made.path().to_owned()));
    let times = usize::from(arguments.times);
    let script = Script { drills, dir: dir.unwrap_or_default(), times, keep: arguments.keep };
    let played = attack::play(&script, &mut say).await?;
    if arguments.keep {
        if let Some(kept) = temporary {
            say(&format!("kept: {}", kept.keep().display()));
        }
        show_around(&script.dir);
    }
    let answer = Answer::new(played.text(), &played);
    Ok(match (played.as_promised, played.is_incomplete()) {
        (true, _) => answer,
        (false, false) => answer.with_code(EXIT_REFUSED),
        (false, true) => answer.with_code(EXIT_USAGE),
    })
}

fn show_around(dir: &Path) {
    if let Ok(devnet) = Devnet::load(&dir.join(attack::LEDGER)) {
        guide::guide(&devnet).iter().for_each(|line| say(line));
    }
}

fn list(drills: &[Drill]) -> Answer {
    let text: Vec<String> = drills.iter().map(|drill| format!("{:<24} {}", drill.name, drill.attack)).collect();
    let views: Vec<_> = drills.iter().map(|it| json!({ "name": it.name, "attack": it.attack })).collect();
    Answer::new(text.join("\n"), &json!({ "drills": views }))
}
