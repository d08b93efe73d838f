//! Accountability: evidence names exactly who signed two things, and the ledger records it once (sentences
//! 2.27, 5.21 and 9.5).

use crate::support::offences::*;
use crate::support::world::{World, certify, validator_set};
use crate::support::{key, name};
use ledger::bounded::{List, Notes, Sentence};
use ledger::certificate::CertificateError;
use ledger::encoding::{decode, encode};
use ledger::evidence::{Charge, Evidence, EvidenceError, Offence, OffenceKind, TwoCertificates};
use ledger::governance::{Change, Proposal};
use ledger::id::{ChainId, PatchId};
use ledger::key::{PublicKey, SecretKey, Signature};
use ledger::limits;
use ledger::state::record::{RecordKey, RecordedOffence};
use ledger::state::{ApplyError, Rejection, StateView as _, may_accuse};
use ledger::transaction::{Payload, SignedTransaction};
use ledger::validators::{Validator, ValidatorSet};
use ledger::vote::{ProposalBody, SignedProposal, SignedVote, VoteKind};

const ACME: &str = "acme/validator";

fn chain() -> ChainId {
    World::new().chain()
}

fn validators_of(organisations: &[&str]) -> Vec<PublicKey> {
    let mut keys: Vec<_> = organisations.iter().map(|who| key(&format!("{who}/validator")).public()).collect();
    keys.sort_unstable();
    keys
}

// What evidence says.

#[test]
fn evidence_names_exactly_those_who_signed_both() {
    let charge = |height, round, kind, who: &[&str]| {
        Ok(Charge { offence: Offence { height, round, kind }, keys: validators_of(who) })
    };
    let precommit = OffenceKind::Precommit;
    assert_eq!(two_votes(ACME, 7).check(&chain()), charge(7, 3, precommit, &["acme"]));
    assert_eq!(two_proposals("west/validator", 7).check(&chain()), charge(7, 0, OffenceKind::Proposal, &["west"]));
    let prevote = |word| vote(&chain(), ACME, VoteKind::Prevote, (1, 0), word);
    let for_none = Evidence::Votes(prevote(None), prevote(Some("one")));
    assert_eq!(for_none.check(&chain()), charge(1, 0, OffenceKind::Prevote, &["acme"]));

    // Of four, any three are a quorum; two of them are in both.
    let both: [(&[&str], &[&str], &[&str]); 3] = [
        (&["acme", "north", "south"], &["north", "south", "west"], &["north", "south"]),
        (&["acme", "north", "south"], &["acme", "south", "west"], &["acme", "south"]),
        (&["acme", "north", "south", "west"], &["acme", "north", "west"], &["acme", "north", "west"]),
    ];
    for (one, other, culprits) in both {
        let evidence = two_certificates((2, 2), one, other);
        assert_eq!(evidence.check(&chain()), charge(9, 2, precommit, culprits));
    }
}

/// A proposer says one thing in a round, and which earlier quorum is behind it is a part of that.
#[test]
fn one_block_proposed_beside_two_earlier_rounds_convicts_its_proposer() {
    let chain = chain();
    let beside = |pol_round| {
        let body = ProposalBody { pol_round, ..proposal(&chain, ACME, (7, 4), "one").body };
        SignedProposal::sign(body, &key(ACME), &chain)
    };
    let offence = Offence { height: 7, round: 4, kind: OffenceKind::Proposal };
    let charge = Charge { offence, keys: validators_of(&["acme"]) };
    for (one, other) in [(None, Some(0)), (Some(3), None), (Some(1), Some(2))] {
        let evidence = Evidence::Proposals(beside(one), beside(other));
        assert_eq!(evidence.check(&chain), Ok(charge.clone()), "{one:?}, {other:?}");
    }
}

/// What an honest validator may have signed, or nobody signed, or is of another chain.
#[test]
fn what_an_honest_validator_may_have_signed_convicts_nobody() {
    let chain = chain();
    let one = vote(&chain, ACME, VoteKind::Precommit, (7, 3), Some("one"));
    for (about, other) in [
        ("the same vote again", one),
        ("another kind", vote(&chain, ACME, VoteKind::Prevote, (7, 3), Some("other"))),
        ("another round", vote(&chain, ACME, VoteKind::Precommit, (7, 4), Some("other"))),
        ("another height", vote(&chain, ACME, VoteKind::Precommit, (8, 3), Some("other"))),
        ("another key", vote(&chain, "north/validator", VoteKind::Precommit, (7, 3), Some("other"))),
    ] {
        assert_eq!(Evidence::Votes(one, other).check(&chain), Err(EvidenceError::NoConflict), "{about}");
    }
    let proposed = proposal(&chain, ACME, (7, 0), "one");
    for (about, other) in [
        ("the same proposal again", proposed),
        ("another round", proposal(&chain, ACME, (7, 1), "other")),
        ("another key", proposal(&chain, "north/validator", (7, 0), "other")),
    ] {
        assert_eq!(Evidence::Proposals(proposed, other).check(&chain), Err(EvidenceError::NoConflict), "{about}");
    }
    let three = ["acme", "north", "south"];
    let rounds = two_certificates((0, 1), &three, &three).check(&chain);
    assert_eq!(rounds, Err(EvidenceError::OtherRounds { one: 0, other: 1 }));
    let same = certified(9, 1, 0, &three);
    let other_certificate = certified(9, 1, 0, &["acme", "north", "west"]);
    let validators = validator_set(&World::new().validators);
    let two =
        |one, other| Evidence::Certificates(Box::new(TwoCertificates { validators: validators.clone(), one, other }));
    assert_eq!(two(same.clone(), other_certificate).check(&chain), Err(EvidenceError::NoConflict), "one block");
    let next = two(same.clone(), certified(10, 2, 0, &three)).check(&chain);
    assert_eq!(next, Err(EvidenceError::NoConflict), "another height");
}

#[test]
fn evidence_that_somebody_made_up_convicts_nobody() {
    let chain = chain();
    let (Evidence::Votes(one, other), Evidence::Proposals(first, second)) =
        (two_votes(ACME, 7), two_proposals(ACME, 7))
    else {
        unreachable!("made so above")
    };
    let victim = key("north/validator").public();
    let accused = Evidence::Votes(SignedVote { voter: victim, ..one }, SignedVote { voter: victim, ..other });
    assert!(matches!(accused.check(&chain), Err(EvidenceError::Signature(_))), "another's signatures");
    let mixed = Evidence::Votes(one, SignedVote { signature: one.signature, ..other });
    assert!(matches!(mixed.check(&chain), Err(EvidenceError::Signature(_))), "one signature under both");
    let prevotes = |vote: SignedVote| SignedVote { kind: VoteKind::Prevote, ..vote };
    let renamed = Evidence::Votes(prevotes(one), prevotes(other));
    assert!(matches!(renamed.check(&chain), Err(EvidenceError::Signature(_))), "precommits shown as prevotes");
    let named = |proposal: SignedProposal| SignedProposal { proposer: victim, ..proposal };
    let proposals = Evidence::Proposals(named(first), named(second));
    assert!(matches!(proposals.check(&chain), Err(EvidenceError::Signature(_))), "another's proposals");
    for evidence in [
        two_votes(ACME, 7),
        two_proposals(ACME, 7),
        two_certificates((0, 0), &["acme", "north", "south"], &["acme", "north", "west"]),
    ] {
        assert!(evidence.check(&ChainId([9; 32])).is_err(), "of another chain");
        assert_eq!(decode::<Evidence>(&encode(&evidence)), Ok(evidence.clone()), "in and out");
    }

    let few = two_certificates((0, 0), &["acme", "north"], &["acme", "north", "south"]);
    let no_quorum = CertificateError::NoQuorum { signers: 2, validators: 4, quorum: 3 };
    assert_eq!(few.check(&chain), Err(EvidenceError::Certificate(no_quorum)));
    // The bit of one who did not sign, over the signature of one who did.
    let Evidence::Certificates(mut two) =
        two_certificates((0, 0), &["acme", "north", "south"], &["acme", "north", "west"])
    else {
        unreachable!("made so above")
    };
    let mut bytes = encode(&two.other.certificate);
    let place = 8 + 4 + 32 + 8;
    bytes[place] = !bytes[place] & 0b1111 | 0b0110;
    two.other.certificate = decode(&bytes).unwrap();
    assert!(Evidence::Certificates(two).check(&chain).is_err());
    let mut strange: Box<TwoCertificates> =
        match two_certificates((0, 0), &["acme", "north", "south"], &["acme", "north", "west"]) {
            Evidence::Certificates(two) => two,
            _ => unreachable!("made so above"),
        };
    strange.validators = validator_set(&["acme", "globex", "north", "south"]);
    assert!(Evidence::Certificates(strange).check(&chain).is_err(), "a set the headers do not name");
}

// What the ledger records.

fn record_of(world: &World, who: &str) -> Option<ledger::state::record::ConvictionRecord> {
    world.storage.conviction(key(who).public()).unwrap()
}

#[test]
fn an_accusation_by_any_members_node_is_recorded_once() {
    let mut world = World::new();
    assert_eq!(record_of(&world, ACME), None);
    world.say("globex/node", accuse(two_votes(ACME, 7)));
    let record = record_of(&world, ACME).unwrap();
    let height = world.tip.header.height;
    let offence = Offence { height: 7, round: 3, kind: OffenceKind::Precommit };
    assert_eq!(record.organisation, name("acme"));
    let [RecordedOffence { offence: recorded, position }] = record.offences[..] else { panic!("{record:?}") };
    assert_eq!((recorded, position.height), (offence, height));
    // The evidence stands where the record says.
    let signed = &world.log[usize::try_from(position.index).unwrap()];
    assert_eq!(signed.transaction.payload, accuse(two_votes(ACME, 7)));
    // Whoever brings it, and in whatever order.
    let Evidence::Votes(one, other) = two_votes(ACME, 7) else { unreachable!("made so above") };
    for evidence in [two_votes(ACME, 7), Evidence::Votes(other, one)] {
        let again = world.refuse("north/node", accuse(evidence));
        assert_eq!(again, Rejection::AlreadyConvicted { keys: vec![key(ACME).public()], offence });
    }
    // What it did elsewhere is something else.
    world.say("north/node", accuse(two_votes(ACME, 8)));
    world.say("north/node", accuse(two_proposals(ACME, 7)));
    assert_eq!(record_of(&world, ACME).unwrap().offences.len(), 3);
}

#[test]
fn of_many_who_bring_the_same_in_one_block_the_first_is_heard() {
    let mut world = World::new();
    let many = ["acme", "globex", "north", "south", "west"]
        .map(|who| world.transaction(&format!("{who}/node"), accuse(two_votes(ACME, 7))));
    let dropped = world.propose(many.to_vec());
    assert_eq!(dropped.len(), 4);
    assert!(dropped.iter().all(|(_, why)| matches!(why, Rejection::AlreadyConvicted { .. })));
    assert_eq!(record_of(&world, ACME).unwrap().offences.len(), 1);
}

#[test]
fn two_certificates_convict_all_who_signed_both_and_a_later_pair_the_others() {
    let mut world = World::new();
    let first = two_certificates((0, 0), &["acme", "north", "south"], &["acme", "north", "west"]);
    world.say("south/node", accuse(first));
    let convicted = |world: &World| {
        ["acme", "north", "south", "west"].map(|who| record_of(world, &format!("{who}/validator")).is_some())
    };
    assert_eq!(convicted(&world), [true, true, false, false]);
    let more = two_certificates((0, 0), &["acme", "north", "south"], &["acme", "south", "west"]);
    world.say("south/node", accuse(more.clone()));
    assert_eq!(convicted(&world), [true, true, true, false]);
    assert_eq!(record_of(&world, ACME).unwrap().offences.len(), 1, "its offence is known already");
    assert!(matches!(world.refuse("west/node", accuse(more)), Rejection::AlreadyConvicted { .. }));
}

#[test]
fn so_many_offences_are_recorded_and_no_more() {
    let mut world = World::new();
    for height in 0..limits::OFFENCES_PER_KEY_MAX as u64 {
        world.say("west/node", accuse(two_votes(ACME, height)));
    }
    assert_eq!(record_of(&world, ACME).unwrap().offences.len(), limits::OFFENCES_PER_KEY_MAX);
    let one_more = world.refuse("west/node", accuse(two_votes(ACME, 99)));
    assert!(matches!(one_more, Rejection::AlreadyConvicted { .. }), "{one_more}");
    let size = encode(&world.storage.conviction(key(ACME).public()).unwrap().unwrap()).len();
    assert!(size < limits::MESSAGE_BYTES_MAX);
}

#[test]
fn only_keys_that_are_or_were_a_members_validators_are_convicted() {
    let mut world = World::new();
    for who in ["stranger", "acme/node", "acme/publisher"] {
        let refused = world.refuse("north/node", accuse(two_votes(who, 7)));
        assert_eq!(refused, Rejection::NoValidatorNamed(vec![key(who).public()]));
    }
    // A validator nobody chose is one all the same: globex' signs, and is in no set.
    world.say("north/node", accuse(two_votes("globex/validator", 7)));
    // A set of somebody's own: the member's key in it did sign twice, and the others are nobody.
    let own = ["acme/validator", "sybil 1", "sybil 2"].map(key);
    let validator = |key: &SecretKey| Validator { key: key.public(), organisation: name("acme") };
    let set = ValidatorSet::new(own.iter().map(validator).collect()).unwrap();
    let under = |time_ms| {
        let mut head = certified(9, time_ms, 0, &[]);
        head.header.validators_hash = set.hash();
        head.certificate = certify(&head.header, 0, &own, &set);
        head
    };
    let two = TwoCertificates { validators: set.clone(), one: under(1), other: under(2) };
    world.say("north/node", accuse(Evidence::Certificates(Box::new(two))));
    assert!(record_of(&world, ACME).is_some());
    assert!(record_of(&world, "sybil 1").is_none());
}

#[test]
fn a_validator_that_left_is_convicted_too_and_its_conviction_stays() {
    let mut world = World::new();
    let govern = |world: &mut World, changes: Vec<Change>| {
        let proposal = ledger::governance::Proposal {
            changes: List::new(changes).unwrap(),
            note: ledger::bounded::Notes::default(),
            closes_at_ms: world.next_ms() + 3_600_000,
        };
        let proposed = world.transaction("acme/governor", Payload::Propose { proposal });
        let id = proposed.id();
        world.block(vec![proposed]);
        world.say("north/governor", Payload::Ballot { proposal: id, choice: ledger::governance::Choice::For });
    };
    world.say("south/node", accuse(two_votes("west/validator", 7)));
    govern(&mut world, vec![Change::RevokeKey { key: key("west/validator").public() }]);
    assert!(record_of(&world, "west/validator").is_some());
    world.say("south/node", accuse(two_votes("west/validator", 8)));
    assert_eq!(record_of(&world, "west/validator").unwrap().offences.len(), 2);
    govern(&mut world, vec![Change::RemoveOrganisation { name: name("west") }]);
    world.say("south/node", accuse(two_votes("west/validator", 9)));
    assert_eq!(record_of(&world, "west/validator").unwrap().offences.len(), 3);
}

#[test]
fn a_conviction_changes_nothing_else() {
    let mut world = World::new();
    let before = world.storage.key_owner(key(ACME).public()).unwrap();
    let sets = world.storage.upcoming_validators().unwrap();
    world.say("north/node", accuse(two_votes(ACME, 7)));
    assert_eq!(world.storage.key_owner(key(ACME).public()).unwrap(), before);
    assert_eq!(world.storage.upcoming_validators().unwrap(), sets);
}

#[test]
fn that_a_key_was_never_convicted_can_be_proven() {
    let mut world = World::new();
    world.say("north/node", accuse(two_votes(ACME, 7)));
    for (who, convicted) in [(ACME, true), ("north/validator", false)] {
        let record = RecordKey::Conviction(key(who).public());
        let proof = world.prove_record(&record);
        let found = proof.verify(&world.tip.header.state_root, &record.state_key()).unwrap();
        assert_eq!(found.is_some(), convicted, "{who}");
    }
}

/// Whoever has to check it knows before that it takes long, and for whom he would.
#[test]
fn what_an_accusation_weighs_and_who_may_bring_it_is_known_before_a_signature_is_checked() {
    let mut world = World::new();
    let mut signed = |who: &str, payload| world.transaction(who, payload).signed().clone();
    let three = ["acme", "north", "south"];
    let all = ["acme", "north", "south", "west"];
    for (evidence, weight) in [
        (two_votes(ACME, 7), 3),
        (two_proposals(ACME, 7), 3),
        (two_certificates((0, 0), &three, &three), 7),
        (two_certificates((0, 0), &three, &all), 8),
    ] {
        let mut accusation = signed("north/node", accuse(evidence));
        assert_eq!(accusation.transaction.payload.weight(), weight);
        accusation.signature = Signature([0; 64]);
        let bytes = encode(&accusation);
        assert_eq!(SignedTransaction::claimed_weight(&bytes), weight, "whoever signed it");
        // What does not parse is refused before a signature of it is looked at.
        assert_eq!(SignedTransaction::claimed_weight(&bytes[..bytes.len() - 1]), 1);
    }
    let changes = [1, 2].map(|number| Change::RevokeKey { key: key(&number.to_string()).public() });
    let proposal = Proposal { changes: List::new(changes.to_vec()).unwrap(), note: Notes::default(), closes_at_ms: 1 };
    assert_eq!(SignedTransaction::claimed_weight(&encode(&signed("acme/governor", Payload::Propose { proposal }))), 3);
    let recall = Payload::Recall { patch: PatchId([1; 32]), reason: Sentence::cut("broken") };
    let recall = signed("stranger", recall);
    assert_eq!(SignedTransaction::claimed_weight(&encode(&recall)), 1);
    assert_eq!(SignedTransaction::claimed_weight(&[10; 80]), 1);

    // As the rules say it afterwards.
    for who in ["stranger", "acme/publisher", "acme/governor"] {
        let by = world.transaction(who, accuse(two_votes(ACME, 7)));
        let refused = world.judge(&by).unwrap_err();
        assert_eq!(may_accuse(&world.storage, by.transaction()), Err(ApplyError::Rejected(refused)), "{who}");
    }
    let by = world.transaction("north/node", accuse(two_votes(ACME, 7)));
    assert_eq!(may_accuse(&world.storage, by.transaction()), Ok(()));
    assert_eq!(may_accuse(&world.storage, &recall.transaction), Ok(()), "of other kinds it says nothing");
}

/// The largest evidence there can be is a transaction that there can be.
#[test]
fn evidence_of_the_largest_set_fits_a_transaction() {
    let keys: Vec<SecretKey> = (0..limits::VALIDATORS_MAX).map(|n| key(&format!("validator {n}"))).collect();
    let organisation = name(&"n".repeat(limits::NAME_BYTES_MAX));
    let validator = |key: &SecretKey| Validator { key: key.public(), organisation: organisation.clone() };
    let validators = ValidatorSet::new(keys.iter().map(validator).collect()).unwrap();
    let under = |time_ms| {
        let mut head = certified(9, time_ms, 0, &[]);
        head.header.validators_hash = validators.hash();
        head.certificate = certify(&head.header, 0, &keys, &validators);
        head
    };
    let two = TwoCertificates { validators: validators.clone(), one: under(1), other: under(2) };
    let evidence = Evidence::Certificates(Box::new(two));
    assert_eq!(evidence.check(&chain()).unwrap().keys.len(), limits::VALIDATORS_MAX);
    let mut world = World::new();
    let transaction = world.transaction("north/node", accuse(evidence));
    assert_eq!(transaction.payload().weight(), 1 + 2 * limits::VALIDATORS_MAX);
    assert!(transaction.bytes().len() < limits::TRANSACTION_BYTES_MAX / 2, "{} bytes", transaction.bytes().len());
}
