//! Every check of a proof file, reached by the attack it is there for (sentences 6.3 to 6.17).

use crate::support::samples::*;
use crate::support::world::{World, validator_set};
use crate::support::{digest, name, product};
use ledger::approval::{ApprovalRules, Decision, Standing};
use ledger::bounded::{List, SortedList};
use ledger::id::{ChainId, PatchId};
use ledger::patch::{Class, PatchManifest};
use ledger::proof::{AuthorityError, FinalizedPatch, HostClock, ProofBundle, ProofError, TrustRoot};
use ledger::receipt::ReasonCode;
use ledger::state::StateView as _;
use ledger::state::record::{Halt, HaltScope, Halts, Position, Record, RecordKey};

/// A ledger with one published patch of acme and these said about it, sealed so that all is provable.
pub fn told(
    manifest: &PatchManifest,
    said: &[(&str, fn(PatchId) -> ledger::transaction::Payload)],
) -> (World, PatchId) {
    let mut world = World::new();
    world.say("acme/publisher", publish(manifest));
    for (who, what) in said {
        world.say(who, what(manifest.id()));
    }
    world.block(Vec::new());
    (world, manifest.id())
}

/// The usual story: north and south approve.
pub fn approved() -> (World, PatchId) {
    told(&full_manifest("acme/redis", 7), &[("north/approver", approve), ("south/approver", approve)])
}

pub fn verify(world: &World, bundle: &ProofBundle) -> Result<FinalizedPatch, ProofError> {
    ProofBundle::parse(&bundle.bytes())?.verify(&world.trust(), world.clock())
}

pub fn code(result: Result<FinalizedPatch, ProofError>) -> &'static str {
    result.expect_err("the proof proves nothing").code().word()
}

#[test]
fn an_approved_patch_is_proven_offline() {
    let (world, id) = approved();
    let patch = verify(&world, &world.prove(id)).unwrap();
    assert_eq!(patch.id(), id);
    assert_eq!(*patch.manifest(), full_manifest("acme/redis", 7));
    assert_eq!(patch.rule(), &name("standard"));
    assert_eq!(patch.count().approvals, 2);
    assert_eq!(patch.record().standing, Standing::Approved);
    assert_eq!(patch.header().hash(), world.tip.header.hash());
}

#[test]
fn a_patch_is_provable_from_the_block_after_the_last_approval() {
    let (mut world, id) = approved();
    for _ in 0..3 {
        assert!(verify(&world, &world.prove(id)).is_ok());
        world.say("acme/operator", enroll(&format!("host-{}", world.blocks.len())));
    }
}

/// Who runs it already asks only whether it was withdrawn: also of a file that gives nobody leave (6.21).
#[test]
fn a_recall_is_proven_whatever_became_of_those_who_signed() {
    let (world, id) = approved();
    let recalled = |bundle: &ProofBundle, clock| bundle.recalled(&world.trust(), clock);
    assert_eq!(recalled(&world.prove(id), world.clock()), Ok(None));

    let said: &[(&str, fn(PatchId) -> ledger::transaction::Payload)] =
        &[("north/approver", approve), ("south/approver", approve), ("acme/publisher", recall)];
    let (world, id) = told(&full_manifest("acme/redis", 7), said);
    let recalled = |bundle: &ProofBundle, clock| bundle.recalled(&world.trust(), clock);
    let position = world.storage.patch(id).unwrap().unwrap().recalled;
    let honest = world.prove(id);
    assert!(position.is_some());
    assert_eq!(recalled(&honest, world.clock()), Ok(position));
    let mut nobody_may = honest.clone();
    nobody_may.state.organisations = List::default();
    assert_eq!(code(verify(&world, &nobody_may)), "authority");
    assert_eq!(recalled(&nobody_may, world.clock()), Ok(position));

    // What is not signed, not of today or not of this patch tells nothing.
    let mut unsigned = honest.clone();
    unsigned.header.time_ms += 1;
    let mut swapped = honest.clone();
    swapped.state.patch = honest.state.rules.clone();
    let late = HostClock { now_ms: u64::MAX, ..world.clock() };
    for (bundle, clock, word) in
        [(&unsigned, world.clock(), "certificate"), (&swapped, world.clock(), "state-proof"), (&honest, late, "stale")]
    {
        assert_eq!(recalled(bundle, clock).unwrap_err().code().word(), word);
    }
}

/// Stories with honest keys that end in no permission, and the check that says so.
#[test]
fn a_patch_without_permission_is_named() {
    type Said = &'static [(&'static str, fn(PatchId) -> ledger::transaction::Payload)];
    let stories: &[(&str, Said, &str)] = &[
        ("nobody said anything", &[], "approval-rule"),
        ("one approved", &[("north/approver", approve)], "approval-rule"),
        (
            "two keys of one organisation approved",
            &[("north/approver", approve), ("north/second approver", approve)],
            "approval-rule",
        ),
        (
            "one approved and another says it is not yet time",
            &[("north/approver", approve), ("south/approver", approve), ("west/approver", hold)],
            "held",
        ),
        (
            "two approved and one rejected, which is not enough",
            &[("north/approver", approve), ("south/approver", approve), ("west/approver", reject)],
            "",
        ),
        (
            "two rejected",
            &[
                ("north/approver", approve),
                ("north/second approver", approve),
                ("south/approver", reject),
                ("west/approver", reject),
            ],
            "rejected",
        ),
        ("one said it is urgent", &[("west/approver", approve_urgently)], ""),
        (
            "the vendor recalled it",
            &[("north/approver", approve), ("south/approver", approve), ("acme/publisher", recall)],
            "recalled",
        ),
        (
            "one approver recalled, which is not enough",
            &[("north/approver", approve), ("south/approver", approve), ("west/approver", recall)],
            "",
        ),
        (
            "two approvers recalled",
            &[("north/approver", approve), ("south/approver", recall), ("west/approver", recall)],
            "recalled",
        ),
        (
            "an approver thought again",
            &[("north/approver", approve), ("south/approver", approve), ("south/approver", hold)],
            "held",
        ),
        (
            "an approver thought again twice",
            &[("north/approver", hold), ("south/approver", approve), ("north/approver", approve)],
            "",
        ),
    ];
    for (story, said, expected) in stories {
        let (world, id) = told(&manifest("acme/redis", 1), said);
        let result = verify(&world, &world.prove(id));
        let actual = result.as_ref().map_or_else(|error| error.code().word(), |_| "");
        assert_eq!(actual, *expected, "{story}: {result:?}");
    }
}

#[test]
fn what_speaks_against_a_patch_cannot_be_left_out() {
    // The holder of the file chooses which approvals to show, and shows none that were taken back.
    let (world, id) = told(
        &manifest("acme/redis", 1),
        &[("north/approver", approve), ("south/approver", approve), ("south/approver", hold)],
    );
    let record = world.storage.patch(id).unwrap().unwrap();
    let mut bundle = world.prove_with(id, &record, vec![1, 2]);
    assert_eq!(code(verify(&world, &bundle)), "authority", "south's approval is no longer its verdict");
    bundle.approvals = List::new(vec![bundle.approvals[0].clone()]).unwrap();
    assert_eq!(code(verify(&world, &bundle)), "held");
}

#[test]
fn an_approval_of_another_patch_counts_for_nothing() {
    let (mut world, id) = told(&manifest("acme/redis", 1), &[("north/approver", approve)]);
    let other = manifest("acme/valkey", 1);
    world.say("acme/publisher", publish(&other));
    world.say("south/approver", approve(other.id()));
    world.block(Vec::new());
    let record = world.storage.patch(id).unwrap().unwrap();
    let bundle = world.prove_with(id, &record, vec![1, 3]);
    let error = verify(&world, &bundle).unwrap_err();
    assert_eq!(error, ProofError::Authority(AuthorityError::NotAnApproval { index: 3, kind: "approve" }));
}

#[test]
fn an_urgent_approval_cannot_be_shown_as_what_it_was_before() {
    // north approves, then says it is urgent: only the newest verdict is in the record.
    let (world, id) =
        told(&manifest("acme/redis", 1), &[("north/approver", approve), ("north/approver", approve_urgently)]);
    let record = world.storage.patch(id).unwrap().unwrap();
    assert!(verify(&world, &world.prove_with(id, &record, vec![2])).is_ok());
    for shown in [vec![1], vec![1, 2]] {
        assert_eq!(code(verify(&world, &world.prove_with(id, &record, shown))), "authority");
    }
}

#[test]
fn a_reject_shown_as_an_approval_is_none() {
    let (world, id) = told(&manifest("acme/redis", 1), &[("north/approver", approve), ("south/approver", reject)]);
    let record = world.storage.patch(id).unwrap().unwrap();
    let error = verify(&world, &world.prove_with(id, &record, vec![1, 2])).unwrap_err();
    assert_eq!(error, ProofError::Authority(AuthorityError::NotAnApproval { index: 2, kind: "reject" }));
}

#[test]
fn halts_stop_what_they_name_and_nothing_else() {
    let scopes = [
        (HaltScope::Everything, true),
        (HaltScope::Organisation(name("acme")), true),
        (HaltScope::Organisation(name("north")), false),
        (HaltScope::Product(product("acme/redis")), true),
        (HaltScope::Product(product("acme/redi")), false),
        (HaltScope::Rollout(digest("a rollout")), false),
    ];
    for (scope, stops) in scopes {
        let (mut world, id) = approved();
        let by = crate::support::key("acme/operator").public();
        let halt =
            Halt { scope: scope.clone(), by, since: Position { height: 2, index: 1 }, reason: sentence("smoke") };
        let halts = Halts(SortedList::new(vec![halt]).unwrap());
        world.impose(&RecordKey::Halts, &Record::Halts(halts));
        let result = verify(&world, &world.prove(id));
        let actual = result.as_ref().map_or_else(|error| error.code().word(), |_| "");
        assert_eq!(actual, if stops { "halted" } else { "" }, "{scope:?}");
    }
}

#[test]
fn the_rules_in_force_at_the_header_decide() {
    let (mut world, id) = approved();
    let mut stricter = crate::support::world::rules();
    stricter[1].quorum = ledger::approval::Quorum { approvals: 3, organisations: 3 };
    world.impose(&RecordKey::ApprovalRules, &Record::ApprovalRules(ApprovalRules(List::new(stricter).unwrap())));
    assert_eq!(code(verify(&world, &world.prove(id))), "approval-rule");
    world.impose(&RecordKey::ApprovalRules, &Record::ApprovalRules(ApprovalRules::default()));
    assert_eq!(verify(&world, &world.prove(id)), Err(ProofError::NoApprovalRule));
}

#[test]
fn the_stricter_rule_of_its_class_decides() {
    let firmware = PatchManifest { class: Class::Firmware, ..manifest("acme/bios", 1) };
    let two: &[(&str, fn(PatchId) -> _)] =
        &[("north/approver", approve_urgently), ("south/approver", approve_urgently)];
    let (mut world, id) = told(&firmware, two);
    assert_eq!(code(verify(&world, &world.prove(id))), "approval-rule", "no emergency rule for firmware");
    world.say("west/approver", approve(id));
    world.block(Vec::new());
    assert!(verify(&world, &world.prove(id)).is_ok());
}

#[test]
fn freshness_clock_and_height_are_judged_in_this_order() {
    let (world, id) = approved();
    let bundle = world.prove(id);
    let (height, time) = (world.tip.header.height, world.tip.header.time_ms);
    let day = ledger::proof::MAX_AGE_MS_DEFAULT;
    let at = |now_ms, max_age_ms, floor_ms, height_seen| {
        let change_seen = None;
        HostClock { now_ms, max_age_ms, floor_ms, height_seen, change_seen }
    };
    let cases = [
        ("now", at(time, day, 0, 0), ""),
        ("this very header was seen before", at(time, day, time, height), ""),
        ("a day later", at(time + day, day, 0, 0), ""),
        ("a day and a millisecond later", at(time + day + 1, day, 0, 0), "stale"),
        ("no age is allowed, and it has none", at(time, 0, 0, 0), ""),
        ("no age is allowed", at(time + 1, 0, 0, 0), "stale"),
        ("four hundred days later", at(time + 400 * 86_400_000, day, 0, 0), "stale"),
        ("the clock is two seconds behind", at(time - 2_000, day, 0, 0), ""),
        ("the clock is further behind", at(time - 2_001, day, 0, 0), "clock-behind"),
        ("the clock is three days behind", at(time - 3 * 86_400_000, day, 0, 0), "clock-behind"),
        ("the clock says 1970", at(0, day, 0, 0), "clock-behind"),
        ("the clock says 1970, the floor knows better", at(0, day, time, 0), ""),
        ("the floor is two days ahead", at(time, day, time + 2 * day, 0), "stale"),
        ("the clock is at its end", at(u64::MAX, day, 0, 0), "stale"),
        ("any age is allowed", at(u64::MAX, u64::MAX, 0, 0), ""),
        ("a higher header was seen", at(time, day, 0, height + 1), "height-below-seen"),
        ("a higher header was seen and all else is wrong too", at(0, 0, 0, u64::MAX), "height-below-seen"),
    ];
    for (about, clock, expected) in cases {
        let result = bundle.verify(&world.trust(), clock);
        let actual = result.as_ref().map_or_else(|error| error.code().word(), |_| "");
        assert_eq!(actual, expected, "{about}: {result:?}");
    }
}

#[test]
fn the_order_of_checks_is_that_of_the_document() {
    // Everything is wrong at once; one thing after the other is put right.
    let (world, id) = told(&manifest("acme/redis", 1), &[("north/approver", approve), ("west/approver", hold)]);
    let honest = world.prove(id);
    let clock = world.clock();
    let stale = HostClock { now_ms: u64::MAX, ..clock };
    let mut wrong = honest.clone();
    wrong.version = 2;
    assert_eq!(
        code(ProofBundle::parse(&wrong.bytes()).and_then(|b| b.verify(&world.trust(), stale))),
        "proof-malformed"
    );
    wrong.version = 1;
    wrong.chain_id = ChainId([1; 32]);
    wrong.header.height = 0;
    wrong.certificate = world.certify(&world.blocks[0].header, &world.validators, &validator_set(&world.validators));
    wrong.publish.index = 77;
    wrong.state.patch = honest.state.rules.clone();
    wrong.state.organisations = List::default();
    let said = |bundle: &ProofBundle, clock| code(bundle.verify(&world.trust(), clock));
    assert_eq!(said(&wrong, stale), "chain-id");
    wrong.chain_id = honest.chain_id;
    assert_eq!(said(&wrong, stale), "epoch-chain");
    wrong.header = honest.header.clone();
    assert_eq!(said(&wrong, stale), "certificate");
    wrong.certificate = honest.certificate.clone();
    assert_eq!(said(&wrong, stale), "stale");
    assert_eq!(said(&wrong, clock), "inclusion");
    wrong.publish = honest.publish.clone();
    assert_eq!(said(&wrong, clock), "state-proof");
    wrong.state.patch = honest.state.patch.clone();
    assert_eq!(said(&wrong, clock), "authority");
    wrong.state.organisations = honest.state.organisations.clone();
    assert_eq!(said(&wrong, clock), "held");
}

#[test]
fn a_bundle_of_another_ledger_proves_nothing_here() {
    let (world, id) = approved();
    let mut genesis = crate::support::world::genesis();
    genesis.name = name("other-ledger");
    let other = TrustRoot::parse(&genesis.bytes()).unwrap();
    let error = world.prove(id).verify(&other, world.clock()).unwrap_err();
    assert_eq!(error.code(), ReasonCode::ChainId);
    assert_ne!(other.chain_id(), world.trust().chain_id());
}

#[test]
fn a_record_in_a_proof_that_is_too_large_is_malformed_and_not_a_file_that_is_too_large() {
    let large = vec![0; ledger::limits::MESSAGE_BYTES_MAX + 1];
    let error = ledger::encoding::decode::<Record>(&large).unwrap_err();
    assert!(error.to_string().contains("65537 bytes, at most 65536 allowed"), "{error}");
    assert_eq!(ProofError::from(error).code(), ReasonCode::ProofMalformed);
}

#[test]
fn a_proof_file_over_the_limit_is_not_even_read() {
    let bytes = vec![0; ledger::limits::PROOF_BYTES_MAX + 1];
    assert_eq!(ProofBundle::parse(&bytes).unwrap_err().code(), ReasonCode::ProofSize);
    assert_eq!(ProofBundle::parse(&bytes[1..]).unwrap_err().code(), ReasonCode::ProofMalformed);
    assert_eq!(ProofBundle::parse(&[]).unwrap_err().code(), ReasonCode::ProofMalformed);
}

#[test]
fn headers_of_a_later_protocol_are_not_guessed_at() {
    let (world, id) = approved();
    let mut bundle = world.prove(id);
    bundle.header.version = 2;
    world.recertify(&mut bundle);
    assert_eq!(code(verify(&world, &bundle)), "proof-malformed");
}

#[test]
fn a_decision_reads_as_people_say_it() {
    let (world, id) = told(&manifest("acme/redis", 1), &[("north/approver", approve), ("south/approver", reject)]);
    let error = verify(&world, &world.prove(id)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "approval missing under rule standard: 1 of 2 approvals from 1 of 2 organisations; approved by north; \
         missing south, west; rejected by south"
    );
    assert_eq!(Decision::ApproveUrgently.to_string(), "approve-urgently");
}
