//! Check and use: somebody exchanges an artifact, again and again, while an agent reads it: in the directory it comes from,
//! and in the agent's own once it is checked. What is checked is what is used: never is a wrong byte installed.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::files::{Files, files_of};
use crate::attack::host::{Host, Kind};
use crate::attack::judge::{Ending, Promise};
use crate::attack::relay::Serves;
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use crate::attack::tool;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

pub(super) const DRILL: Drill = Drill {
    name: "check-and-use",
    attack: "An artifact is exchanged again and again while it is read.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/check-and-use";
/// Hosts that are asked while somebody races against them, for each of the two places; more of them on demand.
const HOSTS: usize = 5;
/// Exchanges that there must have been, for it to have been a race.
const EXCHANGES_MIN: u64 = 2_000;
/// Of so many bytes one is another in an artifact that is exchanged.
const EVERY: usize = 4_099;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let packed = stage.pack(PRODUCT, 1, &[]).await?;
    let patch = stage.approved(&packed).await?;
    let shelf = stage.place("check-and-use-shelf");
    let out = shelf.display().to_string();
    tool::answer("countersign", &["artifact", "export", "--packed", &packed.path(), "--out", &out, "-o", "json"])
        .await?;
    // A node that has the proofs and not the artifact.
    let relay = stage.relay().await?;
    relay.behave(|manners| (manners.serves, manners.lists_nothing) = (Serves::Nothing, true));
    let source = format!("[[sources]]\nkind = \"directory\"\npath = {out:?}\n");
    let kind = Kind { products: &[PRODUCT], nodes: &[&relay.url], more: &source, ..Kind::default() };

    let (artifact, good) = artifact_in(&shelf)?;
    let failed = |what: &str| AttackError::io(what.to_owned());
    fs::write(&artifact, altered(&good)).map_err(failed("cannot exchange an artifact"))?;
    let ending = stage.host(kind)?.apply(&patch).await?;
    played.tried("exchanged before it is read", Promise::RefusedBy(&["artifact-digest"]), ending);
    fs::write(&artifact, &good).map_err(failed("cannot put an artifact back"))?;

    let mut tally = Tally::default();
    let in_the_source = |_: &Host| another_file(artifact.clone(), good.clone());
    let ended = race(stage, kind, &patch, &mut tally, in_the_source).await?;
    ended.tell(&mut played, "exchanged while it is read");
    let when_checked = |host: &Host| bits_in(host.agent.data_dir.join("downloads"));
    let ended = race(stage, kind, &patch, &mut tally, when_checked).await?;
    ended.tell(&mut played, "changed where the agent keeps it");
    played.measured("installed otherwise than signed", tally.wrong, 0);
    played.measured("rights of others in the agent's directory", tally.rights, 0);
    match tally.exchanges {
        EXCHANGES_MIN.. => Ok(played),
        few => Err(AttackError::Stage(format!("the artifact was exchanged {few} times only"))),
    }
}

/// What must not be, and how often it was tried.
#[derive(Default)]
struct Tally {
    exchanges: u64,
    wrong: u64,
    rights: u64,
}

/// How applications ended against which somebody raced.
#[derive(Default)]
struct Ended {
    applied: Vec<Ending>,
    refused: Vec<Ending>,
    /// Those that were refused, when nobody raced any more.
    at_last: Vec<Ending>,
}

impl Ended {
    /// Who wins such a race is chance: either is as promised.
    fn tell(self, played: &mut Played, how: &str) {
        if !self.applied.is_empty() {
            played.tried_often(format!("{how}, applied as signed"), Promise::Finishes, self.applied);
        }
        if !self.refused.is_empty() {
            played.tried_often(format!("{how}, refused"), Promise::RefusedByName, self.refused);
            played.control_often("those that refused, when nobody races any more", &self.at_last);
        }
    }
}

/// Has fresh hosts apply a patch while somebody makes `exchange`s.
async fn race<E: FnMut() -> bool + Send + 'static>(
    stage: &mut Stage,
    kind: Kind<'_>,
    patch: &str,
    tally: &mut Tally,
    exchange: impl Fn(&Host) -> E,
) -> Result<Ended, AttackError> {
    let (mut ended, signed) = (Ended::default(), stage.packed_files(PRODUCT, 1)?);
    for _ in 0..HOSTS * stage.times {
        let host = stage.host(kind)?;
        let racer = Racer::start(exchange(&host));
        let ending = host.apply(patch).await?;
        tally.exchanges += racer.stop();
        let wanted = if matches!(ending, Ending::Done { .. }) { signed.clone() } else { Files::new() };
        tally.wrong += u64::from(host.installed_files(PRODUCT)? != wanted);
        tally.rights |= host.rights_of_others()?;
        match ending {
            Ending::Done { .. } => ended.applied.push(ending),
            ending => {
                ended.refused.push(ending);
                ended.at_last.push(host.apply(patch).await?);
                tally.wrong += u64::from(host.installed_files(PRODUCT)? != signed);
            }
        }
    }
    Ok(ended)
}

/// Somebody who exchanges something until told to stop.
struct Racer {
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<u64>>,
}

impl Racer {
    fn start(mut exchange: impl FnMut() -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let running = thread::spawn(move || {
            let mut times = 0;
            while !stopped.load(Ordering::Relaxed) {
                times += u64::from(exchange());
            }
            times
        });
        Self { stop, running: Some(running) }
    }

    /// How often it exchanged something.
    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.running.take().and_then(|running| running.join().ok()).unwrap_or(0)
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Puts another file in the place of one, and the good one back.
fn another_file(artifact: PathBuf, good: Vec<u8>) -> impl FnMut() -> bool {
    let (bad, beside) = (altered(&good), artifact.with_extension("other"));
    let put = move |bytes: &[u8]| fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &artifact).map(drop));
    move || put(&bad).is_ok() && put(&good).is_ok()
}

/// Turns bits of every file in a directory over, and back: in place, so that whoever has it open sees them.
fn bits_in(directory: PathBuf) -> impl FnMut() -> bool {
    let turn_over = |path: &Path| {
        let file = File::options().read(true).write(true).open(path)?;
        let bytes = fs::read(path)?;
        file.write_all_at(&altered(&bytes), 0)?;
        file.write_all_at(&bytes, 0)
    };
    move || {
        let files = fs::read_dir(&directory).into_iter().flatten().flatten();
        // All of them; what goes away meanwhile is no obstacle.
        files.filter(|entry| turn_over(&entry.path()).is_ok()).count() > 0
    }
}

/// The artifact on a shelf that has one.
fn artifact_in(shelf: &Path) -> Result<(PathBuf, Vec<u8>), AttackError> {
    let mut files = files_of(shelf)?.into_iter().filter(|(path, _)| path.extension().is_none());
    let (path, bytes) = files.next().ok_or_else(|| AttackError::Stage("there is nothing on the shelf".to_owned()))?;
    Ok((shelf.join(path), bytes))
}

/// The same with bits turned over everywhere, but for its beginning: an archive's own form would give that away.
fn altered(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().step_by(EVERY).skip(1).for_each(|byte| *byte ^= 1);
    bytes
}
