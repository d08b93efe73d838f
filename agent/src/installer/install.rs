//! What a kind of patch must be able to do: small steps, which the engine journals.
//!
//! That the host is exactly old or exactly new is the engine's law ([`super::Installer`]), the same for
//! every kind; a kind only supplies its steps. The engine calls them in this order, with a record of the
//! journal on the disk before each step that changes anything:
//!
//! ```text
//! plan      of this manifest, by this kind?          nothing is changed
//! prepare   the holding: everything that putting     only the holding, a private directory, is changed
//!           the new in place needs, and everything
//!           that going back needs
//!                                                    journal: prepared, switching
//! put       the new in place                         the host is changed; may stop anywhere
//! prove_new read it back
//!           the engine moves `current`               journal: switched; services, health,
//!                                                    or first: restarting, restarted
//! keep      make for good what was only tried        journal: judged
//! settle    throw away what going back needed        journal: done
//! or
//! restore   put the old back, from whatever there is journal: judged, restored
//! prove_old read it back
//! ```
//!
//! After a crash the engine asks the kind to `look`, and finishes or takes back.

use super::deadline::Deadline;
use super::installs::Place;
use super::journal::Begun;
use crate::download::Verified;
use crate::files::FileError;
use crate::settled::Refusal;
use ledger::bounded::Version;
use ledger::patch::{Artifact, InstallerKind, PatchManifest, Reboot};
use ledger::receipt::Reason;
use std::path::{Path, PathBuf};

/// One update, as a kind sees it: enough to begin, and to go on after a crash.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is about.
    pub begun: Begun,
    /// Where versions of the product are held.
    pub place: Place,
    /// The end of the step, for those that may be late: [`Install::prepare`] and [`Install::put`]. Going
    /// back goes on to its end, each of its calls within a time of its own.
    pub deadline: Deadline,
}

impl Job {
    /// The holding of the new version: made by [`Install::prepare`], there until the version is pruned.
    #[must_use]
    pub fn holding(&self) -> PathBuf {
        self.place.tree(&self.begun.to)
    }

    /// The holding of the version before, if the agent has one.
    #[must_use]
    pub fn holding_before(&self) -> Option<PathBuf> {
        self.begun.from.as_ref().map(|from| self.place.tree(from))
    }
}

/// An artifact whose bytes are on the host and verified.
#[derive(Debug)]
pub struct Held {
    /// What the vendor signed.
    pub artifact: Artifact,
    /// The bytes.
    pub bytes: Verified,
}

/// What a step did, for the log of the attempt.
#[derive(Debug, Default)]
pub struct Story(Vec<String>);

impl Story {
    /// Adds a line.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }

    /// The lines, in order.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// Why the new is not in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutError {
    /// Nothing was begun.
    NotBegun(Reason),
    /// It may have stopped anywhere.
    Midway(Reason),
}

/// What is on the host, as far as an update changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// It is exactly what it was before.
    pub old: bool,
    /// It is exactly what the patch makes it.
    pub new: bool,
    /// What going back needs is there.
    pub way_back: bool,
    /// What somebody else made of it since, when it is neither; nothing of that is guessed at.
    pub somebodys: Option<Somebodys>,
    /// What runs instead of the new one, for kinds that a boot loader may have gone back from.
    pub elsewhere: Option<String>,
    /// Why the new one does not run, though it is in place, for the agent's own program.
    pub fell_back: Option<Reason>,
}

/// What somebody else made of the host in the middle of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Somebodys {
    /// Another version, and all of it is properly there: he has decided.
    Whole {
        /// What was found.
        told: String,
        /// The version that is there; empty when it is more than one.
        version: Version,
    },
    /// Anything else: only a person can tell what it is meant to be.
    Between {
        /// What was found.
        told: String,
    },
}

/// A kind of patch. Steps are blocking; the engine runs them beside its own thread.
///
/// A step that fails has changed nothing ([`Install::plan`], [`Install::prepare`]) or leaves what it
/// changed to [`Install::restore`], which must get from any state back to the old one, again and again.
pub trait Install: Send + Sync {
    /// Which.
    fn kind(&self) -> InstallerKind;

    /// What this host lacks for it; a kind that lacks something is never offered.
    fn lacks(&self) -> Option<String>;

    /// Whether a manifest can be one of this kind, before anything is fetched.
    ///
    /// # Errors
    /// [`Refusal`] says what it cannot be.
    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal>;

    /// Fills the holding (an empty private directory, not yet under its name) and examines everything
    /// that can be examined without changing the host.
    ///
    /// # Errors
    /// [`Refusal`]; the host is untouched.
    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal>;

    /// Puts the new in place. Durable when it returns.
    ///
    /// # Errors
    /// [`PutError`]; unless nothing was begun, the host may be anything in between, and is restored.
    fn put(&self, job: &Job, story: &mut Story) -> Result<(), PutError>;

    /// Looks at the host after an interruption.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be seen what is there.
    fn look(&self, job: &Job) -> Result<Look, FileError>;

    /// Reads back that the new is in place.
    ///
    /// # Errors
    /// What differs.
    fn prove_new(&self, job: &Job) -> Result<(), Reason>;

    /// Puts the old back, from whatever is there. Durable when it returns.
    ///
    /// # Errors
    /// What stands in the way.
    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String>;

    /// Reads back that the old is in place: content, modes, owners, links, versions.
    ///
    /// # Errors
    /// What differs.
    fn prove_old(&self, job: &Job) -> Result<(), String>;

    /// Throws away what is outside of the holding and only going back needed. May be called again.
    ///
    /// # Errors
    /// [`FileError`]; nothing but room is lost.
    fn settle(&self, job: &Job) -> Result<(), FileError>;

    /// Where what is installed runs from; the holding itself when `None`.
    fn runs_from(&self) -> Option<PathBuf> {
        None
    }

    /// Whether what the patch brings runs in containers of its own, and not as the host's processes do: its services
    /// and the checks of its manifest.
    fn runs_in_containers(&self) -> bool {
        false
    }

    /// Whether the host must restart for it: what the manifest says, unless the kind knows better.
    fn reboot(&self, manifest: &PatchManifest) -> Reboot {
        manifest.reboot
    }

    /// Whether only the agent that the patch brings can judge it: then this one ends, and that one is tried.
    fn hands_over(&self) -> bool {
        false
    }

    /// Has the new one tried, when this agent has ended. Durable when it returns.
    ///
    /// # Errors
    /// [`FileError`]; then it is taken back.
    fn hand_over(&self, _: &Job) -> Result<(), FileError> {
        Ok(())
    }

    /// Makes what was only tried stay, once it was found to be healthy. Durable when it returns; until the verdict is
    /// in the journal, [`Install::restore`] takes it back.
    ///
    /// # Errors
    /// [`FileError`]; then it is taken back.
    fn keep(&self, _: &Job) -> Result<(), FileError> {
        Ok(())
    }

    /// Whether the version before stands by itself, so that what was kept can be taken back by hand.
    fn keeps_the_one_before(&self) -> bool {
        self.runs_from().is_none()
    }

    /// Reads back that what was kept can be taken back, before anything is.
    ///
    /// # Errors
    /// What differs.
    fn check_way_back(&self, job: &Job) -> Result<(), String> {
        self.prove_old(job)
    }

    /// Whether another version runs than the one that is in place, so that the host must restart; `None` when only the
    /// journal can tell.
    fn owes_restart(&self) -> Option<bool> {
        None
    }
}
