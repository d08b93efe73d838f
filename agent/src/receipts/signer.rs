//! Whether the nodes take this host's word: what is known of the key that signs its receipts.

use super::{Receipts, SendError, Sender};
use crate::enrolment::{self, Enrolment};
use std::sync::PoisonError;

impl Receipts {
    /// What the nodes said last of the key that signs them; nothing while none was asked that knew.
    #[must_use]
    pub fn enrolment(&self) -> Option<Enrolment> {
        *self.enrolment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of it; whether it is another than before.
    fn note_enrolment(&self, said: Enrolment) -> bool {
        self.enrolment.lock().unwrap_or_else(PoisonError::into_inner).replace(said) != Some(said)
    }
}

impl Sender {
    /// Asks the nodes that may be asked whether they know the key that signs, unless that is known; says so aloud when they
    /// do not.
    pub async fn ask_enrolment(&self, may_ask: impl Fn(&str) -> bool) {
        if self.receipts.enrolment() == Some(Enrolment::Enrolled) {
            return;
        }
        let said = enrolment::ask(&self.key, self.chain_id, (&self.sources, may_ask), &self.heads).await;
        let Some(said) = said.filter(|said| self.receipts.note_enrolment(*said)) else { return };
        match said {
            Enrolment::Enrolled => tracing::info!("{said}"),
            _ => tracing::warn!(hint = said.hint(self.key.public(), &self.name), "{said}"),
        }
    }

    /// What to do about a receipt that is not taken; may be empty. That its key is not known, or no more, is
    /// asked anew then.
    #[must_use]
    pub fn hint_at(&self, error: &SendError) -> String {
        let SendError::Call(call) = error else { return String::new() };
        let said = Enrolment::from_refusal(call).filter(|said| *said != Enrolment::Enrolled);
        said.map_or_else(String::new, |said| {
            self.receipts.note_enrolment(said);
            said.hint(self.key.public(), &self.name)
        })
    }
}
