//! Say what is recorded, and prove it.
//!
//! The words of the ledger: what is hashed, signed, finalised and proven. Everything here is values
//! in, values out. This room does not know what time it is, where bytes come from or go to, how
//! validators come to agree, or which database holds the chain.
//!
//! Read first: [`transaction`] (what can be asked for), [`state`] (the rules), [`block`] and
//! [`certificate`] (what is final), [`proof`] (what an endpoint, an auditor or a court checks). The
//! bytes are specified in `docs/protocol.md`.

pub mod approval;
pub mod artifact;
pub mod block;
pub mod bounded;
pub mod certificate;
pub mod encoding;
pub mod evidence;
pub mod execution;
pub mod fork;
pub mod frame;
pub mod genesis;
pub mod governance;
pub mod history;
pub mod id;
pub mod inclusion;
pub mod inventory;
pub mod invitation;
pub mod key;
pub mod light;
pub mod limits;
pub mod merkle;
pub mod moment;
pub mod patch;
pub mod proof;
pub mod receipt;
pub mod snapshot;
pub mod state;
pub mod transaction;
pub mod validators;
pub mod vote;
