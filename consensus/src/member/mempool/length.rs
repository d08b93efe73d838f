//! How long a block may be: so long that a ledger under load loses little of what it can do, and so short that
//! whoever comes next does not wait for much.
//!
//! A height takes a while however little is in its block, for votes and disks; and every transaction adds to that.
//! A block whose transactions take eight times as long as the rest of its height uses eight ninths of what the
//! ledger can do, and twice as many would add a twentieth. What both take is measured on blocks of this node, so
//! that it holds on quick and slow machines, in one house and around the world. So is the share of a block that one
//! organisation gets beside another that has little to say: on a line around the world, where a height takes hundreds
//! of milliseconds whatever is in it, sixteen transactions would be next to nothing.
//!
//! A block with a few dozen transactions says nothing of either: too many to be quiet, and what each adds is less than
//! what votes and disks vary by. Nor does it need to: no bound is lower than four shares. But what a quiet height
//! takes is forgotten when none was seen for long. If lines became slower meanwhile, their time would be taken for that
//! of the transactions, and blocks would stay at the least there is for as long as the load lasts. Nobody suffers from
//! longer ones then: whoever has little to say gets blocks of his own, and these are quiet ones.

/// How many times as long as a quiet height the transactions of a block may take.
const TIMES_QUIET: u64 = 8;
/// How many shares take as long as a quiet height.
const SHARES_OF_QUIET: u64 = 2;
/// Of a new measurement, one part of so many counts.
const PARTS: u64 = 8;
/// Blocks of this node, none of them quiet, after which nothing is known any more.
const KNOWN_BLOCKS: u64 = 64;

/// What blocks took lately.
pub(super) struct Length {
    /// Fewer places than this are hardly felt, and no block is ever bounded to fewer than four times as many.
    few: usize,
    /// Microseconds of a height with few.
    quiet: Option<u64>,
    /// Nanoseconds that each place adds.
    each: Option<u64>,
    /// Blocks since there was a quiet one.
    blocks: u64,
}

impl Length {
    pub(super) fn new(few: usize) -> Self {
        Self { few: few.max(1), quiet: None, each: None, blocks: 0 }
    }

    /// A block of this node was proposed and became final in its first round. A transaction has as many places as
    /// kibibytes it has begun: what is long takes long to send and to hash.
    pub(super) fn took(&mut self, places: usize, milliseconds: u64) {
        let took = milliseconds.saturating_mul(1_000);
        if places < self.few {
            self.quiet = Some(blend(self.quiet, took));
            self.blocks = 0;
            return;
        }
        self.blocks += 1;
        if self.blocks >= KNOWN_BLOCKS {
            (self.quiet, self.each) = (None, None);
        } else if let Some(quiet) = self.quiet.filter(|_| places >= 4 * self.few) {
            let added = took.saturating_sub(quiet).saturating_mul(1_000);
            self.each = Some(blend(self.each, added / places as u64));
        }
    }

    /// Transactions of one organisation in a block, beside another that has little to say.
    pub(super) fn share(&self) -> usize {
        let (Some(quiet), Some(each)) = (self.quiet, self.each) else { return self.few };
        let share = quiet.saturating_mul(1_000).checked_div(SHARES_OF_QUIET.saturating_mul(each)).unwrap_or(u64::MAX);
        usize::try_from(share).unwrap_or(usize::MAX).max(self.few)
    }

    /// Transactions of a block, at most so many.
    pub(super) fn most(&self, transactions: usize) -> usize {
        let (Some(quiet), Some(each)) = (self.quiet, self.each) else { return transactions };
        let length = (TIMES_QUIET * quiet).saturating_mul(1_000).checked_div(each).unwrap_or(u64::MAX);
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(4 * self.few);
        transactions.min(length)
    }
}

fn blend(old: Option<u64>, new: u64) -> u64 {
    old.map_or(new, |old| ((PARTS - 1) * old + new) / PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger whose heights take six milliseconds, and a fifth of one for each transaction.
    fn milliseconds(transactions: usize) -> u64 {
        6 + transactions as u64 / 5
    }

    #[test]
    fn a_block_takes_no_more_than_nine_times_as_long_as_a_quiet_one() {
        let mut length = Length::new(16);
        assert_eq!(length.most(1_000), 1_000, "nothing is known yet");
        for _ in 0..40 {
            length.took(1, milliseconds(1));
            let most = length.most(1_000);
            length.took(most, milliseconds(most));
        }
        let most = length.most(1_000);
        assert!((230..=250).contains(&most), "{most}");
        assert_eq!(length.most(100), 100, "what is configured stays the bound");
    }

    /// Where a height takes long whatever is in it, a share is larger; and never smaller than is configured.
    #[test]
    fn a_share_takes_half_as_long_as_a_quiet_height() {
        for (height, expected) in [(1, 16..=16), (6, 16..=16), (300, 700..=760)] {
            let mut length = Length::new(16);
            assert_eq!(length.share(), 16, "nothing is known yet");
            for _ in 0..40 {
                length.took(1, height);
                length.took(200, height + 40);
            }
            assert!(expected.contains(&length.share()), "{} of {height} ms", length.share());
        }
    }

    /// Lines become slower while there is nothing but load: blocks do not stay short for ever.
    #[test]
    fn what_was_not_measured_for_long_is_forgotten() {
        let mut length = Length::new(16);
        for _ in 0..40 {
            length.took(1, milliseconds(1));
            length.took(200, milliseconds(200));
        }
        let mut blocks = 0;
        while length.most(1_000) < 1_000 {
            let most = length.most(1_000);
            length.took(most, 300 + milliseconds(most));
            blocks += 1;
        }
        // The last block above is one of them.
        assert_eq!((blocks, length.share()), (KNOWN_BLOCKS - 1, 16));
        length.took(1, 300);
        length.took(1_000, 500);
        assert!(length.most(5_000) > 5_000 / 2, "{}", length.most(5_000));
    }

    #[test]
    fn a_machine_that_stumbles_once_is_not_judged_by_it() {
        let mut length = Length::new(16);
        for _ in 0..40 {
            length.took(1, milliseconds(1));
            length.took(200, milliseconds(200));
        }
        let before = length.most(1_000);
        length.took(200, 10 * milliseconds(200));
        assert!(length.most(1_000) * 3 > before, "{} after {before}", length.most(1_000));
        for _ in 0..20 {
            length.took(200, milliseconds(200));
        }
        assert!(length.most(1_000) * 10 > before * 9, "{} after {before}", length.most(1_000));
    }

    #[test]
    fn the_bound_is_never_lower_than_four_shares_nor_in_the_way_where_transactions_cost_nothing() {
        let mut length = Length::new(16);
        length.took(1, 0);
        length.took(1_000, 5_000);
        assert_eq!(length.most(1_000), 64);
        let mut length = Length::new(16);
        length.took(1, 20);
        length.took(1_000, 20);
        assert_eq!(length.most(1_000), 1_000);
    }
}
