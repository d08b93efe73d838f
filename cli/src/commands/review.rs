//! `countersign review`: what waits for approval, and the evidence on one patch.

use super::get::{list_patches, listed};
use super::patch::ShownPatch;
use super::subject::signed_patch;
use super::verify::Clock;
use crate::connection::{Connection, NodeError, parse_prefix};
use crate::failure::Failure;
use crate::options::Global;
use crate::tables::facts;
use crate::time;
use crate::trust::Trust;
use crate::view::{PatchView, patch_table, signed_patch_text};
use clap::Args;
use ledger::bounded::Name;
use ledger::id::PatchId;
use ledger::key::PublicKey;
use ledger::proof::{ProofBundle, ProofError};
use proto::v1::GetProofRequest;
use serde::Serialize;
use terminal::{Answer, note};

/// How many waiting patches are looked at.
const QUEUE_MAX: usize = 1_000;

/// Review what waits.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a patch: what waits for approval, with who is still missing; with --key only what waits for that key's \
organisation. With a patch: what its vendor signed, checked here, and the arithmetic of its approval, proven from the \
trust root when one is given.
JSON: {\"patches\": […], \"organisation\"}; with a patch {\"patch\", \"manifest\", \"publisher\", \"transaction\", \
\"evidence\": {\"proven\", \"check\", \"rule\", \"count\", \"height\", \"header_time_ms\"}}

Examples:
  countersign review --key approver.key
  countersign review 3fa9 --genesis genesis")]
pub struct Review {
    /// The patch, or the beginning of its id
    #[arg(value_name = "PATCH", value_parser = parse_prefix)]
    patch: Option<String>,
}

/// How far the standing of a patch could be proven here.
#[derive(Serialize)]
struct Evidence {
    /// Whether the rest was checked here and not only told.
    proven: bool,
    /// The check that says no; absent when the patch is approved, or nothing was proven.
    check: Option<&'static str>,
    /// The rule it stands under.
    rule: Option<Name>,
    /// The arithmetic.
    count: String,
    /// Height of the header it was proven at.
    height: Option<u64>,
    /// Time of the header it was proven at.
    header_time_ms: Option<u64>,
    /// Why nothing was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

impl Review {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let trust = global.trust()?;
        let connection = Connection::open(global, trust.as_ref()).await?;
        match &self.patch {
            Some(patch) => evidence(connection, trust.as_ref(), patch).await,
            None => queue(&connection, global).await,
        }
    }
}

/// What waits for the approver's organisation, or for anybody.
async fn queue(connection: &Connection, global: &Global) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct View {
        organisation: Option<Name>,
        patches: Vec<PatchView>,
    }
    let approver = global.key()?;
    let (mut patches, mut more) = list_patches(connection, "", "pending", QUEUE_MAX).await?;
    let (held, more_held) = list_patches(connection, "", "held", QUEUE_MAX).await?;
    patches.extend(held);
    more |= more_held;
    let organisation = approver.as_ref().and_then(|approver| approver.organisation.clone());
    if let (Some(approver), Some(organisation)) = (&approver, &organisation) {
        patches.retain(|patch| waits_for(patch, organisation, &approver.public_key));
    }
    if more {
        note(&format!("More than {QUEUE_MAX} patches wait: this is not all."));
    }
    let text = listed("patches wait", patch_table(&patches), patches.len(), false, "");
    Ok(Answer::new(text, &View { organisation, patches }))
}

/// Whether an organisation can still say something that counts, and this key has not.
fn waits_for(patch: &PatchView, organisation: &Name, key: &PublicKey) -> bool {
    let own = patch.organisation == organisation.as_str();
    // A rule that names nobody takes everybody's approval; then nobody in particular is missing.
    let named = patch.missing.is_empty() || patch.missing.iter().any(|missing| missing == organisation.as_str());
    !own && named && !patch.verdicts.iter().any(|verdict| verdict.key == *key)
}

/// Everything there is to judge one patch by.
async fn evidence(mut connection: Connection, trust: Option<&Trust>, named: &str) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct View<'a> {
        #[serde(flatten)]
        shown: ShownPatch<'a>,
        evidence: Evidence,
    }
    let id = connection.resolve_patch(named).await?;
    let patch = connection.patch(id).await?;
    let signed = signed_patch(&patch, id, &connection.chain_id)?;
    let view = PatchView::new(patch)?;
    let evidence = match trust {
        Some(trust) => prove(&mut connection, trust, id, &view).await?,
        None => told(&view, "no trust root given (--genesis)".to_owned()),
    };
    let text = signed_patch_text(&signed, trust) + "\n" + &view.text() + "\n" + &evidence.text();
    let shown = ShownPatch {
        patch: &view,
        manifest: signed.manifest(),
        publisher: signed.transaction.signer(),
        transaction: signed.transaction.id(),
    };
    Ok(Answer::new(text, &View { shown, evidence }))
}

/// Takes the arithmetic from a proof, verified like any other; most patches under review are not
/// approved, and then it is the refusal that has the arithmetic.
async fn prove(connection: &mut Connection, trust: &Trust, id: PatchId, view: &PatchView) -> Result<Evidence, Failure> {
    let bytes = match connection.ledger.get_proof(GetProofRequest { patch: id.as_bytes().to_vec() }).await {
        Ok(answer) => answer.into_inner().proof,
        Err(status) => return Ok(told(view, NodeError::from(status).to_string())),
    };
    let bundle = match ProofBundle::parse(&bytes) {
        Ok(bundle) => bundle,
        Err(error) => return Err(NodeError::Unbelievable(format!("its proof of {id}: {error}")).into()),
    };
    let proven = |check, rule: Option<&Name>, count: String| Evidence {
        proven: true,
        check,
        rule: rule.cloned(),
        count,
        height: Some(bundle.header.height),
        header_time_ms: Some(bundle.header.time_ms),
        why_not: None,
    };
    Ok(match bundle.verify(trust.root(), Clock::default().host_clock()) {
        Ok(patch) if patch.id() == id => proven(None, Some(patch.rule()), patch.count().to_string()),
        Ok(patch) => return Err(NodeError::Unbelievable(format!("its proof of {id} is of {}", patch.id())).into()),
        Err(error) if bundle.publish.transaction.transaction.payload.patch() != Some(id) => {
            told(view, error.to_string())
        }
        Err(error) => match &error {
            ProofError::ApprovalMissing { rule, count }
            | ProofError::Rejected { rule, count }
            | ProofError::Held { rule, count } => proven(Some(error.code().word()), Some(rule), count.to_string()),
            // Everything before it held; the arithmetic is the node's.
            ProofError::Recalled { .. } | ProofError::Halted(_) => {
                let count = format!("{error}: it must not be applied, whatever was approved ({})", view.count);
                proven(Some(error.code().word()), None, count)
            }
            _ => told(view, error.to_string()),
        },
    })
}

fn told(view: &PatchView, why_not: String) -> Evidence {
    let count = view.count.clone();
    Evidence {
        proven: false,
        check: None,
        rule: None,
        count,
        height: None,
        header_time_ms: None,
        why_not: Some(why_not),
    }
}

impl Evidence {
    fn text(&self) -> String {
        let mut rows = vec![("evidence", self.count.clone())];
        rows.extend(self.rule.as_ref().map(|rule| ("rule", rule.to_string())));
        rows.extend(self.check.map(|check| ("says no", check.to_owned())));
        match (self.height, self.header_time_ms) {
            (Some(height), Some(at)) => rows.push(("proven at", format!("height {height}, {}", time::show(at)))),
            _ => {
                let why = self.why_not.clone().unwrap_or_default();
                rows.push(("not proven", format!("this is the node's word: {why}")));
            }
        }
        facts(&rows)
    }
}
