//! Who is checked as fast as anything else is done: whoever has little to say. A client that sends many short batches
//! is no other than one that sends a long one, so of each key, address and network only so much a second is quick;
//! the rest steps back, and is not refused.

use crate::origin::{Network, Origin, Width};
use ledger::key::PublicKey;
use ledger::transaction::SignedTransaction;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// Signatures of a batch that may be quick: a block's worth of one organisation while others have little to say. Here and
/// below a transaction counts what it weighs: an accusation has the signatures of its evidence besides its own, and a
/// proposal counts one more for each of its changes.
pub const QUICK_BATCH_MAX: usize = 16;
/// Signatures a second of one key, as transactions name it: nobody who waits for finality in between says more. All
/// of it is a few hundredths of a core.
pub const QUICK_PER_KEY: u32 = 256;
/// … of one address: a house of endpoints, in the minute in which all of them are patched.
pub const QUICK_PER_ADDRESS: u32 = 1_024;
/// … of one IPv4 /24 or IPv6 /48.
pub const QUICK_PER_NETWORK: u32 = 2_048;
/// … that one peer brings, which it was asked for or passes on a few at a time: as many as of a network.
pub const QUICK_PER_PEER: u32 = 2_048;
/// Keys, addresses and networks that are remembered. Whoever is one more steps back.
const REMEMBERED_MAX: usize = 8_192;
/// What is not used of a rate is there for so long.
const BURST: Duration = Duration::from_secs(1);

/// What was quick lately.
pub(super) struct Quick {
    keys: Rate<PublicKey>,
    addresses: Rate<Origin>,
    networks: Rate<Network>,
    peers: Rate<PublicKey>,
}

/// So many a second of each.
struct Rate<K> {
    each: Duration,
    /// When all of it is there again; who is not here has all of it.
    whole_at: HashMap<K, Instant>,
}

impl Default for Quick {
    fn default() -> Self {
        Self {
            keys: Rate::new(QUICK_PER_KEY),
            addresses: Rate::new(QUICK_PER_ADDRESS),
            networks: Rate::new(QUICK_PER_NETWORK),
            peers: Rate::new(QUICK_PER_PEER),
        }
    }
}

impl Quick {
    /// Whether what comes from somewhere is checked at once; if so, it counts.
    pub(super) fn admits(&mut self, origin: Origin, transactions: &[Vec<u8>]) -> bool {
        let now = Instant::now();
        transactions.len() <= QUICK_BATCH_MAX && {
            let weights: Vec<usize> = transactions.iter().map(|it| SignedTransaction::claimed_weight(it)).collect();
            let mut weighed = transactions.iter().zip(&weights);
            weights.iter().sum::<usize>() <= QUICK_BATCH_MAX
                && weighed.all(|(bytes, weight)| self.admits_one(origin, bytes, *weight, now))
        }
    }

    fn admits_one(&mut self, origin: Origin, transaction: &[u8], weight: usize, now: Instant) -> bool {
        // What names nobody is refused without a look at its signature.
        let Some(signer) = SignedTransaction::claimed_signer(transaction) else { return true };
        let network = origin.network(Width::Company);
        let count = u32::try_from(weight).unwrap_or(u32::MAX);
        let has = self.networks.has_many(&network, count, now)
            && self.addresses.has_many(&origin, count, now)
            && self.keys.has_many(&signer, count, now);
        if has {
            self.networks.spend_many(network, count, now);
            self.addresses.spend_many(origin, count, now);
            self.keys.spend_many(signer, count, now);
        }
        has
    }

    /// Whether what a peer brings is checked at once, of this weight; if so, it counts.
    pub(super) fn admits_of_peer(&mut self, peer: PublicKey, weight: usize) -> bool {
        let (now, count) = (Instant::now(), u32::try_from(weight).unwrap_or(u32::MAX));
        let has = self.peers.has_many(&peer, count, now);
        if has {
            self.peers.spend_many(peer, count, now);
        }
        has
    }

    /// What came from an address was not signed as it said: whom it names says nothing then, and the address has used
    /// up what it has.
    pub(super) fn forged(&mut self, origin: Origin) {
        let now = Instant::now();
        if self.addresses.has(&origin, now) {
            self.addresses.whole_at.insert(origin, now + BURST);
        }
    }
}

impl<K: Eq + Hash> Rate<K> {
    fn new(per_second: u32) -> Self {
        Self { each: BURST / per_second, whole_at: HashMap::new() }
    }

    /// Whether there is one more for somebody.
    fn has(&mut self, who: &K, now: Instant) -> bool {
        self.has_many(who, 1, now)
    }

    fn has_many(&mut self, who: &K, count: u32, now: Instant) -> bool {
        if let Some(whole_at) = self.whole_at.get(who) {
            return *whole_at.max(&now) + self.each.saturating_mul(count) <= now + BURST;
        }
        if self.whole_at.len() >= REMEMBERED_MAX {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
        }
        self.whole_at.len() < REMEMBERED_MAX
    }

    fn spend_many(&mut self, who: K, count: u32, now: Instant) {
        let whole_at = self.whole_at.entry(who).or_insert(now);
        *whole_at = now.max(*whole_at) + self.each.saturating_mul(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::Scenario;
    use ledger::block::PROTOCOL_VERSION;
    use ledger::bounded::{Name, Sentence};
    use ledger::certificate::Certificate;
    use ledger::encoding::encode;
    use ledger::evidence::{CertifiedHeader, Evidence, TwoCertificates};
    use ledger::id::{BlockHash, ChainId, PatchId};
    use ledger::key::Signature;
    use ledger::transaction::{Payload, Transaction};
    use ledger::validators::{Validator, ValidatorSet};
    use std::net::IpAddr;

    fn origin(address: &str) -> Origin {
        Origin::from(address.parse::<IpAddr>().unwrap())
    }

    /// A transaction that names this signer.
    fn of(signer: PublicKey) -> Vec<Vec<u8>> {
        let payload = Payload::Recall { patch: PatchId([1; 32]), reason: Sentence::cut("broken") };
        let (version, chain_id) = (PROTOCOL_VERSION, ChainId([7; 32]));
        let transaction = Transaction { version, chain_id, signer, nonce: 0, expires_at_ms: 1, payload };
        // Nobody looks at the signature here.
        vec![encode(&SignedTransaction { transaction, signature: Signature([0; 64]) })]
    }

    fn key(number: u32) -> PublicKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        PublicKey(key)
    }

    /// How many of so many are quick, each of another of these keys, one after the other.
    fn quick(quick: &mut Quick, address: &str, keys: u32, count: u32) -> u32 {
        let admitted = (0..count).filter(|number| quick.admits(origin(address), &of(key(number % keys))));
        u32::try_from(admitted.count()).unwrap()
    }

    /// Whoever waits for finality in between, some milliseconds each, is quick for ever.
    #[tokio::test(start_paused = true)]
    async fn a_client_with_little_to_say_never_steps_back() {
        let mut rates = Quick::default();
        for _ in 0..10_000 {
            assert_eq!(quick(&mut rates, "192.0.2.1", 1, 1), 1);
            tokio::time::advance(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_short_batches_steps_back_as_a_long_one_does() {
        let mut rates = Quick::default();
        assert_eq!(quick(&mut rates, "192.0.2.1", 1, 1_000), QUICK_PER_KEY, "of a key");
        assert_eq!(quick(&mut rates, "192.0.2.1", 100, 5_000), QUICK_PER_ADDRESS - QUICK_PER_KEY, "of an address");
        assert_eq!(quick(&mut rates, "192.0.2.2", 100, 5_000), QUICK_PER_NETWORK - QUICK_PER_ADDRESS, "of a network");
        assert!(!rates.admits(origin("192.0.2.3"), &of(key(9_998))), "of whatever address and key of it");
        assert_eq!(quick(&mut rates, "192.0.3.1", 1, 1), 0, "a key that used up its own is slow from anywhere");
        assert!(rates.admits(origin("192.0.3.1"), &of(key(9_999))), "others are as quick as ever");
        // And a second later all is as it was.
        tokio::time::advance(BURST).await;
        assert_eq!(quick(&mut rates, "192.0.2.1", 1, 1_000), QUICK_PER_KEY);
        let long: Vec<_> = (0..=QUICK_BATCH_MAX).flat_map(|_| of(key(7))).collect();
        assert!(!rates.admits(origin("192.0.3.1"), &long));
        assert!(rates.admits(origin("192.0.3.1"), &long[1..]));
    }

    /// An accusation by this signer of these rounds, with all signatures that a set of so many has; none of them holds.
    fn accusation(signer: PublicKey, validators: u32) -> Vec<u8> {
        let organisation = Name::new("sybils").unwrap();
        let validator = |number| Validator { key: key(number), organisation: organisation.clone() };
        let validators = ValidatorSet::new((0..validators).map(validator).collect()).unwrap();
        let signed: Vec<_> = validators.validators().iter().map(|it| (it.key, Signature([0; 64]))).collect();
        let certified = |block: u8| {
            let certificate = Certificate::assemble(9, 0, BlockHash([block; 32]), &signed, &validators);
            CertifiedHeader { header: Scenario::new(1).genesis().header.clone(), certificate }
        };
        let (one, other) = (certified(1), certified(2));
        let evidence = Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }));
        let (version, chain_id) = (PROTOCOL_VERSION, ChainId([7; 32]));
        let payload = Payload::Accuse { evidence };
        let transaction = Transaction { version, chain_id, signer, nonce: 0, expires_at_ms: 1, payload };
        encode(&SignedTransaction { transaction, signature: Signature([0; 64]) })
    }

    /// One that carries hundreds of signatures is no short batch, and one that carries a few counts them.
    #[tokio::test(start_paused = true)]
    async fn an_accusation_counts_as_many_as_it_carries() {
        let mut rates = Quick::default();
        assert!(!rates.admits(origin("192.0.2.1"), &[accusation(key(900), 128)]));
        assert!(!rates.admits(origin("192.0.2.1"), &[accusation(key(900), 8)]), "seventeen");
        assert_eq!(quick(&mut rates, "192.0.2.1", 1, 1_000), QUICK_PER_KEY, "what steps back takes nothing");
        tokio::time::advance(BURST).await;
        let (small, weight) = (accusation(key(901), 4), 9);
        let times = (0..1_000).filter(|_| rates.admits(origin("192.0.2.1"), std::slice::from_ref(&small))).count();
        assert_eq!(u32::try_from(times).unwrap(), QUICK_PER_KEY / weight);
        let other = accusation(key(902), 4);
        assert!(!rates.admits(origin("192.0.3.1"), &[other.clone(), other.clone()]), "of a batch, all together");
        assert!(rates.admits(origin("192.0.3.1"), &[other]));
    }

    /// What one peer brings takes nothing of what others have, and more than a second's worth steps back at once.
    #[tokio::test(start_paused = true)]
    async fn what_a_peer_brings_is_counted_by_itself() {
        let mut rates = Quick::default();
        let many = usize::try_from(QUICK_PER_PEER).unwrap();
        assert!(rates.admits_of_peer(key(1), many - 16) && rates.admits_of_peer(key(1), 16));
        assert!(!rates.admits_of_peer(key(1), 1));
        assert!(rates.admits_of_peer(key(2), many));
        assert_eq!(quick(&mut rates, "192.0.2.1", 1, 1), 1, "clients have what they had");
        tokio::time::advance(BURST / 2).await;
        assert!(rates.admits_of_peer(key(1), many / 2) && !rates.admits_of_peer(key(1), 1));
    }

    /// Names cost nothing: whoever makes them up is slow until he has stopped for a second.
    #[tokio::test(start_paused = true)]
    async fn whoever_forges_steps_back() {
        let mut rates = Quick::default();
        rates.forged(origin("192.0.2.1"));
        assert_eq!(quick(&mut rates, "192.0.2.1", 1_000, 100), 0);
        assert_eq!(quick(&mut rates, "192.0.2.2", 1_000, 100), 100);
        tokio::time::advance(BURST).await;
        assert_eq!(quick(&mut rates, "192.0.2.1", 1_000, 100), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_remembered_than_there_is_memory_for() {
        let mut rate: Rate<u32> = Rate::new(1);
        for number in 0..3 * u32::try_from(REMEMBERED_MAX).unwrap() {
            if rate.has(&number, Instant::now()) {
                rate.spend_many(number, 1, Instant::now());
            }
        }
        assert_eq!(rate.whole_at.len(), REMEMBERED_MAX);
        tokio::time::advance(BURST).await;
        assert!(rate.has(&u32::MAX, Instant::now()));
        assert!(rate.whole_at.is_empty(), "who has all of it again is forgotten");
    }
}
