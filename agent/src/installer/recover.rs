//! What to do about an update that was interrupted: a decision, made from the journal and from what
//! is there, so that the host becomes exactly old or exactly new.
//!
//! What was not judged healthy is taken back: the new version may be what brought the host down, and
//! trying it again and again would keep it down. What was judged healthy stays, whatever the host looks
//! like by now: from then on others may change it, and what they did is not the agent's to undo.

use super::by_hand;
use super::install::{Look, Somebodys};
use super::installs::VersionId;
use super::journal::{Begun, Record};
use super::restarts::BootId;
use ledger::bounded::{Sentence, Version};
use ledger::receipt::{Reason, ReasonCode};

/// How often an agent may begin anew while one and the same run of the host comes up.
const CAME_UP_MAX: usize = 3;

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Where `current` leads.
    pub current: Option<VersionId>,
    /// What the kind sees on the host.
    pub look: Look,
    /// Which run of the host this is, if that can be told.
    pub boot_id: Option<BootId>,
    /// How long the host has run.
    pub running_ms: u64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing was interrupted.
    Nothing,
    /// The host is old: throw away what was made of the new version.
    Discard {
        /// The update.
        begun: Begun,
        /// Why it came to nothing.
        reason: Reason,
    },
    /// The host is new and not known to be healthy: switch back.
    RollBack {
        /// The update.
        begun: Begun,
        /// Why.
        reason: Reason,
    },
    /// The host is new, and still has to restart before that can be judged.
    Await {
        /// The update.
        begun: Begun,
    },
    /// The host is new, and has restarted: judge it.
    Judge {
        /// The update.
        begun: Begun,
    },
    /// The host is new and was judged healthy: only the receipt was missing.
    Finish {
        /// The update.
        begun: Begun,
    },
    /// Somebody else put something else there meanwhile, and all of it is properly there: what he decided
    /// stays, what was only there for the update is thrown away, and the update is over.
    Overtaken {
        /// The update.
        begun: Begun,
        /// What was found.
        reason: Reason,
        /// The version that is there.
        there: Version,
    },
    /// The host is neither, by somebody else's hand: a person is needed, nothing is touched, and nothing
    /// else is begun until it is one or the other.
    Stranded {
        /// The update.
        begun: Begun,
        /// What was found.
        reason: Reason,
    },
}

/// Decides.
#[must_use]
pub fn recover(records: &[Record], observed: &Observed) -> Plan {
    let Some(Record::Begun(begun)) = records.first().cloned() else { return Plan::Nothing };
    if records.last() == Some(&Record::Done) {
        return Plan::Nothing;
    }
    let verdict = records.iter().rev().find_map(|record| match record {
        Record::Judged { against } => Some(against.clone()),
        _ => None,
    });
    let restart = restart(records, observed);
    let reason = match (&verdict, &restart) {
        (Some(Some(against)), _) => against.clone(),
        (None, _)
            if begun.own_program
                && let Some(why) = &observed.look.fell_back =>
        {
            why.clone()
        }
        (None, _) if begun.by_hand => by_hand::asked(),
        (None, Some(Restart::Never(why))) => interrupted_because(why),
        (None, Some(Restart::Done)) if let Some(told) = &observed.look.elsewhere => went_back(told),
        _ => interrupted(records),
    };
    let announced = records.contains(&Record::Switching);
    let Look { old, new, way_back, ref somebodys, ref elsewhere, ref fell_back } = observed.look;
    let runs = elsewhere.is_none() && fell_back.is_none();
    let (at_old, at_new) = (observed.current == begun.from, observed.current.as_ref() == Some(&begun.to));
    match &observed.current {
        // Until the switch is announced nothing of the host was changed, whatever it looks like.
        _ if at_old && (old || !announced) => Plan::Discard { begun, reason },
        _ if at_new && new && restart == Some(Restart::Awaited) => Plan::Await { begun },
        _ if at_new && new && restart == Some(Restart::Done) && runs => Plan::Judge { begun },
        _ if at_new && verdict == Some(None) => Plan::Finish { begun },
        _ if let Some(Somebodys::Whole { told, version }) = somebodys => {
            Plan::Overtaken { begun, reason: stranded(told), there: version.clone() }
        }
        _ if let Some(Somebodys::Between { told }) = somebodys => Plan::Stranded { begun, reason: stranded(told) },
        _ if (at_old || at_new) && way_back => Plan::RollBack { begun, reason },
        _ if at_old || at_new => {
            let reason = stranded(&format!("{} was not judged healthy, and the way back is gone", begun.to));
            Plan::Stranded { begun, reason }
        }
        Some(current) => {
            let reason = stranded(&format!("{current} is installed, which this update knows nothing of"));
            Plan::Stranded { begun, reason }
        }
        // Only an atomic rename ever replaces the link; somebody took it away.
        None if way_back => Plan::RollBack { begun, reason },
        None => Plan::Stranded { begun, reason: stranded("nothing is installed, and what was before is gone") },
    }
}

/// What became of the restart that an update waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    Awaited,
    Done,
    /// It will not come, or not be noticed.
    Never(&'static str),
}

fn restart(records: &[Record], observed: &Observed) -> Option<Restart> {
    let (before, coming_up) = match records.last()? {
        Record::Restarting { boot_id, deadline_ms } => (boot_id, Err(*deadline_ms)),
        Record::CameUp { boot_id } => (boot_id, Ok(())),
        // The agent has begun anew, as which program is to be seen.
        Record::HandedOver => return Some(Restart::Done),
        _ => return None,
    };
    let came_up = records.iter().filter(|record| matches!(record, Record::CameUp { .. })).count();
    let Some(now) = &observed.boot_id else {
        return Some(Restart::Never("nobody can tell whether the host has restarted"));
    };
    Some(match coming_up {
        Err(_) if now != before => Restart::Done,
        Err(deadline_ms) if observed.running_ms < deadline_ms => Restart::Awaited,
        Err(_) => Restart::Never("the host was not restarted in time"),
        Ok(()) if now != before => Restart::Never("the host went down again while it came up"),
        Ok(()) if came_up < CAME_UP_MAX => Restart::Done,
        Ok(()) => Restart::Never("the agent went down again and again while the host came up"),
    })
}

fn interrupted_because(why: &str) -> Reason {
    Reason { code: ReasonCode::Interrupted, detail: Sentence::cut(&format!("{why}; the old version is in place")) }
}

/// The boot loader has judged already.
fn went_back(told: &str) -> Reason {
    Reason { code: ReasonCode::HealthFailed, detail: Sentence::cut(told) }
}

fn interrupted(records: &[Record]) -> Reason {
    let step = match records.last() {
        Some(Record::Begun(_)) => "while the new version was prepared",
        Some(Record::Prepared { .. }) => "before the switch",
        Some(Record::Switching) => "at the switch",
        Some(Record::Switched | Record::Restarting { .. } | Record::CameUp { .. }) => "before health was judged",
        Some(Record::HandedOver) => "before its new program had judged itself",
        Some(Record::Restarted) => "after the restart, before health was judged",
        Some(Record::Judged { .. } | Record::Restored | Record::Done) | None => "at the end",
    };
    let detail = Sentence::cut(&format!("the agent was interrupted {step}; the old version is in place"));
    Reason { code: ReasonCode::Interrupted, detail }
}

pub(super) fn stranded(found: &str) -> Reason {
    Reason { code: ReasonCode::Interrupted, detail: Sentence::cut(&format!("the agent was interrupted: {found}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::{Name, Product};
    use ledger::id::{Digest, PatchId};
    use ledger::patch::InstallerKind;

    const OLD: Digest = Digest([1; 32]);
    const NEW: PatchId = PatchId([2; 32]);

    fn begun(from: Option<VersionId>) -> Begun {
        Begun {
            run: 1,
            patch: NEW,
            product: Product::new("acme/widget").unwrap(),
            channel: Name::new("stable").unwrap(),
            from,
            to: VersionId::of_patch(NEW),
            from_version: Version::cut("1"),
            to_version: Version::cut("2"),
            kind: InstallerKind::DirectoryTree,
            by_hand: false,
            after_restart: false,
            own_program: false,
            unasked: false,
        }
    }

    fn unhealthy() -> Reason {
        Reason { code: ReasonCode::HealthFailed, detail: Sentence::cut("probe") }
    }

    /// What the plan does, in a word, and the reason it gives.
    fn word(plan: &Plan) -> (&'static str, Option<ReasonCode>) {
        match plan {
            Plan::Nothing => ("nothing", None),
            Plan::Discard { reason, .. } => ("discard", Some(reason.code)),
            Plan::RollBack { reason, .. } => ("roll back", Some(reason.code)),
            Plan::Finish { .. } => ("finish", None),
            Plan::Await { .. } => ("await", None),
            Plan::Judge { .. } => ("judge", None),
            Plan::Overtaken { reason, .. } => ("overtaken", Some(reason.code)),
            Plan::Stranded { reason, .. } => ("stranded", Some(reason.code)),
        }
    }

    #[test]
    fn every_place_of_interruption_has_its_way_out() {
        use ReasonCode::{HealthFailed, Interrupted};
        let (old, new) = (VersionId::of_baseline(OLD), VersionId::of_patch(NEW));
        let other = VersionId::of_baseline(Digest([9; 32]));
        let prepared = Record::Prepared { tree: OLD };
        let (healthy, sick) = (Record::Judged { against: None }, Record::Judged { against: Some(unhealthy()) });
        let (switching, switched) = (Record::Switching, Record::Switched);
        let until_switching = vec![prepared.clone(), switching.clone()];
        let until_switched = [until_switching.clone(), vec![switched.clone()]].concat();
        let with = |record: &Record| [until_switched.clone(), vec![record.clone()]].concat();
        let restored = [with(&sick), vec![Record::Restored]].concat();
        let done = [with(&healthy), vec![Record::Done]].concat();

        type Row<'a> = (&'a str, Vec<Record>, &'a VersionId, (&'static str, Option<ReasonCode>));
        let rows: [Row<'_>; 11] = [
            ("begun", vec![], &old, ("discard", Some(Interrupted))),
            ("prepared", vec![prepared], &old, ("discard", Some(Interrupted))),
            ("announced, not switched", until_switching.clone(), &old, ("discard", Some(Interrupted))),
            ("switched, not noted", until_switching, &new, ("roll back", Some(Interrupted))),
            ("switched", until_switched.clone(), &new, ("roll back", Some(Interrupted))),
            ("judged healthy", with(&healthy), &new, ("finish", None)),
            ("judged sick", with(&sick), &new, ("roll back", Some(HealthFailed))),
            ("switched back, not noted", with(&sick), &old, ("discard", Some(HealthFailed))),
            ("restored", restored, &old, ("discard", Some(HealthFailed))),
            ("done", done, &new, ("nothing", None)),
            ("somebody else's", until_switched, &other, ("stranded", Some(Interrupted))),
        ];
        for (what, rest, current, expected) in rows {
            let records = [vec![Record::Begun(begun(Some(old.clone())))], rest].concat();
            let observed = Observed { current: Some(current.clone()), look: WHOLE, ..Observed::default() };
            assert_eq!(word(&recover(&records, &observed)), expected, "{what}");
        }
        assert_eq!(recover(&[], &Observed::default()), Plan::Nothing);
    }

    /// As a directory tree looks: never changed in place.
    const WHOLE: Look =
        Look { old: true, new: true, way_back: true, somebodys: None, elsewhere: None, fell_back: None };

    #[test]
    fn a_host_that_is_changed_in_place_goes_back_unless_it_is_untouched_or_known_to_be_healthy() {
        let (old, new) = (VersionId::of_baseline(OLD), VersionId::of_patch(NEW));
        let until = |last: &[Record]| [&[Record::Begun(begun(Some(old.clone())))], last].concat();
        let mixed = || Look { way_back: true, ..Look::default() };
        let whole = || Look { new: true, ..mixed() };
        let told = || "a person did it".to_owned();
        let by = |somebodys| Look { somebodys: Some(somebodys), ..mixed() };
        let somebodys = || by(Somebodys::Whole { told: told(), version: Version::cut("3") });
        let between = || by(Somebodys::Between { told: told() });
        let (switching, healthy) = (Record::Switching, Record::Judged { against: None });
        let announced = until(std::slice::from_ref(&switching));
        for (what, records, current, look, expected) in [
            ("changed by somebody else before", until(&[]), &old, mixed(), "discard"),
            ("announced, untouched", announced.clone(), &old, WHOLE, "discard"),
            ("half put in place", announced.clone(), &old, mixed(), "roll back"),
            ("put in place, not noted", announced.clone(), &old, whole(), "roll back"),
            ("healthy", until(&[switching.clone(), healthy.clone()]), &new, whole(), "finish"),
            // Somebody else may have upgraded it since: that is not taken back with it.
            ("healthy, then changed", until(&[switching.clone(), healthy.clone()]), &new, somebodys(), "finish"),
            ("healthy, no way back", until(&[switching.clone(), healthy.clone()]), &new, Look::default(), "finish"),
            ("changed by somebody else meanwhile", announced.clone(), &new, somebodys(), "overtaken"),
            ("half changed by somebody else", announced.clone(), &new, between(), "stranded"),
            ("half changed, not noted", announced.clone(), &old, between(), "stranded"),
            ("healthy, then half changed", until(&[switching, healthy]), &new, between(), "finish"),
            ("no way back", announced, &old, Look::default(), "stranded"),
        ] {
            let observed = Observed { current: Some(current.clone()), look, ..Observed::default() };
            assert_eq!(word(&recover(&records, &observed)).0, expected, "{what}");
        }
    }

    #[test]
    fn what_waits_for_a_restart_is_judged_after_it_and_only_once() {
        let (old, new) = (VersionId::of_baseline(OLD), VersionId::of_patch(NEW));
        let boot_id = |text: &str| serde_json::from_str::<BootId>(&format!("{text:?}")).unwrap();
        let restarting = Record::Restarting { boot_id: boot_id("1-a"), deadline_ms: 100 };
        let waiting = vec![Record::Begun(begun(Some(old))), Record::Switching, Record::Switched, restarting];
        let came_up = [waiting.clone(), vec![Record::CameUp { boot_id: boot_id("2-b") }]].concat();
        let again = |count| [waiting.clone(), vec![came_up[came_up.len() - 1].clone(); count]].concat();
        let restarted = [came_up.clone(), vec![Record::Restarted]].concat();
        let healthy = [restarted.clone(), vec![Record::Judged { against: None }]].concat();
        let mixed = Look { new: false, ..WHOLE };
        let elsewhere = || Look { elsewhere: Some("it runs from slot a".to_owned()), ..WHOLE };
        for (what, records, boot, running_ms, look, expected, detail) in [
            ("not restarted yet", &waiting, Some("1-a"), 99, WHOLE, "await", ""),
            ("not restarted in time", &waiting, Some("1-a"), 100, WHOLE, "roll back", "not restarted in time"),
            ("restarted", &waiting, Some("2-b"), 99, WHOLE, "judge", ""),
            ("restarted, into something else", &waiting, Some("2-b"), 99, elsewhere(), "roll back", "from slot a"),
            ("not restarted yet, so it cannot run", &waiting, Some("1-a"), 99, elsewhere(), "await", ""),
            ("restarted late", &waiting, Some("2-b"), 500, WHOLE, "judge", ""),
            ("nobody knows", &waiting, None, 99, WHOLE, "roll back", "nobody can tell"),
            ("damaged meanwhile", &waiting, Some("2-b"), 99, mixed, "roll back", "before health"),
            ("only the agent began anew", &came_up, Some("2-b"), 500, WHOLE, "judge", ""),
            ("and anew", &again(CAME_UP_MAX - 1), Some("2-b"), 500, WHOLE, "judge", ""),
            ("and anew, and anew", &again(CAME_UP_MAX), Some("2-b"), 500, WHOLE, "roll back", "again and again"),
            ("the host went down as it came up", &came_up, Some("3-c"), 99, WHOLE, "roll back", "while it came up"),
            ("nobody knows how often", &came_up, None, 99, WHOLE, "roll back", "nobody can tell"),
            ("died while it was judged", &restarted, Some("2-b"), 99, WHOLE, "roll back", "after the restart"),
            ("died while it was judged, twice", &restarted, Some("3-c"), 99, WHOLE, "roll back", "after the restart"),
            ("judged", &healthy, Some("2-b"), 99, WHOLE, "finish", ""),
        ] {
            let observed = Observed { current: Some(new.clone()), look, boot_id: boot.map(boot_id), running_ms };
            let plan = recover(records, &observed);
            assert_eq!(word(&plan).0, expected, "{what}");
            if let Plan::RollBack { reason, .. } = plan {
                assert!(reason.detail.as_str().contains(detail), "{what}: {reason}");
            }
        }
    }

    #[test]
    fn a_program_judges_itself_where_it_runs_and_is_taken_back_where_it_does_not() {
        let (old, new) = (VersionId::of_baseline(OLD), VersionId::of_patch(NEW));
        let began = Record::Begun(Begun { own_program: true, ..begun(Some(old)) });
        let handed_over = vec![began, Record::Switching, Record::Switched, Record::HandedOver];
        let judging = [handed_over.clone(), vec![Record::Restarted]].concat();
        let healthy = [judging.clone(), vec![Record::Judged { against: None }]].concat();
        let fell_back = |code| Look { fell_back: Some(Reason { code, detail: Sentence::cut("why") }), ..WHOLE };
        let (died, cut) = (ReasonCode::HealthFailed, ReasonCode::Interrupted);
        for (what, records, look, expected) in [
            ("it runs", &handed_over, WHOLE, ("judge", None)),
            ("it died", &handed_over, fell_back(died), ("roll back", Some(died))),
            ("it was not tried", &handed_over, fell_back(cut), ("roll back", Some(cut))),
            ("it died while it judged itself", &judging, fell_back(died), ("roll back", Some(died))),
            ("it was committed, and interrupted", &judging, WHOLE, ("roll back", Some(cut))),
            ("it found itself healthy", &healthy, WHOLE, ("finish", None)),
            ("and died later", &healthy, fell_back(died), ("finish", None)),
        ] {
            let observed = Observed { current: Some(new.clone()), look, ..Observed::default() };
            assert_eq!(word(&recover(records, &observed)), expected, "{what}");
        }
    }

    #[test]
    fn what_is_taken_back_by_hand_goes_back_from_wherever_it_was_interrupted() {
        let (old, new) = (VersionId::of_baseline(OLD), VersionId::of_patch(NEW));
        let began = Record::Begun(Begun { by_hand: true, ..begun(Some(old.clone())) });
        let judged = Record::Judged { against: Some(by_hand::asked()) };
        for (records, current, expected) in [
            (vec![began.clone()], &new, "roll back"),
            (vec![began.clone(), Record::Restarted], &new, "roll back"),
            (vec![began.clone(), judged.clone()], &new, "roll back"),
            (vec![began.clone(), judged.clone()], &old, "discard"),
            (vec![began, judged, Record::Restored], &old, "discard"),
        ] {
            let observed = Observed { current: Some(current.clone()), look: WHOLE, ..Observed::default() };
            let plan = recover(&records, &observed);
            assert_eq!(word(&plan), (expected, Some(ReasonCode::Policy)), "{records:?}");
        }
    }

    #[test]
    fn the_first_installation_is_taken_back_to_nothing() {
        let records = [Record::Begun(begun(None)), Record::Switching, Record::Switched];
        let observed = Observed { look: WHOLE, ..Observed::default() };
        assert_eq!(word(&recover(&records, &observed)).0, "discard");
        let observed = Observed { current: Some(VersionId::of_patch(NEW)), ..observed };
        assert_eq!(word(&recover(&records, &observed)).0, "roll back");
    }

    #[test]
    fn without_the_old_version_nothing_is_touched() {
        let records = [Record::Begun(begun(Some(VersionId::of_baseline(OLD)))), Record::Switching, Record::Switched];
        for current in [None, Some(VersionId::of_patch(NEW))] {
            let look = Look { way_back: false, ..WHOLE };
            let observed = Observed { current, look, ..Observed::default() };
            assert_eq!(word(&recover(&records, &observed)).0, "stranded");
        }
    }
}
