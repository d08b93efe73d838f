//! Chains for tests: real keys, real signatures, real certificates, all from a seed.
//!
//! A [`Scenario`] is who takes part: organisations, their keys by role, endpoints, a genesis. A
//! [`Chain`] is what they did: blocks executed over memory, each with the certificate the validators
//! give it, so that it is also the oracle another store is compared with. They know no disk, no
//! clock and no network: the same seed gives the same bytes on every machine.
//!
//! ```
//! let mut chain = tests::Chain::new(7);
//! let patch = chain.publish();
//! let block = chain.finalise();
//! assert_eq!(block.executed.block.header.height, 1);
//! for organisation in ["bank", "clinic"] {
//!     chain.approve(organisation, patch);
//! }
//! chain.finalise();
//! ```

mod chain;
mod dice;
mod leaks;
mod leaving_out;
mod scenario;

pub use chain::{Chain, Finalised};
pub use dice::Dice;
pub use leaks::{holds, leaks};
pub use leaving_out::{NOTHING_LEFT_OUT, left_out};
pub use scenario::{APPROVERS, ORGANISATIONS, Scenario, VENDOR};
