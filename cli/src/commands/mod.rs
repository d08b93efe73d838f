//! The commands, one file per noun or verb.

mod artifact;
mod audit;
mod ballot;
mod chain;
mod consent;
mod convictions;
mod deliver;
mod endpoint;
mod epochs;
mod external;
mod get;
mod init;
mod inventory;
mod invite;
mod key;
mod pack;
mod patch;
mod proof;
mod proposals;
mod propose;
mod publish;
mod review;
mod snapshot;
mod status;
mod subject;
mod submit;
mod transaction;
mod trust;
mod verdict;
mod verify;

pub use snapshot::SnapshotError;

use crate::failure::Failure;
use crate::options::CommandLine;
use clap::Subcommand;
use std::ffi::OsString;
use terminal::Answer;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show, seal and open key files
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Build a genesis file, the trust root of a new ledger
    Init(init::Init),
    /// Look into a trust root
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Pack, publish, look at and recall patches
    #[command(subcommand)]
    Patch(patch::PatchCommand),
    /// See what waits for approval, or the evidence on one patch
    Review(review::Review),
    /// Copy artifacts to where hosts can fetch them
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    /// Sign that a patch may be applied
    Approve(verdict::Approve),
    /// Sign that a patch must not be applied
    Reject(verdict::Negative),
    /// Sign that a patch must not be applied yet
    Hold(verdict::Negative),
    /// Propose changes of members, keys, validators or rules
    Propose(propose::Propose),
    /// Sign what your organisation says of a proposal
    Ballot(ballot::Ballot),
    /// Enrol and retire endpoints
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// See what hosts of your organisation say is on them
    #[command(subcommand)]
    Inventory(inventory::InventoryCommand),
    /// See what a node is and where it stands
    Status(status::Status),
    /// List patches, endpoints, receipts, blocks, members, proposals or convictions
    #[command(subcommand)]
    Get(get::GetCommand),
    /// Take a proof file away, or look into one
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// Check a proof file against a trust root, without a network
    Verify(verify::Verify),
    /// Look at the chain, or check a node's store
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Find out whether the ledger was forked and who did it, check evidence, accuse
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Submit a transaction that was signed elsewhere
    Submit(submit::Submit),
    /// Another program of the house.
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

/// Runs a command.
///
/// # Errors
/// [`Failure`] says why it did not do what was asked.
pub fn run(line: CommandLine) -> Result<Answer, Failure> {
    let CommandLine { global, command } = line;
    match command {
        Command::Key(command) => command.run(&global),
        Command::Init(init) => init.run(),
        Command::Trust(command) => command.run(),
        Command::Verify(verify) => verify.run(&global),
        Command::External(words) => external::run(&global, &words),
        Command::Patch(command) => command.run(&global),
        Command::Proof(command) => command.run(&global),
        Command::Artifact(command) => command.run(&global),
        Command::Chain(command) => command.run(&global),
        Command::Audit(command) => command.run(&global),
        Command::Review(review) => wait_for(review.run(&global)),
        Command::Approve(approve) => wait_for(approve.run(&global)),
        Command::Reject(reject) => wait_for(reject.run(&global, verdict::Kind::Reject)),
        Command::Hold(hold) => wait_for(hold.run(&global, verdict::Kind::Hold)),
        Command::Propose(propose) => wait_for(propose.run(&global)),
        Command::Ballot(ballot) => wait_for(ballot.run(&global)),
        Command::Endpoint(command) => wait_for(command.run(&global)),
        Command::Inventory(command) => wait_for(command.run(&global)),
        Command::Status(status) => wait_for(status.run(&global)),
        Command::Get(command) => wait_for(command.run(&global)),
        Command::Submit(submit) => wait_for(submit.run(&global)),
    }
}

/// Waits for the network on this thread: one person, one question at a time.
fn wait_for(answer: impl Future<Output = Result<Answer, Failure>>) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(answer)
}
