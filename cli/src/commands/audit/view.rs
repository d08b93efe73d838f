//! What an audit has to say, for people and for programs.

use super::validating::Validating;
use crate::tables::facts;
use crate::time;
use ledger::certificate::FinalizedHeader;
use ledger::evidence::{Charge, Offence};
use ledger::fork::ProvenFork;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::validators::Validator;
use serde::Serialize;

/// What is said when nobody can be named.
pub(super) const WHY_NOBODY: &str = "the certificates are of two rounds, and an honest validator may have signed both, \
after it saw a quorum prevote for the other block in between: nobody can be named from them. More than a third of the \
validators lied; ask the nodes for the votes they kept, or compare higher blocks of both sides";

/// A fork that was proven.
#[derive(Serialize)]
pub(super) struct ForkView {
    fork: bool,
    /// The first height at which both sides differ, as far as they were compared.
    height: u64,
    /// Whether they may differ earlier, because not both sides keep lower blocks; for those who looked.
    pub(super) may_be_earlier: Option<bool>,
    /// The height of the blocks shown.
    shown_height: u64,
    sides: [SideView; 2],
    equivocators: Vec<Validator>,
    why_nobody: Option<&'static str>,
    /// Where the evidence was written.
    pub(super) file: Option<String>,
}

#[derive(Serialize)]
struct SideView {
    side: String,
    hash: BlockHash,
    round: u32,
    time_ms: u64,
    signers: Vec<Validator>,
}

impl ForkView {
    pub(super) fn new(height: u64, proven: &ProvenFork, names: [&str; 2]) -> Self {
        let (one, other) = proven.signers();
        let side = |name: &str, header: &FinalizedHeader, signers| SideView {
            side: name.to_owned(),
            hash: header.hash(),
            round: header.certificate().round,
            time_ms: header.header().time_ms,
            signers,
        };
        Self {
            fork: true,
            height,
            may_be_earlier: None,
            shown_height: proven.one().header().height,
            sides: [side(names[0], proven.one(), one), side(names[1], proven.other(), other)],
            equivocators: proven.culprits().to_vec(),
            why_nobody: proven.culprits().is_empty().then_some(WHY_NOBODY),
            file: None,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut rows = vec![("fork", format!("at height {}: two final blocks", self.height))];
        if self.may_be_earlier == Some(true) {
            rows.push(("", "they may part earlier: not both sides keep lower blocks".to_owned()));
        }
        if self.shown_height != self.height {
            let shown = self.shown_height;
            rows.push(("shown", format!("height {shown}, the first after it whose certificates are of one round")));
        }
        for side in &self.sides {
            let signers: Vec<_> = side.signers.iter().map(|signer| signer.organisation.to_string()).collect();
            let SideView { side, hash, round, time_ms, .. } = side;
            rows.push(("side", side.clone()));
            rows.push(("  block", hash.to_string()));
            rows.push(("  signed", format!("{}, round {round}, {}", signers.join(", "), time::show(*time_ms))));
        }
        rows.extend(culprits(&self.equivocators));
        rows.extend(self.why_nobody.map(|why| ("equivocators", why.to_owned())));
        rows.extend(self.file.clone().map(|file| ("evidence", file)));
        facts(&rows)
    }
}

fn culprits(equivocators: &[Validator]) -> Vec<(&'static str, String)> {
    let mut name = "equivocators";
    let row = |validator: &Validator| {
        let row = (name, format!("{} (key {}) signed both", validator.organisation, validator.key));
        name = "";
        row
    };
    equivocators.iter().map(row).collect()
}

/// Evidence that was proven.
#[derive(Serialize)]
pub(super) struct ChargeView {
    offence: Offence,
    equivocators: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    key: PublicKey,
    /// As far as it is known to validate.
    organisation: Option<String>,
}

impl ChargeView {
    pub(super) fn new(charge: &Charge, validating: &Validating) -> Self {
        let named = |key: &PublicKey| Named { key: *key, organisation: validating.organisation(key) };
        Self { offence: charge.offence, equivocators: charge.keys.iter().map(named).collect() }
    }

    pub(super) fn text(&self) -> String {
        let mut rows = vec![("offence", self.offence.to_string())];
        for named in &self.equivocators {
            let who = named.organisation.as_deref().unwrap_or("not known to validate");
            rows.push(("equivocator", format!("{who} (key {}) signed both", named.key)));
        }
        facts(&rows)
    }
}
