//! All of the checks in one sentence.

use super::{Checked, Origin, Verdict};

/// The check of a proof that time alone can spoil.
pub(super) const FRESHNESS: &str = "freshness";
/// The check that asks whether it is newer than what is installed.
const RELEASE: &str = "release";
/// The check that asks for the hour.
const WINDOW: &str = "window";

/// What is to be said first of what is in the way: what is wrong with a proof before that it is old, because
/// a newer one would be as wrong; else the first check that says no.
fn first(checks: &[Checked]) -> Option<&Checked> {
    let mut no = checks.iter().filter(|checked| checked.verdict == Verdict::No);
    let first = no.next()?;
    match first.check == FRESHNESS {
        true => no.find(|checked| checked.part == first.part).or(Some(first)),
        false => Some(first),
    }
}

/// That what is installed is not newer than itself is nothing against it.
pub(super) fn release(checks: &mut [Checked], is_there: bool) {
    let release = checks.iter_mut().find(|checked| checked.part == "host" && checked.check == RELEASE);
    if let Some(release) = release.filter(|_| is_there) {
        (release.verdict, release.said) = (Verdict::Yes, "it is what is installed".to_owned());
    }
}

fn shown(no: &Checked) -> String {
    format!("{} {}: {}", no.part, no.check, no.said)
}

/// What is wrong with a file somebody gave, but that it is old, or that the patch was recalled, which are no
/// faults of the file.
pub(super) fn of_the_file(origin: Origin, checks: &[Checked]) -> Option<String> {
    let fault = |checked: &&Checked| {
        let old_or_recalled = [FRESHNESS, "recall"].contains(&checked.check);
        checked.part == "proof" && checked.verdict == Verdict::No && !old_or_recalled
    };
    checks.iter().find(fault).filter(|_| origin == Origin::Given).map(shown)
}

/// Whether nothing is in the way of what is not installed, and what is if not.
pub(super) fn not_installed(checks: &[Checked]) -> (bool, String) {
    let old = checks.iter().any(|checked| checked.verdict == Verdict::Note);
    match first(checks) {
        Some(no) => (false, format!("it is not installed, because of {}", shown(no))),
        None if old => {
            let answer = "nothing was in the way when it was proven last: the agent asks for a proof of today when it \
                          looks next, and installs it if that holds";
            (true, answer.to_owned())
        }
        None => (true, "nothing is in the way: the agent installs it when it looks next".to_owned()),
    }
}

/// Whether nothing is in the way but that its hour has not come.
pub(super) fn only_waits(checks: &[Checked]) -> bool {
    checks.iter().all(|checked| checked.verdict != Verdict::No || checked.check == WINDOW)
}

/// Whether it would be installed, and why not.
pub(super) fn would(checks: &[Checked]) -> (bool, String) {
    match first(checks) {
        None => (true, "it would be installed; nothing was changed".to_owned()),
        Some(no) => {
            let hint = if no.check == WINDOW { "; `--now` waits for no window" } else { "" };
            (false, format!("it would not be installed, because of {}{hint}", shown(no)))
        }
    }
}
