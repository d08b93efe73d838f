//! What people paste and type: invitations, and the calendar of a host.

use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use ledger::invitation::SignedInvitation;
use policy::schedule::{Blackout, Window, Zone};

/// Memory for reading an invitation: its text, its bytes, and itself.
const INVITATION_BYTES_MAX: usize = 256 * 1024;
/// Memory for a rule of a calendar, and for finding when it happens.
const SCHEDULE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Moments at which a calendar is asked: a leap day, a change of the clocks, and the end of what is reckoned with.
const MOMENTS_MS: [u64; 3] = [1_709_210_096_000, 1_743_296_400_000, 253_402_300_799_000];
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// An invitation that is read is written the same way again.
pub fn parse_invitation(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (parsed, taken) = peak_of(|| SignedInvitation::parse(&text));
    assert!(taken <= INVITATION_BYTES_MAX, "{taken} bytes of memory");
    match parsed {
        Ok(invitation) => assert_eq!(invitation.to_string(), text.trim()),
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

/// Lines: a zone, and what a window or a blackout is made of. Whatever is understood says for any moment whether it is open.
pub fn read_schedule(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let zone = match Zone::named(lines.next().unwrap_or_default()) {
        Ok(zone) => zone,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    let (rule, from, start) = (lines.next().unwrap_or_default(), lines.next(), lines.next());
    let ((), taken) = peak_of(|| {
        let by_rule = Window::by_rule("window", rule, from, start.unwrap_or("22:00"), HOUR_MS, zone.clone());
        let windows = [by_rule, Window::by_pattern("window", rule, HOUR_MS, zone.clone())];
        for window in windows {
            match window {
                Ok(window) => MOMENTS_MS.into_iter().for_each(|at_ms| {
                    let last = window.last_opening(at_ms, at_ms.saturating_sub(HOUR_MS));
                    assert!(
                        last.is_none_or(|opening| opening.from_ms <= at_ms),
                        "{window:?} opened later than {at_ms}"
                    );
                }),
                Err(error) => is_a_sentence(&error.to_string()),
            }
        }
        match Blackout::parse(rule, zone) {
            Ok(blackout) => MOMENTS_MS.into_iter().for_each(|at_ms| {
                assert!(blackout.end(at_ms).is_none_or(|end| end > at_ms), "{blackout:?} is over at {at_ms}");
            }),
            Err(error) => is_a_sentence(&error.to_string()),
        }
    });
    assert!(taken <= SCHEDULE_BYTES_MAX, "{taken} bytes of memory");
}
