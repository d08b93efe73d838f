//! Views of patches: how each stands, who said so, and why.

use super::Services;
use super::refusal::Refused;
use super::views::{ROWS_AT_ONCE, is_full, known_word, page_size, page_token, position, token, word};
use ledger::approval::{Count, Decision, Standing};
use ledger::bounded::Text;
use ledger::encoding::decode;
use ledger::id::PatchId;
use ledger::key::PublicKey;
use ledger::state::record::{PatchRecord, Position, VerdictRecord};
use ledger::state::{StateView as _, count_now};
use ledger::transaction::{Payload, SignedTransaction};
use proto::v1;

/// Patches looked at for one page when a filter leaves most of them out.
const LOOKED_AT_MAX: usize = 10_000;
/// As much of each note as a list has: with the notes of all its verdicts, a patch is a small part of a
/// message.
const NOTE_LISTED_BYTES_MAX: usize = 512;
/// What stands where something was left out.
const LEFT_OUT: char = '…';

/// How much of what people wrote is in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notes {
    /// All of it.
    Whole,
    /// The beginning of each.
    Begun,
}

/// The arithmetic of a patch as it is now, and where that leaves it.
struct Stand {
    count: Option<Count>,
    standing: Standing,
}

impl Stand {
    fn of(services: &Services, record: &PatchRecord) -> Result<Self, Refused> {
        let count = count_now(&*services.store, record).map_err(Refused::internal)?;
        let standing = match (&count, record.recalled) {
            (Some(count), None) => count.standing,
            _ => record.standing,
        };
        Ok(Self { count, standing })
    }
}

pub(super) fn patch(services: &Services, id: PatchId, record: &PatchRecord) -> Result<v1::Patch, Refused> {
    view(services, id, record, &Stand::of(services, record)?, Notes::Whole)
}

fn view(
    services: &Services,
    id: PatchId,
    record: &PatchRecord,
    Stand { count, standing }: &Stand,
    notes: Notes,
) -> Result<v1::Patch, Refused> {
    let store = &services.store;
    let publish = store.transaction_at(record.published.index).map_err(Refused::internal)?;
    let publish = publish.map(|located| located.bytes).unwrap_or_default();
    let title = match decode::<SignedTransaction>(&publish).map(|signed| signed.transaction.payload) {
        Ok(Payload::Publish { manifest }) => manifest.title.to_string(),
        _ => String::new(),
    };
    let verdicts = record.verdicts.iter().map(|verdict| self::verdict(services, verdict, notes));
    let outcomes = store.outcome_counts(id).map_err(Refused::internal)?;
    let placed = |at: Option<Position>| at.map(|at| position(services, at)).transpose();
    Ok(v1::Patch {
        id: id.0.to_vec(),
        product: record.product.to_string(),
        channel: record.channel.to_string(),
        version: record.version.to_string(),
        release: record.release,
        class: word(&record.class),
        severity: word(&record.severity),
        title,
        organisation: record.organisation.to_string(),
        standing: standing.to_string(),
        count: count.as_ref().map(ToString::to_string).unwrap_or_default(),
        verdicts: verdicts.collect::<Result<_, Refused>>()?,
        missing: count.iter().flat_map(|count| count.missing.iter().map(ToString::to_string)).collect(),
        published: placed(Some(record.published))?,
        approved: placed(record.approved)?,
        recalled: placed(record.recalled)?,
        publish_transaction: publish,
        outcomes: outcomes
            .into_iter()
            .map(|(outcome, count)| v1::OutcomeCount { outcome: outcome.to_string(), count })
            .collect(),
        recall: record.recalled.map(|at| recall(services, at, notes)).transpose()?,
    })
}

fn verdict(services: &Services, verdict: &VerdictRecord, notes: Notes) -> Result<v1::PatchVerdict, Refused> {
    let (_, said) = said(services, verdict.position, notes)?;
    Ok(v1::PatchVerdict {
        key: verdict.key.0.to_vec(),
        organisation: verdict.organisation.to_string(),
        decision: verdict.decision.to_string(),
        ..said
    })
}

/// The transaction that withdrew a patch: the vendor's own recall is no verdict of the record.
fn recall(services: &Services, at: Position, notes: Notes) -> Result<v1::PatchVerdict, Refused> {
    let (signer, said) = said(services, at, notes)?;
    let owner = services.store.key_owner(signer).map_err(Refused::internal)?;
    Ok(v1::PatchVerdict {
        key: signer.0.to_vec(),
        organisation: owner.map(|owner| owner.organisation.to_string()).unwrap_or_default(),
        decision: Decision::Recall.to_string(),
        ..said
    })
}

/// What a signer wrote to a verdict or a recall.
fn said(services: &Services, at: Position, notes: Notes) -> Result<(PublicKey, v1::PatchVerdict), Refused> {
    let located = services.store.transaction_at(at.index).map_err(Refused::internal)?;
    let bytes = located.ok_or_else(|| Refused::internal(format!("transaction {} is missing", at.index)))?.bytes;
    let signed: SignedTransaction = decode(&bytes).map_err(Refused::internal)?;
    let grounds = signed.transaction.payload.grounds();
    let note = grounds.map(|grounds| grounds.note).unwrap_or_default();
    let said = v1::PatchVerdict {
        position: Some(position(services, at)?),
        note: if notes == Notes::Whole { note.to_owned() } else { beginning(note) },
        evidence: grounds.and_then(|grounds| grounds.evidence).map(|digest| digest.0.to_vec()).unwrap_or_default(),
        transaction_id: SignedTransaction::claimed_id(&bytes).map(|id| id.0.to_vec()).unwrap_or_default(),
        ..Default::default()
    };
    Ok((signed.transaction.signer, said))
}

fn beginning(note: &str) -> String {
    const KEPT: usize = NOTE_LISTED_BYTES_MAX - LEFT_OUT.len_utf8();
    match note.len() {
        ..=NOTE_LISTED_BYTES_MAX => note.to_owned(),
        _ => format!("{}{LEFT_OUT}", Text::<KEPT>::cut(note)),
    }
}

pub(super) fn patches(
    services: &Services,
    request: &v1::ListPatchesRequest,
) -> Result<v1::ListPatchesResponse, Refused> {
    known_word("standing", &request.standing, &Standing::ALL)?;
    if request.id_prefix.len() > 64 || !request.id_prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refused::invalid("malformed", "id_prefix is not the beginning of 64 hexadecimal digits"));
    }
    let wanted = |id: &PatchId, record: &PatchRecord| {
        (request.product.is_empty() || record.product.as_str() == request.product)
            && id.to_string().starts_with(&request.id_prefix.to_ascii_lowercase())
    };
    let size = page_size(request.page_size) as usize;
    let (mut after, mut patches, mut looked_at) = (token(&request.page_token)?, Vec::new(), 0);
    loop {
        let rows = ROWS_AT_ONCE.min(size - patches.len());
        let page = services.store.patches(after, rows).map_err(Refused::internal)?;
        looked_at += page.rows.len();
        for (id, record) in page.rows.iter().filter(|(id, record)| wanted(id, record)) {
            // As it stands now, which may not be how it stood when somebody last spoke.
            let stand = Stand::of(services, record)?;
            if request.standing.is_empty() || stand.standing.to_string() == request.standing {
                patches.push(view(services, *id, record, &stand, Notes::Begun)?);
            }
        }
        after = page.next;
        if after.is_none() || patches.len() == size || looked_at >= LOOKED_AT_MAX || is_full(&patches) {
            return Ok(v1::ListPatchesResponse { patches, next_page_token: page_token(after) });
        }
    }
}
