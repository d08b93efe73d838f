//! What came of an attack, against what was promised. Pure: values in, a verdict out.

use ledger::receipt::ReasonCode;
use serde::Serialize;

/// What a trial must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Refused by one of these checks.
    RefusedBy(&'static [&'static str]),
    /// Refused by a check that has a name: whatever an alteration meets first.
    RefusedByName,
    /// Done all the same, from whoever is honest.
    Finishes,
}

/// What a trial ended in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A check said no.
    Refused {
        /// Its stable word.
        check: String,
        /// What it saw.
        detail: String,
    },
    /// What was asked for was done.
    Done {
        /// What that was.
        what: String,
    },
    /// Neither: no verdict, or one that nobody asked for.
    Neither {
        /// What was there instead.
        what: String,
    },
}

/// How an ending stands beside its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As promised.
    AsPromised,
    /// It was to finish, and did not.
    NotFinished,
    /// Neither refused nor done.
    NoVerdict,
    /// Refused, by another check than the one promised.
    OtherCheck,
    /// What must be refused was done.
    GotThrough,
}

/// Holds an ending against a promise.
#[must_use]
pub fn judge(promise: Promise, ending: &Ending) -> Verdict {
    match (promise, ending) {
        (Promise::Finishes, Ending::Done { .. }) => Verdict::AsPromised,
        (Promise::Finishes, _) => Verdict::NotFinished,
        (_, Ending::Done { .. }) => Verdict::GotThrough,
        (_, Ending::Neither { .. }) => Verdict::NoVerdict,
        (Promise::RefusedBy(checks), Ending::Refused { check, .. }) if checks.contains(&check.as_str()) => {
            Verdict::AsPromised
        }
        (Promise::RefusedByName, Ending::Refused { check, .. }) if is_a_check(check) => Verdict::AsPromised,
        (_, Ending::Refused { .. }) => Verdict::OtherCheck,
    }
}

/// Whether a word is one that receipts have.
fn is_a_check(word: &str) -> bool {
    ReasonCode::ALL.iter().any(|code| code.word() == word)
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every trial came out as promised, and so did the control.
    AsPromised,
    /// It could not be played.
    NotPlayed,
    /// A trial had no verdict, or did not finish.
    Unsettled,
    /// Refused, by another check than the one promised: nobody can say why any more.
    OtherCheck,
    /// The same thing unaltered was refused too, so that the refusals mean nothing.
    ControlFailed,
    /// What must be refused was done.
    GotThrough,
}

/// The outcome of a drill: the worst of its trials, which mean something only beside a control.
#[must_use]
pub fn outcome(trials: &[Verdict], controls: &[Verdict]) -> Outcome {
    let control = match controls.iter().all(|verdict| *verdict == Verdict::AsPromised) && !controls.is_empty() {
        true => Outcome::AsPromised,
        false => Outcome::ControlFailed,
    };
    let worst = match trials.iter().max() {
        None => Outcome::NotPlayed,
        Some(Verdict::AsPromised) => Outcome::AsPromised,
        Some(Verdict::NotFinished | Verdict::NoVerdict) => Outcome::Unsettled,
        Some(Verdict::OtherCheck) => Outcome::OtherCheck,
        Some(Verdict::GotThrough) => Outcome::GotThrough,
    };
    worst.max(control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Ending {
        Ending::Done { what: "applied".to_owned() }
    }

    fn refused(check: &str) -> Ending {
        Ending::Refused { check: check.to_owned(), detail: String::new() }
    }

    fn neither() -> Ending {
        Ending::Neither { what: "no node answers".to_owned() }
    }

    #[test]
    fn only_what_was_promised_is_as_promised() {
        let stale = Promise::RefusedBy(&["stale", "height-below-seen"]);
        for (promise, ending, verdict) in [
            (stale, refused("stale"), Verdict::AsPromised),
            (stale, refused("height-below-seen"), Verdict::AsPromised),
            (stale, refused("io"), Verdict::OtherCheck),
            (stale, neither(), Verdict::NoVerdict),
            (stale, done(), Verdict::GotThrough),
            (Promise::RefusedByName, refused("certificate"), Verdict::AsPromised),
            (Promise::RefusedByName, refused("because"), Verdict::OtherCheck),
            (Promise::RefusedByName, done(), Verdict::GotThrough),
            (Promise::Finishes, done(), Verdict::AsPromised),
            (Promise::Finishes, refused("artifact-unavailable"), Verdict::NotFinished),
            (Promise::Finishes, neither(), Verdict::NotFinished),
        ] {
            assert_eq!(judge(promise, &ending), verdict, "{promise:?} {ending:?}");
        }
    }

    #[test]
    fn one_that_got_through_is_the_outcome_and_nothing_counts_without_a_control() {
        use Verdict::{AsPromised, GotThrough, NoVerdict, NotFinished, OtherCheck};
        let good = [AsPromised];
        assert_eq!(outcome(&[AsPromised, AsPromised], &good), Outcome::AsPromised);
        assert_eq!(outcome(&[AsPromised, GotThrough, OtherCheck], &good), Outcome::GotThrough);
        assert_eq!(outcome(&[GotThrough], &[NotFinished]), Outcome::GotThrough);
        assert_eq!(outcome(&[AsPromised, OtherCheck], &good), Outcome::OtherCheck);
        assert_eq!(outcome(&[AsPromised, NoVerdict], &good), Outcome::Unsettled);
        assert_eq!(outcome(&[AsPromised], &[AsPromised, NotFinished]), Outcome::ControlFailed);
        assert_eq!(outcome(&[AsPromised], &[]), Outcome::ControlFailed);
        assert_eq!(outcome(&[], &good), Outcome::NotPlayed);
    }
}
