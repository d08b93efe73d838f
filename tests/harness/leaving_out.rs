//! Tests that need something of a machine that not every machine has say so, and where it is there they may not.

/// What may not be left out: `1` for everything, or words of `scripts/abilities` with commas between, as CI sets it.
pub const NOTHING_LEFT_OUT: &str = "COUNTERSIGN_NOTHING_LEFT_OUT";

/// Says that a test is left out, because this machine lacks something of what it needs (words of `scripts/abilities`).
///
/// # Panics
/// When nothing may be left out, or the machine is known to have all of it.
#[track_caller]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
pub fn left_out(needs: &[&str], why: &str) {
    let given = std::env::var(NOTHING_LEFT_OUT).unwrap_or_default();
    assert!(may_be(needs, &given), "left out, though {NOTHING_LEFT_OUT} is {given}: {why}");
    eprintln!("left out: {why}");
}

fn may_be(needs: &[&str], given: &str) -> bool {
    let has: Vec<&str> = given.split(',').map(str::trim).collect();
    !has.contains(&"1") && needs.iter().any(|need| !has.contains(need))
}

#[cfg(test)]
mod tests {
    use super::may_be;

    #[test]
    fn a_test_is_left_out_only_where_something_it_needs_is_missing() {
        for (needs, given, may) in [
            (&["mounts"][..], "", true),
            (&["mounts"], "1", false),
            (&["mounts"], "mounts", false),
            (&["mounts"], "rpm,networks", true),
            (&["mounts", "rpm"], "rpm", true),
            (&["mounts", "rpm"], "dpkg,rpm,mounts", false),
        ] {
            assert_eq!(may_be(needs, given), may, "{needs:?} with {given:?}");
        }
    }
}
