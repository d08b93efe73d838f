//! The way of a transaction into the pool: room, signature, offer.

use super::refusal::Refused;
use super::{Services, wall_ms};
use crate::desk::{Asked, Claim, Claimant, NoClaim, Place};
use crate::origin::Origin;
use consensus::member::Event;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::Name;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::state::{ApplyError, BlockContext, State, StateView as _, may_accuse};
use ledger::transaction::{SignedTransaction, VerifiedTransaction};
use proto::v1;
use tonic::Status;

/// The check of a transaction that came too late to be admitted because it is final already.
pub(super) const ALREADY_FINALISED: &str = "already-finalised";
/// A transaction whose signature holds, and its place in the pool: none for one that is known here already.
pub(super) struct Welcome {
    pub(super) transaction: VerifiedTransaction,
    origin: Origin,
    place: Option<Claim>,
}

impl Services {
    /// Parses and verifies what comes from somewhere. What there is no room for is refused unread, by whose it
    /// claims to be: under load, a signature costs more than anything else. So what is not signed as it claims is
    /// held against where it came from.
    pub(super) async fn welcome(
        &self,
        origin: Origin,
        transactions: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<Welcome, Refused>>, Refused> {
        let mut places = Vec::with_capacity(transactions.len());
        let mut roomy = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            let place = match self.claim_for(origin, &transaction)? {
                Ok(place) => self.may_bring(&transaction).map(|()| place),
                Err(full) => Err(full.into()),
            };
            if place.is_ok() {
                roomy.push(transaction);
            }
            places.push(place);
        }
        let mut verified = self.verifier.offered(origin, roomy).await.map_err(|_| Refused::stopping())?.into_iter();
        let welcome = |place: Result<Option<Claim>, Refused>| {
            let place = place?;
            let verdict = verified.next().ok_or_else(Refused::stopping)?;
            let transaction = verdict.inspect_err(|_| self.desk.forged(origin))?;
            Ok(Welcome { transaction, origin, place })
        };
        Ok(places.into_iter().map(welcome).collect())
    }

    /// The same of one.
    pub(super) async fn welcome_one(&self, origin: Origin, transaction: Vec<u8>) -> Result<Welcome, Refused> {
        let welcome = self.welcome(origin, vec![transaction]).await?.pop();
        let welcome = welcome.unwrap_or_else(|| Err(Refused::stopping()));
        if welcome.as_ref().is_err_and(Refused::is_for_want_of_room) {
            tokio::time::sleep(self.refusing.pause(1)).await;
        }
        welcome
    }

    /// A place in the pool. What is known already needs none, where there is no room: whoever asks again is
    /// answered for it. But not where the address has all it may have: what is let by here has its signature checked,
    /// and that bound is the only one on how many are checked for an address.
    fn claim_for(&self, origin: Origin, transaction: &[u8]) -> Result<Result<Option<Claim>, NoClaim>, Refused> {
        let signer = SignedTransaction::claimed_signer(transaction);
        let organisation = match signer.filter(|_| self.desk.crowd().is_pressing()) {
            Some(signer) => self.owner(signer)?,
            None => None,
        };
        match self.desk.claim(Claimant { origin, signer, organisation }) {
            Err(NoClaim::NoRoom(_) | NoClaim::Key { .. }) if self.is_known(transaction)? => Ok(Ok(None)),
            claimed => Ok(claimed.map(Some)),
        }
    }

    /// Whether an accusation is brought by a key that may bring one, before anything of it is checked: or else anybody would
    /// have hundreds of signatures checked by one of his own. That it names somebody else's key is found out by the first.
    fn may_bring(&self, bytes: &[u8]) -> Result<(), Refused> {
        let Some(SignedTransaction { transaction, .. }) = SignedTransaction::claimed_heavy(bytes) else {
            return Ok(());
        };
        // Of another ledger, or a later one: that is said first, and costs nothing.
        if transaction.version != PROTOCOL_VERSION || transaction.chain_id != self.store.chain_id() {
            return Ok(());
        }
        match may_accuse(&*self.store, &transaction) {
            Ok(()) => Ok(()),
            // Whoever asks again is answered, whatever has become of the key.
            Err(ApplyError::Rejected(_)) if self.is_known(bytes)? => Ok(()),
            Err(ApplyError::Rejected(rejection)) => Err(rejection.into()),
            Err(ApplyError::Storage(error)) => Err(Refused::internal(error)),
        }
    }

    /// What the rules say of a transaction as the state is now.
    pub(super) fn judge(&self, transaction: &VerifiedTransaction) -> Result<(), Refused> {
        let view = self.store.view();
        let header = view.tip().map_err(Refused::internal)?.header;
        let (height, history_size) = (header.height + 1, header.history_size_after());
        let block = BlockContext { height, time_ms: wall_ms().max(header.time_ms + 1), history_size };
        match State::begin(&view, block).check(transaction) {
            Ok(()) => Ok(()),
            Err(ApplyError::Rejected(rejection)) => Err(rejection.into()),
            Err(ApplyError::Storage(error)) => Err(Refused::internal(error)),
        }
    }

    fn is_known(&self, transaction: &[u8]) -> Result<bool, Refused> {
        let Some(id) = SignedTransaction::claimed_id(transaction) else { return Ok(false) };
        Ok(self.desk.is_pending(&id) || self.finalised(&id)?.is_some())
    }

    /// The organisation whose key this is.
    fn owner(&self, signer: PublicKey) -> Result<Option<Name>, Refused> {
        if let Some(owner) = self.store.key_owner(signer).map_err(Refused::internal)? {
            return Ok(Some(owner.organisation));
        }
        let endpoint = self.store.endpoint(signer).map_err(Refused::internal)?;
        Ok(endpoint.map(|endpoint| endpoint.organisation))
    }

    /// Offers to the core; one answer each.
    pub(super) async fn offer(&self, welcome: Vec<Welcome>) -> Result<Vec<Result<(), Refused>>, Refused> {
        let asked: Vec<_> = welcome.iter().map(|_| self.desk.ticket()).collect();
        let origin = welcome.first().map(|welcome| welcome.origin);
        // To say again what waits already proves nothing of who says it.
        let is_new: Vec<_> = welcome.iter().map(|it| !self.desk.is_pending(&it.transaction.id())).collect();
        let (transactions, _places): (Vec<_>, Vec<_>) =
            welcome.into_iter().map(|Welcome { transaction, place, .. }| (transaction, place)).unzip();
        let offers = transactions.into_iter().zip(asked.iter().map(Asked::ticket)).collect();
        self.events.send(Event::Offered(offers)).await.map_err(|_| Refused::stopping())?;
        let mut results = Vec::with_capacity(asked.len());
        for asked in asked {
            results.push(asked.answer().await.map_or_else(|| Err(Refused::stopping()), |it| it.map_err(Refused::from)));
        }
        // What is offered together comes from one place.
        let mut news = std::iter::zip(&results, is_new);
        if let Some(origin) = origin.filter(|_| news.any(|(result, is_new)| result.is_ok() && is_new)) {
            self.connections.heard(origin);
        }
        Ok(results)
    }

    /// Takes in a batch of a stream; one answer each.
    pub(super) async fn submit_batch(
        &self,
        origin: Origin,
        transactions: Vec<Vec<u8>>,
    ) -> Result<Vec<v1::SubmitStreamResponse>, Status> {
        let (mut ids, mut good) = (Vec::with_capacity(transactions.len()), Vec::with_capacity(transactions.len()));
        for looked_at in self.welcome(origin, transactions).await? {
            ids.push(looked_at.map(|welcome| {
                let id = welcome.transaction.id();
                good.push(welcome);
                id
            }));
        }
        let mut admitted = self.offer(good).await?.into_iter();
        let results: Vec<Result<(), Refused>> = ids
            .iter()
            .map(|id| match id {
                Ok(_) => admitted.next().unwrap_or_else(|| Err(Refused::stopping())),
                Err(refused) => Err(refused.clone()),
            })
            .collect();
        let is_refused = |result: &&Result<_, Refused>| result.as_ref().is_err_and(Refused::is_for_want_of_room);
        let refused = results.iter().filter(is_refused).count();
        if refused > 0 {
            tokio::time::sleep(self.refusing.pause(refused)).await;
        }
        let answers = ids.into_iter().zip(results).map(|(id, result)| {
            let refusal = result.err().filter(|refused| refused.refusal.check != ALREADY_FINALISED);
            let id = id.map(|id| id.0.to_vec()).unwrap_or_default();
            v1::SubmitStreamResponse { id, refusal: refusal.map(|refused| refused.refusal) }
        });
        Ok(answers.collect())
    }

    pub(super) fn finalised(&self, id: &TransactionId) -> Result<Option<Place>, Refused> {
        let located = self.store.transaction(id).map_err(Refused::internal)?;
        Ok(located.map(|located| Place { height: located.height, index: located.index, time_ms: located.time_ms }))
    }
}
