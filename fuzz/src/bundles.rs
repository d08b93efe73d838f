//! The verifier of proof files. The attacker takes honest files apart, by field and by byte, mixes them, steals
//! the keys of the vendor and of every approver; he has no quorum of validators. What he makes is believed only
//! if it is true, and says nothing but what the honest file says (6.20).

use crate::choices::{Choices, alter_list};
use crate::doors::is_a_sentence;
use crate::parts::{CertificateParts, StateProofParts};
use crate::story::{self, Honest, Story};
use ledger::block::Header;
use ledger::bounded::{List, Name};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest, PatchId};
use ledger::key::{Purpose, SecretKey};
use ledger::limits;
use ledger::proof::{EpochLink, HostClock, ProofBundle, ProvenTransaction};
use ledger::state::tree::StateProof;
use ledger::transaction::Payload;
use ledger::validators::{Validator, ValidatorSet};

/// What an attacker does in one attempt.
const DEEDS_MAX: usize = 16;

/// Runs one attempt at an honest file.
pub fn verify(bytes: &[u8]) {
    let (story, mut choices) = (story::get(), Choices::new(bytes));
    let (Some(honest), Some(donor)) = (choices.of(&story.honest), choices.of(&story.honest)) else { return };
    let mut clock = HostClock::at(honest.bundle.header.time_ms);
    if !choices.any() {
        return judge(story, &honest.bundle.bytes(), clock, Some(honest));
    }
    let mut bundle = honest.bundle.clone();
    let mut tail = None;
    for _ in 0..DEEDS_MAX {
        match (choices.any(), choices.below(16)) {
            (false, _) => break,
            (_, 14) => alter_clock(&mut choices, &mut clock),
            (_, 15) => {
                tail = Some(());
                break;
            }
            (_, deed) => alter(story, &mut choices, &mut bundle, &donor.bundle, deed),
        }
    }
    let mut file = bundle.bytes();
    if tail.is_some() {
        alter_bytes(&mut choices, &mut file, &donor.bundle.bytes());
    }
    judge(story, &file, clock, None);
}

/// Any bytes as a proof file.
pub fn verify_file(bytes: &[u8]) {
    let story = story::get();
    let time_ms = ProofBundle::parse(bytes).map_or(0, |bundle| bundle.header.time_ms);
    judge(story, bytes, HostClock::at(time_ms), None);
}

fn alter(story: &Story, choices: &mut Choices<'_>, bundle: &mut ProofBundle, donor: &ProofBundle, deed: usize) {
    match deed {
        0 => take_over(choices, bundle, donor),
        1 => alter_header(choices, &mut bundle.header, &donor.header),
        2 => {
            let (round, without) = (u32::from(choices.byte()), choices.below(8));
            let set = story.set_of(bundle);
            if story.certified.contains_key(&bundle.header.hash()) {
                bundle.certificate = story.another_certificate(&bundle.header, &set, round, without);
            }
        }
        3 => bundle.certificate = altered(choices, &bundle.certificate, story),
        4 => edit(&mut bundle.epochs, |links| alter_epochs(story, choices, links, &donor.epochs)),
        5 | 6 => {
            let others = if choices.yes() { &story.transactions[..] } else { &donor.approvals[..] };
            edit(&mut bundle.approvals, |list| alter_list(choices, list, others));
        }
        7 => edit(&mut bundle.approvals, |list| list.sort_by_key(|approval| approval.index)),
        8 | 9 => {
            let place = choices.below(bundle.approvals.len() + 1);
            let mut approvals = bundle.approvals.to_vec();
            let proven = approvals.get_mut(place).unwrap_or(&mut bundle.publish);
            alter_transaction(story, choices, proven);
            edit(&mut bundle.approvals, |list| *list = approvals);
        }
        10 | 11 => {
            let others = state_proofs(donor);
            let state = &mut bundle.state;
            match choices.below(4) {
                0 => alter_state_proof(choices, &mut state.patch, &others),
                1 => alter_state_proof(choices, &mut state.rules, &others),
                2 => alter_state_proof(choices, &mut state.halts, &others),
                _ => edit(&mut state.organisations, |list| {
                    let place = choices.below(list.len());
                    if let Some((_, proof)) = list.get_mut(place) {
                        alter_state_proof(choices, proof, &others);
                    }
                }),
            }
        }
        12 => {
            let known = story.certified.get(&bundle.header.hash());
            let known: Vec<_> = known.map(|at| at.organisations.clone().into_iter().collect()).unwrap_or_default();
            let others: &[(Name, StateProof)] = if choices.yes() { &known } else { &donor.state.organisations };
            edit(&mut bundle.state.organisations, |list| {
                alter_list(choices, list, others);
                if choices.yes() {
                    list.sort_by(|a, b| a.0.cmp(&b.0));
                }
            });
        }
        _ => match choices.below(4) {
            0 | 1 => usurp(story, choices, bundle, donor),
            2 => bundle.version = u16::from(choices.byte()),
            _ => bundle.chain_id = ChainId([choices.byte(); 32]),
        },
    }
}

/// The thief's keys as a set of validators, which signs whatever he likes.
fn usurp(story: &Story, choices: &mut Choices<'_>, bundle: &mut ProofBundle, donor: &ProofBundle) {
    let validator =
        |key: &SecretKey| Validator { key: key.public(), organisation: Name::new("thieves").expect("a name") };
    let Ok(set) = ValidatorSet::new(story.stolen.iter().map(validator).collect()) else { return };
    if choices.yes() {
        bundle.epochs = donor.epochs.clone();
    }
    edit(&mut bundle.epochs, |links| {
        links.iter_mut().last().into_iter().for_each(|link| link.validators = set.clone())
    });
    if choices.yes() {
        alter_header(choices, &mut bundle.header, &donor.header);
    }
    bundle.header.validators_hash = set.hash();
    bundle.header.height =
        bundle.header.height.max(bundle.epochs.last().map_or(0, |link| link.header.height.saturating_add(1)));
    let hash = bundle.header.hash();
    let body = VoteBody { height: bundle.header.height, round: 0, block: Some(hash) }.bytes();
    let signed = |key: &SecretKey| (key.public(), key.sign(Purpose::Precommit, &story.chain(), &body));
    let precommits: Vec<_> = story.stolen.iter().map(signed).collect();
    bundle.certificate = Certificate::assemble(bundle.header.height, 0, hash, &precommits, &set);
}

/// A list as a vector, and back if it is still within its bound.
fn edit<T: Clone, const MAX: usize>(list: &mut List<T, MAX>, act: impl FnOnce(&mut Vec<T>)) {
    let mut elements = list.to_vec();
    act(&mut elements);
    if let Ok(edited) = List::new(elements) {
        *list = edited;
    }
}

/// A whole field of another honest file.
fn take_over(choices: &mut Choices<'_>, bundle: &mut ProofBundle, donor: &ProofBundle) {
    match choices.below(10) {
        0 => bundle.header = donor.header.clone(),
        1 => bundle.certificate = donor.certificate.clone(),
        2 => (bundle.header, bundle.certificate) = (donor.header.clone(), donor.certificate.clone()),
        3 => bundle.epochs = donor.epochs.clone(),
        4 => bundle.publish = donor.publish.clone(),
        5 => bundle.approvals = donor.approvals.clone(),
        6 => bundle.state = donor.state.clone(),
        7 => bundle.state.patch = donor.state.patch.clone(),
        8 => bundle.state.halts = donor.state.halts.clone(),
        _ => bundle.state.organisations = donor.state.organisations.clone(),
    }
}

fn alter_header(choices: &mut Choices<'_>, header: &mut Header, donor: &Header) {
    let hash = Digest([choices.byte(); 32]);
    match choices.below(10) {
        0 => header.height = choices.number(header.height),
        1 => header.time_ms = choices.number(header.time_ms),
        2 => header.history_size = choices.number(header.history_size),
        3 => header.history_root = if choices.yes() { donor.history_root } else { hash },
        4 => header.state_root = if choices.yes() { donor.state_root } else { hash },
        5 => header.validators_hash = if choices.yes() { donor.validators_hash } else { hash },
        6 => header.next_validators_hash = if choices.yes() { donor.next_validators_hash } else { hash },
        7 => header.chain_id = ChainId(hash.0),
        8 => header.version = u16::from(choices.byte()),
        _ => header.tx_count = u32::from(choices.byte()),
    }
}

fn altered(choices: &mut Choices<'_>, certificate: &Certificate, story: &Story) -> Certificate {
    let mut parts = CertificateParts::of(certificate);
    parts.alter(choices, &story.signatures);
    parts.certificate().unwrap_or_else(|| certificate.clone())
}

fn alter_epochs(story: &Story, choices: &mut Choices<'_>, links: &mut Vec<EpochLink>, donor: &[EpochLink]) {
    let place = choices.below(links.len());
    let before = if place == 0 { story.validators() } else { links[place - 1].validators.clone() };
    match (choices.below(5), links.get_mut(place)) {
        (0, Some(link)) => {
            let donor = link.header.clone();
            alter_header(choices, &mut link.header, &donor);
        }
        (1, Some(link)) => link.certificate = altered(choices, &link.certificate, story),
        (2, Some(link)) => {
            let honest = story.honest.iter().flat_map(|honest| honest.bundle.epochs.iter());
            if honest.into_iter().any(|known| known.header == link.header) {
                let (round, without) = (u32::from(choices.byte()), choices.below(8));
                link.certificate = story.another_certificate(&link.header, &before, round, without);
            }
        }
        (3, Some(link)) => link.validators = before,
        _ => alter_list(choices, links, donor),
    }
}

fn alter_transaction(story: &Story, choices: &mut Choices<'_>, proven: &mut ProvenTransaction) {
    let other = choices.of(&story.transactions).expect("the story has transactions");
    match choices.below(8) {
        0 => *proven = other.clone(),
        1 => proven.transaction = other.transaction.clone(),
        2 => proven.index = choices.number(proven.index),
        3 => proven.path = other.path.clone(),
        4 => edit(&mut proven.path, |path| alter_list(choices, path, &other.path)),
        5 => proven.transaction.signature.0[choices.below(64)] ^= choices.byte(),
        6 => {
            // Signed by a thief: a good signature, by a key that may, under what was never finalised.
            let thief = choices.of(&story.stolen).expect("some keys were stolen");
            proven.transaction.transaction.nonce = u64::from(choices.byte());
            proven.transaction = proven.transaction.transaction.clone().sign(thief);
        }
        _ => match &mut proven.transaction.transaction.payload {
            Payload::Publish { manifest } => manifest.release = choices.number(manifest.release),
            Payload::Approve { verdict, urgent } => {
                *urgent = choices.yes();
                if choices.yes() {
                    verdict.patch = PatchId([choices.byte(); 32]);
                }
            }
            _ => proven.transaction.transaction.nonce = u64::from(choices.byte()),
        },
    }
}

fn state_proofs(bundle: &ProofBundle) -> Vec<StateProof> {
    let state = &bundle.state;
    let law = [&state.patch, &state.rules, &state.halts].into_iter().cloned();
    law.chain(state.organisations.iter().map(|(_, proof)| proof.clone())).collect()
}

fn alter_state_proof(choices: &mut Choices<'_>, proof: &mut StateProof, others: &[StateProof]) {
    let mut parts = StateProofParts::of(proof);
    parts.alter(choices, others);
    if let Some(altered) = parts.proof() {
        *proof = altered;
    }
}

fn alter_clock(choices: &mut Choices<'_>, clock: &mut HostClock) {
    match choices.below(4) {
        0 => clock.now_ms = choices.number(clock.now_ms),
        1 => clock.max_age_ms = choices.number(clock.max_age_ms),
        2 => clock.floor_ms = choices.number(clock.now_ms),
        _ => clock.height_seen = choices.number(clock.height_seen),
    }
}

/// A few bytes of the file, and pieces of another.
fn alter_bytes(choices: &mut Choices<'_>, file: &mut Vec<u8>, donor: &[u8]) {
    for _ in 0..DEEDS_MAX {
        if !choices.any() {
            return;
        }
        let (a, b) = (choices.below(file.len().max(257)), choices.below(file.len().max(257)));
        let (a, b) = (a.min(b).min(file.len()), a.max(b).min(file.len()));
        match choices.below(6) {
            0 if a < file.len() => file[a] ^= choices.byte(),
            1 => file.insert(a, choices.byte()),
            2 => drop(file.drain(a..b)),
            3 => file.truncate(b),
            4 if b <= donor.len() => file[a..b].copy_from_slice(&donor[a..b]),
            _ => {
                if let Some(number) = file.get_mut(a..a + 8) {
                    number.copy_from_slice(&choices.number(0).to_le_bytes());
                }
            }
        }
    }
}

/// What is believed is true, timely, and says what the honest file says.
fn judge(story: &Story, file: &[u8], clock: HostClock, must_be: Option<&Honest>) {
    let verdict = ProofBundle::parse(file).and_then(|bundle| {
        assert!(bundle.bytes() == file, "one value, two encodings");
        let patch = bundle.verify(&story.trust, clock)?;
        Ok((bundle, patch))
    });
    if let Some(honest) = must_be {
        let word = verdict.as_ref().map_or_else(|refusal| refusal.code().word(), |_| "");
        assert_eq!(word, honest.check, "{}", honest.about);
    }
    let (bundle, patch) = match verdict {
        Ok(believed) => believed,
        Err(refusal) => return is_a_sentence(&refusal.to_string()),
    };
    let header = &bundle.header;
    let honest = story.honest.iter().find(|honest| {
        honest.check.is_empty() && honest.bundle.header == *header && *patch.manifest() == *manifest(&honest.bundle)
    });
    let honest = honest.expect("a patch is believed that no quorum said so of");
    assert_eq!((patch.id(), patch.record()), (manifest(&honest.bundle).id(), &honest.record), "another record");
    assert_eq!(patch.header().hash(), header.hash());
    let now_ms = clock.now_ms.max(clock.floor_ms);
    assert!(header.height >= clock.height_seen, "an older header than one that was seen");
    assert!(header.time_ms <= now_ms.saturating_add(limits::CLOCK_AHEAD_MS_MAX), "from the future");
    assert!(now_ms <= header.time_ms.saturating_add(clock.max_age_ms), "stale");
    differs_only_where_it_may(story, &bundle, &honest.bundle);
}

fn manifest(bundle: &ProofBundle) -> &ledger::patch::PatchManifest {
    match &bundle.publish.transaction.transaction.payload {
        Payload::Publish { manifest } => manifest,
        other => panic!("a {} is believed to publish", other.kind()),
    }
}

/// 6.20: certificates may be others, and of approvals and the organisations shown, more or fewer.
fn differs_only_where_it_may(story: &Story, bundle: &ProofBundle, honest: &ProofBundle) {
    let shown = |approval: &ProvenTransaction| honest.approvals.contains(approval);
    assert!(bundle.approvals.iter().all(shown), "an approval that nobody gave");
    let known = &story.certified[&bundle.header.hash()].organisations;
    let there = |(name, proof): &(Name, StateProof)| known.get(name) == Some(proof);
    assert!(bundle.state.organisations.iter().all(there), "an organisation that is not there");
    let mut same = bundle.clone();
    same.certificate = honest.certificate.clone();
    same.approvals = honest.approvals.clone();
    same.state.organisations = honest.state.organisations.clone();
    edit(&mut same.epochs, |links| {
        for (link, known) in links.iter_mut().zip(honest.epochs.iter()) {
            link.certificate = known.certificate.clone();
        }
    });
    assert!(encode(&same) == encode(honest), "more differs than may differ");
}
