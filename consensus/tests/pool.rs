//! The pool: what is offered has bounds for each organisation, and blocks have a share for each.

use consensus::member::{Mempool, MempoolLimits, NoRoom, Source, takes_long};
use ledger::bounded::{List, Name, Sentence, Text};
use ledger::governance::{Change, Proposal};
use ledger::id::{PatchId, TransactionId};
use ledger::key::{PublicKey, SecretKey};
use ledger::transaction::{Payload, VerifiedTransaction};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tests::Scenario;

/// Places in a block of these tests, and its bytes: room for all ordinary transactions.
const PLACES: usize = 30;
const BYTES: usize = PLACES * 1_024;
/// Bytes of the largest block.
const BYTES_MAX: usize = 1_000 * 1_024;

/// Bounds of a pool where one organisation's share of a block is all of it: only turns are looked at.
fn without_shares() -> MempoolLimits {
    MempoolLimits { share_max: usize::MAX, ..MempoolLimits::default() }
}

/// A pool, and whose its transactions are.
pub(crate) struct Crowded {
    scenario: Scenario,
    pub(crate) pool: Mempool,
    owners: BTreeMap<TransactionId, (Name, u64)>,
    nonce: u64,
    /// Who signs; without, everything is somebody else's, as the receipts of many hosts are.
    pub(crate) key: Option<u8>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl Crowded {
    pub(crate) fn new(limits: MempoolLimits) -> Self {
        Self { scenario: Scenario::new(5), pool: Mempool::new(limits), owners: BTreeMap::new(), nonce: 0, key: None }
    }

    /// An ordinary transaction of some 250 bytes.
    pub(crate) fn small(&mut self) -> VerifiedTransaction {
        self.sign(Payload::Recall { patch: PatchId([7; 32]), reason: Sentence::cut("broken") })
    }

    /// One with 16 KiB of notes.
    pub(crate) fn large(&mut self) -> VerifiedTransaction {
        let mut manifest = self.scenario.manifest(1);
        manifest.notes = Text::cut(&"a".repeat(16 * 1024));
        self.sign(Payload::Publish { manifest })
    }

    fn proposal(&mut self) -> VerifiedTransaction {
        let changes = vec![Change::RetireKey { key: SecretKey::from_seed(&[9; 32]).public() }];
        let proposal = Proposal { changes: List::new(changes).unwrap(), note: Text::cut("Out."), closes_at_ms: 1 };
        self.sign(Payload::Propose { proposal })
    }

    fn sign(&mut self, payload: Payload) -> VerifiedTransaction {
        self.nonce += 1;
        let mut seed = [0; 32];
        match self.key {
            Some(key) => seed[31] = key,
            None => seed[..8].copy_from_slice(&self.nonce.to_le_bytes()),
        }
        self.scenario.transaction(&SecretKey::from_seed(&seed), self.nonce, 1, payload)
    }

    pub(crate) fn offer(
        &mut self,
        organisation: &str,
        transaction: VerifiedTransaction,
        source: Source,
    ) -> Result<(), NoRoom> {
        self.owners.insert(transaction.id(), (name(organisation), self.nonce));
        self.pool.insert(transaction, name(organisation), source)
    }

    pub(crate) fn offer_many(&mut self, organisation: &str, count: usize) {
        for _ in 0..count {
            let transaction = self.small();
            self.offer(organisation, transaction, Source::Client).unwrap();
        }
    }

    /// How many were admitted of an organisation before one was refused, and why that one was.
    pub(crate) fn offer_until_refused(
        &mut self,
        organisation: &str,
        next: fn(&mut Self) -> VerifiedTransaction,
    ) -> (usize, NoRoom) {
        for admitted in 0..10_000 {
            let transaction = next(self);
            if let Err(refused) = self.offer(organisation, transaction, Source::Client) {
                return (admitted, refused);
            }
        }
        panic!("the pool takes whatever it is offered")
    }

    /// The next block is made and final: how many transactions it had of each organisation.
    fn block(&mut self, places: usize, bytes: usize) -> BTreeMap<Name, usize> {
        let block = self.pool.for_block(places, bytes);
        assert!(block.len() <= places);
        assert!(block.iter().map(|transaction| transaction.bytes().len()).sum::<usize>() <= bytes);
        let ids: Vec<_> = block.iter().map(VerifiedTransaction::id).collect();
        self.pool.committed(ids.iter());
        let mut counts = BTreeMap::new();
        for transaction in &block {
            *counts.entry(self.owners[&transaction.id()].0.clone()).or_default() += 1;
        }
        counts
    }
}

fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<Name, usize> {
    of.into_iter().map(|(organisation, count)| (name(organisation), count)).collect()
}

/// The flood comes first, ten times as much as of each of the others, and before every block as much again.
/// Not one place of anybody else's share is lost to it.
#[test]
fn who_offers_ten_times_as_much_takes_nothing_of_the_others_share() {
    let others = ["bank", "clinic", "vendor"];
    let mut calm = Crowded::new(without_shares());
    let mut flooded = Crowded::new(without_shares());
    for _ in 0..20 {
        flooded.offer_many("depot", 100);
        calm.offer_many("depot", 10);
        for other in others {
            flooded.offer_many(other, 10);
            calm.offer_many(other, 10);
        }
        let even = counts([("bank", 7), ("clinic", 7), ("depot", 7), ("vendor", 7)]);
        for (organisation, count) in flooded.block(PLACES, BYTES) {
            assert!((even[&organisation]..=8).contains(&count), "{organisation} has {count}");
        }
        // What the others find is what they would find had the flood been one more like them.
        calm.block(PLACES, BYTES);
        for other in others {
            let (with, without) = (flooded.pool.of(&name(other)).0, calm.pool.of(&name(other)).0);
            assert!(with.abs_diff(without) <= 1, "{other}: {with} wait in the flood, {without} without");
        }
    }
    assert_eq!(flooded.pool.of(&name("depot")).0, 20 * 100 - flooded_depot(&flooded));
}

/// What of the depot's has left the pool.
fn flooded_depot(crowded: &Crowded) -> usize {
    let depots = crowded.owners.iter().filter(|(_, (owner, _))| *owner == name("depot"));
    depots.filter(|(id, _)| !crowded.pool.contains(id)).count()
}

#[test]
fn what_an_organisation_does_not_use_the_others_do() {
    let mut crowded = Crowded::new(without_shares());
    crowded.offer_many("depot", 100);
    crowded.offer_many("bank", 3);
    assert_eq!(crowded.block(PLACES, BYTES), counts([("bank", 3), ("depot", 27)]));
    assert_eq!(crowded.block(PLACES, BYTES), counts([("depot", 30)]));
}

/// A share is one of bytes, too: who fills his with sixty times the size has a sixtieth of the turns, and leaves
/// the places to the others. In turns of one transaction each, both would have twenty.
#[test]
fn large_transactions_do_not_crowd_out_small_ones() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    for _ in 0..60 {
        let transaction = crowded.large();
        crowded.offer("depot", transaction, Source::Client).unwrap();
    }
    crowded.offer_many("bank", 1_000);
    for _ in 0..2 {
        // Twenty-four large ones alone would fill it.
        let of = crowded.block(400, 400 * 1_024);
        assert!(of[&name("bank")] >= 350, "{of:?}");
        assert!((15..=22).contains(&of[&name("depot")]), "{of:?}");
    }
}

/// Where there are more organisations than places, they are served in the course of blocks: who waited longest
/// is first, and a flood does not change that.
#[test]
fn more_organisations_than_places_are_served_in_turn() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    for _ in 0..10 {
        for number in 0..10 {
            crowded.offer_many(&format!("member-{number}"), if number == 0 { 50 } else { 1 });
        }
    }
    let mut served: BTreeMap<Name, usize> = BTreeMap::new();
    for _ in 0..10 {
        for (organisation, count) in crowded.block(3, BYTES) {
            *served.entry(organisation).or_default() += count;
        }
    }
    assert_eq!(served.len(), 10);
    assert!(served.values().all(|count| *count == 3), "{served:?}");
}

/// A key's second transaction may need its first: what it signed is never reordered, also where a large one does not
/// fit and smaller ones behind it would.
#[test]
fn the_order_of_a_key_is_kept() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    let mut dice = tests::Dice::new(3);
    for _ in 0..400 {
        let (number, organisation) = *dice.pick(&[(0, "bank"), (10, "clinic"), (20, "depot")]).unwrap();
        crowded.key = Some(number + u8::try_from(dice.below(3)).unwrap());
        let transaction = if dice.below(5) == 0 { crowded.large() } else { crowded.small() };
        crowded.offer(organisation, transaction, Source::Client).unwrap();
    }
    let mut expected: BTreeMap<PublicKey, VecDeque<u64>> = BTreeMap::new();
    for transaction in crowded.pool.candidates() {
        let (_, number) = crowded.owners[&transaction.id()];
        expected.entry(transaction.signer()).or_default().push_back(number);
    }
    assert!(expected.len() > 8 && expected.values().all(|numbers| numbers.len() > 10), "{expected:?}");
    let mut blocks = 0;
    while !crowded.pool.is_empty() {
        blocks += 1;
        assert!(blocks < 400, "it goes on without end");
        for transaction in crowded.pool.for_block(25, 40_000) {
            let (owner, number) = crowded.owners[&transaction.id()].clone();
            assert_eq!(expected.get_mut(&transaction.signer()).unwrap().pop_front(), Some(number), "{owner}");
            crowded.pool.remove(&transaction.id());
        }
    }
    assert_eq!(crowded.pool.bytes(), 0);
}

/// A key that was stolen, or has gone mad, is one of its organisation's: it takes half of the places and no more, the
/// others always find some, and what they say does not wait for the end of what it says.
#[test]
fn one_key_does_not_shut_out_the_others_of_its_organisation() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.key = Some(1);
    let (_, refused) = crowded.offer_until_refused("depot", Crowded::small);
    let mad = crowded.small().signer();
    let quota = NoRoom::QuotaOfKey { key: mad, pending: 2_250, left: 2_250 };
    assert_eq!(refused, quota);
    let crowd = crowded.pool.crowd();
    assert!(crowd.is_pressing(), "or nobody would ask whose a transaction is");
    assert_eq!(crowd.room_of(&mad, 0), Err(quota), "and nobody looks at its signatures any more");
    assert!(!crowd.organisations.contains_key(&name("depot")) || crowd.organisations[&name("depot")].left > 2_000);

    // Others: a key that wants as much, and one with little to say.
    for key in [2, 3] {
        crowded.key = Some(key);
        let (admitted, refused) = crowded.offer_until_refused("depot", Crowded::small);
        let NoRoom::QuotaOfKey { pending, left, .. } = refused else { panic!("{refused}") };
        assert!(pending == admitted && pending >= left, "{admitted}: {pending}, {left}");
        assert!(admitted > 500, "{admitted} of key {key}");
    }
    crowded.key = Some(4);
    let transaction = crowded.small();
    let id = transaction.id();
    crowded.offer("depot", transaction, Source::Client).unwrap();
    let block = crowded.pool.for_block(8, BYTES_MAX);
    let keys: BTreeMap<PublicKey, usize> = block.iter().fold(BTreeMap::new(), |mut counts, transaction| {
        *counts.entry(transaction.signer()).or_default() += 1;
        counts
    });
    assert!(block.iter().any(|transaction| transaction.id() == id), "{keys:?}");
    assert!(keys.len() == 4 && keys.values().all(|count| *count <= 3), "{keys:?}");
}

/// Bytes are places, too.
#[test]
fn one_key_does_not_fill_its_organisations_bytes() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.key = Some(1);
    let (_, refused) = crowded.offer_until_refused("depot", Crowded::large);
    let NoRoom::QuotaOfKeyOfBytes { bytes, left, .. } = refused else { panic!("{refused}") };
    assert!(bytes <= left && left - bytes < 40 * 1_024, "{refused}");
    crowded.key = Some(2);
    let transaction = crowded.large();
    crowded.offer("depot", transaction, Source::Client).unwrap();
}

/// Each is tried out whenever a block is made that has it.
#[test]
fn few_wait_that_take_long() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    let mut waiting = Vec::new();
    for key in [1, 2] {
        crowded.key = Some(key);
        let (admitted, refused) = crowded.offer_until_refused("depot", Crowded::proposal);
        waiting.push(admitted);
        let key = crowded.proposal().signer();
        let (organisation, pending) = (name("depot"), waiting.iter().sum());
        let bound = NoRoom::QuotaOfLong { organisation, pending, most: 24, key, of_key: admitted, most_of_key: 12 };
        assert_eq!(refused, bound);
    }
    assert_eq!(waiting, [12, 12]);
    crowded.key = Some(3);
    assert_eq!(crowded.offer_until_refused("depot", Crowded::proposal).0, 0, "the organisation has all of its own");
    // What a peer admitted finds room all the same.
    let passed_on = crowded.proposal();
    crowded.offer("depot", passed_on.clone(), Source::Peer).unwrap();
    crowded.pool.remove(&passed_on.id());

    // Everything else, and everybody else, has room as before; and so has the next of a key when one is out.
    crowded.offer_many("depot", 1);
    let other = crowded.proposal();
    crowded.offer("bank", other, Source::Client).unwrap();
    for key in [1, 2] {
        crowded.key = Some(key);
        let signer = crowded.proposal().signer();
        let first = crowded.pool.candidates().find(|waiting| waiting.signer() == signer).unwrap();
        crowded.pool.remove(&first.id());
        assert_eq!(crowded.offer_until_refused("depot", Crowded::proposal).0, 1, "{key}");
    }
}

/// What does not get a place because it takes long leaves its place to others.
#[test]
fn a_block_has_few_that_take_long_and_is_full_all_the_same() {
    let mut crowded = Crowded::new(without_shares());
    for (owner, keys) in [("depot", [1, 2]), ("bank", [3, 4])] {
        for key in keys {
            crowded.key = Some(key);
            crowded.offer_until_refused(owner, Crowded::proposal);
        }
    }
    crowded.key = None;
    crowded.offer_many("depot", 50);
    let long = |block: &[VerifiedTransaction]| block.iter().filter(|it| takes_long(it)).count();
    let block = crowded.pool.for_block(40, BYTES_MAX);
    assert_eq!((block.len(), long(&block)), (40, 16));
    let told = crowded.pool.for_greeting(1_000, BYTES_MAX);
    assert!(long(&told) <= 16, "{}", long(&told));
}

/// While somebody has little to say, whoever has much gets a share of a block and no more, and after it a block
/// that is made without him; when nobody else has spoken for a while, he has all of it again.
#[test]
fn nobody_with_little_to_say_waits_for_more_than_a_share_of_anothers_load() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 3_000);
    assert_eq!(crowded.block(1_000, BYTES_MAX), counts([("depot", 1_000)]), "nobody else is there");
    assert!(crowded.pool.is_ripe(1_000, BYTES_MAX), "there is a full block of it");

    crowded.offer_many("bank", 1);
    assert!(crowded.pool.is_ripe(1_000, BYTES_MAX), "the bank does not wait for more to come");
    assert_eq!(crowded.block(1_000, BYTES_MAX), counts([("bank", 1)]), "the last block was the depot's");
    assert!(!crowded.pool.is_ripe(1_000, BYTES_MAX), "a share of the depot's fills no block");
    crowded.offer_many("bank", 2);
    assert_eq!(crowded.block(1_000, BYTES_MAX), counts([("bank", 2), ("depot", 16)]), "it is the depot's turn");
    crowded.offer_many("bank", 2);
    assert_eq!(crowded.block(1_000, BYTES_MAX), counts([("bank", 2)]));

    // The bank is silent: the depot's share doubles every eight blocks.
    let mut shares = Vec::new();
    while !crowded.pool.is_empty() {
        shares.push(crowded.block(1_000, BYTES_MAX)[&name("depot")]);
    }
    let doubled: Vec<usize> = [16, 32, 64].into_iter().flat_map(|share| [share; 8]).collect();
    assert!(shares.starts_with(&doubled), "{shares:?}");
    assert!(shares.len() < 48 && shares.is_sorted_by(|a, b| a <= b || *b == *shares.last().unwrap()), "{shares:?}");
}

/// Blocks that are of nobody but who has much to say begin further apart, as long as somebody with little to say may come
/// in between: he waits for no more of them than there are.
#[test]
fn whoever_has_much_to_say_is_patient_for_as_long_as_somebody_with_little_is_about() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 3_000);
    assert_eq!(crowded.pool.patience_ms(20), 20, "nobody else was heard of");
    crowded.block(1_000, BYTES_MAX);
    crowded.offer_many("bank", 1);
    assert_eq!(crowded.pool.patience_ms(20), 20, "the bank waits");
    crowded.block(1_000, BYTES_MAX);
    for block in 0..2 {
        assert_eq!(crowded.pool.patience_ms(20), 60, "the bank was there {block} blocks ago");
        assert_eq!([40, 200].map(|batch_ms| crowded.pool.patience_ms(batch_ms)), [100, 200]);
        crowded.block(1_000, BYTES_MAX);
    }
    assert_eq!(crowded.pool.patience_ms(20), 20, "it has not come again");
    // Nobody waits for himself: who had little to say, and has much now, was alone all the while.
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 1);
    crowded.block(1_000, BYTES_MAX);
    crowded.offer_many("depot", 400);
    assert_eq!(crowded.pool.patience_ms(20), 20);
    // What is left of a load is no load.
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 15);
    crowded.offer_many("bank", 1);
    crowded.block(2, BYTES_MAX);
    assert_eq!(crowded.pool.patience_ms(20), 20);
}

/// Two that have much to say are not bounded for each other's sake, and neither for his own.
#[test]
fn where_nobody_has_little_to_say_blocks_are_full() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    for _ in 0..5 {
        crowded.offer_many("depot", 400);
        crowded.offer_many("vendor", 400);
        assert_eq!(crowded.block(400, BYTES_MAX), counts([("depot", 200), ("vendor", 200)]));
    }
    // A trickle that becomes a flood.
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 2);
    assert_eq!(crowded.block(400, BYTES_MAX), counts([("depot", 2)]));
    crowded.offer_many("depot", 400);
    assert_eq!(crowded.block(400, BYTES_MAX), counts([("depot", 400)]));
}

/// Who spends his share in a few large transactions has much to say all the same, and so has he whose backlog
/// waits while others propose: two of them do not go on bounding each other when a third has gone.
#[test]
fn two_with_much_to_say_are_not_bounded_once_the_third_is_silent() {
    for is_large in [true, false] {
        let mut crowded = Crowded::new(MempoolLimits::default());
        for organisation in ["depot", "vendor"] {
            for _ in 0..300 {
                let transaction = if is_large { crowded.large() } else { crowded.small() };
                crowded.offer(organisation, transaction, Source::Peer).unwrap();
            }
        }
        crowded.offer_many("bank", 1);
        let mut blocks = 0;
        while !crowded.pool.is_empty() {
            // As of a proposer that has but one of each here.
            let block = if is_large { crowded.block(1_000, BYTES_MAX) } else { crowded.block(3, BYTES_MAX) };
            assert!(!block.is_empty());
            blocks += 1;
            if blocks == 120 {
                let bound = crowded.pool.for_block(1_000, BYTES_MAX).len();
                assert!(is_large || bound == crowded.pool.len(), "{bound} of {}", crowded.pool.len());
            }
        }
        assert!(!is_large || blocks < 60, "{blocks} blocks");
    }
}

/// What waits of one organisation is bounded by some shares while it gets no more than shares, and what waits
/// already stays.
#[test]
fn a_backlog_is_bounded_while_others_have_little_to_say() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 2_000);
    crowded.offer_many("bank", 1);
    let quota = NoRoom::Quota { organisation: name("depot"), pending: 2_000, most: 576 };
    let transaction = crowded.small();
    assert_eq!(crowded.offer("depot", transaction, Source::Client), Err(quota.clone()));
    assert_eq!(crowded.pool.crowd().room_for(Some(&name("depot")), 0, 0), Err(quota));
    assert_eq!(crowded.pool.of(&name("depot")).0, 2_000);
    crowded.offer_many("bank", 1);
}

/// Whoever comes while a full block is on its way waits for the end of it: so full blocks are only so long.
#[test]
fn a_block_is_no_longer_than_a_few_quiet_ones() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 1_000);
    assert_eq!(crowded.pool.for_block(1_000, BYTES_MAX).len(), 1_000, "nothing is known of how long blocks take");
    let [few, many] = [1, 1_000].map(|count| crowded.pool.for_block(count, BYTES_MAX));
    crowded.pool.took(&few, 10);
    crowded.pool.took(&many, 210);
    assert_eq!(crowded.pool.for_block(1_000, BYTES_MAX).len(), 150, "30 ms, at a fifth of one each");
    assert!(crowded.pool.is_ripe(1_000, BYTES_MAX));
    assert_eq!(crowded.block(1_000, BYTES_MAX), counts([("depot", 150)]));
}

/// A block is full when its bytes are, however few transactions these are.
#[test]
fn a_block_that_is_full_of_bytes_does_not_wait_for_more_transactions() {
    let mut crowded = Crowded::new(without_shares());
    let mut ripe_since = None;
    for count in 1..=80 {
        let transaction = crowded.large();
        crowded.offer("depot", transaction, Source::Client).unwrap();
        if crowded.pool.is_ripe(1_000, BYTES_MAX) {
            ripe_since.get_or_insert(count);
        }
    }
    let fits = crowded.pool.for_block(1_000, BYTES_MAX).len();
    assert!((55..65).contains(&fits), "{fits}");
    assert_eq!(ripe_since, Some(fits + 1), "the first that does not fit any more");
}

/// What is long takes long: a block of a few large transactions is no quiet one, and not longer than others either.
#[test]
fn a_few_large_transactions_are_not_taken_for_a_quiet_block() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 1_000);
    let [few, many] = [1, 1_000].map(|count| crowded.pool.for_block(count, BYTES_MAX));
    let mut large = Vec::new();
    for _ in 0..40 {
        large.push(crowded.large());
    }
    for _ in 0..10 {
        crowded.pool.took(&few, 10);
        crowded.pool.took(&many, 210);
    }
    let bound = crowded.pool.for_block(1_000, BYTES_MAX).len();
    for _ in 0..10 {
        // Fifteen of seventeen places, at a fifth of a millisecond each.
        crowded.pool.took(&large[..15], 10 + 15 * 17 / 5);
    }
    assert!(crowded.pool.for_block(1_000, BYTES_MAX).len().abs_diff(bound) < 20, "{bound}");
    for transaction in large {
        crowded.offer("bank", transaction, Source::Peer).unwrap();
    }
    let block = crowded.pool.for_block(1_000, BYTES_MAX);
    assert!(block.iter().map(|transaction| transaction.bytes().len()).sum::<usize>() <= bound * 1_024);
    assert!(block.iter().any(|transaction| transaction.bytes().len() > 16 * 1_024));
}

/// Who says a few long things in every block has much to say, and does not make everybody else wait as one who has
/// little.
#[test]
fn many_large_transactions_are_much() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    for _ in 0..10 {
        crowded.offer_many("depot", 300);
        for _ in 0..15 {
            let transaction = crowded.large();
            crowded.offer("bank", transaction, Source::Peer).unwrap();
        }
        let expected = counts([("bank", 15), ("depot", 300)]);
        assert_eq!(crowded.block(1_000, BYTES_MAX), expected, "neither is bounded for the other's sake");
    }
}

/// The same offers give the same blocks.
#[test]
fn blocks_depend_on_nothing_but_what_was_offered() {
    let run = || {
        let mut crowded = Crowded::new(MempoolLimits::default());
        let mut dice = tests::Dice::new(11);
        let mut blocks = Vec::new();
        for _ in 0..30 {
            for _ in 0..dice.below(40) {
                let organisation = *dice.pick(&["bank", "clinic", "depot", "vendor"]).unwrap();
                crowded.offer_many(organisation, 1);
            }
            let block: Vec<_> = crowded.pool.for_block(12, BYTES).iter().map(VerifiedTransaction::id).collect();
            crowded.pool.committed(block.iter());
            blocks.push(block);
        }
        blocks
    };
    let blocks = run();
    assert_eq!(blocks, run());
    let all: Vec<_> = blocks.concat();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "nothing is taken twice");
}

/// What is looked at again after a block is also of everybody in turn: a flood's backlog hides nobody's.
#[test]
fn everybodys_transactions_are_looked_at_again() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    crowded.offer_many("depot", 500);
    crowded.offer_many("bank", 2);
    assert!(crowded.pool.passed_over(8).is_empty(), "they have had no chance yet");
    let again = crowded.pool.passed_over(8);
    let of_bank = again.iter().filter(|passed| crowded.owners[&passed.transaction.id()].0 == name("bank"));
    assert_eq!((again.len(), of_bank.count()), (8, 2));
}

/// Looking again costs as much as taking in: beside somebody with little to say, no more of a load is looked at
/// between two blocks than a block of it has.
#[test]
fn of_a_load_no_more_is_looked_at_again_than_its_share() {
    let mut crowded = Crowded::new(MempoolLimits::default());
    let share = MempoolLimits::default().share_max;
    crowded.offer_many("depot", 500);
    let looked_at = |crowded: &mut Crowded| crowded.pool.passed_over(64).len();
    looked_at(&mut crowded);
    assert_eq!(looked_at(&mut crowded), 64, "nobody else is there");
    crowded.offer_many("bank", 1);
    looked_at(&mut crowded);
    assert_eq!(looked_at(&mut crowded), share + 1);
}
