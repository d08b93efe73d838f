//! Whose turn it is.

use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;

/// The proposer of a round: the turn passes along the sorted set, one place per height and one per
/// round, so every validator comes up and nobody can choose when.
#[must_use]
pub fn proposer(validators: &ValidatorSet, height: u64, round: u32) -> PublicKey {
    validators.validators()[place(validators.len(), height, round)].key
}

/// `(height + round) % count`, without the overflow a hostile height could cause.
pub(crate) fn place(count: usize, height: u64, round: u32) -> usize {
    let place = (u128::from(height) + u128::from(round)) % count as u128;
    usize::try_from(place).expect("smaller than `count`, which is a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_passes_with_every_height_and_every_round() {
        for (count, height, round, expected) in
            [(4, 0, 0, 0), (4, 1, 0, 1), (4, 1, 1, 2), (4, 3, 1, 0), (7, 6, 0, 6), (7, 6, 1, 0), (1, 99, 99, 0)]
        {
            assert_eq!(place(count, height, round), expected, "{count} validators, height {height}, round {round}");
        }
    }

    #[test]
    fn every_validator_comes_up_once_in_each_lap_of_rounds() {
        for count in 1..=9 {
            let mut places: Vec<usize> =
                (0..u32::try_from(count).unwrap()).map(|round| place(count, 41, round)).collect();
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_largest_height_and_round_have_a_proposer_too() {
        assert_eq!(place(4, u64::MAX, u32::MAX), 2);
    }
}
