//! The arithmetic of a proposal, and the ballots of one that is over.

use super::{Ballot, Choice};
use crate::bounded::Name;
use crate::state::record::{MemberKey, Organisation};
use std::collections::BTreeSet;
use std::fmt;

/// The arithmetic of a proposal: what ballots say when these organisations have a voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Organisations with a voice: those that have an active governor.
    pub voters: usize,
    /// Voters for it.
    pub for_it: BTreeSet<Name>,
    /// Voters against it.
    pub against_it: BTreeSet<Name>,
}

impl Tally {
    /// Counts ballots among the members as they are now: the voices are theirs that have an active
    /// governor, and a ballot counts while the governor that cast it is one of these.
    #[must_use]
    pub fn count(ballots: &[Ballot], members: &[Organisation]) -> Self {
        let counts = |ballot: &&Ballot| {
            let member = members.iter().find(|member| member.name == ballot.organisation);
            member.and_then(|member| member.key(&ballot.key)).is_some_and(MemberKey::governs)
        };
        let saying = |choice| {
            let ballots = ballots.iter().filter(|ballot| ballot.choice == choice).filter(counts);
            ballots.map(|ballot| ballot.organisation.clone()).collect()
        };
        Self {
            voters: members.iter().filter(|member| member.governs()).count(),
            for_it: saying(Choice::For),
            against_it: saying(Choice::Against),
        }
    }

    /// Strictly more than two thirds are for it.
    #[must_use]
    pub fn passes(&self) -> bool {
        3 * self.for_it.len() > 2 * self.voters
    }

    /// So many are against it that the others are no more than two thirds.
    #[must_use]
    pub fn cannot_pass(&self) -> bool {
        3 * (self.voters - self.against_it.len()) <= 2 * self.voters
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = 2 * self.voters / 3 + 1;
        write!(f, "{} of {} organisations for it, {needed} needed", self.for_it.len(), self.voters)?;
        if !self.against_it.is_empty() {
            write!(f, ", {} against", self.against_it.len())?;
        }
        Ok(())
    }
}

/// The ballots of a proposal that is over, in words. How many organisations had a voice when it was settled is not
/// on record, so there is no "N of M" to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast<'a>(pub &'a [Ballot]);

impl fmt::Display for Cast<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let saying = |choice| {
            let ballots = self.0.iter().filter(|ballot| ballot.choice == choice);
            ballots.map(|ballot| ballot.organisation.as_str()).collect::<Vec<_>>().join(", ")
        };
        // Whoever proposes is for it, and may be against it later.
        match (saying(Choice::For), saying(Choice::Against)) {
            (for_it, against) if against.is_empty() => write!(f, "for it {for_it}"),
            (for_it, against) if for_it.is_empty() => write!(f, "against it {against}"),
            (for_it, against) => write!(f, "for it {for_it}; against it {against}"),
        }
    }
}
