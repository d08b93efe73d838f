//! Values by chance of every type with a door: in, out, the same (sentence 1.4).

use crate::support::strategies::*;
use crate::support::world::World;
use ledger::encoding::{Canonical, decode, encode};
use ledger::id::ChainId;
use proptest::prelude::*;

fn goes_in_and_out<T: Canonical + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = encode(value);
    let again = decode::<T>(&bytes);
    prop_assert_eq!(again.as_ref(), Ok(value));
    prop_assert!(decode::<T>(&bytes[..bytes.len() - 1]).is_err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(3),
        ..ProptestConfig::default()
    })]

    #[test]
    fn manifests(value in manifest()) { goes_in_and_out(&value)?; }

    #[test]
    fn transactions(value in transaction()) { goes_in_and_out(&value)?; }

    #[test]
    fn headers(value in header()) { goes_in_and_out(&value)?; }

    #[test]
    fn blocks(value in block()) { goes_in_and_out(&value)?; }

    #[test]
    fn certificates(value in certificate()) { goes_in_and_out(&value)?; }

    #[test]
    fn validator_sets(value in validators()) { goes_in_and_out(&value)?; }

    #[test]
    fn genesis_files(value in genesis()) { goes_in_and_out(&value)?; }

    #[test]
    fn records(value in record()) { goes_in_and_out(&value)?; }

    #[test]
    fn proof_files(value in proof()) { goes_in_and_out(&value)?; }

    #[test]
    fn evidence_of_all_kinds(value in evidence()) { goes_in_and_out(&value)?; }

    #[test]
    fn head_files(value in head_file()) { goes_in_and_out(&value)?; }

    #[test]
    fn evidence_files(value in evidence_file()) { goes_in_and_out(&value)?; }

    #[test]
    fn upload_grants(value in grant()) { goes_in_and_out(&value)?; }
}

#[test]
fn ids_are_read_as_they_are_written() {
    let chain = World::new().chain();
    assert_eq!(chain.to_string().parse::<ChainId>(), Ok(chain));
    for bad in ["", "0", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
        assert!(bad.parse::<ChainId>().is_err(), "{bad}");
    }
    let json = serde_json::to_string(&chain).unwrap();
    assert_eq!(serde_json::from_str::<ChainId>(&json).unwrap(), chain);
}
