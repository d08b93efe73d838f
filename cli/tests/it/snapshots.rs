//! Taking a snapshot away: what is whole has its name, and of everything else nothing is left.

use crate::double::Node;
use crate::hands::Hands;
use crate::packing::left_behind;
use ledger::bounded::List;
use ledger::id::Digest;
use ledger::snapshot::SnapshotPart;

const TAKE: [&str; 4] = ["chain", "snapshot", "--out", "it.snapshot"];

fn node() -> (Node, Hands) {
    let node = Node::start();
    node.publish([1]);
    let hands = node.hands();
    (node, hands)
}

/// As many hashes of leaves as a part has.
fn leaves() -> SnapshotPart {
    SnapshotPart::Leaves(List::new(vec![Digest([7; 32]); 16_384]).unwrap())
}

#[test]
fn a_whole_snapshot_is_written_as_it_comes() {
    let (node, hands) = node();
    node.sends(&[node.beginning(), leaves(), SnapshotPart::End], false);
    let taken = hands.run(&[&TAKE[..], &["-o", "json"]].concat()).done().json();
    assert_eq!((&taken["parts"], &taken["first_whole_height"]), (&3.into(), &1.into()));
    assert_eq!(taken["bytes"].as_u64().unwrap(), hands.read("it.snapshot").len() as u64);
    // A name that is taken stays what it was.
    hands.run(&TAKE).fails(2, "exists");
}

/// The node decides when it ends; who takes it decides how much that may be.
#[test]
fn a_snapshot_that_never_ends_is_given_up_and_nothing_is_left_of_it() {
    let (node, hands) = node();
    let before = left_behind(&hands);
    node.sends(&[node.beginning(), leaves()], true);
    hands.run(&[&TAKE[..], &["--max-bytes", "20000000"]].concat()).fails(1, "more than 20000000 bytes");
    assert_eq!(left_behind(&hands), before);
}

#[test]
fn what_is_no_whole_snapshot_never_has_its_name() {
    let (node, hands) = node();
    let before = left_behind(&hands);
    let begin = node.beginning();
    let cases = [
        (vec![], "breaks off after 0 parts"),
        (vec![begin.clone(), leaves()], "breaks off after 2 parts"),
        (vec![leaves(), SnapshotPart::End], "part 0 of a snapshot: nothing has begun"),
        (vec![begin.clone(), begin.clone()], "part 1 of a snapshot: it begins twice"),
        (vec![begin, SnapshotPart::End, SnapshotPart::End], "part 2 of a snapshot: it comes after the end"),
    ];
    for (parts, says) in cases {
        node.sends(&parts, false);
        hands.run(&TAKE).fails(1, says);
        assert_eq!(left_behind(&hands), before, "{says}");
    }
}
