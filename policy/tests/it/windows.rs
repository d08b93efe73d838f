//! When a window opens, against calendars written down by hand, and against the clock on the wall
//! looked at minute by minute for a century.

use jiff::civil::{Date, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use policy::schedule::{Window, Zone};
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

fn rules(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

fn ms(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
}

fn utc(at_ms: u64) -> String {
    Timestamp::from_millisecond(at_ms.try_into().unwrap()).unwrap().strftime("%Y-%m-%dT%H:%MZ").to_string()
}

fn by_rule(rule: &str, start: &str, hours: u64, name: &str) -> Window {
    Window::by_rule("w", rule, None, start, hours * HOUR_MS, zone(name)).unwrap()
}

fn by_pattern(pattern: &str, hours: u64, name: &str) -> Window {
    Window::by_pattern("w", pattern, hours * HOUR_MS, zone(name)).unwrap()
}

/// The next openings after a moment.
fn openings(window: &Window, after: &str, count: usize) -> Vec<String> {
    let mut at_ms = ms(after);
    let mut next = || {
        at_ms = window.next_opening(at_ms)?.from_ms;
        Some(utc(at_ms))
    };
    (0..count).map_while(|_| next()).collect()
}

#[test]
fn the_second_tuesday_is_the_same_by_rule_and_by_pattern() {
    let expected = ["2026-01-13T21:00Z", "2026-02-10T21:00Z", "2026-03-10T21:00Z", "2026-04-14T20:00Z"];
    let rule = by_rule("FREQ=MONTHLY;BYDAY=2TU", "22:00", 3, "Europe/Berlin");
    assert_eq!(openings(&rule, "2026-01-01T00:00Z", 4), expected);
    let pattern = by_pattern("0 22 * * TUE#2", 3, "Europe/Berlin");
    assert_eq!(openings(&pattern, "2026-01-01T00:00Z", 4), expected);
}

#[test]
fn the_29th_of_february_comes_when_there_is_one() {
    let rule = by_rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "02:00", 1, "UTC");
    let expected = ["2092-02-29T02:00Z", "2096-02-29T02:00Z", "2104-02-29T02:00Z"];
    assert_eq!(openings(&rule, "2091-01-01T00:00Z", 3), expected, "2100 is no leap year");
    assert_eq!(openings(&by_pattern("0 2 29 2 *", 1, "UTC"), "2091-01-01T00:00Z", 3), expected);
    let last = by_rule("FREQ=MONTHLY;BYMONTHDAY=-1", "02:00", 1, "UTC");
    assert_eq!(openings(&last, "2028-02-01T00:00Z", 1), ["2028-02-29T02:00Z"]);
    assert_eq!(openings(&last, "2027-02-01T00:00Z", 1), ["2027-02-28T02:00Z"]);
}

#[test]
fn rules_of_many_kinds_mean_what_the_standard_says() {
    for (rule, from, after, expected) in [
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", None, "2026-05-01", "2026-05-29"),
        ("FREQ=MONTHLY;BYDAY=-1SU", None, "2026-08-01", "2026-08-30"),
        ("FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO", None, "2026-01-01", "2026-12-28"),
        ("FREQ=YEARLY;BYDAY=1MO;BYMONTH=9", None, "2026-01-01", "2026-09-07"),
        ("FREQ=YEARLY;BYYEARDAY=-1", None, "2026-01-01", "2026-12-31"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", Some("2026-01-06"), "2026-01-07", "2026-01-20"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", Some("2026-01-13"), "2026-01-14", "2026-01-27"),
        ("FREQ=WEEKLY", Some("2026-01-08"), "2026-02-01", "2026-02-05"),
        ("FREQ=DAILY", Some("2026-07-01"), "2026-01-01", "2026-07-01"),
        ("FREQ=MONTHLY;BYDAY=2TU;UNTIL=20260210", None, "2026-01-14", "2026-02-10"),
        ("RRULE:FREQ=DAILY;INTERVAL=100", Some("1980-01-01"), "2026-01-01", "2026-04-09"),
    ] {
        let window = Window::by_rule("w", rule, from, "12:00", HOUR_MS, Zone::utc()).unwrap();
        assert_eq!(openings(&window, &format!("{after}T00:00Z"), 1), [format!("{expected}T12:00Z")], "{rule} {from:?}");
    }
    let ended = by_rule("FREQ=MONTHLY;BYDAY=2TU;UNTIL=20260210", "12:00", 1, "UTC");
    assert_eq!(ended.next_opening(ms("2026-02-10T12:00Z")), None);
    let thrice = Window::by_rule("w", "FREQ=DAILY;COUNT=3", Some("2026-01-01"), "12:00", HOUR_MS, Zone::utc()).unwrap();
    assert_eq!(openings(&thrice, "2026-01-01T00:00Z", 9).len(), 3);
}

#[test]
fn an_hour_that_does_not_exist_begins_when_the_clock_jumps() {
    // 29 March 2026: 02:00 is 03:00 in Berlin, which is 01:00 UTC.
    for window in [by_rule("FREQ=DAILY", "02:30", 3, "Europe/Berlin"), by_pattern("30 2 * * *", 3, "Europe/Berlin")] {
        let expected = ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"];
        assert_eq!(openings(&window, "2026-03-28T00:00Z", 3), expected);
        let opening = window.last_opening(ms("2026-03-29T03:59Z"), ms("2026-03-29T03:59Z")).unwrap();
        assert_eq!(utc(opening.until_ms), "2026-03-29T04:00Z", "it lasts three hours of time, not of the clock");
    }
    // Lord Howe puts its clocks forward by half an hour, Apia left out a whole day.
    let howe = by_rule("FREQ=DAILY", "02:10", 1, "Australia/Lord_Howe");
    assert_eq!(openings(&howe, "2026-10-03T12:00Z", 1), ["2026-10-03T15:30Z"]);
    let apia = by_rule("FREQ=DAILY", "12:00", 1, "Pacific/Apia");
    let expected = ["2011-12-29T22:00Z", "2011-12-30T10:00Z", "2011-12-30T22:00Z"];
    assert_eq!(openings(&apia, "2011-12-29T00:00Z", 3), expected, "the 30th began and ended when it was left out");
}

#[test]
fn an_hour_that_exists_twice_begins_the_first_time() {
    // 25 October 2026: 03:00 is 02:00 again in Berlin, at 01:00 UTC.
    for window in [by_rule("FREQ=DAILY", "02:30", 1, "Europe/Berlin"), by_pattern("30 2 * * *", 1, "Europe/Berlin")] {
        let expected = ["2026-10-24T00:30Z", "2026-10-25T00:30Z", "2026-10-26T01:30Z"];
        assert_eq!(openings(&window, "2026-10-24T00:00Z", 3), expected);
        let open = |at: &str| window.last_opening(ms(at), ms(at)).is_some();
        assert!(open("2026-10-25T01:29Z") && !open("2026-10-25T01:30Z"), "not a second time");
    }
}

#[test]
fn openings_that_overlap_are_one_after_the_other() {
    let always = by_pattern("* * * * *", 24, "Europe/Berlin");
    for at in ["2026-03-29T00:59Z", "2026-03-29T01:00Z", "2026-10-25T00:30Z", "2026-10-25T01:30Z"] {
        let at_ms = ms(at);
        let opening = always.last_opening(at_ms, at_ms).unwrap();
        assert!(opening.from_ms <= at_ms && at_ms < opening.until_ms, "{at}: {opening:?}");
    }
    let long = Window::by_rule("w", "FREQ=DAILY", None, "00:00", 7 * 24 * HOUR_MS, Zone::utc()).unwrap();
    let at_ms = ms("2026-06-01T00:00Z");
    assert_eq!(long.last_opening(at_ms - 1, at_ms).unwrap().from_ms, ms("2026-05-31T00:00Z"));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let rule = |rule: &str| Window::by_rule("w", rule, None, "02:00", HOUR_MS, Zone::utc()).unwrap_err().to_string();
    let pattern = |text: &str| Window::by_pattern("w", text, HOUR_MS, Zone::utc()).unwrap_err().to_string();
    for (refused, evidence) in [
        (rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "never happens"),
        (rule("FREQ=SECONDLY"), "DAILY, WEEKLY, MONTHLY or YEARLY"),
        (rule("FREQ=DAILY;BYHOUR=2"), "the hour is said by `start`"),
        (rule("FREQ=DAILY;INTERVAL=2"), "needs `from`"),
        (rule("FREQ=DAILY;INTERVAL=0"), "no interval"),
        (rule("FREQ=DAILY;COUNT=0"), "COUNT=0"),
        (rule("FREQ=WEEKLY"), "needs `from`"),
        (rule("FREQ=MONTHLY;BYDAY=6TU"), "BYDAY"),
        (rule("FREQ=DAILY;FREQ=DAILY"), "occurs twice"),
        (rule("FREQ=DAILY;UNTIL=20270101T000000Z"), "UNTIL=20271231"),
        (rule("BYDAY=MO"), "FREQ is missing"),
        (rule("FREQ=DAILY\nEXRULE:FREQ=DAILY"), "moves a cursor"),
        (rule(&"FREQ=DAILY;".repeat(50)), "longer than"),
        (pattern("0 0 30 2 *"), "never happens"),
        (pattern("* * * * * *"), "5 fields"),
        (pattern("60 * * * *"), "out of bounds"),
        (pattern("0 2\0\0 * * TUE"), "moves a cursor"),
        (pattern(&"*".repeat(300)), "longer than"),
        (Zone::named("Mars/Olympus").unwrap_err().to_string(), "no time zone"),
        (Zone::named("../../etc/passwd").unwrap_err().to_string(), "no time zone"),
        (Window::by_rule("w", "FREQ=DAILY", None, "2:00", HOUR_MS, Zone::utc()).unwrap_err().to_string(), "HH:MM"),
        (Window::by_rule("w", "FREQ=DAILY", None, "24:00", HOUR_MS, Zone::utc()).unwrap_err().to_string(), "HH:MM"),
        (
            Window::by_rule("w", "FREQ=DAILY", Some("2026-02-30"), "02:00", HOUR_MS, Zone::utc())
                .unwrap_err()
                .to_string(),
            "no day",
        ),
        (
            Window::by_rule("w\u{1b}", "FREQ=DAILY", None, "02:00", HOUR_MS, Zone::utc()).unwrap_err().to_string(),
            "name",
        ),
        (Window::by_pattern("w", "0 0 * * *", 1, Zone::utc()).unwrap_err().to_string(), "lasts 60 s"),
    ] {
        assert!(refused.contains(evidence), "{evidence:?} in {refused:?}");
    }
}

/// The first moment of a day at which the clock shows an hour or a later one, found by looking at the
/// clock every minute; the whole day may have been left out.
fn first_look(rules: &TimeZone, day: Date, hour: i8, minute: i8) -> u64 {
    let wanted = day.at(hour, minute, 0, 0);
    let mut at = wanted.checked_sub(Span::new().hours(27)).unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
    while rules.to_datetime(at) < wanted {
        at = at.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
    }
    at.as_millisecond().try_into().unwrap()
}

#[test]
fn for_a_century_every_window_around_a_change_of_clocks_opens_when_the_wall_says_so() {
    for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"] {
        let rules = rules(name);
        let nightly = by_rule("FREQ=DAILY", "02:30", 2, name);
        let midnightly = by_pattern("0 0 * * *", 2, name);
        let since: Timestamp = "2026-01-01T00:00Z".parse().unwrap();
        let changes = rules.following(since).map(|change| change.timestamp());
        let mut seen = 0;
        for change in changes.take_while(|change| change.to_zoned(TimeZone::UTC).year() <= 2126) {
            seen += 1;
            let day = rules.to_datetime(change).date();
            for day in [day.yesterday().unwrap(), day, day.tomorrow().unwrap()] {
                for (window, hour, minute) in [(&nightly, 2, 30), (&midnightly, 0, 0)] {
                    let expected_ms = first_look(&rules, day, hour, minute);
                    let opening = window.next_opening(expected_ms - 1).unwrap();
                    assert_eq!(utc(opening.from_ms), utc(expected_ms), "{name} {day} {hour}:{minute}");
                    assert_eq!(opening.until_ms - opening.from_ms, 2 * HOUR_MS);
                    let before = window.last_opening(expected_ms - 1, 0).unwrap();
                    assert!(before.from_ms < expected_ms);
                    assert_eq!(window.next_opening(before.from_ms).unwrap().from_ms, expected_ms, "none in between");
                }
            }
        }
        assert!(seen >= 200, "{name}: {seen} changes of clocks in a century");
    }
}

/// Whether a day is one of a rule's, by looking at the day and not at the calendar.
fn is_day(rule: &(u8, Vec<i8>, Vec<i8>), day: Date) -> bool {
    let (weekday, nths, months) = rule;
    let is_weekday = day.weekday().to_monday_zero_offset() == i8::try_from(*weekday).unwrap();
    let nth = (day.day() + 6) / 7;
    let nth_from_end = -((day.days_in_month() - day.day()) / 7 + 1);
    let is_nth = nths.is_empty() || nths.contains(&nth) || nths.contains(&nth_from_end);
    is_weekday && is_nth && (months.is_empty() || months.contains(&day.month()))
}

fn ordinal_rules() -> impl Strategy<Value = (u8, Vec<i8>, Vec<i8>)> {
    let nth = prop_oneof![1i8..=5, -4i8..=-1];
    (0u8..7, prop::collection::vec(nth, 0..3), prop::collection::vec(1i8..=12, 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn rules_of_weekdays_bring_exactly_the_days_that_are_theirs(rule in ordinal_rules(), year in 1971i16..2200) {
        let weekday = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"][usize::from(rule.0)];
        let days = match rule.1.is_empty() {
            true => weekday.to_owned(),
            false => rule.1.iter().map(|nth| format!("{nth}{weekday}")).collect::<Vec<_>>().join(","),
        };
        let mut text = format!("FREQ=MONTHLY;BYDAY={days}");
        if !rule.2.is_empty() {
            text += &format!(";BYMONTH={}", rule.2.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        }
        let window = by_rule(&text, "00:00", 1, "UTC");
        let (mut at_ms, mut day) = (ms(&format!("{year}-01-01T00:00Z")) - 1, date(year, 1, 1));
        while day.year() == year {
            if is_day(&rule, day) {
                let opening = window.next_opening(at_ms).unwrap();
                prop_assert_eq!(utc(opening.from_ms), format!("{day}T00:00Z"), "{}", text);
                at_ms = opening.from_ms;
            }
            day = day.tomorrow().unwrap();
        }
        let next = window.next_opening(at_ms).unwrap();
        prop_assert!(next.from_ms >= ms(&format!("{}-01-01T00:00Z", year + 1)), "{}: none is left out", text);
    }

    /// Whatever stands in the configuration: an answer, and soon.
    #[test]
    fn hostile_words_are_refused_or_bounded(
        parts in prop::collection::vec((
            prop::sample::select(vec!["FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYMONTH", "BYSETPOS", "WKST", "X"]),
            prop_oneof!["(DAILY|WEEKLY|MONTHLY|YEARLY)", "-?[0-9]{1,6}", "[+-]?[0-9]{0,3}(MO|SU|XX)(,[0-9]{0,2}TU)?", "[0-9]{8}", "[0-9,-]{1,12}"],
        ), 0..6),
        from in prop::option::of("(19[789]|20[0-9]|99[0-9])[0-9]-[01][0-9]-[0-3][0-9]"),
        pattern in "[0-9*/,#LW?A-Z -]{0,24}",
        at_ms in prop_oneof![any::<u64>(), 0..4_102_444_800_000u64],
    ) {
        let rule = parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let rule = format!("FREQ=YEARLY;{}", rule.join(";"));
        let berlin = zone("Europe/Berlin");
        let ruled = Window::by_rule("w", &rule, from.as_deref(), "02:30", HOUR_MS, berlin.clone());
        let patterned = Window::by_pattern("w", &pattern, HOUR_MS, berlin);
        for window in [ruled, patterned].into_iter().flatten() {
            let next = window.next_opening(at_ms);
            prop_assert!(next.is_none_or(|opening| opening.from_ms > at_ms));
            let last = window.last_opening(at_ms, at_ms);
            prop_assert!(last.is_none_or(|opening| opening.from_ms <= at_ms && at_ms < opening.until_ms));
        }
    }
}
