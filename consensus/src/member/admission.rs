//! Transactions: admitted to the pool by the rules as they stand now, and passed on.

use super::allowance::{VAIN_TRANSACTIONS_PER_WORD, WORDS_MAX, words_for_refusal};
use super::mempool::takes_long;
use super::{Action, Admittance, Chain, Fatal, Member, OfferError, Source, Ticket, To, message};
use ledger::bounded::Name;
use ledger::key::PublicKey;
use ledger::state::{ApplyError, BlockContext, Rejection, State, StateView as _};
use ledger::transaction::VerifiedTransaction;

/// Transactions that take long and are looked at of those that a peer gives at once. These are of a block that is about to
/// be judged; they come before everything that is passed on, all together, and the pool can do without them.
pub(super) const GIVEN_LONG_MAX: usize = 1;

impl<C: Chain> Member<C> {
    pub(super) fn offered(&mut self, offers: Vec<(VerifiedTransaction, Ticket)>) -> Result<(), Fatal> {
        let mut fresh = Vec::new();
        for (transaction, ticket) in offers {
            let known = self.mempool.contains(&transaction.id());
            let result = self.admit(&transaction, Source::Client)?;
            if result.is_ok() && !known {
                fresh.push(transaction);
            }
            if ticket != Ticket(0) {
                self.actions.push(Action::Answer { ticket, result });
            }
        }
        self.pass_on(&fresh);
        self.wake_for_transactions()
    }

    /// A peer passed on transactions, and no more of those that take long are looked at than this.
    pub(super) fn heard_transactions(
        &mut self,
        peer: PublicKey,
        transactions: &[VerifiedTransaction],
        long_max: usize,
    ) -> Result<(), Fatal> {
        if self.meet(peer)? != Admittance::Heard {
            self.spends(peer, 1);
            return Ok(());
        }
        let (mut words, mut vain, mut long) = (1, 0, 0);
        for transaction in transactions {
            self.bodies.offer(&peer, transaction);
            let was_here = self.mempool.contains(&transaction.id());
            let is_long = takes_long(transaction);
            if was_here || is_long && long == long_max {
                vain += transaction.payload().weight();
                continue;
            }
            long += usize::from(is_long);
            // No answer, and little blame: a transaction may have been right when the peer passed it on.
            if let Err(refused) = self.admit(transaction, Source::Peer)? {
                vain += transaction.payload().weight();
                words += words_for_refusal(transaction.payload(), &refused);
            }
        }
        words += u32::try_from(vain / VAIN_TRANSACTIONS_PER_WORD).unwrap_or(WORDS_MAX);
        self.spends(peer, words);
        self.look_again_at_bodies()?;
        self.wake_for_transactions()
    }

    pub(super) fn admit(
        &mut self,
        transaction: &VerifiedTransaction,
        source: Source,
    ) -> Result<Result<(), OfferError>, Fatal> {
        if self.mempool.contains(&transaction.id()) {
            return Ok(Ok(()));
        }
        // What takes long is not tried out for nothing.
        if takes_long(transaction)
            && let Some(owner) = self.chain.key_owner(transaction.signer())?
            && let Err(no_room) = self.mempool.has_room(transaction, &owner.organisation, source)
        {
            return Ok(Err(no_room.into()));
        }
        match self.check(transaction) {
            Ok(organisation) => {
                let inserted = self.mempool.insert(transaction.clone(), organisation, source);
                if inserted.is_ok() {
                    self.actions.push(Action::Admitted { id: transaction.id() });
                }
                Ok(inserted.map_err(OfferError::from))
            }
            Err(ApplyError::Rejected(rejection)) => Ok(Err(rejection.into())),
            Err(ApplyError::Storage(error)) => Err(error.into()),
        }
    }

    /// What the rules say of it now, and whose it is.
    pub(super) fn check(&self, transaction: &VerifiedTransaction) -> Result<Name, ApplyError> {
        let tip = self.chain.tip();
        let block = BlockContext {
            height: tip.header.height + 1,
            time_ms: self.now.wall_ms.max(tip.header.time_ms + 1),
            history_size: tip.header.history_size_after(),
        };
        State::begin(&self.chain, block).check(transaction)?;
        let signer = transaction.signer();
        if let Some(owner) = self.chain.key_owner(signer)? {
            return Ok(owner.organisation);
        }
        let endpoint = self.chain.endpoint(signer)?.ok_or(Rejection::UnknownKey(signer))?;
        Ok(endpoint.organisation)
    }

    /// Tells every validator of transactions that came in here.
    pub(super) fn pass_on(&mut self, transactions: &[VerifiedTransaction]) {
        for message in message::gossip(transactions) {
            self.actions.push(Action::Send { to: To::Validators, message });
        }
    }

    pub(super) fn wake_for_transactions(&mut self) -> Result<(), Fatal> {
        if self.started || self.mempool.is_empty() { Ok(()) } else { self.plan_next_height() }
    }
}
