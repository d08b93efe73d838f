//! Throw bytes at every door.
//!
//! One program for all targets: it is called by a target's name (through a link, as `scripts/fuzz` makes
//! them), and libFuzzer brings the rest. Called `targets` it lists them, called `seeds` it writes what each
//! of them begins with. It knows what must hold of every answer, and nothing of how answers are found.
//!
//! Read first: [`targets`] (what there is, and what reads bytes and is no target), then [`doors`] (decoders) and [`certificates`], [`bundles`], [`snapshots`]
//! (verifiers, each with an oracle of its own).

#![no_main]

mod answers;
mod archives;
mod bundles;
mod certificates;
mod choices;
mod convictions;
mod doors;
mod frames;
mod images;
mod judge;
mod kept;
mod keys;
mod layers;
mod layouts;
mod logs;
mod memory;
mod packages;
mod packing;
mod parts;
mod places;
mod seeds;
mod snapshots;
mod sources;
mod story;
mod targets;
mod texts;
mod trees;

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::OnceLock;

static TARGET: OnceLock<&targets::Target> = OnceLock::new();

/// Finds out by what name the program was called, before the first input.
fn begin() {
    let called = std::env::args().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    match (name.as_str(), targets::TARGETS.iter().find(|target| target.name == name)) {
        (_, Some(target)) => {
            TARGET.get_or_init(|| target);
            // What is made once is made now, or the first input would seem to reach all of it.
            story::get();
            (target.run)(&[]);
        }
        ("targets", _) => leave(targets::list()),
        ("seeds", _) => leave(seeds::write(&std::env::args().nth(1).unwrap_or_default())),
        _ => leave(Err(format!("{name} is no target; scripts/fuzz makes a link to this program for each"))),
    }
}

fn leave(done: Result<(), String>) -> ! {
    if let Err(problem) = &done {
        eprintln!("error: {problem}");
    }
    std::process::exit(i32::from(done.is_err()))
}

fuzz_target!(init: begin(), |bytes: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(bytes);
    }
});
