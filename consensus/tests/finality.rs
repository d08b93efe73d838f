//! What is known of a finalised block before its transactions are looked at.

use crate::ledger_sim::cast::{Cast, Person};
use crate::stand::{Stand, public};
use consensus::member::{certifiers, is_final};
use ledger::block::Block;
use ledger::bounded::List;
use ledger::certificate::Certificate;
use ledger::governance::Change;
use ledger::id::Digest;
use ledger::validators::ValidatorSet;
use std::collections::BTreeSet;

fn cast() -> &'static Cast {
    Cast::of(4)
}

fn of_three() -> ValidatorSet {
    let all = cast().set().validators().iter();
    let leaves = public(&cast().validators[3]);
    ValidatorSet::new(all.filter(|validator| validator.key != leaves).cloned().collect()).unwrap()
}

/// A ledger whose first block takes one validator of four out of the set, from the third height on.
fn chain(height: u64) -> Stand {
    let observer: &Person = &cast().observers[0];
    let mut stand = Stand::of(observer, BTreeSet::new());
    let decision = stand.decision(Change::SetValidators { validators: of_three() });
    if height > 0 {
        stand.finalise(decision);
    }
    while stand.vault.look().height() < height {
        stand.finalise(Vec::new());
    }
    stand
}

fn block(height: u64) -> (Block, Certificate) {
    chain(height).vault.look().block(height).unwrap()
}

/// Who certifies a header, for a node at this height.
fn certified_by(tip: u64, block: &Block) -> Option<ValidatorSet> {
    certifiers(&chain(tip).vault, tip, &block.header).unwrap()
}

#[test]
fn who_must_have_certified_a_block_is_known_of_the_next_two_heights_and_of_sets_that_are() {
    let (four, three) = (cast().set().clone(), of_three());
    for (tip, height, expected) in [
        (0, 1, Some(&four)),
        (0, 2, Some(&four)),
        (0, 3, None),
        (1, 2, Some(&four)),
        (1, 3, Some(&three)),
        (1, 4, Some(&three)),
        (2, 3, Some(&three)),
        (2, 5, Some(&three)),
    ] {
        assert_eq!(certified_by(tip, &block(height).0).as_ref(), expected, "{height} at {tip}");
    }
    // However a header of the next two heights calls its set; further ahead, its name decides.
    for (height, expected) in [(1, Some(&four)), (2, Some(&four)), (4, None)] {
        let (mut block, _) = block(height);
        block.header.validators_hash = Digest([7; 32]);
        assert_eq!(certified_by(0, &block).as_ref(), expected, "{height}");
    }
}

#[test]
fn a_block_that_nobody_made_final_or_with_other_transactions_is_known_by_its_certificate_and_root() {
    let (four, chain_id) = (cast().set(), cast().chain_id());
    let (block, certificate) = block(1);
    let is_final = |block: &Block, certificate: &Certificate| is_final(block, certificate, &chain_id, four);
    assert!(!block.transactions.is_empty() && is_final(&block, &certificate));
    let with = |transactions| Block { transactions: List::new(transactions).unwrap(), ..block.clone() };
    let others = cast().jobs[..3].iter().map(|job| job.transaction.signed().clone()).collect();
    assert!(!is_final(&with(others), &certificate), "a true certificate, and other transactions behind it");
    assert!(!is_final(&with(Vec::new()), &certificate));
    let mut later = block.clone();
    later.header.time_ms += 1;
    assert!(!is_final(&later, &certificate), "another header");
    let few = Certificate::assemble(1, 0, block.header.hash(), &certificate.signers(four).unwrap()[..2], four);
    assert!(!is_final(&block, &few), "no quorum");
    assert!(!consensus::member::is_final(&block, &certificate, &chain_id, &of_three()), "of another set");
}
