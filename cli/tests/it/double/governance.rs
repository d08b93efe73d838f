//! What the double's ledger service says of members, proposals and validator sets.

use super::{Lie, Shared};
use ledger::bounded::{List, Name};
use ledger::encoding::encode;
use ledger::governance::{Cast, Change, ProposalRecord, ProposalStanding, Tally};
use ledger::id::TransactionId;
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, Organisation, Role};
use ledger::transaction::Payload;
use proto::v1::{
    Conviction, Culprit, GetEpochsResponse, ListMembersResponse, Member, MemberKey, Proposal, ProposalBallot,
};

/// Links of one answer at most.
const LINKS_MAX: usize = 32;

impl Shared {
    pub(super) fn epochs(&self, from_height: u64) -> GetEpochsResponse {
        let mut links = self.ledger.epochs(0);
        match self.manners.lie {
            Some(Lie::EpochMissing) => drop(links.remove(0)),
            Some(Lie::NewestEpochMissing) => drop(links.pop()),
            Some(Lie::EpochForged) => links[0].header.time_ms += 1,
            _ => {}
        }
        links.retain(|link| link.header.height >= from_height);
        GetEpochsResponse { links: links.iter().take(LINKS_MAX).map(encode).collect() }
    }

    fn organisations(&self) -> Vec<Organisation> {
        let names = self.ledger.storage.members().unwrap().unwrap().0;
        names.iter().map(|name| self.ledger.storage.organisation(name).unwrap().unwrap()).collect()
    }

    pub(super) fn members(&self) -> ListMembersResponse {
        let set = self.ledger.storage.upcoming_validators().unwrap().unwrap().after_next;
        let member = |organisation: Organisation| Member {
            name: organisation.name.to_string(),
            namespaces: organisation.namespaces.iter().map(Name::to_string).collect(),
            governs: governs(&organisation),
            keys: organisation
                .keys
                .iter()
                .map(|member| MemberKey {
                    key: member.key.0.to_vec(),
                    role: member.role.to_string(),
                    status: format!("{:?}", member.status).to_lowercase(),
                    validates: set.position(&member.key).is_some(),
                })
                .collect(),
        };
        ListMembersResponse { members: self.organisations().into_iter().map(member).collect() }
    }

    /// What validators were convicted of, newest first.
    pub(super) fn convictions(&self) -> Vec<Conviction> {
        let accused = self.ledger.log.iter().enumerate().rev().filter_map(|(index, (known, ..))| {
            let Payload::Accuse { evidence } = known.payload() else { return None };
            let charge = evidence.charge().unwrap();
            let mut keys = charge.keys.clone();
            if self.manners.lie == Some(Lie::OtherCulprit) {
                keys = vec![self.ledger.scenario.validators()[3].public()];
            }
            let culprit = |key: &ledger::key::PublicKey| Culprit {
                key: key.0.to_vec(),
                organisation: self.ledger.storage.key_owner(*key).unwrap().unwrap().organisation.to_string(),
                status: "active".to_owned(),
            };
            Some(Conviction {
                kind: charge.offence.kind.to_string(),
                height: charge.offence.height,
                round: charge.offence.round,
                culprits: keys.iter().map(culprit).collect(),
                accuser: known.signer().0.to_vec(),
                accuser_organisation: "bank".to_owned(),
                position: Some(self.position_at(index as u64)),
                transaction_id: known.id().0.to_vec(),
            })
        });
        accused.collect()
    }

    /// Proposals, newest first.
    pub(super) fn proposals(&self) -> Vec<(TransactionId, ProposalRecord)> {
        let proposed = self.ledger.log.iter().rev().filter_map(|(known, ..)| match known.payload() {
            Payload::Propose { .. } => Some(known.id()),
            _ => None,
        });
        proposed.map(|id| (id, self.ledger.storage.proposal(id).unwrap().unwrap())).collect()
    }

    pub(super) fn proposal(&self, id: TransactionId, record: &ProposalRecord) -> Proposal {
        let count = match record.standing {
            ProposalStanding::Open => Tally::count(&record.ballots, &self.organisations()).to_string(),
            _ => Cast(&record.ballots).to_string(),
        };
        let mut shown = record.proposal.clone();
        if self.manners.lie == Some(Lie::OtherProposal) {
            shown.changes = List::new(vec![Change::RemoveOrganisation { name: Name::new("bank").unwrap() }]).unwrap();
        }
        let hostile = self.manners.lie == Some(Lie::Hostile);
        Proposal {
            id: id.0.to_vec(),
            proposal: encode(&shown),
            note: if hostile { "\u{1b}[2J\u{202e}gnp.\u{7}".to_owned() } else { shown.note.to_string() },
            changes: shown.changes.iter().map(|change| change.kind().to_owned()).collect(),
            proposer: record.proposer.0.to_vec(),
            organisation: self.ledger.storage.key_owner(record.proposer).unwrap().unwrap().organisation.to_string(),
            standing: record.standing.to_string(),
            count,
            ballots: record
                .ballots
                .iter()
                .map(|ballot| ProposalBallot {
                    organisation: ballot.organisation.to_string(),
                    choice: ballot.choice.to_string(),
                })
                .collect(),
            closes_at_ms: record.proposal.closes_at_ms,
            proposed: Some(self.position_at(record.proposed.index)),
            settled: record.settled.map(|at| self.position_at(at.index)),
        }
    }
}

fn governs(organisation: &Organisation) -> bool {
    organisation.keys.iter().any(|member| member.role == Role::Governor && member.status == KeyStatus::Active)
}
