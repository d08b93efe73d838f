//! Times and lengths of time, as refusals show them.

use ledger::moment::{Moment, Span};

#[test]
fn a_moment_is_shown_as_calendars_have_it() {
    for (at_ms, shown) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_767_225_600_250, "2026-01-01T00:00:00.250Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "253402300800000 ms"),
        (u64::MAX, "18446744073709551615 ms"),
    ] {
        assert_eq!(Moment(at_ms).to_string(), shown);
    }
}

#[test]
fn a_length_of_time_is_shown_exactly() {
    for (span_ms, shown) in [
        (0, "0s"),
        (1, "1ms"),
        (90_000, "1m 30s"),
        (86_400_000, "1d"),
        (2_592_000_000, "30d"),
        (172_790_999, "1d 23h 59m 50s 999ms"),
        (u64::MAX, "213503982334d 14h 25m 51s 615ms"),
    ] {
        assert_eq!(Span(span_ms).to_string(), shown);
    }
}
