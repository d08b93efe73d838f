//! What a schedule decides, on a clock that is a number.

use jiff::Timestamp;
use ledger::patch::Severity;
use policy::schedule::{Because, Blackout, Due, Leave, Missed, Schedule, Window, Zone};
use policy::{Pause, Policy, Restart};
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

fn ms(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
}

fn berlin() -> Zone {
    Zone::named("Europe/Berlin").unwrap()
}

/// Three hours on the second Tuesday, and one on Sundays; nothing over the turn of the year.
fn schedule() -> Schedule {
    let tuesday = Window::by_rule("patch-tuesday", "FREQ=MONTHLY;BYDAY=2TU", None, "22:00", 3 * HOUR_MS, berlin());
    let sunday = Window::by_pattern("sundays", "0 4 * * SUN", HOUR_MS, berlin());
    Schedule {
        windows: vec![tuesday.unwrap(), sunday.unwrap()],
        blackouts: vec![Blackout::parse("12-20/01-06", berlin()).unwrap()],
        zone: berlin(),
        ..Schedule::default()
    }
}

/// An important patch that is due since spring, on a host that never sleeps.
fn due() -> Due {
    Due { severity: Severity::Important, emergency: false, since_ms: ms("2026-05-01T00:00Z"), awake_since_ms: 0 }
}

/// What is decided: why it may be, or until when it waits.
fn decide(schedule: &Schedule, due: &Due, at: &str) -> Result<String, String> {
    schedule.decide(due, ms(at)).map(|leave| leave.to_string()).map_err(|wait| wait.to_string())
}

#[test]
fn a_host_is_restarted_only_when_its_house_says_so() {
    let decide = |restart, schedule: Schedule, pause: Option<Pause>, at: &str| {
        let policy = Policy { restart, schedule, pause, ..Policy::default() };
        policy.permit_restart(ms(at)).map_err(|reason| reason.to_string())
    };
    let (open, shut) = ("2026-06-09T20:00Z", "2026-06-09T19:59Z");
    let waits = "waits until 2026-06-09 22:00 Europe/Berlin (2026-06-09 20:00 UTC), because no window is open";
    assert_eq!(decide(Restart::Window, schedule(), None, open), Ok(()));
    assert_eq!(decide(Restart::Window, schedule(), None, shut), Err(waits.to_owned()));
    assert_eq!(decide(Restart::Window, Schedule::default(), None, shut), Ok(()), "without windows, any hour will do");
    // What is urgent is installed at any hour; the host is not restarted for it.
    let urgent = Schedule { urgent: [Severity::Critical].into(), urgent_in_blackout: true, ..schedule() };
    assert_eq!(decide(Restart::Window, urgent, None, shut), Err(waits.to_owned()));
    let blackout = decide(Restart::Window, schedule(), None, "2026-12-24T12:00Z").unwrap_err();
    assert!(blackout.contains("because of the blackout 12-20/01-06"), "{blackout}");
    assert_eq!(decide(Restart::Now, schedule(), None, shut), Ok(()));
    let never = "the patch needs the host to restart, which this agent may not do";
    assert_eq!(decide(Restart::Never, Schedule::default(), None, open), Err(never.to_owned()));
    let pause = Some(Pause { reason: "stock-taking".to_owned(), until_ms: None });
    assert_eq!(decide(Restart::Now, schedule(), pause, open), Err("paused: stock-taking".to_owned()));
}

/// A patch that needs a restart and would be taken back before one may be is not begun, however urgent it is.
#[test]
fn what_could_not_restart_in_time_waits_for_the_window() {
    let now = "2026-06-09T12:00Z"; // Ten hours before the window, in Berlin.
    let waits = |restart, within_ms, blackout: bool| {
        let schedule = Schedule { urgent: [Severity::Important].into(), urgent_in_blackout: true, ..schedule() };
        let now = if blackout { "2026-12-24T12:00Z" } else { now };
        let policy = Policy { restart, schedule, restart_within_ms: within_ms, ..Policy::default() };
        crate::permit::with_restart(policy, ms(now)).map_err(|reason| reason.to_string())
    };
    let until = "waits until 2026-06-09 22:00 Europe/Berlin (2026-06-09 20:00 UTC), because the host may not restart for \
                 it soon enough";
    assert_eq!(waits(Restart::Window, Some(8 * HOUR_MS), false), Err(until.to_owned()));
    assert_eq!(waits(Restart::Window, Some(9 * HOUR_MS), false), Ok(()));
    assert_eq!(waits(Restart::Window, None, false), Ok(()), "it may stay in place for as long as it likes");
    assert_eq!(waits(Restart::Now, Some(1), false), Ok(()));
    let blackout = waits(Restart::Window, Some(7 * DAY_MS), true).unwrap_err();
    assert!(blackout.ends_with("because the host may not restart for it soon enough"), "{blackout}");
    assert_eq!(waits(Restart::Window, Some(60 * DAY_MS), true), Ok(()), "two weeks later there is a window");
}

#[test]
fn without_windows_any_hour_will_do() {
    assert_eq!(decide(&Schedule::default(), &due(), "2026-12-24T18:00Z"), Ok("at any hour".to_owned()));
}

#[test]
fn a_window_is_open_from_its_first_moment_and_closed_at_its_last() {
    let schedule = schedule();
    let waits = "waits until 2026-06-09 22:00 Europe/Berlin (2026-06-09 20:00 UTC), because no window is open";
    assert_eq!(decide(&schedule, &due(), "2026-06-09T19:59:59.999Z"), Err(waits.to_owned()));
    assert_eq!(decide(&schedule, &due(), "2026-06-09T20:00Z"), Ok("in window patch-tuesday".to_owned()));
    assert_eq!(decide(&schedule, &due(), "2026-06-09T22:59:59.999Z"), Ok("in window patch-tuesday".to_owned()));
    let sunday = decide(&schedule, &due(), "2026-06-09T23:00Z").unwrap_err();
    assert!(sunday.contains("2026-06-14 04:00 Europe/Berlin (2026-06-14 02:00 UTC)"), "{sunday}");
    let next = schedule.next_opening(ms("2026-06-09T23:00Z")).unwrap();
    assert_eq!((next.window.as_str(), next.from_ms), ("sundays", ms("2026-06-14T02:00Z")));
}

#[test]
fn a_blackout_shuts_windows_and_says_so() {
    let schedule = schedule();
    // Sunday, 27 December, 04:00 in Berlin; the first Sunday after the blackout is 10 January.
    let wait = schedule.decide(&due(), ms("2026-12-27T03:00Z")).unwrap_err();
    assert_eq!(wait.because, Because::Blackout("12-20/01-06".to_owned()));
    assert_eq!(wait.until_ms, Some(ms("2027-01-10T03:00Z")));
    let before = schedule.decide(&due(), ms("2026-12-13T04:00Z")).unwrap_err();
    assert_eq!((before.because, before.until_ms), (Because::NoWindow, Some(ms("2027-01-10T03:00Z"))));
    // It ends in the middle of this one, which opens then.
    let wednesdays = Window::by_pattern("w", "0 20 * * WED", 6 * HOUR_MS, berlin()).unwrap();
    let mid = Schedule { windows: vec![wednesdays], ..schedule.clone() };
    let opening = mid.next_opening(ms("2027-01-02T00:00Z")).unwrap();
    assert_eq!((opening.from_ms, opening.until_ms), (ms("2027-01-06T23:00Z"), ms("2027-01-07T01:00Z")));
    // The day before is free, to its last moment in Berlin and not in UTC.
    let always = Schedule { windows: Vec::new(), ..schedule.clone() };
    assert!(always.decide(&due(), ms("2026-12-19T22:59:59Z")).is_ok());
    assert!(always.decide(&due(), ms("2026-12-19T23:00Z")).is_err());
    assert_eq!(always.decide(&due(), ms("2027-01-01T00:00Z")).unwrap_err().until_ms, Some(ms("2027-01-06T23:00Z")));
    assert!(always.decide(&due(), ms("2027-01-06T23:00Z")).is_ok());
}

#[test]
fn blackouts_are_days_of_the_calendar() {
    let covers = |text: &str, at: &str| Blackout::parse(text, Zone::utc()).unwrap().end(ms(at));
    assert_eq!(covers("2026-05-01", "2026-05-01T23:59Z"), Some(ms("2026-05-02T00:00Z")));
    assert_eq!(covers("2026-05-01", "2027-05-01T12:00Z"), None);
    assert_eq!(covers("05-01", "2027-05-01T12:00Z"), Some(ms("2027-05-02T00:00Z")));
    assert_eq!(covers("02-29", "2028-02-29T12:00Z"), Some(ms("2028-03-01T00:00Z")));
    assert_eq!(covers("02-29", "2027-02-28T12:00Z"), Some(ms("2027-03-01T00:00Z")), "its eve, where there is none");
    assert_eq!(covers("2026-12-20/2027-01-06", "2026-12-31T23:59Z"), Some(ms("2027-01-07T00:00Z")));
    for wrong in ["", "2027-01-06/2026-12-20", "2026-02-30", "13-01", "2026-1-1", "12-24/2027-01-01", "2026-01-01/"] {
        assert!(Blackout::parse(wrong, Zone::utc()).is_err(), "{wrong}");
    }
}

#[test]
fn blackouts_that_never_end_are_no_reason_to_search_for_ever() {
    let all_year = vec![Blackout::parse("01-01/12-31", berlin()).unwrap()];
    let schedule = Schedule { blackouts: all_year, ..schedule() };
    let wait = schedule.decide(&due(), ms("2026-06-01T00:00Z")).unwrap_err();
    assert_eq!(wait.until_ms, None);
    assert!(
        wait.to_string().starts_with("waits until somebody changes the schedule, because of the blackout"),
        "{wait}"
    );
    // A window that only ever opens in a blackout.
    let christmas = Window::by_rule("x", "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=25", None, "04:00", HOUR_MS, berlin());
    let schedule = Schedule { windows: vec![christmas.unwrap()], ..self::schedule() };
    assert_eq!(schedule.decide(&due(), ms("2026-06-01T00:00Z")).unwrap_err().until_ms, None);
}

#[test]
fn a_deadline_is_kept_outside_of_windows_and_after_a_blackout() {
    let schedule = Schedule { deadlines_ms: [(Severity::Important, 3 * DAY_MS)].into(), ..schedule() };
    let tuesday = Due { since_ms: ms("2026-06-15T12:00Z"), ..due() };
    let wait = schedule.decide(&tuesday, ms("2026-06-15T12:00Z")).unwrap_err();
    assert_eq!(wait.until_ms, Some(ms("2026-06-18T12:00Z")), "before the next window");
    assert_eq!(decide(&schedule, &tuesday, "2026-06-18T12:00Z"), Ok("its deadline has passed".to_owned()));
    let low = Due { severity: Severity::Low, ..tuesday };
    assert_eq!(schedule.decide(&low, ms("2026-06-18T12:00Z")).unwrap_err().until_ms, Some(ms("2026-06-21T02:00Z")));
    let christmas = Due { since_ms: ms("2026-12-18T12:00Z"), ..due() };
    let wait = schedule.decide(&christmas, ms("2026-12-24T12:00Z")).unwrap_err();
    assert_eq!(wait.until_ms, Some(ms("2027-01-06T23:00Z")), "a blackout is stronger than a deadline");
}

#[test]
fn what_is_urgent_waits_for_no_window_and_for_blackouts_unless_told() {
    let urgent = Schedule { urgent: [Severity::Critical].into(), emergency_is_urgent: true, ..schedule() };
    let critical = Due { severity: Severity::Critical, ..due() };
    let emergency = Due { emergency: true, ..due() };
    for due in [critical, emergency] {
        assert_eq!(decide(&urgent, &due, "2026-06-01T00:00Z"), Ok("urgent".to_owned()));
        let wait = urgent.decide(&due, ms("2026-12-24T00:00Z")).unwrap_err();
        assert_eq!(wait.until_ms, Some(ms("2027-01-06T23:00Z")));
        let through = Schedule { urgent_in_blackout: true, ..urgent.clone() };
        assert_eq!(through.decide(&due, ms("2026-12-24T00:00Z")), Ok(Leave::Urgent));
        assert!(schedule().decide(&due, ms("2026-06-01T00:00Z")).is_err(), "only where the configuration says so");
    }
}

#[test]
fn a_window_that_was_slept_through_is_made_up_for_as_configured() {
    let with = |missed| Schedule { missed, ..schedule() };
    // Asleep from Monday, awake on Wednesday at noon: patch-tuesday is over, sundays are ahead.
    let woke = Due { awake_since_ms: ms("2026-06-10T12:00Z"), ..due() };
    let sunday = Some(ms("2026-06-14T02:00Z"));
    assert_eq!(with(Missed::Next).decide(&woke, ms("2026-06-10T12:00Z")).unwrap_err().until_ms, sunday);
    for (missed, at, may) in [
        (Missed::CatchUp, "2026-06-10T12:00Z", true),
        (Missed::CatchUp, "2026-06-10T14:59:59Z", true),
        (Missed::CatchUp, "2026-06-10T15:00Z", false),
        (Missed::AsSoonAsPossible, "2026-06-10T15:00Z", true),
        (Missed::AsSoonAsPossible, "2026-06-13T15:00Z", true),
    ] {
        let decided = with(missed).decide(&woke, ms(at));
        assert_eq!(decided.is_ok(), may, "{missed:?} {at}");
        match decided {
            Ok(Leave::Missed(opening)) => assert_eq!(opening.window, "patch-tuesday"),
            Ok(other) => panic!("{other:?}"),
            Err(wait) => assert_eq!(wait.until_ms, sunday, "{missed:?} {at}"),
        }
    }
    for (what, due) in [
        ("it was not due then", Due { since_ms: ms("2026-06-10T00:00Z"), ..woke }),
        (
            "the host was awake for the end of it",
            Due { since_ms: ms("2026-06-08T00:00Z"), awake_since_ms: ms("2026-06-09T22:30Z"), ..due() },
        ),
    ] {
        assert!(with(Missed::AsSoonAsPossible).decide(&due, ms("2026-06-10T12:00Z")).is_err(), "{what}");
    }
    // However long ago that was.
    let long = Due { since_ms: ms("2026-01-15T00:00Z"), awake_since_ms: ms("2026-06-10T12:00Z"), ..due() };
    let Ok(Leave::Missed(opening)) = with(Missed::AsSoonAsPossible).decide(&long, ms("2026-06-11T00:00Z")) else {
        panic!("due since January")
    };
    assert_eq!(opening.from_ms, ms("2026-06-09T20:00Z"), "the newest of them");
    // What was shut by a blackout was not missed.
    let january = Due { since_ms: ms("2026-12-21T00:00Z"), awake_since_ms: ms("2027-01-04T00:00Z"), ..due() };
    assert!(with(Missed::AsSoonAsPossible).decide(&january, ms("2027-01-07T12:00Z")).is_err());
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let zone = || prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]);
    let days = prop::sample::select(vec![
        "FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=SU",
        "FREQ=MONTHLY;BYDAY=2TU",
        "FREQ=MONTHLY;BYMONTHDAY=-1",
        "FREQ=WEEKLY;BYDAY=SA,SU",
    ]);
    let by_rule = (days, 0u8..24, 0u8..60, 1u64..30, zone()).prop_map(|(rule, hour, minute, hours, zone)| {
        let start = format!("{hour:02}:{minute:02}");
        Window::by_rule("rule", rule, None, &start, hours * HOUR_MS, Zone::named(zone).unwrap()).unwrap()
    });
    let patterns = prop::sample::select(vec!["*/7 2 * * SUN", "30 1,2 * * *", "0 0 1 * *", "15 3 * * SUN#L"]);
    let by_pattern = (patterns, 1u64..200, zone()).prop_map(|(pattern, minutes, zone)| {
        Window::by_pattern("cron", pattern, minutes * MINUTE_MS, Zone::named(zone).unwrap()).unwrap()
    });
    prop::collection::vec(prop_oneof![by_rule, by_pattern], 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    /// The moment a decision names is one at which it may be, and no minute before it is.
    #[test]
    fn a_wait_ends_at_its_moment_and_not_before(
        windows in windows(),
        // Around the changes of clocks of 2026 to 2125, where it matters.
        year in 2026u64..2126, change in prop::sample::select(vec!["03-08", "03-29", "04-05", "10-04", "10-25", "11-01"]),
        minute in 0u64..3 * 24 * 60,
        blackout in prop::option::of(prop::sample::select(vec!["10-25", "03-29/04-05", "03-01/03-08"])),
        deadline_h in prop::option::of(0u64..100),
        missed in prop::sample::select(vec![Missed::Next, Missed::CatchUp, Missed::AsSoonAsPossible]),
        due_h in 0u64..24 * 40, awake_h in 0u64..24 * 40,
    ) {
        let now_ms = ms(&format!("{year}-{change}T00:00Z")) - DAY_MS + minute * MINUTE_MS;
        let schedule = Schedule {
            windows,
            blackouts: blackout.iter().map(|text| Blackout::parse(text, berlin()).unwrap()).collect(),
            missed,
            deadlines_ms: deadline_h.map(|hours| (Severity::Important, hours * HOUR_MS)).into_iter().collect(),
            ..Schedule::default()
        };
        let (since_ms, awake_since_ms) = (now_ms - due_h * HOUR_MS, now_ms - awake_h * HOUR_MS);
        let due = Due { since_ms, awake_since_ms, ..due() };
        let Err(wait) = schedule.decide(&due, now_ms) else { return Ok(()) };
        let until_ms = wait.until_ms.expect("every window of these opens again");
        prop_assert!(until_ms > now_ms);
        let then = schedule.decide(&due, until_ms);
        prop_assert!(then.is_ok(), "{:?}", then);
        // Every minute of two days, and the last one before.
        let minutes = (now_ms..until_ms).step_by(60_000).take(2 * 24 * 60);
        for at_ms in minutes.chain([until_ms - 1]) {
            let decided = schedule.decide(&due, at_ms);
            prop_assert_eq!(decided.as_ref().err().and_then(|wait| wait.until_ms), Some(until_ms), "at {}", at_ms);
        }
    }
}
