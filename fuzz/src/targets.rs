//! Everything that is fuzzed, with how long its inputs may be and how often CI throws one.

use crate::doors::{
    Carried, HistoryPath, read, read_and_judge, read_genesis, read_proof, read_transaction, unpack_inventory,
};
use crate::{
    answers, archives, bundles, certificates, convictions, frames, images, kept, keys, layers, layouts, logs, packages,
    packing, snapshots, sources, texts, trees,
};
use consensus::member::PeerMessage;
use consensus::records::SLOT_BYTES;
use consensus::{GuardRecord, LogEntry, Message};
use ledger::artifact::SignedUploadGrant;
use ledger::block::{Block, Header};
use ledger::certificate::Certificate;
use ledger::evidence::Evidence;
use ledger::fork::{EvidenceFile, HeadFile};
use ledger::governance::Proposal;
use ledger::inclusion::InclusionProof;
use ledger::inventory::{Inventory, SignedInventoryRead, SignedInventoryReport};
use ledger::invitation::SignedInvitation;
use ledger::patch::PatchManifest;
use ledger::proof::EpochLink;
use ledger::snapshot::SnapshotPart;
use ledger::state::tree::StateProof;
use ledger::state::{Record, RecordKey};
use ledger::validators::ValidatorSet;

/// One target.
pub struct Target {
    /// What it is called; also the name of its corpus.
    pub name: &'static str,
    /// Takes an input, and panics when something does not hold.
    pub run: fn(&[u8]),
    /// Longest input the fuzzer makes of itself. Longer ones are in the corpus.
    pub bytes_max: usize,
    /// Inputs in CI, those of the corpus included.
    pub runs: u32,
}

const fn target(name: &'static str, run: fn(&[u8]), bytes_max: usize, runs: u32) -> Target {
    Target { name, run, bytes_max, runs }
}

const SHORT: usize = 4 * 1024;
const LONG: usize = 16 * 1024;

/// All of them.
pub const TARGETS: &[Target] = &[
    target("decode-transaction", read_transaction, SHORT, 60_000),
    target("decode-manifest", read::<PatchManifest>, SHORT, 60_000),
    target("decode-proposal", read::<Proposal>, SHORT, 60_000),
    target("decode-block", read::<Block>, SHORT, 60_000),
    target("decode-header", read::<Header>, SHORT, 60_000),
    target("decode-certificate", read::<Certificate>, SHORT, 60_000),
    target("decode-validator-set", read::<ValidatorSet>, SHORT, 60_000),
    target("decode-genesis", read_genesis, LONG, 10_000),
    target("decode-proof", read_proof, LONG, 20_000),
    target("decode-epoch-link", read::<EpochLink>, SHORT, 60_000),
    target("decode-state-proof", read::<Carried<StateProof>>, SHORT, 60_000),
    target("decode-history-path", read::<Carried<HistoryPath>>, SHORT, 60_000),
    target("decode-inclusion-proof", read_and_judge::<InclusionProof>, SHORT, 60_000),
    target("decode-snapshot-part", read::<SnapshotPart>, LONG, 60_000),
    target("decode-upload-grant", read::<SignedUploadGrant>, SHORT, 60_000),
    target("decode-invitation", read::<SignedInvitation>, SHORT, 60_000),
    target("parse-invitation", texts::parse_invitation, SHORT, 60_000),
    target("read-schedule", texts::read_schedule, 512, 20_000),
    target("decode-inventory", read::<Inventory>, LONG, 30_000),
    target("decode-inventory-report", read::<SignedInventoryReport>, SHORT, 60_000),
    target("decode-inventory-read", read::<SignedInventoryRead>, SHORT, 60_000),
    target("unpack-inventory", unpack_inventory, SHORT, 20_000),
    target("decode-record", read::<Record>, SHORT, 60_000),
    target("decode-record-key", read::<Carried<RecordKey>>, SHORT, 60_000),
    target("decode-peer-message", read::<PeerMessage>, LONG, 60_000),
    target("decode-consensus-message", read_and_judge::<Message>, SHORT, 60_000),
    target("decode-evidence", read_and_judge::<Evidence>, SHORT, 60_000),
    target("decode-head-file", read_and_judge::<HeadFile>, LONG, 30_000),
    target("decode-evidence-file", read_and_judge::<EvidenceFile>, LONG, 30_000),
    target("decode-log-entry", read::<LogEntry>, SHORT, 60_000),
    target("decode-guard-record", read::<GuardRecord>, SHORT, 60_000),
    target("scan-vote-log", logs::scan_a_log, LONG, 20_000),
    target("verify-certificate", certificates::verify, 512, 8_000),
    target("verify-evidence", convictions::verify, 512, 10_000),
    target("verify-bundle", bundles::verify, 512, 6_000),
    target("verify-proof-file", bundles::verify_file, LONG, 10_000),
    target("verify-block-path", trees::block_path, 512, 12_000),
    target("verify-history-path", trees::history_path, 512, 12_000),
    target("verify-state-proof", trees::state_proof, 512, 6_000),
    target("verify-snapshot", snapshots::verify, 512, 2_000),
    target("unpack-archive", archives::unpack, LONG, 10_000),
    target("lay-layers", layers::lay_over, LONG, 10_000),
    target("check-tree", sources::check_tree, 512, 20_000),
    target("decode-delta", sources::decode_delta, SHORT, 20_000),
    target("cache-request", sources::cache_request, 512, 60_000),
    target("read-boot-environment", images::environment, 1024, 60_000),
    target("read-superblock", images::read_superblock, 512, 60_000),
    target("read-stream", frames::read_stream, LONG, 10_000),
    target("read-records", frames::read_records, 2 * SLOT_BYTES, 10_000),
    target("count-messages", frames::count_messages, SHORT, 20_000),
    target("parse-page-token", frames::parse_page_token, 64, 20_000),
    target("read-inventory-record", frames::read_inventory_record, SHORT, 10_000),
    target("find-log-break", frames::find_break, SHORT, 20_000),
    target("read-key-file", keys::read_key_file, SHORT, 2_000),
    target("read-secret", keys::read_secret, SHORT, 10_000),
    target("read-journal", kept::read_journal, SHORT, 5_000),
    target("read-kept-file", kept::read_file, SHORT, 6_000),
    target("read-configuration", kept::read_configuration, SHORT, 5_000),
    target("mirror-answer", answers::mirror, 512, 30_000),
    target("node-answer", answers::of_a_node, SHORT, 30_000),
    target("read-image-layout", layouts::read_layout, SHORT, 3_000),
    target("find-image-user", layouts::find_user, 1024, 4_000),
    target("examine-debian", packages::examine_debian, LONG, 10_000),
    target("examine-rpm", packages::examine_rpm, SHORT, 20_000),
    target("read-capabilities", packages::read_capabilities, 512, 20_000),
    target("read-package-database", packages::read_database, SHORT, 4_000),
    target("pack-input", packing::pack_input, LONG, 3_000),
    target("read-packed-patch", packing::read_packed_patch, SHORT, 3_000),
    target("read-description", packing::read_description, SHORT, 1_500),
    target("parse-words", packing::parse_words, 512, 20_000),
];

/// Says what there is: name, longest input, inputs in CI.
pub fn list() -> Result<(), String> {
    for target in TARGETS {
        println!("{} {} {}", target.name, target.bytes_max, target.runs);
    }
    Ok(())
}
