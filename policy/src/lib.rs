//! Decide what may happen, when, and whether it went well.
//!
//! House law: what one organisation lets happen on its hosts, which may be stricter than the ledger's
//! common law and never milder. Everything here is values in, values out. This room does not know
//! what time it is (time is an argument), how a patch is fetched or installed, where a host keeps its
//! files, or that there is a network.
//! It has calendars, because when is a decision: [`schedule`].
//!
//! Read first: [`Policy::permit`] (may this patch go onto this host now?), then [`health::judge`] (did
//! it go well?).

pub mod health;
mod host;
mod permit;
mod reason;
pub mod schedule;

pub use host::{Host, Installed, Offered};
pub use permit::{Check, Commands, Pause, Permit, Policy, Restart, Subscription};
pub use reason::{Mismatch, Reason, kind_words};
