//! How long a block may be: so long that a ledger under load loses little of what it can do, and so short that
//! whoever comes next does not wait for much.
//!
//! A height takes a while however little is in its block, for votes and disks; and every transaction adds to that.
//! A block whose transactions take three times as long as the rest of its height uses three quarters of what the
//! ledger can do, and whoever comes while it is made waits for four times as long as usual. What both take is measured on blocks of this node, so
//! that it holds on quick and slow machines, in one house and around the world. So is the share of a block that one
//! organisation gets beside another that has little to say: on a line around the world, where a height takes hundreds
//! of milliseconds whatever is in it, sixteen transactions would be next to nothing.
//!
//! A block with a few dozen transactions says nothing of either: too many to be quiet, and what each adds is less than
//! what votes and disks vary by. Nor does it need to: no bound is lower than four shares.
//!
//! A load that lasts leaves no block quiet. If lines became slower meanwhile, their time would be taken for that of the
//! transactions, and blocks would stay at the least there is. So one of many is made short on purpose, to see: one, however
//! it ends. The second is, too, of a node that had no quiet one yet: nobody can tell how long a block takes of which
//! nothing is known.

/// How many times as long as a quiet height the transactions of a block may take.
const TIMES_QUIET: u64 = 3;
/// How many shares take as long as a quiet height.
const SHARES_OF_QUIET: u64 = 2;
/// Of a new measurement, one part of so many counts.
const PARTS: u64 = 8;
/// Blocks of this node, none of them quiet, after which one is made short.
const KNOWN_BLOCKS: u64 = 16;

/// What blocks took lately.
pub(super) struct Length {
    /// Fewer places than this are hardly felt, and no block is ever bounded to fewer than four times as many.
    few: usize,
    /// Microseconds of a height with few.
    quiet: Option<u64>,
    /// Nanoseconds that each place adds.
    each: Option<u64>,
    /// Blocks since there was a quiet one, or one was made short.
    blocks: u64,
    /// Whether the last one was made short, to see.
    looks: bool,
}

impl Length {
    pub(super) fn new(few: usize) -> Self {
        Self { few: few.max(1), quiet: None, each: None, blocks: 0, looks: false }
    }

    /// A block of this node is proposed.
    pub(super) fn proposed(&mut self) {
        self.looks = self.is_to_see();
        self.blocks = if self.looks { 0 } else { self.blocks.saturating_add(1) };
    }

    /// The one proposed last became final in its first round. A transaction has as many places as
    /// kibibytes it has begun: what is long takes long to send and to hash.
    pub(super) fn took(&mut self, places: usize, milliseconds: u64) {
        let took = milliseconds.saturating_mul(1_000);
        if places < self.few {
            self.quiet = Some(blend(self.quiet, took));
            self.blocks = 0;
        } else if self.looks {
            // There may be none but long transactions. What these take themselves is no part of a quiet height: rather
            // too little is taken for one than too much, which would make blocks longer.
            let part = took.saturating_mul(self.few as u64) / places.max(1) as u64;
            self.quiet = Some(blend(self.quiet, part));
        } else if let Some(quiet) = self.quiet.filter(|_| places >= self.least()) {
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
        if self.is_to_see() {
            return transactions.min((self.few - 1).max(1));
        }
        let Some(quiet) = self.quiet else { return transactions };
        let nanoseconds = quiet.saturating_mul(1_000 * TIMES_QUIET);
        let length = self.each.map_or(0, |each| nanoseconds.checked_div(each).unwrap_or(u64::MAX));
        transactions.min(usize::try_from(length).unwrap_or(usize::MAX).max(self.least()))
    }

    /// Transactions of a block, however long they take.
    fn least(&self) -> usize {
        self.few.saturating_mul(4)
    }

    /// Whether the next block says what a quiet height takes.
    fn is_to_see(&self) -> bool {
        self.blocks >= if self.quiet.is_some() { KNOWN_BLOCKS } else { 1 }
    }
}

fn blend(old: Option<u64>, new: u64) -> u64 {
    old.map_or(new, |old| old.saturating_mul(PARTS - 1).saturating_add(new) / PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Length {
        /// A block that is proposed, and final in its first round.
        fn block(&mut self, places: usize, milliseconds: u64) {
            self.proposed();
            self.took(places, milliseconds);
        }
    }

    /// A ledger whose heights take six milliseconds, and a fifth of one for each transaction.
    fn milliseconds(transactions: usize) -> u64 {
        6 + transactions as u64 / 5
    }

    #[test]
    fn a_block_takes_no_more_than_four_times_as_long_as_a_quiet_one() {
        let mut length = Length::new(16);
        assert_eq!(length.most(1_000), 1_000, "nothing is known yet");
        length.block(1_000, milliseconds(1_000));
        assert_eq!(length.most(1_000), 15, "nothing is known of quiet heights");
        length.block(15, 6);
        assert_eq!(length.most(1_000), 64, "nothing is known of transactions");
        for _ in 0..40 {
            length.block(1, milliseconds(1));
            let most = length.most(1_000);
            length.block(most, milliseconds(most));
        }
        let most = length.most(1_000);
        assert!((85..=95).contains(&most), "{most}");
        assert_eq!(length.most(80), 80, "what is configured stays the bound");
    }

    /// Where a height takes long whatever is in it, a share is larger; and never smaller than is configured.
    #[test]
    fn a_share_takes_half_as_long_as_a_quiet_height() {
        for (height, expected) in [(1, 16..=16), (6, 16..=16), (300, 700..=760)] {
            let mut length = Length::new(16);
            assert_eq!(length.share(), 16, "nothing is known yet");
            for _ in 0..40 {
                length.block(1, height);
                length.block(200, height + 40);
            }
            assert!(expected.contains(&length.share()), "{} of {height} ms", length.share());
        }
    }

    /// Lines become slower while there is nothing but load: one block of seventeen is short, and tells.
    #[test]
    fn blocks_become_longer_with_the_lines_though_none_is_quiet_of_itself() {
        let mut length = Length::new(16);
        for _ in 0..40 {
            length.block(1, milliseconds(1));
            length.block(200, milliseconds(200));
        }
        let mut short = 0;
        for _ in 0..20 * (KNOWN_BLOCKS + 1) {
            let most = length.most(5_000);
            short += usize::from(most < 16);
            length.block(most, 300 + milliseconds(most));
        }
        assert_eq!(short, 20);
        // Three times 300 milliseconds, of a fifth each.
        assert!((4_000..=4_700).contains(&length.most(5_000)), "{}", length.most(5_000));
    }

    /// Where every transaction is a long one, no block is quiet, and none is longer for that.
    #[test]
    fn long_transactions_make_no_quiet_height() {
        let mut length = Length::new(16);
        for _ in 0..1_000 {
            // A block that is made short has eight kibibytes of each.
            let most = length.most(1_000);
            let places = if most < 16 { 8 * most } else { most };
            length.block(places, milliseconds(places));
        }
        let most = (0..2)
            .map(|_| {
                length.proposed();
                length.most(1_000)
            })
            .max()
            .unwrap();
        assert!((64..=110).contains(&most), "{most}");
    }

    /// A short block that came to nothing is one, and the next is as long as before.
    #[test]
    fn whoever_learns_nothing_does_not_go_on_looking() {
        let mut length = Length::new(16);
        for _ in 0..40 {
            length.block(1, milliseconds(1));
            length.block(200, milliseconds(200));
        }
        let lengths: Vec<_> = (0..2 * KNOWN_BLOCKS)
            .map(|_| {
                let most = length.most(1_000);
                length.proposed();
                most
            })
            .collect();
        assert_eq!(lengths.iter().filter(|most| **most < 16).count(), 1, "{lengths:?}");
    }

    #[test]
    fn a_machine_that_stumbles_once_is_not_judged_by_it() {
        let mut length = Length::new(16);
        for _ in 0..40 {
            length.block(1, milliseconds(1));
            length.block(200, milliseconds(200));
        }
        let before = length.most(1_000);
        length.block(200, 10 * milliseconds(200));
        assert!(length.most(1_000) * 3 > before, "{} after {before}", length.most(1_000));
        for _ in 0..20 {
            length.block(1, milliseconds(1));
            length.block(200, milliseconds(200));
        }
        assert!(length.most(1_000) * 10 > before * 9, "{} after {before}", length.most(1_000));
    }

    #[test]
    fn the_bound_is_never_lower_than_four_shares_nor_in_the_way_where_transactions_cost_nothing() {
        let mut length = Length::new(16);
        length.block(1, 0);
        length.block(1_000, 5_000);
        assert_eq!(length.most(1_000), 64);
        let mut length = Length::new(16);
        length.block(1, 20);
        length.block(1_000, 20);
        assert_eq!(length.most(1_000), 1_000);
    }
}
