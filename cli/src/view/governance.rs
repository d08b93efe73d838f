//! Members and proposals: what the ledger says about itself, and what is to change, in words people can
//! check.

use super::{first_line, show_position};
use crate::connection::{NodeError, id};
use crate::sign::SignedProposal;
use crate::submit::PositionView;
use crate::tables::{facts, short, table};
use crate::time;
use crate::trust::{Trust, list, needs, word, words};
use ledger::approval::ApprovalRule;
use ledger::governance::{Change, Proposal};
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::state::record::{KeyStatus, Organisation, Role};
use serde::Serialize;

/// As many kinds of changes as a table names.
const KINDS_MAX: usize = 3;

/// A member, as a node tells of it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberView {
    /// Its name.
    pub name: String,
    /// Namespaces it alone may publish in.
    pub namespaces: Vec<String>,
    /// Whether it has a voice: an active governor.
    pub governs: bool,
    /// Its keys, by role.
    pub keys: Vec<MemberKeyView>,
}

/// A key of a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MemberKeyView {
    /// `approver`, `governor`, `node`, `operator`, `publisher` or `validator`.
    pub role: String,
    /// `active`, `retired` or `revoked`.
    pub status: String,
    /// The key.
    pub key: PublicKey,
    /// Whether it is in the set of the height after the next.
    pub validates: bool,
}

impl MemberView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when a key in it is none.
    pub fn new(member: proto::v1::Member) -> Result<Self, NodeError> {
        let keys = member.keys.into_iter().map(|key| {
            let proto::v1::MemberKey { key, role, status, validates } = key;
            Ok(MemberKeyView { role, status, key: PublicKey(id(&key, "key")?), validates })
        });
        let mut keys = keys.collect::<Result<Vec<_>, NodeError>>()?;
        keys.sort();
        Ok(Self { name: member.name, namespaces: member.namespaces, governs: member.governs, keys })
    }
}

/// A table of members: a line per key.
#[must_use]
pub fn member_table(members: &[MemberView]) -> String {
    let mut rows = Vec::new();
    for member in members {
        let namespaces = if member.namespaces.is_empty() { "none".to_owned() } else { member.namespaces.join(", ") };
        let voice = if member.governs { "yes" } else { "no" };
        let mut start = vec![member.name.clone(), namespaces, voice.to_owned()];
        if member.keys.is_empty() {
            rows.push([start.as_slice(), &["none".to_owned()]].concat());
        }
        for MemberKeyView { role, status, key, validates } in &member.keys {
            let status = if *validates { format!("{status}, in the set") } else { status.clone() };
            rows.push([start.as_slice(), &[role.clone(), status, key.to_string()]].concat());
            start = vec![String::new(); 3];
        }
    }
    table(&["ORGANISATION", "NAMESPACES", "VOICE", "ROLE", "STATUS", "KEY"], &rows)
}

/// Whose keys are, as far as somebody says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners<'a> {
    /// Its word stands: what a key is for, and whose it is, never changes.
    pub trust: Option<&'a Trust>,
    /// A node's word.
    pub members: &'a [MemberView],
}

impl Owners<'_> {
    /// A key, what it is for and whose it is.
    #[must_use]
    pub fn key(&self, key: &PublicKey) -> String {
        if let Some((organisation, member)) = self.trust.and_then(|trust| trust.owner(key)) {
            return format!("{key} ({} of {organisation})", member.role);
        }
        let told = self.members.iter().find_map(|member| {
            let known = member.keys.iter().find(|known| known.key == *key)?;
            Some(format!("{key} ({} of {}, says the node)", known.role, member.name))
        });
        told.unwrap_or_else(|| format!("{key} (nobody's, as far as is known here)"))
    }
}

/// A proposal, as a node tells of it.
#[derive(Clone, Debug, Serialize)]
pub struct ProposalView {
    /// Its id: that of the transaction that proposed it.
    pub id: TransactionId,
    /// `open`, `passed`, `refused` or `void`; an open one may be closed by its time.
    pub standing: String,
    /// While it is open, the arithmetic with the voices there are now; when it is over, who was for it and who
    /// against.
    pub count: String,
    /// Who proposed it.
    pub organisation: String,
    /// With which key.
    pub proposer: PublicKey,
    /// The kinds of its changes, in order.
    pub changes: Vec<String>,
    /// Why, for people.
    pub note: String,
    /// Newest ballots, one per organisation.
    pub ballots: Vec<BallotView>,
    /// From this block time on nobody can vote any more.
    pub closes_at_ms: u64,
    /// Where it was proposed.
    pub proposed: Option<PositionView>,
    /// Where it ceased to be open by ballots.
    pub settled: Option<PositionView>,
}

/// A ballot.
#[derive(Clone, Debug, Serialize)]
pub struct BallotView {
    /// Of which organisation.
    pub organisation: String,
    /// `for` or `against`.
    pub choice: String,
}

impl ProposalView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id in it is none.
    pub fn new(proposal: proto::v1::Proposal) -> Result<Self, NodeError> {
        let ballots = proposal.ballots.into_iter();
        let ballots = ballots.map(|ballot| BallotView { organisation: ballot.organisation, choice: ballot.choice });
        Ok(Self {
            id: TransactionId(id(&proposal.id, "proposal id")?),
            standing: proposal.standing,
            count: proposal.count,
            organisation: proposal.organisation,
            proposer: PublicKey(id(&proposal.proposer, "key")?),
            changes: proposal.changes,
            note: proposal.note,
            ballots: ballots.collect(),
            closes_at_ms: proposal.closes_at_ms,
            proposed: proposal.proposed.map(PositionView::from),
            settled: proposal.settled.map(PositionView::from),
        })
    }

    /// How it stands at a moment: time closes a proposal without a word in the ledger.
    #[must_use]
    pub fn standing_at(&self, now_ms: u64) -> String {
        match self.standing.as_str() {
            "open" if !self.is_open_at(now_ms) => "open, its time is over".to_owned(),
            standing => standing.to_owned(),
        }
    }

    fn is_open_at(&self, now_ms: u64) -> bool {
        self.standing == "open" && now_ms < self.closes_at_ms
    }

    /// What came of it, for people.
    #[must_use]
    pub fn text(&self, now_ms: u64) -> String {
        let mut rows = vec![("standing", self.standing_at(now_ms))];
        // Who has a voice today says nothing of a count that is over: the ballots do.
        if self.is_open_at(now_ms) {
            rows.push(("count", self.count.clone()));
        }
        rows.extend(self.ballots.iter().map(|BallotView { organisation, choice }| {
            let said = if choice == "for" { "is for it" } else { "is against it" };
            ("ballot", format!("{organisation} {said}"))
        }));
        let positions = [("proposed", self.proposed), ("settled", self.settled)];
        rows.extend(positions.into_iter().filter_map(|(name, at)| Some((name, show_position(&at?)))));
        facts(&rows)
    }
}

/// A table of proposals.
#[must_use]
pub fn proposal_table(proposals: &[ProposalView], now_ms: u64) -> String {
    let row = |proposal: &ProposalView| {
        let mut kinds = proposal.changes.iter().take(KINDS_MAX).cloned().collect::<Vec<_>>().join(", ");
        if proposal.changes.len() > KINDS_MAX {
            kinds.push_str(&format!(" and {} more", proposal.changes.len() - KINDS_MAX));
        }
        vec![
            short(&proposal.id),
            proposal.organisation.clone(),
            proposal.standing_at(now_ms),
            proposal.count.clone(),
            time::show(proposal.closes_at_ms),
            kinds,
            first_line(&proposal.note),
        ]
    };
    let rows: Vec<_> = proposals.iter().map(row).collect();
    table(&["PROPOSAL", "BY", "STANDING", "COUNT", "CLOSES", "CHANGES", "NOTE"], &rows)
}

/// What a governor signed, for people: from the transaction itself.
#[must_use]
pub fn signed_proposal_text(signed: &SignedProposal, owners: Owners) -> String {
    let mut rows = vec![("proposal", signed.id.to_string())];
    rows.push(("signed by", format!("key {}", owners.key(&signed.transaction.signer()))));
    let changes = proposal_rows(signed.proposal(), owners);
    rows.extend(changes.iter().map(|(name, value)| (name.as_str(), value.clone())));
    facts(&rows)
}

/// What is proposed, for people, each change in words.
#[must_use]
pub fn changes_in_words(proposal: &Proposal, owners: Owners) -> String {
    let rows = proposal_rows(proposal, owners);
    facts(&rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>())
}

fn proposal_rows(proposal: &Proposal, owners: Owners) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if !proposal.note.as_str().is_empty() {
        rows.push(("note".to_owned(), proposal.note.to_string()));
    }
    rows.push(("closes".to_owned(), time::show(proposal.closes_at_ms)));
    // Counted as the ledger counts them when it refuses one.
    let changes = proposal.changes.iter().enumerate();
    rows.extend(changes.map(|(place, change)| (format!("change {place}"), in_words(change, owners))));
    rows
}

/// One change, as many lines as it needs.
fn in_words(change: &Change, owners: Owners) -> String {
    match change {
        Change::AddOrganisation { organisation } => add_organisation(organisation),
        Change::RemoveOrganisation { name } => format!(
            "remove organisation {name}\n  its active keys are retired, its namespaces are nobody's, its validators \
             leave the set;\n  its name is never used again"
        ),
        Change::AddKey { organisation, key, role } => format!("add key {key}\n  with role {role} to {organisation}"),
        Change::RotateKey { old, new } => {
            format!("rotate key {}\n  it is retired, and in its place comes key {new}", owners.key(old))
        }
        Change::RetireKey { key } => {
            format!(
                "retire key {}\n  it speaks no more; what it signed before still counts, but for open ballots",
                owners.key(key)
            )
        }
        Change::RevokeKey { key } => format!("revoke key {}\n  nothing it signed counts any more", owners.key(key)),
        Change::AddNamespace { organisation, namespace } => {
            format!("give namespace {namespace} to {organisation}\n  nobody else can publish in it")
        }
        Change::RemoveNamespace { organisation, namespace } => {
            format!("take namespace {namespace} from {organisation}\n  it is nobody's then")
        }
        Change::SetValidators { validators } => {
            let all = validators.validators().iter();
            let keys = all.map(|validator| format!("\n  key {} of {}", validator.key, validator.organisation));
            let (count, quorum) = (validators.len(), validators.quorum());
            format!("set the validators: these {count} and no others, a quorum is {quorum}{}", keys.collect::<String>())
        }
        Change::SetApprovalRules { rules } if rules.0.is_empty() => {
            "set the approval rules: there are none any more, so nothing can be published".to_owned()
        }
        Change::SetApprovalRules { rules } => {
            let rules = rules.0.iter().map(|rule| format!("\n  {}", rule_in_words(rule))).collect::<String>();
            format!("set the approval rules: these and no others, the first that is for a patch decides{rules}")
        }
        Change::SetParameters { parameters } => format!(
            "set the parameters: heartbeat {}, seal {}",
            time::show_duration(parameters.heartbeat_ms),
            time::show_duration(parameters.seal_ms)
        ),
    }
}

fn add_organisation(organisation: &Organisation) -> String {
    let mut words = format!("add organisation {}", organisation.name);
    let governs = organisation.keys.iter().any(|member| member.role == Role::Governor);
    words.push_str(if governs { ", with a voice" } else { ", without a voice: it has no governor" });
    for namespace in organisation.namespaces.iter() {
        words.push_str(&format!("\n  owns namespace {namespace}"));
    }
    for member in organisation.keys.iter() {
        words.push_str(&format!("\n  key {} with role {}", member.key, member.role));
        if member.status != KeyStatus::Active {
            words.push_str(&format!(", {}", word(&member.status)));
        }
    }
    words
}

/// A rule, in two lines.
fn rule_in_words(rule: &ApprovalRule) -> String {
    let emergency = rule.emergency.as_ref().map(|quorum| format!(", in an emergency {}", needs(quorum)));
    let at = |organisations: u16| if organisations == 0 { "never".to_owned() } else { format!("at {organisations}") };
    format!(
        "{}: namespaces {}; classes {}; severities {}\n    approvers {}; needs {}{}; rejections block {}, recalls \
         withdraw {}",
        rule.name,
        list(&rule.namespaces, "all"),
        words(&rule.classes),
        words(&rule.severities),
        list(&rule.approvers, "all but the vendor"),
        needs(&rule.quorum),
        emergency.unwrap_or_default(),
        at(rule.rejections),
        at(rule.recalls)
    )
}
