//! Whether the ledger takes this host's word: an operator enrols its key, and until then no node takes a
//! receipt of it.
//!
//! There is no call that proves it. A node says of a signed transaction what the rules say, and takes nothing
//! (`Check`): so it is asked about a receipt for a patch that cannot be. A node that knows the key goes on to say
//! that it does not know the patch. What one of them says is its word; what all of them say is shown.

use crate::clock::now_ms;
use crate::follow::heads::Heads;
use crate::follow::sources::{CallError, Sources};
use crate::settled::reason;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::{Name, Version};
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest, PatchId};
use ledger::key::{PublicKey, SecretKey};
use ledger::receipt::{Health, Outcome, ReasonCode, Receipt};
use ledger::transaction::{Payload, Transaction};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How long the question is valid; nothing but the answer comes of it.
const QUESTION_EXPIRY_MS: u64 = 60 * 1000;
/// What no manifest hashes to.
const NO_PATCH: PatchId = PatchId([0; 32]);

/// What the nodes say of a host's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enrolment {
    /// It is enrolled.
    Enrolled,
    /// Nobody enrolled it.
    NotEnrolled,
    /// It was enrolled, and is retired, for ever.
    Retired,
    /// It is a member's, which signs other things.
    OfAMember,
}

impl Enrolment {
    /// What a refusal says of the key that signed; nothing when it is about something else.
    #[must_use]
    pub fn from_refusal(error: &CallError) -> Option<Self> {
        match error.check()? {
            "unknown-key" => Some(Self::NotEnrolled),
            "key-not-active" => Some(Self::Retired),
            "wrong-role" => Some(Self::OfAMember),
            // Only who knows the key comes to look for the patch.
            "unknown-patch" => Some(Self::Enrolled),
            _ => None,
        }
    }

    /// What to do about it; empty where it is as it should be.
    #[must_use]
    pub fn hint(self, endpoint: PublicKey, name: &Name) -> String {
        match self {
            Self::Enrolled => String::new(),
            Self::NotEnrolled => format!(
                "an operator of your organisation enrols it: countersign endpoint enroll {endpoint} --name {name} \
                 --group GROUP --key OPERATOR.key"
            ),
            Self::Retired | Self::OfAMember => {
                "`countersign-agent init --dir ELSEWHERE` makes another key, which an operator enrols; `key` in the \
                 configuration says which is used"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enrolled => "this host's key is enrolled in the ledger",
            Self::NotEnrolled => "this host's key is not enrolled in the ledger: no node takes its receipts",
            Self::Retired => "this host's key was retired: no node takes its receipts any more",
            Self::OfAMember => "this host's key is a member's, not an endpoint's: no node takes its receipts",
        })
    }
}

/// Asks the nodes that may be asked until one says that the key is enrolled; else what the last of them said that knew.
pub async fn ask(
    key: &SecretKey,
    chain_id: ChainId,
    (sources, may_ask): (&Sources, impl Fn(&str) -> bool),
    heads: &Heads,
) -> Option<Enrolment> {
    let mut said = None;
    for source in sources.from(heads.newest_from()).filter(|source| may_ask(source.node())) {
        let answer = match source.check(question(key, chain_id, heads)).await {
            Ok(()) => Some(Enrolment::Enrolled),
            Err(error) => Enrolment::from_refusal(&error),
        };
        match answer {
            Some(Enrolment::Enrolled) => return answer,
            answer => said = answer.or(said),
        }
    }
    said
}

fn question(key: &SecretKey, chain_id: ChainId, heads: &Heads) -> Vec<u8> {
    let ledger_ms = match heads.ledger_time_ms() {
        0 => now_ms(),
        ledger_ms => ledger_ms,
    };
    let receipt = Receipt {
        patch: NO_PATCH,
        rollout: None,
        attempt: 1,
        from_version: Version::default(),
        to_version: Version::default(),
        outcome: Outcome::Refused,
        reason: Some(reason(ReasonCode::Policy, "asks whether its key is enrolled")),
        health: Health::NotRun,
        log_digest: Digest::ZERO,
        ended_at_ms: ledger_ms,
    };
    let transaction = Transaction {
        version: PROTOCOL_VERSION,
        chain_id,
        signer: key.public(),
        nonce: 0,
        // The ledger's time may be a heartbeat ahead of what was heard of it.
        expires_at_ms: ledger_ms.saturating_add(QUESTION_EXPIRY_MS).max(now_ms().saturating_add(QUESTION_EXPIRY_MS)),
        payload: Payload::Receipt { receipt },
    };
    encode(&transaction.sign(key))
}
