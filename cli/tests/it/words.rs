//! How things are written and read: tables, times, durations.

use cli::tables::{facts, table};
use cli::time::{parse_duration, parse_milliseconds, parse_moment, show, show_duration};
use terminal::escape;

#[test]
fn tables_and_facts_are_inert() {
    for text in ["\u{1b}[31mred", "a\nb\tc", "\u{202e}gnp.exe"] {
        assert_eq!(table(&["A"], &[vec![text.to_owned()]]), format!("A\n{}\n", escape(text)));
    }
    assert_eq!(facts(&[("a", "1\n2\u{7}".to_owned()), ("bc", "3".to_owned())]), "a   1\n    2\\u{7}\nbc  3\n");
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
