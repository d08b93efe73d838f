//! `countersign get members`, `get proposals` and `get proposal`: who the members are, and what is to
//! change. What a proposal says is taken from the transaction that proposed it, checked here.

use super::get::{Limit, listed, pages, raise};
use crate::connection::{Connection, NodeError, only, parse_prefix};
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::sign::{NotTheProposal, SignedProposal};
use crate::time;
use crate::trust::Trust;
use crate::view::{MemberView, Owners, ProposalView, member_table, proposal_table, signed_proposal_text};
use clap::Args;
use ledger::governance::Proposal;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::limits;
use proto::v1::{GetProposalRequest, GetTransactionRequest, ListMembersRequest, ListProposalsRequest};
use serde::Serialize;
use std::path::{Path, PathBuf};
use terminal::{Answer, note};

/// How many proposals are looked through for a prefix.
const PROPOSALS_MAX: usize = 10_000;

/// List members.
#[derive(Debug, Args)]
#[command(after_help = "\
This is the node's word. An organisation has a voice when it has an active governor; a validator is in the set when \
blocks from the one after the next on need its signature.
JSON: {\"members\": [{\"name\", \"namespaces\", \"governs\", \"keys\": [{\"role\", \"status\", \"key\", \"validates\"}]}]}

Example:
  countersign get members")]
pub struct Members {}

/// List proposals.
#[derive(Debug, Args)]
#[command(after_help = "\
This is the node's word; `countersign get proposal` checks what one says. The count of an open proposal is made with \
the organisations that have a voice now; of one that is over, who was for it and who against is told, and when it was \
settled: how many had a voice then is not on record.
JSON: {\"proposals\": [{\"id\", \"standing\", \"count\", \"organisation\", \"proposer\", \"changes\", \"note\", \
\"ballots\": [{\"organisation\", \"choice\"}], \"closes_at_ms\", \"proposed\", \"settled\"}], \"more\"}

Example:
  countersign get proposals --standing open")]
pub struct Proposals {
    /// Only proposals that stand so
    #[arg(long, value_parser = ["open", "passed", "refused", "void"])]
    standing: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

/// Show a proposal.
#[derive(Debug, Args)]
#[command(after_help = "\
What it says is taken from the transaction that proposed it, checked here; the ballots and how it stands are the \
node's word.
JSON: {\"proposal\": {\"id\", \"standing\", \"count\", \"ballots\", …}, \"signed\": {\"changes\", \"note\", \
\"closes_at_ms\"}, \"proposer\"}

Examples:
  countersign get proposal 51c0
  countersign get proposal 51c0 --out change.tx")]
pub struct ShowProposal {
    /// The proposal, or the beginning of its id
    #[arg(value_name = "PROPOSAL", value_parser = parse_prefix)]
    proposal: String,
    /// Also write the transaction that proposed it, for `countersign ballot --offline --proposed`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Members {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            members: Vec<MemberView>,
        }
        let mut connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let members = list_members(Some(&mut connection)).await?;
        Ok(Answer::new(member_table(&members), &View { members }))
    }
}

impl Proposals {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            proposals: Vec<ProposalView>,
            more: bool,
        }
        let connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let standing = self.standing.as_deref().unwrap_or_default();
        let (proposals, more) = list_proposals(&connection, standing, self.limit.limit as usize).await?;
        let table = proposal_table(&proposals, time::now_ms());
        let text = listed("proposals", table, proposals.len(), more, &raise(self.limit));
        Ok(Answer::new(text, &View { proposals, more }))
    }
}

impl ShowProposal {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View<'a> {
            proposal: &'a ProposalView,
            signed: &'a Proposal,
            proposer: PublicKey,
        }
        let trust = global.trust()?;
        let mut connection = Connection::open(global, trust.as_ref()).await?;
        let (signed, view) = fetch(&mut connection, &self.proposal).await?;
        let members = list_members(Some(&mut connection)).await?;
        if let Some(out) = &self.out {
            files::write_new(out, signed.transaction.bytes(), files::PUBLIC_MODE)?;
            note(&format!("The transaction that proposed it is in {}.", out.display()));
        }
        let owners = Owners { trust: trust.as_ref(), members: &members };
        let text = signed_proposal_text(&signed, owners) + "\n" + &view.text(time::now_ms());
        let proposer = signed.transaction.signer();
        Ok(Answer::new(text, &View { proposal: &view, signed: signed.proposal(), proposer }))
    }
}

/// All members, as a node tells of them; without a node nobody is known.
pub(super) async fn list_members(connection: Option<&mut Connection>) -> Result<Vec<MemberView>, NodeError> {
    let Some(connection) = connection else { return Ok(Vec::new()) };
    let members = connection.ledger.list_members(ListMembersRequest {}).await?.into_inner().members;
    if members.len() > limits::ORGANISATIONS_MAX {
        return Err(NodeError::Unbelievable(format!("{} members", members.len())));
    }
    members.into_iter().map(MemberView::new).collect()
}

async fn list_proposals(
    connection: &Connection,
    standing: &str,
    limit: usize,
) -> Result<(Vec<ProposalView>, bool), NodeError> {
    pages(limit, |page_token, page_size| {
        let mut ledger = connection.ledger.clone();
        let standing = standing.to_owned();
        async move {
            let request = ListProposalsRequest { standing, page_size, page_token };
            let answer = ledger.list_proposals(request).await?.into_inner();
            let proposals = answer.proposals.into_iter().map(ProposalView::new).collect::<Result<_, _>>()?;
            Ok((proposals, answer.next_page_token))
        }
    })
    .await
}

/// The one proposal whose id is this, or begins so.
async fn resolve(connection: &Connection, text: &str) -> Result<TransactionId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let (proposals, more) = list_proposals(connection, "", PROPOSALS_MAX).await?;
    if more {
        let message = format!("there are more than {PROPOSALS_MAX} proposals: {text} may be the beginning of several");
        return Err(Failure::usage(message, "give the id in full"));
    }
    let ids: Vec<TransactionId> = proposals.iter().map(|proposal| proposal.id).collect();
    Ok(only("proposal", "proposals", text, &ids)?)
}

/// A proposal from a node: what its governor signed, checked here, and what the node says came of it.
pub(super) async fn fetch(connection: &mut Connection, named: &str) -> Result<(SignedProposal, ProposalView), Failure> {
    let asked = resolve(connection, named).await?;
    let id = asked.as_bytes().to_vec();
    let told = connection.ledger.get_proposal(GetProposalRequest { id: id.clone() }).await.map_err(NodeError::from)?;
    let told = told.into_inner();
    let proposing = connection.ledger.get_transaction(GetTransactionRequest { id }).await.map_err(NodeError::from)?;
    let not_the_proposal = |source: NotTheProposal| NodeError::NotTheProposal { asked, source };
    let signed = SignedProposal::verify_bytes(&proposing.get_ref().transaction, &connection.chain_id)
        .and_then(|signed| signed.check(asked, &told.proposal).map(|()| signed))
        .map_err(not_the_proposal)?;
    let view = ProposalView::new(told)?;
    if view.id != asked || view.proposer != signed.transaction.signer() {
        return Err(NodeError::Unbelievable(format!("asked for proposal {asked}, it speaks of another")).into());
    }
    Ok((signed, view))
}

/// A proposal from the transaction that proposed it, in a file.
pub(super) fn from_file(path: &Path, named: &str, trust: &Trust) -> Result<SignedProposal, Failure> {
    let bytes = files::read(path, "transaction", limits::TRANSACTION_BYTES_MAX)?;
    let signed = SignedProposal::verify_bytes(&bytes, &trust.chain_id()).map_err(|error| {
        let message = format!("{} is no proposal on this ledger: {error}", path.display());
        Failure::usage(message, "`countersign get proposal ID --out FILE` writes such files")
    })?;
    only("proposal", "proposals", named, &[signed.id])?;
    Ok(signed)
}

/// Says how a proposal stands now. What was signed is final already: a node that does not answer this
/// takes nothing away.
pub(super) async fn tell_standing(connection: Option<&mut Connection>, id: TransactionId) {
    let Some(connection) = connection else { return };
    let Ok(told) = connection.ledger.get_proposal(GetProposalRequest { id: id.as_bytes().to_vec() }).await else {
        return;
    };
    let told = told.into_inner();
    note(&format!("By the node's word it stands {}: {}.", told.standing, told.count));
}
