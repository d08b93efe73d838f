//! An endpoint: it has the genesis file, and believes what it can check, of whoever shows it.

use super::cast::Cast;
use super::vault::{SharedVault, Vault};
use crate::sim::rng::Rng;
use consensus::member::Chain as _;
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{decode, encode};
use ledger::execution;
use ledger::history;
use ledger::id::{BlockHash, PatchId};
use ledger::key::{Purpose, SecretKey};
use ledger::light;
use ledger::proof::{EpochLink, HostClock, PROOF_VERSION, ProofBundle, ProvenState, ProvenTransaction, TrustRoot};
use ledger::state::record::{PatchRecord, RecordKey};
use ledger::state::{StateView as _, tree};

/// After so many looks it begins anew, with what it keeps on its disk.
const BEGINS_ANEW: u32 = 16;
/// How far above the chain a liar tells of a block.
const FAR: u64 = 1_000;

/// The one that agents follow the ledger with, and their way to look at a proof.
pub(crate) struct LightClient {
    trust: TrustRoot,
    cast: &'static Cast,
    light: light::LightClient,
    looks: u32,
    /// A flaw: it takes every header for final.
    pub(crate) credulous: bool,
}

/// What somebody shows the light client.
#[allow(clippy::large_enum_variant, reason = "it lives for a moment")]
pub(crate) enum Shown {
    /// A header and its certificate, and the changes of the validators that lead to it.
    Head(ledger::block::Header, Certificate, Vec<EpochLink>),
    /// A proof file, as bytes.
    Proof(Vec<u8>),
}

/// What it makes of it.
#[derive(Debug)]
pub(crate) enum Belief {
    Accepted { height: u64, hash: BlockHash },
    Refused(String),
}

impl LightClient {
    pub(crate) fn new(cast: &'static Cast) -> Self {
        let trust = TrustRoot::parse(&cast.genesis.genesis.bytes()).expect("the genesis the world was made with");
        let light = light::LightClient::new(&cast.genesis, None);
        Self { trust, cast, light, looks: 0, credulous: false }
    }

    pub(crate) fn look(&mut self, shown: &Shown, now_ms: u64) -> Belief {
        self.looks += 1;
        if self.looks.is_multiple_of(BEGINS_ANEW) {
            self.light = light::LightClient::new(&self.cast.genesis, self.light.change_seen());
        }
        let checked = match shown {
            Shown::Head(header, ..) if self.credulous => Ok((header.height, header.hash())),
            Shown::Head(header, certificate, links) => {
                let learnt = self.light.learn(links);
                let verified = learnt.and_then(|_| self.light.verify_parsed(header, certificate));
                verified.map(|header| (header.header().height, header.hash())).map_err(|error| error.to_string())
            }
            Shown::Proof(bytes) => ProofBundle::parse(bytes)
                .and_then(|bundle| bundle.verify(&self.trust, HostClock::at(now_ms)))
                .map(|patch| (patch.header().header().height, patch.header().hash()))
                .map_err(|error| error.to_string()),
        };
        match checked {
            Ok((height, hash)) => Belief::Accepted { height, hash },
            Err(why) => Belief::Refused(why),
        }
    }
}

/// The newest header of a chain, if it has a certificate.
pub(crate) fn head(vault: &Vault) -> Option<Shown> {
    let (block, certificate) = vault.block(vault.height())?;
    Some(Shown::Head(block.header, certificate, vault.links_before(vault.height())))
}

/// The proof file of a patch, and whether it must be accepted; none when it cannot be proven yet.
pub(crate) fn proof(chain: &SharedVault, patch: PatchId) -> Option<(Shown, bool)> {
    let record = chain.patch(patch).expect("memory does not fail")?;
    let tip = chain.tip();
    let positions = record.verdicts.iter().map(|verdict| verdict.position).chain([record.published]);
    if positions.into_iter().any(|position| position.index >= tip.header.history_size) {
        return None;
    }
    let (_, certificate) = chain.look().block(tip.header.height)?;
    let must_hold = record.approved.is_some();
    let bundle = assemble(chain, certificate, patch, &record);
    Some((Shown::Proof(encode(&bundle)), must_hold))
}

fn assemble(chain: &SharedVault, certificate: Certificate, patch: PatchId, record: &PatchRecord) -> ProofBundle {
    let tip = chain.tip();
    let proven = |index: u64| {
        let leaf = usize::try_from(index).unwrap();
        let transaction = decode(&chain.look().leaves[leaf]).expect("a leaf is a signed transaction");
        let path = history::prove(chain, tip.header.history_size, index).expect("memory does not fail");
        ProvenTransaction { transaction, index, path: List::new(path).unwrap() }
    };
    let state = |key: RecordKey| tree::prove(chain, tip.tree, &key.state_key()).expect("memory does not fail");
    let mut approvals: Vec<u64> = record.verdicts.iter().map(|verdict| verdict.position.index).collect();
    approvals.sort_unstable();
    let mut names: Vec<_> = record.verdicts.iter().map(|verdict| verdict.organisation.clone()).collect();
    names.push(record.organisation.clone());
    names.sort();
    names.dedup();
    let organisations = names.into_iter().map(|name| (name.clone(), state(RecordKey::Organisation(name))));
    ProofBundle {
        version: PROOF_VERSION,
        chain_id: tip.header.chain_id,
        epochs: List::new(chain.look().links_before(tip.header.height)).unwrap(),
        certificate,
        publish: proven(record.published.index),
        approvals: List::new(approvals.into_iter().map(proven).collect()).unwrap(),
        state: ProvenState {
            patch: state(RecordKey::Patch(patch)),
            rules: state(RecordKey::ApprovalRules),
            halts: state(RecordKey::Halts),
            organisations: List::new(organisations.collect()).unwrap(),
        },
        header: tip.header,
    }
}

/// What a liar makes of something true: a header of its own under old or own signatures, or bytes that
/// differ in one place.
pub(crate) fn lie(shown: Shown, vault: &Vault, key: &SecretKey, cast: &Cast, rng: &mut Rng) -> Shown {
    match shown {
        Shown::Proof(mut bytes) => {
            let place = rng.index(bytes.len());
            bytes[place] ^= 1 << rng.between(0, 7);
            Shown::Proof(bytes)
        }
        Shown::Head(_, certificate, links) => {
            let ahead_ms = rng.between(1, 5);
            let time_ms = vault.tip.header.time_ms + ahead_ms;
            let built = execution::propose(&vault.memory, &vault.tip, [], time_ms, key.public());
            let mut header = built.expect("memory does not fail").0.block.header;
            if ahead_ms == 5 {
                // Where there is nothing yet to compare it with.
                header.height += FAR;
            }
            let mut forged = certificate;
            if rng.once_in(2) {
                (forged.height, forged.block) = (header.height, header.hash());
            } else {
                let (height, block) = (header.height, header.hash());
                let body = VoteBody { height, round: 0, block: Some(block) }.bytes();
                let signature = key.sign(Purpose::Precommit, &cast.chain_id(), &body);
                let set = vault.set_of(height);
                let all: Vec<_> = set.validators().iter().map(|one| (one.key, signature)).collect();
                forged = Certificate::assemble(height, 0, block, &all, set);
            }
            Shown::Head(header, forged, links)
        }
    }
}
