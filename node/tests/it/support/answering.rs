//! A source of artifacts made by hand: whatever is asked, it answers what it was given, at its own speed.

use futures::{AsyncRead, AsyncWrite};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// A stream to it.
pub(crate) struct Answering {
    answer: io::Cursor<Vec<u8>>,
    /// At most so many bytes at once, and a rest after each time.
    piece: usize,
    rest: Duration,
    resting: Pin<Box<Sleep>>,
    /// It never ends: it falls silent.
    silent: bool,
}

impl Answering {
    /// Says this and ends.
    pub(crate) fn with(answer: Vec<u8>) -> Self {
        Self::slowly(answer, usize::MAX, Duration::ZERO)
    }

    /// Says this in pieces.
    pub(crate) fn slowly(answer: Vec<u8>, piece: usize, rest: Duration) -> Self {
        let resting = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { answer: io::Cursor::new(answer), piece, rest, resting, silent: false }
    }

    /// Says this and falls silent.
    pub(crate) fn then_silence(answer: Vec<u8>) -> Self {
        Self { silent: true, ..Self::with(answer) }
    }
}

impl AsyncRead for Answering {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.rest.is_zero() {
            std::task::ready!(self.resting.as_mut().poll(context));
            let rest = self.rest;
            self.resting.set(tokio::time::sleep(rest));
        }
        let most = buffer.len().min(self.piece);
        match io::Read::read(&mut self.answer, &mut buffer[..most])? {
            // Whoever waits for it has a clock of his own.
            0 if self.silent => Poll::Pending,
            read => Poll::Ready(Ok(read)),
        }
    }
}

impl AsyncWrite for Answering {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
