//! `countersign get`: lists, page after page.

use super::convictions::Convictions;
use super::proposals::{Members, Proposals, ShowProposal};
use crate::connection::{Connection, NodeError, only, parse_endpoint, parse_prefix};
use crate::failure::Failure;
use crate::options::Global;
use crate::tables::{short, table};
use crate::view::{BlockView, EndpointView, EnrolledView, PatchView, ReceiptView, patch_table};
use clap::{Args, Subcommand};
use ledger::key::PublicKey;
use proto::v1::{ListBlocksRequest, ListEndpointsRequest, ListPatchesRequest, ListReceiptsRequest};
use serde::Serialize;
use terminal::{Answer, note};

/// Most a list can be asked for.
const LIMIT_MAX: u32 = 1_000_000;
/// Largest page asked for.
const PAGE_SIZE: usize = 500;
/// Pages with nothing on them in a row: where a filter leaves most out, a node looks through so much at a
/// time and no more.
const EMPTY_PAGES_MAX: usize = 1_000;
/// How many are looked through for one that is called the same.
const NAMESAKES_AMONG_MAX: usize = 1_000;
/// The status of an endpoint whose key may speak.
const ACTIVE: &str = "active";
/// How many endpoints are looked through for a prefix.
const ENDPOINTS_MAX: usize = 100_000;

/// List patches, endpoints, receipts, blocks, members, proposals or convictions.
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// Patches, newest first
    Patches(Patches),
    /// Endpoints, in the order of their enrolment
    Endpoints(Endpoints),
    /// Receipts, newest first
    Receipts(Receipts),
    /// Blocks, newest first
    Blocks(Blocks),
    /// Members, their keys, and who has a voice
    Members(Members),
    /// Proposals, newest first
    Proposals(Proposals),
    /// One proposal in full: each change in words, checked here, and its ballots
    Proposal(ShowProposal),
    /// What validators were convicted of, newest first
    Convictions(Convictions),
    /// Where a transaction is
    Transaction(super::transaction::Transaction),
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Limit {
    /// List at most this many; more pages are asked for as needed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    pub(super) limit: u32,
}

/// List patches.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"patches\": [{\"id\", \"product\", \"channel\", \"version\", \"release\", \"class\", \"severity\", \"title\", \
\"organisation\", \"standing\", \"count\", \"verdicts\", \"missing\", \"published\", \"approved\", \"recalled\", \"recall\", \
\"outcomes\"}], \"more\"}; notes and reasons as long as 512 bytes, `countersign patch show` has them whole

Example:
  countersign get patches --standing pending")]
pub struct Patches {
    /// Only patches of this product
    #[arg(long, value_name = "PRODUCT", default_value = "", hide_default_value = true)]
    product: String,
    /// Only patches that stand so
    #[arg(long, value_parser = ["pending", "approved", "rejected", "held", "recalled"])]
    standing: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

/// List endpoints.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"endpoints\": [{\"key\", \"name\", \"group\", \"organisation\", \"labels\", \"status\", \"enrolled\", \
\"last_receipt\"}], \"more\"}

Example:
  countersign get endpoints --organisation hospital")]
pub struct Endpoints {
    /// Only endpoints of this organisation
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    organisation: String,
    #[command(flatten)]
    limit: Limit,
}

/// List receipts.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"receipts\": [{\"endpoint\", \"endpoint_name\", \"patch\", \"attempt\", \"outcome\", \"reason\", \"detail\", \
\"health\", \"from_version\", \"to_version\", \"ended_at_ms\", \"position\", \"transaction\"}], \"more\"}

Example:
  countersign get receipts --patch 3fa9 --limit 1000 -o json")]
pub struct Receipts {
    /// Only for this patch, or the beginning of its id
    #[arg(long, value_name = "PATCH", value_parser = parse_prefix)]
    patch: Option<String>,
    /// Only of this endpoint: its name, its key, or the beginning of its key
    #[arg(long, value_name = "ENDPOINT", value_parser = parse_endpoint)]
    endpoint: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

/// List blocks.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"blocks\": [{\"height\", \"hash\", \"time_ms\", \"transactions\", \"round\", \"proposer_organisation\", \
\"signers\"}], \"more\"}

Example:
  countersign get blocks --from 4711 --limit 10")]
pub struct Blocks {
    /// Newest height wanted; the head if not given
    #[arg(long, value_name = "HEIGHT", default_value_t = 0, hide_default_value = true)]
    from: u64,
    #[command(flatten)]
    limit: Limit,
}

impl GetCommand {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Patches(list) => patches(list, global).await,
            Self::Endpoints(list) => list.run(global).await,
            Self::Receipts(list) => list.run(global).await,
            Self::Blocks(list) => list.run(global).await,
            Self::Members(list) => list.run(global).await,
            Self::Proposals(list) => list.run(global).await,
            Self::Proposal(show) => show.run(global).await,
            Self::Convictions(list) => list.run(global).await,
            Self::Transaction(find) => find.run(global).await,
        }
    }
}

/// One page: what is on it, and the token of the next; empty when this was the last.
type Page<T> = Result<(Vec<T>, String), NodeError>;

/// Follows pages until there are `limit` elements or no more. A node that never stops is left.
pub(super) async fn pages<T, F: Future<Output = Page<T>>>(
    limit: usize,
    mut ask: impl FnMut(String, u32) -> F,
) -> Result<(Vec<T>, bool), NodeError> {
    let (mut all, mut token, mut empty) = (Vec::new(), String::new(), 0);
    loop {
        let size = (limit - all.len()).min(PAGE_SIZE);
        let (mut page, next) = ask(token, u32::try_from(size).unwrap_or(u32::MAX)).await?;
        empty = if page.is_empty() { empty + 1 } else { 0 };
        if empty == EMPTY_PAGES_MAX && !next.is_empty() {
            return Err(NodeError::Unbelievable(format!("{empty} pages with nothing on them and another after them")));
        }
        let more = !next.is_empty() || page.len() > size;
        page.truncate(size);
        all.extend(page);
        if next.is_empty() || all.len() >= limit {
            return Ok((all, more));
        }
        token = next;
    }
}

/// A list for people, with what its limit was and how to see on at the end. Of nothing there is no table: that there
/// is none is told beside the answer.
pub(super) fn listed(what: &str, table: String, shown: usize, more: bool, on: &str) -> String {
    match (shown, more) {
        (0, _) => {
            note(&format!("no {what}"));
            String::new()
        }
        (_, true) => format!("{table}\nThese are {shown}, and there are more: {on} shows them.\n"),
        (_, false) => table,
    }
}

/// How to see on in a list that has no other way.
pub(super) fn raise(limit: Limit) -> String {
    format!("--limit {}", limit.limit.saturating_mul(10).min(LIMIT_MAX))
}

/// The patches of a node that a list asks for.
pub(super) async fn list_patches(
    connection: &Connection,
    product: &str,
    standing: &str,
    limit: usize,
) -> Result<(Vec<PatchView>, bool), NodeError> {
    pages(limit, |page_token, page_size| {
        let mut ledger = connection.ledger.clone();
        let (product, standing, id_prefix) = (product.to_owned(), standing.to_owned(), String::new());
        async move {
            let request = ListPatchesRequest { product, standing, id_prefix, page_size, page_token };
            let answer = ledger.list_patches(request).await?.into_inner();
            let patches = answer.patches.into_iter().map(PatchView::new).collect::<Result<_, _>>()?;
            Ok((patches, answer.next_page_token))
        }
    })
    .await
}

pub(super) async fn patches(list: &Patches, global: &Global) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct View {
        patches: Vec<PatchView>,
        more: bool,
    }
    let connection = Connection::open(global, global.trust()?.as_ref()).await?;
    let standing = list.standing.as_deref().unwrap_or_default();
    let (patches, more) = list_patches(&connection, &list.product, standing, list.limit.limit as usize).await?;
    let text = listed("patches", patch_table(&patches), patches.len(), more, &raise(list.limit));
    Ok(Answer::new(text, &View { patches, more }))
}

async fn list_endpoints(
    connection: &Connection,
    organisation: &str,
    limit: usize,
) -> Result<(Vec<EndpointView>, bool), NodeError> {
    pages(limit, |page_token, page_size| {
        let mut ledger = connection.ledger.clone();
        let organisation = organisation.to_owned();
        async move {
            let request = ListEndpointsRequest { organisation, page_size, page_token };
            let answer = ledger.list_endpoints(request).await?.into_inner();
            let endpoints = answer.endpoints.into_iter().map(EndpointView::new).collect::<Result<_, _>>()?;
            Ok((endpoints, answer.next_page_token))
        }
    })
    .await
}

/// The one endpoint whose key is this, or that is called so (of several, the one that is active), or whose key begins so.
pub(super) async fn resolve_endpoint(connection: &Connection, text: &str) -> Result<PublicKey, NodeError> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let (endpoints, _) = list_endpoints(connection, "", ENDPOINTS_MAX).await?;
    let enrolled = endpoints.iter().map(|of| &of.endpoint);
    let mut meant: Vec<&EnrolledView> = enrolled.filter(|endpoint| endpoint.name == text).collect();
    if let (true, Ok(digits)) = (meant.is_empty(), parse_prefix(text)) {
        let keys: Vec<PublicKey> = endpoints.iter().map(|of| of.endpoint.key).collect();
        return only("endpoint", "endpoints", &digits, &keys);
    }
    if meant.iter().any(|endpoint| endpoint.status == ACTIVE) {
        meant.retain(|endpoint| endpoint.status == ACTIVE);
    }
    match meant[..] {
        [endpoint] => Ok(endpoint.key),
        [] => Err(NodeError::NoEndpoint(text.to_owned())),
        _ => {
            let among = meant.iter().take(5).map(|endpoint| short(&endpoint.key)).collect();
            Err(NodeError::SeveralEndpoints { name: text.to_owned(), among })
        }
    }
}

/// The active endpoints of an organisation that are called so, among the first it enrolled: a service, for which nobody
/// who enrols a whole fleet waits long.
pub(super) async fn namesakes(
    connection: &Connection,
    organisation: &str,
    name: &str,
) -> Result<Vec<PublicKey>, NodeError> {
    let (endpoints, _) = list_endpoints(connection, organisation, NAMESAKES_AMONG_MAX).await?;
    let enrolled = endpoints.iter().map(|of| &of.endpoint);
    let alike = enrolled.filter(|endpoint| endpoint.status == ACTIVE && endpoint.name == name);
    Ok(alike.map(|endpoint| endpoint.key).collect())
}

impl Endpoints {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            endpoints: Vec<EndpointView>,
            more: bool,
        }
        let connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let (endpoints, more) = list_endpoints(&connection, &self.organisation, self.limit.limit as usize).await?;
        let rows: Vec<_> = endpoints.iter().map(EndpointView::row).collect();
        let text = listed("endpoints", table(&EndpointView::HEADINGS, &rows), rows.len(), more, &raise(self.limit));
        Ok(Answer::new(text, &View { endpoints, more }))
    }
}

impl Receipts {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            receipts: Vec<ReceiptView>,
            more: bool,
        }
        let mut connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let patch = match &self.patch {
            Some(patch) => connection.resolve_patch(patch).await?.0.to_vec(),
            None => Vec::new(),
        };
        let endpoint = match &self.endpoint {
            Some(endpoint) => resolve_endpoint(&connection, endpoint).await?.0.to_vec(),
            None => Vec::new(),
        };
        let (receipts, more) = pages(self.limit.limit as usize, |page_token, page_size| {
            let mut ledger = connection.ledger.clone();
            let request =
                ListReceiptsRequest { patch: patch.clone(), endpoint: endpoint.clone(), page_size, page_token };
            async move {
                let answer = ledger.list_receipts(request).await?.into_inner();
                let receipts = answer.receipts.into_iter().map(ReceiptView::new).collect::<Result<_, _>>()?;
                Ok((receipts, answer.next_page_token))
            }
        })
        .await?;
        let rows: Vec<_> = receipts.iter().map(ReceiptView::row).collect();
        let text = listed("receipts", table(&ReceiptView::HEADINGS, &rows), rows.len(), more, &raise(self.limit));
        Ok(Answer::new(text, &View { receipts, more }))
    }
}

impl Blocks {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            blocks: Vec<BlockView>,
            more: bool,
        }
        let connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let (blocks, more) = pages(self.limit.limit as usize, |token, page_size| {
            let mut ledger = connection.ledger.clone();
            let from_height = token.parse().unwrap_or(self.from);
            async move {
                let answer = ledger.list_blocks(ListBlocksRequest { from_height, page_size }).await?.into_inner();
                let blocks = answer.blocks.into_iter().map(BlockView::new).collect::<Result<_, _>>()?;
                let next = match answer.next_height {
                    0 => String::new(),
                    // Heights only go down: anything else would never end.
                    next if from_height != 0 && next >= from_height => {
                        return Err(NodeError::Unbelievable(format!("blocks before {from_height} begin at {next}")));
                    }
                    next => next.to_string(),
                };
                Ok((blocks, next))
            }
        })
        .await?;
        let rows: Vec<_> = blocks.iter().map(BlockView::row).collect();
        let on = blocks.last().map(|oldest: &BlockView| format!("--from {}", oldest.height.saturating_sub(1)));
        let text = listed("blocks", table(&BlockView::HEADINGS, &rows), rows.len(), more, &on.unwrap_or_default());
        Ok(Answer::new(text, &View { blocks, more }))
    }
}
