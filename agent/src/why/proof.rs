//! The checks of a proof file, one by one.

use super::answer;
use super::{Checked, Origin, Verdict};
use crate::proofs;
use crate::recalls::Recall;
use ledger::id::PatchId;
use ledger::moment::Moment;
use ledger::proof::{FinalizedPatch, HostClock, ProofBundle, ProofError, TrustRoot};

/// The checks, in the order in which they are made, and what each has seen when it has nothing to say.
const CHECKS: [&str; 11] = [
    "file",
    "ledger",
    "validators",
    "quorum",
    answer::FRESHNESS,
    "history",
    "records",
    "authority",
    "recall",
    "approval",
    "halt",
];
/// The place of the only one that time alone can spoil.
const FRESHNESS: usize = 4;

/// What was seen of a proof.
pub(super) struct Seen {
    pub(super) checks: Vec<Checked>,
    /// The patch as far as it is proven, be it by a header that is too old by now: for questions only.
    pub(super) proven: Option<FinalizedPatch>,
    /// That it was recalled: if it is proven by a header that is too old, it still is.
    pub(super) recalled: Option<Recall>,
}

impl Seen {
    /// Nothing can be made of the file.
    fn nothing(said: String, reached: usize) -> Self {
        Self { checks: list(&[(0, Verdict::No, said)], reached, None), proven: None, recalled: None }
    }
}

/// Makes the checks. Those behind one that says no are not reached; but where only the header is not of
/// today, they are made as of its time.
pub(super) fn checks(
    patch: PatchId,
    bytes: Option<&[u8]>,
    origin: Origin,
    trust: &TrustRoot,
    clock: HostClock,
) -> Seen {
    let Some(bytes) = bytes else {
        let said = "no proof of it lies on this host: no node offered one, or the disk had no room for it; `--from` takes a file".to_owned();
        return Seen::nothing(said, CHECKS.len());
    };
    let bundle = match ProofBundle::parse(bytes) {
        Ok(bundle) if proofs::claimed_patch(bytes) == Some(patch) => bundle,
        Ok(_) => return Seen::nothing("it is the proof of another patch".to_owned(), 0),
        Err(fault) => return Seen::nothing(fault.to_string(), 0),
    };
    let change_seen = clock.change_seen;
    let then = HostClock { max_age_ms: u64::MAX, change_seen, ..HostClock::at(bundle.header.time_ms) };
    let mut against = Vec::new();
    let mut verified = proofs::verify(&bundle, trust, clock);
    if let Err(fault) = &verified
        && place(fault) == FRESHNESS
    {
        against.push(match origin {
            Origin::Given => (FRESHNESS, Verdict::No, fault.to_string()),
            Origin::Kept => (FRESHNESS, Verdict::Note, format!("the one kept here is old: {fault}")),
        });
        verified = bundle.verify(trust, then);
    }
    let reached = match &verified {
        Ok(_) => CHECKS.len(),
        Err(fault) => {
            against.push((place(fault), Verdict::No, fault.to_string()));
            place(fault)
        }
    };
    // What a proof of now says is final; so is what an old one did.
    let recalled = match (bundle.recalled(trust, then), &verified) {
        (Ok(Some(at)), _) => Some(Recall { height: at.height, reason: None }),
        (Ok(None), Err(ProofError::Recalled { height })) => Some(Recall { height: *height, reason: None }),
        _ => None,
    };
    let proven = verified.ok();
    let about = About { bundle: &bundle, trust, proven: proven.as_ref(), bytes: bytes.len() };
    Seen { checks: list(&against, reached, Some(&about)), proven, recalled }
}

/// What the checks that have nothing against it looked at.
struct About<'a> {
    bundle: &'a ProofBundle,
    trust: &'a TrustRoot,
    proven: Option<&'a FinalizedPatch>,
    bytes: usize,
}

fn list(against: &[(usize, Verdict, String)], reached: usize, about: Option<&About<'_>>) -> Vec<Checked> {
    let one = |(place, check): (usize, &&'static str)| {
        let no = against.iter().find(|(at, ..)| *at == place);
        let (verdict, said) = match (no, about) {
            (Some((_, verdict, said)), _) => (*verdict, said.clone()),
            (None, Some(about)) if place < reached => (Verdict::Yes, about.fine(check)),
            _ => (Verdict::Unknown, "not reached".to_owned()),
        };
        Checked { part: "proof", check, verdict, said }
    };
    CHECKS.iter().enumerate().map(one).collect()
}

impl About<'_> {
    fn fine(&self, check: &str) -> String {
        let ProofBundle { epochs, header, approvals, .. } = self.bundle;
        match check {
            "file" => format!("{} bytes", self.bytes),
            "ledger" => format!("{} (chain {})", self.trust.name(), self.trust.chain_id()),
            "validators" => format!("{} changes of the set since the genesis file", epochs.len()),
            "quorum" => format!("signed the header of height {}", header.height),
            answer::FRESHNESS => format!("of {}", Moment(header.time_ms)),
            "history" => format!("published, and {} approvals, each signed and recorded", approvals.len()),
            "records" => format!("as the state of height {} has them", header.height),
            "authority" => "whoever signed might".to_owned(),
            "approval" => self
                .proven
                .map_or_else(|| "enough".to_owned(), |proven| format!("{}, rule {}", proven.count(), proven.rule())),
            "recall" => "not recalled".to_owned(),
            _ => "no halt stops it".to_owned(),
        }
    }
}

/// At which check a fault is noticed.
fn place(fault: &ProofError) -> usize {
    let check = match fault {
        ProofError::Decode(_) | ProofError::Version(_) | ProofError::HeaderVersion { .. } => "file",
        ProofError::WrongChain { .. } => "ledger",
        ProofError::EpochChain { .. } => "validators",
        ProofError::Certificate(_) => "quorum",
        ProofError::Stale { .. } | ProofError::ClockBehind { .. } | ProofError::HeightBelowSeen { .. } => {
            answer::FRESHNESS
        }
        ProofError::Inclusion { .. } | ProofError::Signature { .. } => "history",
        // Which rule is for the patch is looked up with the records.
        ProofError::StateProof { .. } | ProofError::NoRecord { .. } | ProofError::NoApprovalRule => "records",
        ProofError::Authority(_) => "authority",
        ProofError::Recalled { .. } => "recall",
        ProofError::ApprovalMissing { .. } | ProofError::Rejected { .. } | ProofError::Held { .. } => "approval",
        ProofError::Halted(_) => "halt",
    };
    CHECKS.iter().position(|name| *name == check).unwrap_or(0)
}
