//! The drills, one file each: the sentence of the threat, what is tried, and the control.

mod approvers_minus_one;
mod arbitrary_software;
mod check_and_use;
mod clock;
mod decoding_bombs;
mod dependency_confusion;
mod downgrade;
mod eclipse;
mod endless_data;
mod extraneous_dependencies;
mod fast_forward;
mod freeze;
mod hostile_archives;
mod long_range;
mod lying_mirrors;
mod mix_and_match;
mod power_cut;
mod recalled;
mod replay;
mod rollback_of_the_view;
mod second_encodings;
mod secrets_on_disk;
mod slow_retrieval;
mod split_view;
mod stolen_endpoint_key;
mod stolen_vendor_key;
mod stored_injection;
mod tampered_proofs;
mod validator_swap;
mod wrong_device;

use super::Drill;

/// All drills, in the order they are played.
pub const DRILLS: [Drill; 30] = [
    arbitrary_software::DRILL,
    endless_data::DRILL,
    slow_retrieval::DRILL,
    lying_mirrors::DRILL,
    wrong_device::DRILL,
    extraneous_dependencies::DRILL,
    stolen_vendor_key::DRILL,
    approvers_minus_one::DRILL,
    tampered_proofs::DRILL,
    second_encodings::DRILL,
    mix_and_match::DRILL,
    freeze::DRILL,
    eclipse::DRILL,
    clock::DRILL,
    rollback_of_the_view::DRILL,
    split_view::DRILL,
    validator_swap::DRILL,
    long_range::DRILL,
    downgrade::DRILL,
    fast_forward::DRILL,
    recalled::DRILL,
    dependency_confusion::DRILL,
    hostile_archives::DRILL,
    check_and_use::DRILL,
    power_cut::DRILL,
    secrets_on_disk::DRILL,
    stolen_endpoint_key::DRILL,
    replay::DRILL,
    decoding_bombs::DRILL,
    stored_injection::DRILL,
];
