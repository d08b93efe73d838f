//! Invitations: how hosts enrol themselves, without anybody who types their keys (protocol.md, section 14).
//!
//! An operator signs which hosts may come, as what, and until when. Whoever holds an invitation may use it, so it is as
//! secret as it is worth; and it has in it what a host must know to believe nobody else: the ledger's chain id, and the
//! roots of its nodes' certificates.

use crate::bounded::{Blob, List, Name, SortedList, Text};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::id::{ChainId, Digest};
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use crate::limits;
use crate::moment::Moment;
use crate::patch::Label;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the text of an invitation begins.
pub const TEXT_PREFIX: &str = "countersign1-";
/// The key of the label that says by which invitation a host came.
const LABEL_KEY: &str = "invitation";
/// Bytes of an invitation's digest in that label.
const LABEL_BYTES: usize = 8;
/// Most letters the text of an invitation can have.
const TEXT_BYTES_MAX: usize = TEXT_PREFIX.len() + limits::MESSAGE_BYTES_MAX.div_ceil(3) * 4;

/// Address of a node, as hosts call it: `https://HOST:PORT`.
pub type NodeAddress = Text<{ limits::NODE_ADDRESS_BYTES_MAX }>;
/// A certificate, X.509 in DER.
pub type Certificate = Blob<{ limits::CERTIFICATE_BYTES_MAX }>;

/// Who may come, and what they have to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The ledger.
    pub chain_id: ChainId,
    /// The operator's key.
    pub operator: PublicKey,
    /// Makes two invitations of the same words two.
    pub nonce: u64,
    /// What the host must be called; any name when there is none.
    pub name: Option<Name>,
    /// The group of the hosts.
    pub group: Name,
    /// Their labels. The node adds one that names the invitation.
    pub labels: SortedList<Label, { limits::SELECTOR_VALUES_MAX - 1 }>,
    /// How many hosts may come.
    pub hosts_max: u32,
    /// From then on nobody may.
    pub expires_at_ms: u64,
    /// Nodes for the hosts to follow.
    pub nodes: List<NodeAddress, { limits::INVITATION_NODES_MAX }>,
    /// Roots of these nodes' certificates.
    pub roots: List<Certificate, { limits::INVITATION_ROOTS_MAX }>,
}

/// An invitation and its signature, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInvitation {
    /// The invitation.
    pub invitation: Invitation,
    /// By `invitation.operator`, for the purpose `countersign/v1/invitation`.
    pub signature: Signature,
}

impl Canonical for SignedInvitation {
    const NAME: &'static str = "invitation";
    const LIMIT: Limit = Limit::Message;
}

/// Why an invitation is none, or is not for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Not the text of one.
    #[error("this is not the text of an invitation: {0}")]
    Text(&'static str),
    /// Not bytes of one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// For another ledger.
    #[error("the invitation is for chain {0}")]
    WrongChain(ChainId),
    /// Its time is over.
    #[error("the invitation expired at {}, it is {}", Moment(*expires_at_ms), Moment(*now_ms))]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// The judge's clock.
        now_ms: u64,
    },
    /// A signature does not hold: the operator's, or the host's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Another host is invited.
    #[error("the invitation is for a host called {invited}, this one is called {name}")]
    Name {
        /// Who may come.
        invited: Name,
        /// Who came.
        name: Name,
    },
    /// It says itself what only the node may.
    #[error("the label {LABEL_KEY} is for the node to give")]
    ReservedLabel,
}

impl InvitationError {
    /// The stable word of the check.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Text(_) => "malformed",
            Self::Decode(error) => error.check(),
            Self::WrongChain(_) => "chain-id",
            Self::Expired { .. } => "expired",
            Self::Signature(_) => "signature",
            Self::Name { .. } => "name",
            Self::ReservedLabel => "labels",
        }
    }
}

impl Invitation {
    /// Signs. The operator field is set to the key's public half.
    #[must_use]
    pub fn sign(mut self, key: &SecretKey) -> SignedInvitation {
        self.operator = key.public();
        let signature = key.sign(Purpose::Invitation, &self.chain_id, &encode(&self));
        SignedInvitation { invitation: self, signature }
    }
}

impl SignedInvitation {
    /// What names it in the label of every host that came by it, and in what a host signs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::blake3(&encode(self))
    }

    /// Reads the text that [`fmt::Display`] writes. Whether anybody signed it is another question.
    ///
    /// # Errors
    /// [`InvitationError::Text`], [`InvitationError::Decode`].
    pub fn parse(text: &str) -> Result<Self, InvitationError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(InvitationError::Text("it is too long"));
        }
        let text = text.trim().strip_prefix(TEXT_PREFIX);
        let text = text.ok_or(InvitationError::Text("it does not begin with countersign1-"))?;
        let bytes = URL_SAFE_NO_PAD.decode(text);
        Ok(decode(&bytes.map_err(|_| InvitationError::Text("a letter is wrong, or the end is missing"))?)?)
    }

    /// Checks all that an invitation says by itself. Whether the key is an operator's is for the state to say.
    ///
    /// # Errors
    /// [`InvitationError`] is the first check that failed.
    pub fn check(&self, chain: &ChainId, now_ms: u64) -> Result<&Invitation, InvitationError> {
        let Self { invitation, signature } = self;
        if invitation.chain_id != *chain {
            return Err(InvitationError::WrongChain(invitation.chain_id));
        }
        if invitation.expires_at_ms <= now_ms {
            return Err(InvitationError::Expired { expires_at_ms: invitation.expires_at_ms, now_ms });
        }
        invitation.operator.verify(Purpose::Invitation, chain, &encode(invitation), signature)?;
        match invitation.labels.iter().any(|label| label.key.as_str() == LABEL_KEY) {
            true => Err(InvitationError::ReservedLabel),
            false => Ok(invitation),
        }
    }

    /// The label that names it, in the record of every host that came by it.
    #[must_use]
    pub fn label(&self) -> Label {
        let name = |text: String| Name::new(text).expect("a word and hexadecimal digits are names");
        Label { key: name(LABEL_KEY.to_owned()), value: name(hex::encode(&self.digest().0[..LABEL_BYTES])) }
    }

    /// All labels of a host that comes by it: those it says, and the one that names it.
    #[must_use]
    pub fn labels(&self) -> SortedList<Label, { limits::SELECTOR_VALUES_MAX }> {
        let mut labels = self.invitation.labels.to_vec();
        labels.push(self.label());
        SortedList::new(labels).expect("one less than fit, and one more")
    }
}

impl fmt::Display for SignedInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TEXT_PREFIX}{}", URL_SAFE_NO_PAD.encode(encode(self)))
    }
}

/// A host that comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// BLAKE3 of the encoded signed invitation.
    pub invitation: Digest,
    /// The host's key.
    pub endpoint: PublicKey,
    /// What it is called.
    pub name: Name,
}

impl Arrival {
    /// Signed with the host's own key: nobody enrols what he does not hold.
    #[must_use]
    pub fn sign(&self, chain: &ChainId, key: &SecretKey) -> Signature {
        key.sign(Purpose::Arrival, chain, &encode(self))
    }

    /// Checks that it is invited, and signed by its own key.
    ///
    /// # Errors
    /// [`InvitationError::Name`], [`InvitationError::Signature`].
    pub fn check(&self, invitation: &Invitation, signature: &Signature) -> Result<(), InvitationError> {
        match &invitation.name {
            Some(invited) if *invited != self.name => {
                Err(InvitationError::Name { invited: invited.clone(), name: self.name.clone() })
            }
            _ => Ok(self.endpoint.verify(Purpose::Arrival, &invitation.chain_id, &encode(self), signature)?),
        }
    }
}
