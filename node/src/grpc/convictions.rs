//! Views of what validators were convicted of.

use super::Services;
use super::ledger_service::key;
use super::refusal::Refused;
use super::views::{ROWS_AT_ONCE, is_full, page_size, page_token, position, status_word, token};
use ledger::encoding::decode;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use ledger::state::record::Position;
use ledger::transaction::{Payload, SignedTransaction};
use proto::v1;
use store::Located;

/// Accusations looked at for one page when a filter leaves most of them out.
const LOOKED_AT_MAX: usize = 1_000;

pub(super) fn convictions(
    services: &Services,
    request: &v1::ListConvictionsRequest,
) -> Result<v1::ListConvictionsResponse, Refused> {
    let wanted = key("key", &request.key)?;
    let size = page_size(request.page_size) as usize;
    let (mut after, mut convictions, mut looked_at) = (token(&request.page_token)?, Vec::new(), 0);
    loop {
        let rows = ROWS_AT_ONCE.min(size - convictions.len());
        let page = services.store.accusations(after, rows).map_err(Refused::internal)?;
        looked_at += page.rows.len();
        for (id, located) in &page.rows {
            let conviction = conviction(services, *id, located)?;
            let is_wanted = |key: PublicKey| conviction.culprits.iter().any(|culprit| culprit.key == key.0);
            if wanted.is_none_or(is_wanted) {
                convictions.push(conviction);
            }
        }
        after = page.next;
        if after.is_none() || convictions.len() == size || looked_at >= LOOKED_AT_MAX || is_full(&convictions) {
            return Ok(v1::ListConvictionsResponse { convictions, next_page_token: page_token(after) });
        }
    }
}

fn conviction(services: &Services, id: TransactionId, located: &Located) -> Result<v1::Conviction, Refused> {
    let signed: SignedTransaction = decode(&located.bytes).map_err(Refused::internal)?;
    let Payload::Accuse { evidence } = &signed.transaction.payload else {
        return Err(Refused::internal(format!("transaction {id} is no accusation")));
    };
    // It was checked before it was final.
    let charge = evidence.charge().map_err(Refused::internal)?;
    let place = Position { height: located.height, index: located.index };
    let mut culprits = Vec::new();
    for key in &charge.keys {
        let record = services.store.conviction(*key).map_err(Refused::internal)?;
        let Some(record) = record.filter(|record| record.offences.iter().any(|offence| offence.position == place))
        else {
            continue;
        };
        let owner = services.store.key_owner(*key).map_err(Refused::internal)?;
        culprits.push(v1::Culprit {
            key: key.0.to_vec(),
            organisation: record.organisation.to_string(),
            status: owner.map(|owner| status_word(owner.status).to_owned()).unwrap_or_default(),
        });
    }
    let accuser = services.store.key_owner(signed.transaction.signer).map_err(Refused::internal)?;
    Ok(v1::Conviction {
        kind: charge.offence.kind.to_string(),
        height: charge.offence.height,
        round: charge.offence.round,
        culprits,
        accuser: signed.transaction.signer.0.to_vec(),
        accuser_organisation: accuser.map(|owner| owner.organisation.to_string()).unwrap_or_default(),
        position: Some(position(services, place)?),
        transaction_id: id.0.to_vec(),
    })
}
