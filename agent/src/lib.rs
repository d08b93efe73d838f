//! Keep one endpoint patched.
//!
//! The agent follows the ledger as a light client, applies what is proven and permitted, judges
//! whether it went well, keeps or rolls back, and writes a receipt. It does not know how blocks are
//! agreed on or stored, and believes no node: what it needs it checks against the genesis file.
//!
//! Read first: [`update`] (the sentence everything else serves), then [`installer`] (exactly old or
//! exactly new), [`follow`] (what is believed of the ledger), [`agent`] (what happens when).

pub mod clock;
pub mod config;
pub mod data;
mod files;
pub mod follow;
pub mod key;
pub mod parameters;

pub use files::FileError;
