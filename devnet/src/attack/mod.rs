//! The drills an endpoint must withstand: real programs on a ledger of their own, attacked through their files,
//! sockets and calls.
//!
//! Every drill says which check must refuse it, and has a control: the same thing unaltered succeeds, so that
//! the refusal means something.

mod drills;
mod error;
mod files;
mod forge;
mod host;
pub mod judge;
mod mirror;
mod relay;
pub mod report;
mod stage;
mod tool;
mod validators;

pub use drills::DRILLS;
pub use error::AttackError;
pub use host::{Host, Kind};
pub use stage::{Packed, Stage};

use crate::ending::EndsWithUs;
use report::{DrillReport, Played, Report};
use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Instant;

/// The ledger's directory in that of the drills.
pub const LEDGER: &str = "ledger";
/// What drills make, in that of the drills.
const WORK: &str = "work";

/// What a drill brings.
type Playing<'a> = Pin<Box<dyn Future<Output = Result<Played, AttackError>> + 'a>>;

/// One attack.
#[derive(Clone, Copy)]
pub struct Drill {
    /// What people call it.
    pub name: &'static str,
    /// The attack, in a sentence.
    pub attack: &'static str,
    play: for<'a> fn(&'a mut Stage) -> Playing<'a>,
}

/// What to play, and where.
pub struct Script {
    /// The drills.
    pub drills: Vec<Drill>,
    /// Where everything goes; must not exist, or be empty.
    pub dir: PathBuf,
    /// What is drawn or spread is played so many times as often: moments to be killed at, places to be changed.
    pub times: usize,
    /// Leave the ledger running.
    pub keep: bool,
}

/// Plays the drills one after the other, on one ledger, each with hosts of its own.
///
/// # Errors
/// [`AttackError`] when there is no ledger to attack. A drill that could not be played is in the report.
pub async fn play(script: &Script, say: &mut dyn FnMut(&str)) -> Result<Report, AttackError> {
    let begun = Instant::now();
    // What is there already is somebody else's, and may run.
    if fs::read_dir(&script.dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(AttackError::NotEmpty(script.dir.clone()));
    }
    let ledger = script.dir.join(LEDGER);
    let running = EndsWithUs::over(&ledger);
    say("raising a ledger of four validators and a site");
    let mut stage = Stage::raise(&ledger, &script.dir.join(WORK)).await?;
    stage.times = script.times;
    let mut reports = Vec::new();
    for drill in &script.drills {
        let report = drill.play(&mut stage).await;
        let mark = if report.is_as_promised() { "✓" } else { "✗" };
        say(&format!("{mark} {}: {} ({} ms)", report.name, report.found(), report.ms));
        reports.push(report);
    }
    if script.keep {
        running.let_go();
    }
    Ok(Report::of(reports, since(begun)))
}

impl Drill {
    async fn play(&self, stage: &mut Stage) -> DrillReport {
        let begun = Instant::now();
        match (self.play)(stage).await {
            Ok(played) => DrillReport::played(self.name, self.attack, played, since(begun)),
            Err(error) => DrillReport::not_played(self.name, self.attack, error.in_one_line(), since(begun)),
        }
    }
}

fn since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
