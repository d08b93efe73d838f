//! Random sequences of transactions: what must hold whatever is tried, in whatever order.

use crate::support::samples::*;
use crate::support::world::World;
use crate::support::{key, name};
use ledger::approval::{Decision, Opinion, Standing};
use ledger::encoding::encode;
use ledger::id::PatchId;
use ledger::receipt::Outcome;
use ledger::state::record::{PatchRecord, RecordKey};
use ledger::state::{Record, StateView as _, read};
use ledger::transaction::Payload;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ACTORS: [&str; 12] = [
    "acme/publisher",
    "acme/retired publisher",
    "acme/approver",
    "acme/operator",
    "globex/publisher",
    "north/approver",
    "north/second approver",
    "south/approver",
    "south/retired approver",
    "west/approver",
    "north/operator",
    "stranger",
];

const HOSTS: [&str; 3] = ["host-0", "host-1", "host-2"];

/// One attempt: who, and what. Patches are releases 1 to 5 of acme/redis, published or not.
#[derive(Clone, Debug)]
enum Attempt {
    Publish(&'static str, u64),
    Verdict(&'static str, u64, Decision),
    Enroll(&'static str, &'static str),
    Retire(&'static str, &'static str),
    Receipt(&'static str, u64, u32, Outcome),
    /// The transaction made by this earlier attempt, once more.
    Again(usize),
    /// The end of a block.
    Block,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let actor = || prop::sample::select(&ACTORS[..]);
    let host = || prop::sample::select(&HOSTS[..]);
    let release = || 1..5u64;
    let decision = prop::sample::select(vec![
        Decision::Approve,
        Decision::ApproveUrgently,
        Decision::Reject,
        Decision::Hold,
        Decision::Recall,
    ]);
    let outcome = prop::sample::select(vec![
        Outcome::Applied,
        Outcome::RolledBack,
        Outcome::Failed,
        Outcome::Refused,
        Outcome::NotApplicable,
    ]);
    let attempt = prop_oneof![
        3 => release().prop_map(|release| Attempt::Publish("acme/publisher", release)),
        1 => (actor(), release()).prop_map(|(who, release)| Attempt::Publish(who, release)),
        9 => (actor(), release(), decision).prop_map(|(who, release, what)| Attempt::Verdict(who, release, what)),
        2 => (actor(), host()).prop_map(|(who, host)| Attempt::Enroll(who, host)),
        2 => host().prop_map(|host| Attempt::Enroll("acme/operator", host)),
        1 => (actor(), host()).prop_map(|(who, host)| Attempt::Retire(who, host)),
        4 => (host(), release(), 0..4u32, outcome)
            .prop_map(|(host, release, attempt, outcome)| Attempt::Receipt(host, release, attempt, outcome)),
        2 => (0..200usize).prop_map(Attempt::Again),
        3 => Just(Attempt::Block),
    ];
    prop::collection::vec(attempt, 1..80)
}

fn patch(release: u64) -> PatchId {
    manifest("acme/redis", release).id()
}

fn said(attempt: &Attempt) -> Option<(&'static str, Payload)> {
    Some(match attempt {
        Attempt::Publish(who, release) => (who, publish(&manifest("acme/redis", *release))),
        Attempt::Verdict(who, release, decision) => {
            let id = patch(*release);
            let what = match decision {
                Decision::Approve => approve(id),
                Decision::ApproveUrgently => approve_urgently(id),
                Decision::Reject => reject(id),
                Decision::Hold => hold(id),
                Decision::Recall => recall(id),
            };
            (who, what)
        }
        Attempt::Enroll(who, host) => (who, enroll(host)),
        Attempt::Retire(who, host) => (who, retire(host)),
        Attempt::Receipt(host, release, attempt, outcome) => {
            (host, receive(receipt(patch(*release), *attempt, *outcome)))
        }
        Attempt::Again(_) | Attempt::Block => return None,
    })
}

/// All records a sequence could touch, as bytes.
fn everything(world: &World) -> BTreeMap<RecordKey, Option<Record>> {
    let mut keys = vec![
        RecordKey::Parameters,
        RecordKey::Validators,
        RecordKey::ApprovalRules,
        RecordKey::Halts,
        RecordKey::Product(crate::support::product("acme/redis"), name("stable")),
    ];
    keys.extend(["acme", "globex", "north", "south", "west"].map(|who| RecordKey::Organisation(name(who))));
    keys.extend(ACTORS.map(|who| RecordKey::Key(key(who).public())));
    for host in HOSTS {
        let host = key(host).public();
        keys.push(RecordKey::Endpoint(host));
        keys.extend((1..5).map(|release| RecordKey::Receipt(host, patch(release))));
    }
    keys.extend((1..5).map(|release| RecordKey::Patch(patch(release))));
    keys.into_iter().map(|key| (key.clone(), read(&world.storage, &key).unwrap())).collect()
}

fn patches(world: &World) -> BTreeMap<u64, PatchRecord> {
    (1..5).filter_map(|release| Some((release, world.storage.patch(patch(release)).unwrap()?))).collect()
}

/// What must hold of every patch record at any time.
fn check_patch(record: &PatchRecord) {
    let keys: BTreeSet<_> = record.verdicts.iter().map(|verdict| verdict.key).collect();
    assert_eq!(keys.len(), record.verdicts.len(), "a key has one verdict");
    assert!(record.verdicts.iter().all(|verdict| verdict.organisation != record.organisation), "never the vendor");
    assert_eq!(record.recalled.is_some(), record.standing == Standing::Recalled);
    assert!(record.standing != Standing::Approved || record.approved.is_some());
    if record.recalled.is_none() {
        let rules =
            ledger::approval::ApprovalRules(ledger::bounded::List::new(crate::support::world::rules()).unwrap());
        let rule = rules.rule_for(&record.product, record.class, record.severity).unwrap();
        let opinions: Vec<Opinion> = record.opinions(|_| Ok::<_, ()>(false)).unwrap();
        assert_eq!(record.standing, rule.count(&record.organisation, &opinions).standing, "standing is arithmetic");
        let organisations: BTreeSet<_> = opinions
            .iter()
            .filter(|opinion| matches!(opinion.decision, Decision::Approve | Decision::ApproveUrgently))
            .map(|opinion| &opinion.organisation)
            .collect();
        let urgent = opinions.iter().any(|opinion| opinion.decision == Decision::ApproveUrgently);
        assert!(record.standing != Standing::Approved || organisations.len() >= 2 || urgent);
    }
}

/// What may become of a patch from one moment to a later one.
fn check_progress(before: &PatchRecord, after: &PatchRecord) {
    assert_eq!(before.published, after.published);
    assert_eq!(before.publisher, after.publisher);
    assert!(before.approved.is_none() || before.approved == after.approved, "first approved once and for all");
    if before.recalled.is_some() {
        assert_eq!(before, after, "a recall is final");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_tried_the_state_stays_sound(attempts in attempts()) {
        let mut world = World::new();
        let (mut made, mut pending) = (Vec::new(), Vec::new());
        let mut finalised = BTreeSet::new();
        let mut attempts_of: BTreeMap<(_, PatchId), u32> = BTreeMap::new();
        for attempt in attempts.iter().chain([&Attempt::Block]) {
            match (attempt, said(attempt)) {
                (_, Some((who, what))) => {
                    let transaction = world.transaction(who, what);
                    made.push(transaction.clone());
                    pending.push(transaction);
                }
                (Attempt::Again(place), _) if *place < made.len() => pending.push(made[*place].clone()),
                (Attempt::Block, _) => {
                    // One by one: each is judged alone first, and a refused one changes nothing.
                    for transaction in pending.drain(..) {
                        let (before, tip) = (everything(&world), world.tip.clone());
                        let verdict = world.judge(&transaction);
                        let dropped = world.propose(vec![transaction.clone()]);
                        match verdict {
                            Err(rejection) => {
                                prop_assert_eq!(&dropped[0].1, &rejection, "admission and execution agree");
                                prop_assert_eq!(world.tip.tree, tip.tree);
                                prop_assert!(everything(&world) == before, "a refused transaction changes nothing");
                            }
                            Ok(()) => {
                                prop_assert!(dropped.is_empty());
                                prop_assert!(finalised.insert(transaction.id()), "finalised once");
                                prop_assert_ne!(world.tip.tree.root, tip.tree.root, "it left a trace");
                                if let Payload::Receipt { receipt } = transaction.payload() {
                                    let count = attempts_of.entry((transaction.signer(), receipt.patch)).or_default();
                                    *count += 1;
                                    prop_assert_eq!(receipt.attempt, *count, "receipts are numbered without gaps");
                                }
                            }
                        }
                        for record in patches(&world).values() {
                            check_patch(record);
                        }
                        for (key, record) in before {
                            if let (Some(Record::Patch(before)), Some(Record::Patch(after))) =
                                (&record, &read(&world.storage, &key).unwrap())
                            {
                                check_progress(before, after);
                            }
                        }
                    }
                    world.block(Vec::new());
                }
                _ => {}
            }
        }
        prop_assert_eq!(finalised.len(), world.log.len());
        // What the state says, a proof says: for every patch, in words or by the name of the check.
        for (release, record) in patches(&world) {
            let verdict = world.prove(patch(release)).verify(&world.trust(), world.clock());
            let word = verdict.as_ref().map_or_else(|error| error.code().word(), |_| "approved");
            let expected = match record.standing {
                Standing::Pending => "approval-rule",
                Standing::Approved => "approved",
                Standing::Rejected => "rejected",
                Standing::Held => "held",
                Standing::Recalled => "recalled",
            };
            prop_assert_eq!(word, expected, "{:?}", verdict);
        }
    }

    #[test]
    fn the_order_of_transactions_in_one_block_or_many_gives_one_state(attempts in attempts()) {
        // Blocks are a matter of time, not of meaning: records but for their heights are the same.
        let mut one_by_one = World::new();
        let transactions: Vec<_> =
            attempts.iter().filter_map(said).map(|(who, what)| one_by_one.transaction(who, what)).collect();
        let mut at_once = one_by_one.clone();
        for transaction in transactions.clone() {
            one_by_one.propose(vec![transaction]);
        }
        at_once.propose(transactions);
        let log = |world: &World| world.log.iter().map(encode).collect::<Vec<_>>();
        prop_assert_eq!(log(&one_by_one), log(&at_once));
        prop_assert_eq!(one_by_one.tip.history_root, at_once.tip.history_root);
        for (release, record) in patches(&one_by_one) {
            prop_assert_eq!(record.standing, patches(&at_once)[&release].standing);
        }
    }
}
