//! The `Inventories` service: what hosts say is on them (docs/protocol.md, section 15). Hosts of this node's own
//! organisation say it, and its operators and approvers read it; nobody else does either.

use super::refusal::Refused;
use super::{Services, bytes32, views, wall_ms};
use crate::inventories::{NotTaken, Record, Sent, Taken};
use ledger::encoding::decode;
use ledger::id::Digest;
use ledger::inventory::{InventoryReport, READERS, ReadError, ReportError, SignedInventoryRead, SignedInventoryReport};
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use ledger::state::record::{EndpointRecord, KeyStatus};
use proto::v1::{self, inventories_server};
use std::io;
use tonic::{Code, Request, Response, Status};

/// Endpoints on a page: each may come with several kibibytes of readings and labels.
const PAGE_MAX: usize = 100;
/// When an endpoint may try again that has a report under way.
const RETRY_AFTER_MS: u64 = 1_000;

/// What to do when no report is taken.
const NO_REPORT: &str =
    "send the report of an enrolled host to a node of its own organisation, within minutes, and once";
/// What to do when nothing may be read.
const NO_READER: &str =
    "sign with a key of an operator or approver of this node's organisation, for this node, and for minutes";

#[tonic::async_trait]
impl inventories_server::Inventories for Services {
    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<v1::ReportResponse>, Status> {
        let v1::ReportRequest { report, packed, base } = request.into_inner();
        let (now_ms, base) = (wall_ms(), digest("base", &base)?);
        let signed: SignedInventoryReport = decode(&report).map_err(Refused::from)?;
        let said = signed.check(&self.chain_id, now_ms).map_err(Refused::from)?;
        self.check_endpoint(said)?;
        let turn = self.inventories.turn(said.endpoint);
        let turn =
            turn.ok_or_else(|| Refused::busy("a report of this endpoint is under way").retry_after(RETRY_AFTER_MS))?;
        let inventories = self.inventories.clone();
        let taken = blocking(move || {
            let sent = (!packed.is_empty()).then_some(Sent { packed: &packed, base });
            let taken = inventories.take(&signed, sent, now_ms);
            drop(turn);
            taken.map_err(Refused::from)
        });
        Ok(Response::new(match taken.await? {
            Taken::Known => v1::ReportResponse { known: true, base: Vec::new() },
            Taken::Wanted { base } => {
                v1::ReportResponse { known: false, base: base.map(|base| base.0.to_vec()).unwrap_or_default() }
            }
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListInventoriesRequest>,
    ) -> Result<Response<v1::ListInventoriesResponse>, Status> {
        let v1::ListInventoriesRequest { read, page_size, page_token } = request.into_inner();
        self.may_read(&read, None)?;
        let services = self.clone();
        let listed = blocking(move || {
            let size = (views::page_size(page_size) as usize).min(PAGE_MAX);
            let page = services.store.endpoints(views::token(&page_token)?, size).map_err(Refused::internal)?;
            let ours = page.rows.iter().filter(|(_, record)| record.organisation == services.organisation);
            let endpoints =
                ours.map(|(key, record)| services.endpoint_inventory(*key, record)).collect::<Result<_, _>>()?;
            Ok(v1::ListInventoriesResponse { endpoints, next_page_token: views::page_token(page.next) })
        });
        Ok(Response::new(listed.await?))
    }

    async fn get(
        &self,
        request: Request<v1::GetInventoryRequest>,
    ) -> Result<Response<v1::GetInventoryResponse>, Status> {
        let v1::GetInventoryRequest { read, inventory } = request.into_inner();
        let (services, wanted) = (self.clone(), digest("inventory", &inventory)?);
        let got = blocking(move || {
            let (endpoint, record) = services.read_record(&read)?;
            let inventory = wanted.or(record.newest()).filter(|inventory| record.has(*inventory));
            let absent = || Refused::not_found(format!("this node has no such inventory of endpoint {endpoint}"));
            let inventory = inventory.ok_or_else(absent)?;
            let packed = services.inventories.packed(endpoint, inventory).map_err(unreadable)?.ok_or_else(absent)?;
            let Record { report, received_ms, .. } = record;
            Ok(v1::GetInventoryResponse { packed, inventory: inventory.0.to_vec(), report, received_ms })
        });
        Ok(Response::new(got.await?))
    }

    async fn get_history(
        &self,
        request: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        let (services, read) = (self.clone(), request.into_inner().read);
        let got = blocking(move || {
            let (_, record) = services.read_record(&read)?;
            let entries = record.entries.iter().rev();
            let entry = |entry: &crate::inventories::Entry| v1::InventoryEntry {
                inventory: entry.inventory.0.to_vec(),
                since_ms: entry.since_ms,
            };
            Ok(v1::GetHistoryResponse { entries: entries.map(entry).collect() })
        });
        Ok(Response::new(got.await?))
    }
}

impl Services {
    /// Only an active endpoint of this organisation says what is on it.
    fn check_endpoint(&self, report: &InventoryReport) -> Result<(), Refused> {
        let denied = |check, message: String| Err(Refused::new(Code::PermissionDenied, check, message, NO_REPORT));
        let endpoint = report.endpoint;
        match self.store.endpoint(endpoint).map_err(Refused::internal)? {
            None => denied("unknown-key", format!("endpoint {endpoint} is not enrolled")),
            Some(record) if record.organisation != self.organisation => {
                let (theirs, ours) = (record.organisation, &self.organisation);
                denied("organisation", format!("endpoint {endpoint} is one of {theirs}, and this is a node of {ours}"))
            }
            Some(record) if record.status != KeyStatus::Active => {
                denied("key-not-active", format!("endpoint {endpoint} is not active any more"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether somebody may read this: of all endpoints, or of this one.
    fn may_read(&self, read: &[u8], endpoint: Option<PublicKey>) -> Result<(), Refused> {
        let signed: SignedInventoryRead = decode(read)?;
        let read = signed.check(&self.chain_id, &self.node_key, wall_ms())?;
        self.check_member(read.reader, &READERS, "asks to read inventories", NO_READER)?;
        match read.endpoint == endpoint {
            true => Ok(()),
            false => {
                Err(Refused::invalid("malformed", "the wish to read is about something else than what is asked for"))
            }
        }
    }

    /// What is known of the endpoint that a wish to read names.
    fn read_record(&self, read: &[u8]) -> Result<(PublicKey, Record), Refused> {
        let named = decode::<SignedInventoryRead>(read)?.read.endpoint;
        let endpoint = named.ok_or_else(|| Refused::invalid("malformed", "the wish to read names no endpoint"))?;
        self.may_read(read, named)?;
        let absent = || Refused::not_found(format!("endpoint {endpoint} never sent an inventory to this node"));
        let ours = self.store.endpoint(endpoint).map_err(Refused::internal)?;
        ours.filter(|record| record.organisation == self.organisation).ok_or_else(absent)?;
        Ok((endpoint, self.inventories.of(endpoint).map_err(unreadable)?.ok_or_else(absent)?))
    }

    fn endpoint_inventory(&self, key: PublicKey, record: &EndpointRecord) -> Result<v1::EndpointInventory, Refused> {
        let endpoint = Some(views::endpoint_alone(self, key, record)?);
        let Some(known) = self.inventories.of(key).map_err(unreadable)? else {
            return Ok(v1::EndpointInventory { endpoint, ..Default::default() });
        };
        let since_ms = known.entries.last().map_or(0, |entry| entry.since_ms);
        let Record { report, received_ms, summary, .. } = known;
        let crate::inventories::Summary { os_name, kernel, packages } = summary;
        Ok(v1::EndpointInventory { endpoint, report, received_ms, since_ms, os_name, kernel, packages })
    }
}

/// A digest, or none.
fn digest(field: &str, bytes: &[u8]) -> Result<Option<Digest>, Refused> {
    if bytes.is_empty() { Ok(None) } else { bytes32(field, bytes).map(|bytes| Some(Digest(bytes))) }
}

/// Work with files, on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refused::stopping())?
}

fn unreadable(error: io::Error) -> Refused {
    Refused::new(Code::Internal, "storage", error, "see the node's log, and data_dir/inventories")
}

impl From<ReportError> for Refused {
    fn from(error: ReportError) -> Self {
        Self::new(Code::InvalidArgument, error.check(), error, NO_REPORT)
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self::new(Code::InvalidArgument, error.check(), error, NO_READER)
    }
}

impl From<NotTaken> for Refused {
    fn from(error: NotTaken) -> Self {
        const NOT_IT: &str = "pack the canonical bytes of the inventory that the report names, see docs/protocol.md";
        match &error {
            NotTaken::Replayed { .. } => Self::new(Code::FailedPrecondition, "replayed", error, NO_REPORT),
            NotTaken::Packed(_) => Self::new(Code::InvalidArgument, "packed", error, NOT_IT),
            NotTaken::Inventory(inventory) => {
                let check = inventory.check();
                Self::new(Code::InvalidArgument, check, error, NOT_IT)
            }
            NotTaken::Full { .. } => Self::busy(error),
            NotTaken::DiskFull { .. } => {
                Self::new(Code::ResourceExhausted, "disk-full", error, "whoever runs this node makes room")
            }
            NotTaken::Io(_) => {
                tracing::error!(%error, "an inventory cannot be kept");
                Self::new(Code::Internal, "storage", error, "see the node's log, and data_dir/inventories")
            }
        }
    }
}
