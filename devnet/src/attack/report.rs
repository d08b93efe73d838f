//! What is said of the drills: a line each for people, a document for programs.

use super::judge::{Ending, Outcome, Promise, Verdict, judge, outcome};
use crate::story::table;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Version of the document.
const VERSION: u32 = 1;

/// What was tried in a drill, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Played {
    trials: Vec<Trial>,
    controls: Vec<Trial>,
    measured: Vec<Measured>,
}

/// Something that was tried, once or in many variants.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// What.
    pub tried: String,
    /// In how many variants.
    pub times: usize,
    /// Checks that said no.
    pub checks: BTreeSet<String>,
    /// The worst of them.
    pub verdict: Verdict,
    /// What was seen, of the worst.
    pub detail: String,
}

/// A figure that a promise bounds.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Of what.
    pub what: String,
    /// The figure.
    pub value: u64,
    /// The bound.
    pub at_most: u64,
}

impl Played {
    /// Notes what was tried and what it ended in.
    pub fn tried(&mut self, tried: impl Into<String>, promise: Promise, ending: Ending) {
        self.tried_often(tried, promise, vec![ending]);
    }

    /// The same, for many variants of one thing.
    pub fn tried_often(&mut self, tried: impl Into<String>, promise: Promise, endings: Vec<Ending>) {
        self.trials.push(Trial::of(tried.into(), promise, &endings));
    }

    /// Notes what the same thing unaltered ended in.
    pub fn control(&mut self, tried: impl Into<String>, ending: Ending) {
        self.control_often(tried, &[ending]);
    }

    /// The same, of many.
    pub fn control_often(&mut self, tried: impl Into<String>, endings: &[Ending]) {
        self.controls.push(Trial::of(tried.into(), Promise::Finishes, endings));
    }

    /// Notes a figure; beyond its bound, the attack got through.
    pub fn measured(&mut self, what: &str, value: u64, at_most: u64) {
        self.measured.push(Measured { what: what.to_owned(), value, at_most });
    }

    fn outcome(&self) -> Outcome {
        let verdicts = |trials: &[Trial]| trials.iter().map(|trial| trial.verdict).collect::<Vec<_>>();
        match self.measured.iter().any(|measured| measured.value > measured.at_most) {
            true => Outcome::GotThrough,
            false => outcome(&verdicts(&self.trials), &verdicts(&self.controls)),
        }
    }
}

impl Trial {
    fn of(tried: String, promise: Promise, endings: &[Ending]) -> Self {
        let mut trial = Self {
            tried,
            times: endings.len(),
            checks: BTreeSet::new(),
            // Nothing tried is nothing shown.
            verdict: if endings.is_empty() { Verdict::NoVerdict } else { Verdict::AsPromised },
            detail: String::new(),
        };
        for ending in endings {
            let verdict = judge(promise, ending);
            let detail = match ending {
                Ending::Refused { check, detail } => {
                    trial.checks.insert(check.clone());
                    format!("{check}: {detail}")
                }
                Ending::Done { what } | Ending::Neither { what } => what.clone(),
            };
            if trial.detail.is_empty() || verdict > trial.verdict {
                trial.detail = detail;
            }
            trial.verdict = trial.verdict.max(verdict);
        }
        trial
    }
}

/// One drill.
#[derive(Clone, Debug, Serialize)]
pub struct DrillReport {
    /// Its name.
    pub name: &'static str,
    /// The attack, in a sentence.
    pub attack: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was tried.
    pub trials: Vec<Trial>,
    /// The same thing unaltered.
    pub controls: Vec<Trial>,
    /// Figures that are bounded.
    pub measured: Vec<Measured>,
    /// Why it could not be played.
    pub trouble: Option<String>,
    /// How long it took.
    pub ms: u64,
}

impl DrillReport {
    /// Of a drill that was played to its end.
    #[must_use]
    pub fn played(name: &'static str, attack: &'static str, played: Played, ms: u64) -> Self {
        let outcome = played.outcome();
        let Played { trials, controls, measured } = played;
        Self { name, attack, outcome, trials, controls, measured, trouble: None, ms }
    }

    /// Of a drill that could not be.
    #[must_use]
    pub fn not_played(name: &'static str, attack: &'static str, trouble: String, ms: u64) -> Self {
        let (outcome, trouble) = (Outcome::NotPlayed, Some(trouble));
        Self { name, attack, outcome, trials: Vec::new(), controls: Vec::new(), measured: Vec::new(), trouble, ms }
    }

    /// What was tried, in words.
    fn tried(&self) -> String {
        let tried = self.trials.iter().map(|trial| match trial.times {
            1 => trial.tried.clone(),
            times => format!("{} ({times}×)", trial.tried),
        });
        tried.collect::<Vec<_>>().join("; ")
    }

    /// What came of it, in words: of what went wrong, the evidence.
    #[must_use]
    pub fn found(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("not played: {trouble}");
        }
        let wrong = self.trials.iter().chain(&self.controls).filter(|trial| trial.verdict != Verdict::AsPromised);
        let mut found: Vec<String> = wrong.map(|trial| format!("{}: {}", trial.tried, trial.detail)).collect();
        for Measured { what, value, at_most } in self.measured.iter().filter(|it| it.value > it.at_most) {
            found.push(format!("{what}: {value}, {at_most} at most"));
        }
        if !found.is_empty() {
            return format!("{}: {}", word(self.outcome), found.join("; "));
        }
        let checks: BTreeSet<&str> =
            self.trials.iter().flat_map(|trial| trial.checks.iter().map(String::as_str)).collect();
        let finished = self.trials.iter().any(|trial| trial.checks.is_empty());
        let mut text = checks.into_iter().collect::<Vec<_>>().join(", ");
        if finished {
            text += if text.is_empty() { "finished all the same" } else { "; finished all the same" };
        }
        for Measured { what, value, .. } in &self.measured {
            let _ = write!(text, "; {what}: {value}");
        }
        text
    }

    /// Whether it came out as promised.
    #[must_use]
    pub fn is_as_promised(&self) -> bool {
        self.outcome == Outcome::AsPromised
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::AsPromised => "as promised",
        Outcome::NotPlayed => "not played",
        Outcome::Unsettled => "unsettled",
        Outcome::OtherCheck => "refused by another check",
        Outcome::ControlFailed => "the control failed",
        Outcome::GotThrough => "GOT THROUGH",
    }
}

/// All drills.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    version: u32,
    /// Whether all of them came out as promised.
    pub as_promised: bool,
    /// Each of them.
    pub drills: Vec<DrillReport>,
    /// How long everything took, the raising of the ledger included.
    pub ms: u64,
}

impl Report {
    /// Of these drills.
    #[must_use]
    pub fn of(drills: Vec<DrillReport>, ms: u64) -> Self {
        let as_promised = !drills.is_empty() && drills.iter().all(DrillReport::is_as_promised);
        Self { version: VERSION, as_promised, drills, ms }
    }

    /// Whether something could not be played, and nothing worse happened.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.drills.iter().map(|drill| drill.outcome).max().is_none_or(|worst| worst == Outcome::NotPlayed)
    }

    /// A line each, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = table(&["", "attack", "tried", "refused by", "ms"]);
        for drill in &self.drills {
            let mark = if drill.is_as_promised() { "✓" } else { "✗" };
            lines.add_row([mark, drill.name, &drill.tried(), &drill.found(), &drill.ms.to_string()]);
        }
        let good = self.drills.iter().filter(|drill| drill.is_as_promised()).count();
        let tries: usize = self.drills.iter().flat_map(|drill| &drill.trials).map(|trial| trial.times).sum();
        format!(
            "{lines}\n\n{good} of {} drills as promised, {tries} tries, {:.1} s\n",
            self.drills.len(),
            self.ms as f64 / 1000.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(check: &str) -> Ending {
        Ending::Refused { check: check.to_owned(), detail: "seen".to_owned() }
    }

    #[test]
    fn of_many_variants_the_one_that_got_through_is_told() {
        let mut played = Played::default();
        let mut endings = vec![refused("certificate"); 9];
        endings.push(Ending::Done { what: "bit 7 of byte 99 was not missed".to_owned() });
        played.tried_often("bits flipped", Promise::RefusedByName, endings);
        played.control("as it was", Ending::Done { what: "applied".to_owned() });
        let report = Report::of(vec![DrillReport::played("tampered", "A proof is changed.", played, 5)], 5);
        assert!(!report.as_promised && !report.is_incomplete());
        assert_eq!(report.drills[0].outcome, Outcome::GotThrough);
        let text = report.text().replace('\n', " ");
        assert!(text.contains("GOT THROUGH") && text.contains("0 of 1 drills as promised"), "{text}");
        assert!(report.drills[0].found().contains("byte 99"), "{}", report.drills[0].found());
    }

    #[test]
    fn a_figure_beyond_its_bound_got_through() {
        let mut played = Played::default();
        played.tried("endless", Promise::RefusedBy(&["artifact-digest"]), refused("artifact-digest"));
        played.control("finite", Ending::Done { what: "applied".to_owned() });
        played.measured("memory", 10, 10);
        assert_eq!(played.outcome(), Outcome::AsPromised);
        played.measured("disk", 11, 10);
        assert_eq!(played.outcome(), Outcome::GotThrough);
    }

    #[test]
    fn a_drill_that_could_not_be_played_is_no_success() {
        let report = Report::of(vec![DrillReport::not_played("x", "X.", "no disk".to_owned(), 1)], 1);
        assert!(!report.as_promised && report.is_incomplete());
        assert!(!Report::of(Vec::new(), 1).as_promised);
    }
}
