//! Every limit of the protocol, with its name. Units last.

/// Votes, proposals, certificates and single state records.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// One signed transaction, encoded.
pub const TRANSACTION_BYTES_MAX: usize = 64 * 1024;
/// One proof file. Far above the few KiB a real one has: a chain with many epochs is longer.
pub const PROOF_BYTES_MAX: usize = 1024 * 1024;
/// One block, encoded, and one genesis file.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// What one peer sends another at once: a block, its certificate and room to spare.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Transactions in one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 5_000;
/// Validators in one set.
pub const VALIDATORS_MAX: usize = 128;
/// Epoch headers in one proof file.
pub const EPOCHS_MAX: usize = 256;
/// Organisations in one ledger.
pub const ORGANISATIONS_MAX: usize = 256;
/// Keys of one organisation, revoked ones included.
pub const KEYS_PER_ORGANISATION_MAX: usize = 64;
/// Namespaces one organisation owns.
pub const NAMESPACES_PER_ORGANISATION_MAX: usize = 16;
/// Approval rules in force.
pub const APPROVAL_RULES_MAX: usize = 64;
/// Halts in force at one time: one bounded record, so that one proof shows all.
pub const HALTS_MAX: usize = 64;
/// Verdicts on one patch: the approvers of a patch are a committee, not a crowd.
pub const VERDICTS_PER_PATCH_MAX: usize = 64;
/// Names: organisations, namespaces, groups, labels, artifacts.
pub const NAME_BYTES_MAX: usize = 64;
/// A product: `namespace/name`.
pub const PRODUCT_BYTES_MAX: usize = 128;
/// A version string.
pub const VERSION_BYTES_MAX: usize = 128;
/// Notes of a patch or a verdict.
pub const NOTES_BYTES_MAX: usize = 16 * 1024;
/// A sentence: a reason, a title, the detail of a receipt.
pub const SENTENCE_BYTES_MAX: usize = 512;
/// Advisories one patch says it fixes.
pub const ADVISORIES_MAX: usize = 256;
/// Target selectors of one patch.
pub const TARGETS_MAX: usize = 16;
/// Values inside one selector, labels of one endpoint.
pub const SELECTOR_VALUES_MAX: usize = 16;
/// Address of a node, in an invitation.
pub const NODE_ADDRESS_BYTES_MAX: usize = 256;
/// Nodes an invitation names.
pub const INVITATION_NODES_MAX: usize = 16;
/// A certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 4 * 1024;
/// Root certificates of the nodes an invitation names.
pub const INVITATION_ROOTS_MAX: usize = 16;
/// One inventory, encoded …
pub const INVENTORY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// … and as it travels.
pub const INVENTORY_PACKED_BYTES_MAX: usize = 256 * 1024;
/// One text in an inventory.
pub const FACT_BYTES_MAX: usize = 256;
/// Packages of one inventory.
pub const INVENTORY_PACKAGES_MAX: usize = 16 * 1024;
/// Services of one inventory.
pub const INVENTORY_SERVICES_MAX: usize = 1024;
/// Addresses of one inventory.
pub const INVENTORY_ADDRESSES_MAX: usize = 256;
/// Disks of one inventory.
pub const INVENTORY_DISKS_MAX: usize = 64;
/// Things of one inventory that could not be looked at.
pub const INVENTORY_UNREAD_MAX: usize = 16;
/// Failed services that are named beside an inventory.
pub const READINGS_FAILED_MAX: usize = 16;
/// Installed products that do not work, named in one report.
pub const READINGS_UNHEALTHY_MAX: usize = 8;
/// How old a report of an inventory may be when it arrives.
pub const INVENTORY_REPORT_MS_MAX: u64 = 10 * 60 * 1000;
/// How far the clock it was made by may be ahead.
pub const INVENTORY_AHEAD_MS_MAX: u64 = 2 * 60 * 1000;
/// How long leave to read inventories may last.
pub const INVENTORY_READ_MS_MAX: u64 = 5 * 60 * 1000;
/// Relations (depends, conflicts, supersedes) of each kind.
pub const RELATIONS_MAX: usize = 64;
/// Artifacts of one patch.
pub const ARTIFACTS_MAX: usize = 64;
/// Health checks of one patch.
pub const HEALTH_CHECKS_MAX: usize = 16;
/// Arguments of one health command.
pub const ARGUMENTS_MAX: usize = 32;
/// Bytes of one argument.
pub const ARGUMENT_BYTES_MAX: usize = 1024;
/// One artifact's payload.
pub const ARTIFACT_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Sibling hashes in a history path: a tree of 2^63 leaves.
pub const HISTORY_PATH_MAX: usize = 63;
/// Sibling hashes in a state path: one per bit of the key.
pub const STATE_PATH_MAX: usize = 256;
/// How far ahead of block time a transaction may expire: 30 days.
pub const EXPIRY_AHEAD_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;
/// How far a release counter may jump over the last one of its product and channel. Keeps a stolen
/// key from spending the whole counter (fast-forward attack).
pub const RELEASE_STEP_MAX: u64 = 1_000;
/// How far a header's time may be ahead of a validator's own clock.
pub const CLOCK_AHEAD_MS_MAX: u64 = 2_000;
/// Leaf hashes in one part of a snapshot: half a mebibyte.
pub const SNAPSHOT_LEAVES_MAX: usize = 16 * 1024;
/// Records in one part of a snapshot.
pub const SNAPSHOT_RECORDS_MAX: usize = 4 * 1024;
/// Changes in one proposal.
pub const CHANGES_MAX: usize = 64;
/// One proposal: with its ballots it must fit a record.
pub const PROPOSAL_BYTES_MAX: usize = 32 * 1024;
/// Proposals of one organisation that count at one time: each is kept for ever, and more than a few nobody reads.
pub const PROPOSALS_PER_ORGANISATION_MAX: usize = 16;
/// … of one of its keys: whoever stole one leaves places to the others, for the proposal that revokes it.
pub const PROPOSALS_PER_KEY_MAX: usize = 8;
/// How long a proposal counts at least, unless it passes: a day. Or else proposals that close at once, or are refused
/// by their own proposer, would fill the state as well.
pub const PROPOSAL_COUNTS_MS_MIN: u64 = 24 * 60 * 60 * 1000;
/// The largest heartbeat or sealing time: an hour. Proofs must stay possible to get.
pub const PARAMETER_MS_MAX: u64 = 60 * 60 * 1000;
/// Offences recorded of one key: more of them teach nothing, and nobody can fill the state with his own.
pub const OFFENCES_PER_KEY_MAX: usize = 16;
