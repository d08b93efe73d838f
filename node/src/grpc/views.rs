//! Views for people and queries, made from records and signed transactions.

use super::ledger_service::key;
use super::refusal::Refused;
use super::{Services, bytes32};
use ledger::block::Header;
use ledger::encoding::encode;
use ledger::id::PatchId;
use ledger::key::PublicKey;
use ledger::receipt::Health;
use ledger::state::StateView as _;
use ledger::state::record::{EndpointRecord, KeyStatus, Position};
use ledger::validators::Validator;
use proto::v1;
use store::{Cursor, ReceiptFilter};
use tonic::Code;

/// Entries of one page, if nobody says otherwise.
const PAGE_SIZE_DEFAULT: u32 = 100;
/// Entries of one page at the most.
const PAGE_SIZE_MAX: u32 = 1_000;
/// Endpoints of one page at the most: with all their labels, they fit a message.
const ENDPOINTS_PER_PAGE_MAX: usize = 400;
/// Bytes from which on a page is full, whatever was asked for.
const PAGE_BYTES: usize = proto::MESSAGE_BYTES_MAX / 2;
/// Rows put on a page between two looks at its size: of the largest, together, a quarter of a message.
pub(super) const ROWS_AT_ONCE: usize = 4;

pub(super) fn status(services: &Services) -> Result<v1::GetStatusResponse, Refused> {
    let tip = services.store.tip();
    let upcoming = services.store.upcoming_validators().map_err(Refused::internal)?;
    let upcoming = upcoming.ok_or_else(|| Refused::internal("the state has no validators"))?;
    let validators = upcoming.next.validators();
    let is_own = |validator: &&Validator| services.validator_key == Some(validator.key);
    let validator = validators.iter().any(|validator| is_own(&validator));
    let peers = services.network.peers().into_iter().map(|peer| {
        let owner = services.store.key_owner(peer.key).map_err(Refused::internal)?;
        Ok(v1::Peer {
            node_key: peer.key.0.to_vec(),
            organisation: owner.map(|owner| owner.organisation.to_string()).unwrap_or_default(),
            address: peer.address,
            height: peer.height,
        })
    });
    let peers: Vec<v1::Peer> = peers.collect::<Result<_, Refused>>()?;
    let is_near = |validator: &&Validator| {
        is_own(validator) || peers.iter().any(|peer| peer.organisation == validator.organisation.as_str())
    };
    let count = |validators: usize| u32::try_from(validators).unwrap_or(u32::MAX);
    let parameters = services.store.parameters().map_err(Refused::internal)?;
    let (finality_p50_ms, finality_p99_ms) = services.desk.latencies_ms();
    Ok(v1::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        chain_id: services.chain_id.0.to_vec(),
        ledger_name: services.ledger_name.to_string(),
        organisation: services.organisation.to_string(),
        node_key: services.node_key.0.to_vec(),
        validator,
        height: tip.header.height,
        head_time_ms: tip.header.time_ms,
        transactions: tip.header.history_size_after(),
        pending: services.desk.crowd().pending as u64,
        validators_connected: count(validators.iter().filter(is_near).count()),
        validators: count(validators.len()),
        quorum: count(upcoming.next.quorum()),
        heartbeat_ms: parameters.map_or(0, |parameters| parameters.heartbeat_ms),
        finality_p50_ms,
        finality_p99_ms,
        peers,
    })
}

pub(super) fn head(services: &Services) -> Result<v1::Head, Refused> {
    let header = services.store.tip().header;
    let certificate = services.store.certificate(header.height).map_err(Refused::internal)?;
    let sealing = header.tx_count > 0;
    let parameters = services.store.parameters().map_err(Refused::internal)?;
    let parameters = parameters.ok_or_else(|| Refused::internal("the state has no parameters"))?;
    Ok(v1::Head {
        height: header.height,
        hash: header.hash().0.to_vec(),
        certificate: certificate.map(|certificate| encode(&certificate)).unwrap_or_default(),
        poll_after_ms: if sealing { parameters.seal_ms } else { parameters.heartbeat_ms },
        header: encode(&header),
    })
}

pub(super) fn blocks(services: &Services, request: &v1::ListBlocksRequest) -> Result<v1::ListBlocksResponse, Refused> {
    let newest = services.store.tip().header.height;
    let from = if request.from_height == 0 { newest } else { request.from_height.min(newest) };
    let count = u64::from(page_size(request.page_size));
    let mut blocks = Vec::new();
    let last = from.saturating_sub(count - 1).max(1);
    for height in (last..=from).rev() {
        // Of old blocks some are forgotten, where receipts are.
        let Some(header) = services.store.header(height).map_err(Refused::internal)? else { continue };
        blocks.push(block_summary(services, &header)?);
    }
    Ok(v1::ListBlocksResponse { blocks, next_height: last.saturating_sub(1) })
}

fn block_summary(services: &Services, header: &Header) -> Result<v1::BlockSummary, Refused> {
    let certificate = services.store.certificate(header.height).map_err(Refused::internal)?;
    let owner = services.store.key_owner(header.proposer).map_err(Refused::internal)?;
    Ok(v1::BlockSummary {
        height: header.height,
        hash: header.hash().0.to_vec(),
        time_ms: header.time_ms,
        transactions: header.tx_count,
        round: certificate.as_ref().map_or(0, |certificate| certificate.round),
        proposer_organisation: owner.map(|owner| owner.organisation.to_string()).unwrap_or_default(),
        signers: certificate.map_or(0, |certificate| u32::try_from(certificate.signer_count()).unwrap_or(u32::MAX)),
    })
}

/// A filter that no record can match finds nothing, which reads like "there is none": it is refused.
pub(super) fn known_word<T: ToString>(field: &str, word: &str, known: &[T]) -> Result<(), Refused> {
    let words: Vec<String> = known.iter().map(T::to_string).collect();
    match word.is_empty() || words.iter().any(|known| known == word) {
        true => Ok(()),
        false => {
            let message = format!("{field} is none of: {}", words.join(", "));
            Err(Refused::new(
                Code::InvalidArgument,
                "malformed",
                message,
                "leave it empty for all, or give one of these",
            ))
        }
    }
}

pub(super) fn endpoints(
    services: &Services,
    request: &v1::ListEndpointsRequest,
) -> Result<v1::ListEndpointsResponse, Refused> {
    let size = (page_size(request.page_size) as usize).min(ENDPOINTS_PER_PAGE_MAX);
    let after = token(&request.page_token)?;
    let page = services.store.endpoints(after, size).map_err(Refused::internal)?;
    let wanted = |record: &EndpointRecord| {
        request.organisation.is_empty() || record.organisation.as_str() == request.organisation
    };
    let endpoints = page.rows.iter().filter(|(_, record)| wanted(record));
    let endpoints = endpoints.map(|(key, record)| endpoint(services, *key, record)).collect::<Result<_, _>>()?;
    Ok(v1::ListEndpointsResponse { endpoints, next_page_token: page_token(page.next) })
}

fn endpoint(services: &Services, key: PublicKey, record: &EndpointRecord) -> Result<v1::Endpoint, Refused> {
    let filter = ReceiptFilter { patch: None, endpoint: Some(key) };
    let last = services.store.receipts(filter, None, 1).map_err(Refused::internal)?;
    let last_receipt = last.rows.first().map(|located| receipt(services, located)).transpose()?;
    Ok(v1::Endpoint { last_receipt, ..endpoint_alone(services, key, record)? })
}

/// An endpoint without its last receipt.
pub(super) fn endpoint_alone(
    services: &Services,
    key: PublicKey,
    record: &EndpointRecord,
) -> Result<v1::Endpoint, Refused> {
    let labels = record.labels.iter().map(|label| (label.key.to_string(), label.value.to_string()));
    Ok(v1::Endpoint {
        key: key.0.to_vec(),
        name: record.name.to_string(),
        group: record.group.to_string(),
        organisation: record.organisation.to_string(),
        labels: labels.collect(),
        status: status_word(record.status).to_owned(),
        enrolled: Some(position(services, record.enrolled)?),
        last_receipt: None,
    })
}

pub(super) fn receipts(
    services: &Services,
    request: &v1::ListReceiptsRequest,
) -> Result<v1::ListReceiptsResponse, Refused> {
    let size = page_size(request.page_size) as usize;
    let after = token(&request.page_token)?;
    let endpoint = key("endpoint", &request.endpoint)?;
    let patch = match request.patch.is_empty() {
        true => None,
        false => Some(PatchId(bytes32("patch", &request.patch)?)),
    };
    let filter = ReceiptFilter { patch, endpoint };
    let page = services.store.receipts(filter, after, size).map_err(Refused::internal)?;
    let receipts = page.rows.iter().map(|entry| receipt(services, entry)).collect::<Result<_, _>>()?;
    Ok(v1::ListReceiptsResponse { receipts, next_page_token: page_token(page.next) })
}

fn receipt(services: &Services, located: &store::ReceiptEntry) -> Result<v1::Receipt, Refused> {
    let record = services.store.endpoint(located.endpoint).map_err(Refused::internal)?;
    let receipt = &located.receipt;
    Ok(v1::Receipt {
        endpoint: located.endpoint.0.to_vec(),
        endpoint_name: record.map(|record| record.name.to_string()).unwrap_or_default(),
        patch: receipt.patch.0.to_vec(),
        attempt: receipt.attempt,
        outcome: receipt.outcome.to_string(),
        reason: receipt.reason.as_ref().map(|reason| reason.code.to_string()).unwrap_or_default(),
        detail: receipt.reason.as_ref().map(|reason| reason.detail.to_string()).unwrap_or_default(),
        health: health_word(receipt.health).to_owned(),
        from_version: receipt.from_version.to_string(),
        to_version: receipt.to_version.to_string(),
        ended_at_ms: receipt.ended_at_ms,
        position: Some(position(services, located.position)?),
        transaction_id: located.transaction.0.to_vec(),
    })
}

/// What the health checks said, in one word: the one that receipts have in JSON and in docs/protocol.md.
fn health_word(health: Health) -> &'static str {
    match health {
        Health::NotRun => "not-run",
        Health::Passed => "passed",
        Health::Failed => "failed",
    }
}

/// Whether a key speaks, in one word.
pub(super) fn status_word(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Retired => "retired",
        KeyStatus::Revoked => "revoked",
    }
}

pub(super) fn position(services: &Services, position: Position) -> Result<v1::Position, Refused> {
    let header = services.store.header(position.height).map_err(Refused::internal)?;
    Ok(v1::Position {
        height: position.height,
        index: position.index,
        time_ms: header.map_or(0, |header| header.time_ms),
    })
}

/// Whether a page has as many bytes as a message can well carry.
pub(super) fn is_full<T: proto::Message>(rows: &[T]) -> bool {
    rows.iter().map(proto::Message::encoded_len).sum::<usize>() >= PAGE_BYTES
}

pub(super) fn page_size(asked: u32) -> u32 {
    if asked == 0 { PAGE_SIZE_DEFAULT } else { asked.min(PAGE_SIZE_MAX) }
}

/// Page tokens are the store's cursors: opaque to clients, harmless if forged.
pub(super) fn token(text: &str) -> Result<Option<Cursor>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Refused::invalid("page-token", error))
}

pub(super) fn page_token(next: Option<Cursor>) -> String {
    next.map(|cursor| cursor.to_string()).unwrap_or_default()
}

/// The stable word of a unit enum whose names are single words.
pub(super) fn word(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_spelt_as_receipts_spell_it_in_json() {
        for health in [Health::NotRun, Health::Passed, Health::Failed] {
            assert_eq!(serde_json::to_value(health).ok(), Some(health_word(health).into()));
        }
    }
}
