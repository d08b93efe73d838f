//! Views of members, proposals and validator sets.

use super::Services;
use super::refusal::Refused;
use super::views::{ROWS_AT_ONCE, is_full, known_word, page_size, page_token, position, status_word, token};
use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::governance::{Cast, Change, ProposalRecord, ProposalStanding, Tally};
use ledger::id::TransactionId;
use ledger::state::StateView as _;
use ledger::state::record::{MemberKey, Organisation};
use proto::v1;

/// Changes of the validator set in one answer: with 128 validators each, they fit a message.
const EPOCHS_PER_ANSWER: usize = 32;
/// Proposals looked at for one page when a filter leaves most of them out.
const LOOKED_AT_MAX: usize = 10_000;

pub(super) fn epochs(services: &Services, from: u64) -> Result<v1::GetEpochsResponse, Refused> {
    let links = services.store.epochs(from, EPOCHS_PER_ANSWER).map_err(Refused::internal)?;
    Ok(v1::GetEpochsResponse { links: links.iter().map(encode).collect() })
}

pub(super) fn members(services: &Services) -> Result<v1::ListMembersResponse, Refused> {
    let upcoming = services.store.upcoming_validators().map_err(Refused::internal)?;
    let validates = |member: &MemberKey| {
        upcoming.as_ref().is_some_and(|upcoming| upcoming.after_next.position(&member.key).is_some())
    };
    let members = organisations(services)?.into_iter().map(|organisation| v1::Member {
        governs: organisation.governs(),
        namespaces: organisation.namespaces.iter().map(ToString::to_string).collect(),
        keys: organisation
            .keys
            .iter()
            .map(|member| v1::MemberKey {
                key: member.key.0.to_vec(),
                role: member.role.to_string(),
                status: status_word(member.status).to_owned(),
                validates: validates(member),
            })
            .collect(),
        name: organisation.name.to_string(),
    });
    Ok(v1::ListMembersResponse { members: members.collect() })
}

pub(super) fn proposals(
    services: &Services,
    request: &v1::ListProposalsRequest,
) -> Result<v1::ListProposalsResponse, Refused> {
    known_word("standing", &request.standing, &ProposalStanding::ALL)?;
    let wanted =
        |record: &ProposalRecord| request.standing.is_empty() || record.standing.to_string() == request.standing;
    let size = page_size(request.page_size) as usize;
    let (mut after, mut proposals, mut looked_at) = (token(&request.page_token)?, Vec::new(), 0);
    loop {
        let rows = ROWS_AT_ONCE.min(size - proposals.len());
        let page = services.store.proposals(after, rows).map_err(Refused::internal)?;
        looked_at += page.rows.len();
        for (id, record) in page.rows.iter().filter(|(_, record)| wanted(record)) {
            proposals.push(proposal(services, *id, record)?);
        }
        after = page.next;
        if after.is_none() || proposals.len() == size || looked_at >= LOOKED_AT_MAX || is_full(&proposals) {
            return Ok(v1::ListProposalsResponse { proposals, next_page_token: page_token(after) });
        }
    }
}

pub(super) fn proposal(
    services: &Services,
    id: TransactionId,
    record: &ProposalRecord,
) -> Result<v1::Proposal, Refused> {
    let is_over = record.standing != ProposalStanding::Open
        || record.proposal.closes_at_ms <= services.store.tip().header.time_ms;
    let count = match is_over {
        true => Cast(&record.ballots).to_string(),
        false => Tally::count(&record.ballots, &organisations(services)?).to_string(),
    };
    let owner = services.store.key_owner(record.proposer).map_err(Refused::internal)?;
    Ok(v1::Proposal {
        id: id.0.to_vec(),
        proposal: encode(&record.proposal),
        note: record.proposal.note.to_string(),
        changes: record.proposal.changes.iter().map(Change::kind).map(str::to_owned).collect(),
        proposer: record.proposer.0.to_vec(),
        organisation: owner.map(|owner| owner.organisation.to_string()).unwrap_or_default(),
        standing: record.standing.to_string(),
        count,
        ballots: record
            .ballots
            .iter()
            .map(|ballot| v1::ProposalBallot {
                organisation: ballot.organisation.to_string(),
                choice: ballot.choice.to_string(),
            })
            .collect(),
        closes_at_ms: record.proposal.closes_at_ms,
        proposed: Some(position(services, record.proposed)?),
        settled: record.settled.map(|settled| position(services, settled)).transpose()?,
    })
}

fn organisations(services: &Services) -> Result<Vec<Organisation>, Refused> {
    let names = services.store.members().map_err(Refused::internal)?.unwrap_or_default();
    let organisation = |name: &Name| services.store.organisation(name).map_err(Refused::internal).transpose();
    names.0.iter().filter_map(organisation).collect()
}
