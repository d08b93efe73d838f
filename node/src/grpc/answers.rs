//! A stream of answers whose reader may be slow: at most one of them waits to be taken, it is known when it
//! was, and the stream can be ended over a reader's head.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::Status;

struct Slot<T> {
    answer: Option<T>,
    /// How it ends, once it does; taken when it was told.
    end: Option<Option<Status>>,
    is_over: bool,
    reader: Option<Waker>,
}

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    taken: Notify,
}

impl<T> Shared<T> {
    /// The lock's holder only moves values, so a panic elsewhere cannot have left it half-way.
    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side. Dropping it ends the stream.
pub(super) struct Writer<T>(Arc<Shared<T>>);

/// The reading side, and what is held for as long as there is one.
pub(super) struct Answers<T, H> {
    shared: Arc<Shared<T>>,
    _held: H,
}

/// The reader has gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Both sides.
pub(super) fn answers<T, H>(held: H) -> (Writer<T>, Answers<T, H>) {
    let slot = Slot { answer: None, end: None, is_over: false, reader: None };
    let shared = Arc::new(Shared { slot: Mutex::new(slot), taken: Notify::new() });
    (Writer(shared.clone()), Answers { shared, _held: held })
}

impl<T> Writer<T> {
    /// Puts an answer in; waits until the one before was taken.
    pub(super) async fn put(&self, answer: T) -> Result<(), Gone> {
        let mut answer = Some(answer);
        loop {
            let taken = self.0.taken.notified();
            {
                let mut slot = self.0.slot();
                if slot.is_over {
                    return Err(Gone);
                }
                if slot.answer.is_none() {
                    slot.answer = answer.take();
                    slot.reader.take().into_iter().for_each(Waker::wake);
                    return Ok(());
                }
            }
            taken.await;
        }
    }

    /// Ends the stream with a refusal. What was not taken by now is thrown away: nobody keeps memory by not
    /// reading.
    pub(super) fn refuse(self, status: Status) {
        let mut slot = self.0.slot();
        slot.answer = None;
        slot.end = Some(Some(status));
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        slot.end.get_or_insert(None);
        slot.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl<T, H: Unpin> Stream for Answers<T, H> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut slot = self.shared.slot();
        if let Some(answer) = slot.answer.take() {
            self.shared.taken.notify_one();
            return Poll::Ready(Some(Ok(answer)));
        }
        match &mut slot.end {
            Some(end) => Poll::Ready(end.take().map(Err)),
            None => {
                slot.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T, H> Drop for Answers<T, H> {
    fn drop(&mut self) {
        let mut slot = self.shared.slot();
        (slot.answer, slot.is_over) = (None, true);
        self.shared.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    #[tokio::test]
    async fn answers_come_in_order_and_the_end_after_them() {
        let (writer, mut reader) = answers(());
        let writing = tokio::spawn(async move {
            for number in 0..100 {
                writer.put(number).await.unwrap();
            }
        });
        for number in 0..100 {
            assert_eq!(reader.next().await.unwrap().unwrap(), number);
        }
        assert!(reader.next().await.is_none());
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_throws_away_what_was_not_read_and_is_told() {
        let (writer, mut reader) = answers(());
        writer.put(1).await.unwrap();
        writer.refuse(Status::deadline_exceeded("too slow"));
        assert_eq!(reader.next().await.unwrap().unwrap_err().message(), "too slow");
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_writer_hears_that_its_reader_has_gone() {
        let (writer, reader) = answers(());
        writer.put(1).await.unwrap();
        let (result, ()) = tokio::join!(writer.put(2), async { drop(reader) });
        assert_eq!(result, Err(Gone));
    }
}
