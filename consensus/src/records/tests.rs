use super::*;
use crate::guard::Signed;
use crate::message::{SignedVote, VoteKind};
use ::tests::Chain;
use ledger::certificate::VoteBody;
use ledger::id::ChainId;
use ledger::key::SecretKey;

fn vote(height: u64, round: u32, kind: VoteKind) -> SignedVote {
    SignedVote::sign(kind, VoteBody { height, round, block: None }, &SecretKey::from_seed(&[1; 32]), &ChainId([7; 32]))
}

fn record(slot: u32) -> GuardRecord {
    GuardRecord { slot, signed: Signed::Vote(vote(5, slot, VoteKind::Precommit)), binding: None }
}

fn guard_file(records: &[GuardRecord]) -> Vec<u8> {
    let mut file = vec![0; GuardRecord::SLOTS as usize * SLOT_BYTES];
    for record in records {
        let written = slot(record);
        file[record.slot as usize * SLOT_BYTES..][..written.len()].copy_from_slice(&written);
    }
    file
}

#[test]
fn the_others_are_there_whatever_became_of_one_slot() {
    let records = [record(0), record(1), record(4)];
    let whole = guard_file(&records);
    assert_eq!(read_slots(&whole), records);
    for place in SLOT_BYTES..SLOT_BYTES + slot(&records[1]).len() {
        let mut torn = whole.clone();
        torn[place] ^= 1;
        assert_eq!(read_slots(&torn), [record(0), record(4)], "a bit of byte {place} fell over");
        torn[place..2 * SLOT_BYTES].fill(0);
        assert!(!read_slots(&torn).contains(&records[1]) || whole[place..2 * SLOT_BYTES].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn what_a_longer_record_left_behind_is_not_read() {
    let mut file = guard_file(&[record(0)]);
    let end = slot(&record(0)).len();
    file[end..SLOT_BYTES].fill(0xff);
    assert_eq!(read_slots(&file), [record(0)]);
    assert!(read_slots(&file[..end - 1]).is_empty(), "a record that is not all there is none");
}

#[test]
fn bodies_are_those_of_one_height_up_to_the_first_doubt() {
    let mut chain = Chain::new(1);
    let (first, second) = (chain.finalise().executed.block, chain.finalise().executed.block);
    let ours = body(&second);
    let file = [&ours[..], &ours, &body(&first), &ours].concat();
    let height = second.header.height;
    assert_eq!(read_bodies(&file, height), (vec![second.clone(), second.clone()], 2 * ours.len()));
    assert_eq!(read_bodies(&file, height + 1), (vec![], 0));
    for place in 0..ours.len() {
        let mut torn = file.clone();
        torn[ours.len() + place] ^= 1;
        assert_eq!(read_bodies(&torn, height), (vec![second.clone()], ours.len()), "a bit of byte {place} fell over");
        assert_eq!(read_bodies(&file[..ours.len() + place], height).1, ours.len(), "it ends after {place} bytes");
    }
    // A header that says another height than the body, its checksum good, is no body of either.
    let mut lying = ours;
    lying[HEADER_BYTES] ^= 1;
    let said = height ^ 1;
    assert_eq!((read_bodies(&lying, said).1, read_bodies(&lying, height).1), (0, 0));
}

#[test]
fn evidence_is_read_up_to_the_first_doubt() {
    let piece = |round| Evidence::Votes(vote(5, round, VoteKind::Prevote), vote(5, round, VoteKind::Precommit));
    let pieces = [piece(0), piece(1), piece(2)];
    let file = evidence(&pieces);
    assert_eq!(read_evidence(&file), pieces);
    let length = file.len() / 3;
    for place in 0..length {
        let mut torn = file.clone();
        torn[length + place] ^= 1;
        assert_eq!(read_evidence(&torn), pieces[..1], "a bit of byte {place} fell over");
        assert_eq!(read_evidence(&file[..length + place]), pieces[..1], "it ends after {place} bytes");
    }
}
