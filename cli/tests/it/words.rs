//! How things are written and read: text made inert, times, durations.

use cli::terminal::{escape, facts, json, table};
use cli::time::{parse_duration, parse_milliseconds, parse_moment, show, show_duration};

#[test]
fn whatever_could_act_on_a_terminal_stands_as_text() {
    for (text, inert) in [
        ("plain text, Ünïcödé, 漢字, עברית", "plain text, Ünïcödé, 漢字, עברית"),
        ("\u{1b}[31mred", "\\u{1b}[31mred"),
        ("\u{9b}31m", "\\u{9b}31m"),
        ("a\nb\tc\rd\0", "a\\nb\\tc\\u{d}d\\u{0}"),
        ("\u{202e}gnp.exe\u{2066}\u{200f}", "\\u{202e}gnp.exe\\u{2066}\\u{200f}"),
        ("in\u{200b}visible\u{feff}\u{ad}", "in\\u{200b}visible\\u{feff}\\u{ad}"),
        ("\u{e0041}\u{2028}\u{7f}", "\\u{e0041}\\u{2028}\\u{7f}"),
    ] {
        assert_eq!(escape(text), inert);
        assert_eq!(table(&["A"], &[vec![text.to_owned()]]), format!("A\n{inert}\n"));
    }
    assert_eq!(facts(&[("a", "1\n2\u{7}".to_owned()), ("bc", "3".to_owned())]), "a   1\n    2\\u{7}\nbc  3\n");
}

#[test]
fn json_is_inert_and_the_same_value() {
    let text = "a\"\\\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\n漢";
    let written = json(&serde_json::json!({ "text": text }));
    assert!(
        written.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}' && c != '\u{e0041}')),
        "{written}"
    );
    let read: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(read["text"], text);
}

#[test]
fn times_are_read_and_written() {
    assert_eq!(parse_moment("1767225600000"), Ok(1_767_225_600_000));
    assert_eq!(parse_moment("2026-01-01T00:00:00Z"), Ok(1_767_225_600_000));
    assert_eq!(parse_moment("2026-01-01T00:00:00.25Z"), Ok(1_767_225_600_250));
    assert_eq!(parse_moment("2026-01-01T02:30:00+02:30"), Ok(1_767_225_600_000));
    assert_eq!(parse_moment("2025-12-31T23:00:00-01:00"), Ok(1_767_225_600_000));
    for wrong in ["", "-1", "1e3", "2026-01-01", "2026-13-01T00:00:00Z", "99999999999999999999999"] {
        assert!(parse_moment(wrong).is_err(), "{wrong}");
    }
    assert_eq!(show(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(show(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
    // A header may claim any time; showing it must not fail.
    assert_eq!(show(u64::MAX), "18446744073709551615 ms");
}

#[test]
fn durations_need_their_unit_where_it_matters() {
    assert_eq!(parse_duration("24h"), Ok(86_400_000));
    assert_eq!(parse_duration("1h 30m"), Ok(5_400_000));
    assert_eq!(parse_duration("250ms"), Ok(250));
    for wrong in ["", "24", "h", "-1h", "1 parsec", "999999999999999999999y"] {
        assert!(parse_duration(wrong).is_err(), "{wrong}");
    }
    assert_eq!((parse_milliseconds("200"), parse_milliseconds("2s")), (Ok(200), Ok(2000)));
    assert_eq!(show_duration(90_000), "1m 30s");
}
