//! Did it go well?

use ledger::bounded::{List, Name, Text, Version};
use ledger::patch::{HealthCheck, Probe};
use ledger::receipt::Health;
use policy::health::{Judgement, Observation, describe, judge, overall};
use proptest::prelude::*;

fn check(probe: Probe, attempts: u16) -> HealthCheck {
    HealthCheck { probe, timeout_ms: 1_000, attempts, interval_ms: 200 }
}

fn command(expect: Option<&str>) -> Probe {
    let arguments = List::new(vec![Text::new("ping").unwrap(), Text::new("-c1").unwrap()]).unwrap();
    Probe::Command { arguments, expect: expect.map(|text| Text::new(text).unwrap()) }
}

fn tcp() -> Probe {
    Probe::Tcp { port: Text::new("{port}").unwrap() }
}

fn package() -> Probe {
    Probe::PackageVersion { package: Name::new("widget").unwrap(), version: Version::new("1.0.5").unwrap() }
}

fn exited(status: Option<i32>, output: &[u8]) -> Observation {
    Observation::Exited { status, output: output.to_vec(), truncated: false }
}

/// What a single attempt comes to.
fn once(probe: Probe, seen: Observation) -> Result<(), String> {
    match judge(&check(probe, 1), &[seen]) {
        Judgement::Passed => Ok(()),
        Judgement::Failed(failure) => Err(failure.cause),
        Judgement::Again { .. } => panic!("one attempt is all there is"),
    }
}

#[test]
fn commands_pass_by_status_and_output() {
    assert_eq!(once(command(None), exited(Some(0), b"anything")), Ok(()));
    assert_eq!(once(command(Some("PONG")), exited(Some(0), b" PONG\n")), Ok(()), "white space around does not count");
    for (expect, seen, evidence) in [
        (None, exited(Some(3), b"no"), "exit status 3, output \"no\""),
        (None, exited(None, b""), "ended by a signal"),
        (Some("PONG"), exited(Some(0), b"PONG PONG"), "expected \"PONG\""),
        (Some("PONG"), exited(Some(0), b"PONG\xff"), "expected \"PONG\""),
        (Some("PONG"), exited(Some(1), b"PONG"), "exit status 1"),
        (
            Some("PONG"),
            Observation::Exited { status: Some(0), output: b"PONG".to_vec(), truncated: true },
            "more output than is kept",
        ),
    ] {
        let cause = once(command(expect), seen).unwrap_err();
        assert!(cause.contains(evidence), "{evidence:?} in {cause:?}");
    }
}

#[test]
fn ports_and_packages_pass_by_what_they_are() {
    assert_eq!(once(tcp(), Observation::Connected), Ok(()));
    assert_eq!(once(package(), Observation::Package(Some("1.0.5".to_owned()))), Ok(()));
    for (probe, seen, evidence) in [
        (tcp(), Observation::TimedOut, "no answer in time"),
        (tcp(), Observation::Impossible("port 1: refused".to_owned()), "port 1: refused"),
        (tcp(), exited(Some(0), b""), "another kind of probe"),
        (package(), Observation::Package(Some("1.0.4".to_owned())), "version is \"1.0.4\", expected 1.0.5"),
        (package(), Observation::Package(None), "does not know it"),
        (command(None), Observation::Connected, "another kind of probe"),
    ] {
        let cause = once(probe, seen).unwrap_err();
        assert!(cause.contains(evidence), "{evidence:?} in {cause:?}");
    }
}

#[test]
fn what_a_command_writes_does_not_fill_a_receipt() {
    let long = "é".repeat(10_000);
    let cause = once(command(None), exited(Some(1), long.as_bytes())).unwrap_err();
    assert!(cause.len() < 400 && cause.contains('…'), "{cause}");
}

#[test]
fn health_is_all_of_the_checks_together() {
    let failed = judge(&check(tcp(), 1), &[Observation::TimedOut]);
    assert_eq!(overall(&[]), Health::NotRun);
    assert_eq!(overall(&[Judgement::Passed, Judgement::Passed]), Health::Passed);
    assert_eq!(overall(&[Judgement::Passed, failed]), Health::Failed);
    assert_eq!(overall(&[Judgement::Again { wait_ms: 1 }]), Health::Failed, "not yet is not passed");
    assert_eq!(describe(&command(None)), "command `ping -c1`");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// However often it failed before: one attempt within the number that passes is enough, and the
    /// number is never exceeded.
    #[test]
    fn attempts_are_counted(attempts in 0u16..12, failures in 0usize..12) {
        let check = check(tcp(), attempts);
        let mut seen = vec![Observation::TimedOut; failures];
        match judge(&check, &seen) {
            Judgement::Again { wait_ms } => {
                prop_assert!(failures == 0 || failures < usize::from(attempts));
                prop_assert_eq!(wait_ms, if failures == 0 { 0 } else { check.interval_ms });
            }
            Judgement::Failed(failure) => {
                prop_assert!(failures >= 1 && failures >= usize::from(attempts));
                prop_assert_eq!(failure.attempts, failures);
            }
            Judgement::Passed => prop_assert!(false, "nothing passed"),
        }
        seen.push(Observation::Connected);
        prop_assert_eq!(judge(&check, &seen), Judgement::Passed);
    }
}
