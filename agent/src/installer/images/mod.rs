//! Image slots: a squashfs image for the one of two slots that does not run, tried by the boot loader, and kept when
//! the host that was started from it is healthy.
//!
//! The slot that does not run is as good as the holding: nothing of the host depends on what is in it, so it is
//! written while the update is prepared. What is put in place is a few bytes of the boot [`environment`]: try this
//! slot, so often. From there on the boot loader counts, and goes back by itself when the tries are used up; the agent
//! sees afterwards which slot it runs in. Going back is the same few bytes, and needs no room.

pub mod environment;
mod slot;
pub mod squashfs;

use super::install::{Held, Install, Job, Look, PutError, Story};
use super::record;
use crate::config;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain, reason};
use environment::{BLOCK_BYTES, Block, Choice, Environment, EnvironmentError, SlotName};
use ledger::id::Digest;
use ledger::patch::{Artifact, InstallerKind, PatchManifest, Reboot};
use ledger::receipt::{Reason, ReasonCode};
use rustix::fs::Access;
use serde::{Deserialize, Serialize};
use slot::Slot;
use std::io;
use std::path::{Path, PathBuf};

/// What is in the slots, in the holding.
const SLOTS: &str = "slots.json";
/// The boot environment of before, in the holding.
const ENVIRONMENT: &str = "environment";
/// Largest record of the slots.
const SLOTS_BYTES_MAX: usize = 4 * 1024;

/// What is in a slot: read back from it, not taken from what was meant to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    slot: SlotName,
    bytes: u64,
    blake3: Digest,
}

/// The slot that runs and the one that was written, with their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slots {
    old: Content,
    new: Content,
}

impl Slots {
    fn read(holding: &Path) -> Result<Self, FileError> {
        record::read(&holding.join(SLOTS), SLOTS_BYTES_MAX)
    }
}

/// Installs images into slots.
pub(super) struct Images {
    config: config::Images,
    environment: Environment,
}

impl Images {
    pub(super) fn new(config: &config::Images) -> Self {
        Self { environment: Environment::at(&config.environment), config: config.clone() }
    }

    fn slot(&self, name: SlotName) -> Slot {
        let path = match name {
            SlotName::A => &self.config.slot_a,
            SlotName::B => &self.config.slot_b,
        };
        Slot::new(name, path)
    }

    fn running(&self) -> Result<SlotName, FileError> {
        slot::running(&self.config.command_line, &self.config.key)
    }

    /// The slot that is known to be good, when it is the one that runs and no other is tried: then the other one is
    /// nobody's.
    fn settled_slot(&self) -> Result<(SlotName, Block), Refusal> {
        let (block, running) = (self.environment.read().map_err(FileError::from)?, self.running()?);
        let cannot = |detail: String| Err(Refusal::new(ReasonCode::CannotRollBack, detail));
        match block.choice() {
            Choice { trying: Some(tried), .. } => cannot(format!("slot {tried} is being tried already")),
            Choice { active, .. } if active != running => {
                cannot(format!("the host runs from slot {running}, slot {active} is the active one: restart it first"))
            }
            Choice { active, .. } => Ok((active, block)),
        }
    }

    /// Reads what is in the slot that runs. Only of an image that nobody writes into can be said later that it is
    /// what it was.
    fn content(&self, name: SlotName, job: &Job) -> Result<Content, Refusal> {
        let slot = self.slot(name);
        let before = job.holding_before().and_then(|before| Slots::read(&before).ok());
        let known = before.filter(|before| before.new.slot == name).map(|before| before.new.bytes);
        let bytes = known.map_or_else(|| slot.image_bytes(), Ok).map_err(|error| {
            let detail = format!("what runs could not be proven to be back: {}", chain(&error));
            Refusal::new(ReasonCode::CannotRollBack, detail)
        })?;
        Ok(Content { slot: name, bytes, blake3: slot.digest_in_time(bytes, job.deadline)? })
    }

    fn has(&self, content: &Content) -> Result<bool, FileError> {
        Ok(self.slot(content.slot).digest(content.bytes, None)? == content.blake3)
    }

    fn check_has(&self, content: &Content) -> Result<(), String> {
        match self.has(content).map_err(|error| chain(&error))? {
            true => Ok(()),
            false => Err(format!("what is in slot {} is not what was there: {}", content.slot, content.blake3)),
        }
    }

    /// Has the loader start a slot and no other. An environment that was damaged since is made anew from that of before.
    fn choose(&self, slot: SlotName, holding: &Path) -> Result<(), FileError> {
        let mut block = match self.environment.read() {
            Ok(block) => block,
            Err(EnvironmentError::File(error)) => return Err(error),
            Err(EnvironmentError::Damaged { .. }) => {
                let path = holding.join(ENVIRONMENT);
                let before = Block::parse(&files::read(&path, BLOCK_BYTES)?);
                before.map_err(|damage| failed("understand", &path)(io::Error::other(damage)))?
            }
        };
        block.set(Choice::only(slot));
        self.environment.write(&block)
    }

    fn check_usable(&self) -> Result<(), FileError> {
        let slots = [SlotName::A, SlotName::B].map(|name| self.slot(name));
        let [a, b] = [slots[0].check()?, slots[1].check()?];
        if a == b {
            return Err(failed("use", &self.config.slot_b)(io::Error::other("it is the same as slot a")));
        }
        self.environment.read()?;
        let path = self.environment.path();
        rustix::fs::access(path, Access::WRITE_OK).map_err(|error| failed("write", path)(error.into()))?;
        let other = self.slot(self.running()?.other());
        match slot::is_read_only(&other) {
            true => Err(failed("write", other.path())(io::ErrorKind::ReadOnlyFilesystem.into())),
            false => Ok(()),
        }
    }
}

/// One image: there is nothing else a slot could take.
fn check_is_one_image(manifest: &PatchManifest) -> Result<u64, Refusal> {
    match &manifest.payloads()[..] {
        [(image, _)] if manifest.reboot != Reboot::Never => Ok(image.size),
        [_] => {
            let detail = "an image runs when the host has restarted, and this patch says that it never must";
            Err(Refusal::new(ReasonCode::InstallerMissing, detail))
        }
        several => {
            let detail = format!("a slot takes one image, this patch has {}", several.len());
            Err(Refusal::new(ReasonCode::InstallerMissing, detail))
        }
    }
}

/// Writes the image, and reads it back.
fn fill(slot: &Slot, image: Held, job: &Job, story: &mut Story) -> Result<Content, Refusal> {
    let Artifact { size, blake3: signed, .. } = image.artifact;
    slot.write(image, job.deadline)?;
    let blake3 = slot.digest_in_time(size, job.deadline)?;
    if blake3 != signed {
        let detail = format!("slot {} does not keep what is written into it: it has {blake3}", slot.name);
        return Err(Refusal::new(ReasonCode::InstallFailed, detail));
    }
    story.tell(format!("slot {} has the image, read back: {size} bytes, BLAKE3 {blake3}", slot.name));
    Ok(Content { slot: slot.name, bytes: size, blake3 })
}

/// Takes the beginning away from what nobody shall start. A slot that says no has nothing that could be started, or is
/// mounted.
fn blank(slot: &Slot) {
    if let Err(error) = slot.blank() {
        tracing::warn!(slot = %slot.name, error = chain(&error), "what is in a slot still looks like an image");
    }
}

impl Install for Images {
    fn kind(&self) -> InstallerKind {
        InstallerKind::ImageSlot
    }

    fn lacks(&self) -> Option<String> {
        match self.config.enabled {
            false => Some("not enabled".to_owned()),
            true => self.check_usable().err().map(|error| chain(&error)),
        }
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        let bytes = check_is_one_image(manifest)?;
        let (active, _) = self.settled_slot()?;
        self.slot(active.other()).check_room(bytes)
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        let (active, block) = self.settled_slot()?;
        let old = self.content(active, job)?;
        files::replace(&holding.join(ENVIRONMENT), block.bytes())?;
        for image in held {
            let slot = self.slot(active.other());
            let written = fill(&slot, image, job, story)
                .and_then(|new| record::write(&holding.join(SLOTS), &Slots { old, new }, SLOTS_BYTES_MAX));
            if let Err(refusal) = written {
                blank(&slot);
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn put(&self, job: &Job, story: &mut Story) -> Result<(), PutError> {
        let not_begun = |refusal: Refusal| PutError::NotBegun(refusal.reason);
        let slots = Slots::read(&job.holding()).map_err(|error| not_begun(error.into()))?;
        let (active, mut block) = self.settled_slot().map_err(not_begun)?;
        if active != slots.old.slot {
            let detail = format!("slot {active} was made the active one meanwhile");
            return Err(PutError::NotBegun(reason(ReasonCode::InstallFailed, detail)));
        }
        let (tried, tries_left) = (slots.new.slot, self.config.tries);
        block.set(Choice { active, trying: Some(tried), tries_left });
        self.environment.write(&block).map_err(|error| PutError::Midway(Refusal::from(error).reason))?;
        story.tell(format!("the boot loader tries slot {tried} {tries_left} times, then it is slot {active} again"));
        Ok(())
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        let holding = job.holding();
        let Some(Slots { old, new }) = record::read_if_there(&holding.join(SLOTS), SLOTS_BYTES_MAX)? else {
            return Ok(Look { old: true, ..Look::default() });
        };
        let choice = match self.environment.read() {
            Ok(block) => Some(block.choice()),
            Err(EnvironmentError::Damaged { .. }) => None,
            Err(EnvironmentError::File(error)) => return Err(error),
        };
        let is_chosen = |choice: Choice| choice.active == new.slot || choice.trying == Some(new.slot);
        let elsewhere = match self.running() {
            Ok(running) if running == new.slot => None,
            Ok(running) => {
                let left = choice.map_or(0, |choice| choice.tries_left);
                Some(format!(
                    "slot {} did not come up ({left} tries are left): the host runs from slot {running}",
                    new.slot
                ))
            }
            Err(error) => Some(chain(&error)),
        };
        // A slot that cannot be read has nothing that could be kept, or gone back to; the other one is not to blame.
        let has = |content: &Content| self.has(content).unwrap_or(false);
        Ok(Look {
            old: choice == Some(Choice::only(old.slot)),
            new: choice.is_some_and(is_chosen) && has(&new),
            way_back: has(&old),
            elsewhere,
            ..Look::default()
        })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        let Slots { new, .. } = Slots::read(&job.holding()).map_err(|error| Refusal::from(error).reason)?;
        let read = self.environment.read().map_err(|error| Refusal::from(FileError::from(error)).reason)?;
        if read.choice().trying != Some(new.slot) {
            let detail = format!("the boot environment does not say that slot {} is tried", new.slot);
            return Err(reason(ReasonCode::InstallFailed, detail));
        }
        self.check_has(&new).map_err(|differs| reason(ReasonCode::InstallFailed, differs))
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        let holding = job.holding();
        let chosen =
            Slots::read(&holding).and_then(|slots| self.choose(slots.old.slot, &holding).map(|()| slots.old.slot));
        let slot = chosen.map_err(|error| chain(&error))?;
        story.tell(format!("the boot loader starts slot {slot} again"));
        Ok(())
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        let Slots { old, .. } = Slots::read(&job.holding()).map_err(|error| chain(&error))?;
        let choice = self.environment.read().map_err(|error| chain(&error))?.choice();
        match choice == Choice::only(old.slot) {
            true => self.check_has(&old),
            false => Err(format!("the boot environment does not say that slot {} is started", old.slot)),
        }
    }

    fn settle(&self, job: &Job) -> Result<(), FileError> {
        // What is left of an update is in the slot that does not run. What was taken back is no image any more: a loader
        // that has lost its notes must not come upon it.
        let Ok(Slots { old, new }) = Slots::read(&job.holding()) else { return Ok(()) };
        let is_chosen = self.environment.read().is_ok_and(|block| block.choice() == Choice::only(old.slot));
        if is_chosen && self.running().is_ok_and(|running| running == old.slot) {
            blank(&self.slot(new.slot));
        }
        Ok(())
    }

    fn runs_from(&self) -> Option<PathBuf> {
        Some(self.config.root.clone())
    }

    fn reboot(&self, _: &PatchManifest) -> Reboot {
        Reboot::Required
    }

    fn keep(&self, job: &Job) -> Result<(), FileError> {
        let (holding, running) = (job.holding(), self.running()?);
        let Slots { new, .. } = Slots::read(&holding)?;
        // What does not run cannot have been judged.
        match running == new.slot {
            true => self.choose(new.slot, &holding),
            false => {
                let runs = io::Error::other(format!("the host runs from slot {running}"));
                Err(failed("keep what was tried in", self.environment.path())(runs))
            }
        }
    }

    fn keeps_the_one_before(&self) -> bool {
        true
    }

    fn check_way_back(&self, job: &Job) -> Result<(), String> {
        let Slots { old, .. } = Slots::read(&job.holding()).map_err(|error| chain(&error))?;
        self.check_has(&old)
    }

    fn owes_restart(&self) -> Option<bool> {
        let active = self.environment.read().ok()?.choice().active;
        Some(self.running().ok()? != active)
    }
}
