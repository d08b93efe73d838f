//! Connections over which nothing comes any more end. The operating system would keep them for a quarter of an
//! hour, and after a break of the network it tries again in ever longer steps: whoever was cut off for a minute
//! would be alone for a second one. A new connection is made in a moment.

use futures::{AsyncRead, AsyncWrite};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How long a peer may say nothing. Peers have a word for each other every [`WORD_INTERVAL`].
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often a peer hears something, whether there is news or not.
pub(super) const WORD_INTERVAL: Duration = Duration::from_secs(1);

/// A stream that fails when its other end has been silent for too long, whatever it is waiting for.
pub(super) struct Heard<S> {
    stream: S,
    last: Instant,
    /// Looks at the time; not set anew with everything that comes.
    watch: Pin<Box<Sleep>>,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, last: Instant::now(), watch: Box::pin(sleep(SILENCE_MAX)) }
    }

    /// Pending as long as the other end may still say something.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.watch.as_mut().poll(context).is_ready() {
            let until = self.last + SILENCE_MAX;
            if until <= Instant::now() {
                let words = format!("nothing was heard for {} s", SILENCE_MAX.as_secs());
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, words)));
            }
            self.watch.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        // What has come is read first, however late it is looked at.
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            return self.wait(context);
        }
        self.last = Instant::now();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_pending() { self.wait(context) } else { written }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_pending() { self.wait(context) } else { flushed }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_close(context);
        if closed.is_pending() { self.wait(context) } else { closed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Says a word at each of these moments, then nothing; takes nothing in.
    struct Talker {
        moments: Vec<Duration>,
        next: Pin<Box<Sleep>>,
    }

    impl Talker {
        fn at(mut moments: Vec<Duration>) -> Heard<Self> {
            moments.reverse();
            let first = moments.last().copied().unwrap_or_default();
            Heard::new(Self { moments, next: Box::pin(sleep(first)) })
        }
    }

    impl AsyncRead for Talker {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let Some(moment) = self.moments.last().copied() else { return Poll::Pending };
            std::task::ready!(self.next.as_mut().poll(context));
            self.moments.pop();
            let rest = self.moments.last().map_or(Duration::ZERO, |next| *next - moment);
            self.next.set(sleep(rest));
            buffer[0] = 1;
            Poll::Ready(Ok(1))
        }
    }

    impl AsyncWrite for Talker {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// A clock that stands until everybody waits shows what happens after any time.
    #[tokio::test(start_paused = true)]
    async fn a_connection_lives_as_long_as_something_comes() {
        let begun = Instant::now();
        let almost = SILENCE_MAX - Duration::from_millis(1);
        let mut stream = Talker::at((1..=20).map(|number| number * almost).collect());
        let mut buffer = [0];
        for number in 1..=20 {
            stream.read_exact(&mut buffer).await.unwrap();
            assert_eq!(begun.elapsed(), number * almost);
        }
        let error = stream.read(&mut buffer).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::TimedOut, 20 * almost + SILENCE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_to_write_waits_no_longer() {
        let begun = Instant::now();
        assert_eq!(Talker::at(Vec::new()).write(&[1]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(Talker::at(Vec::new()).flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(Talker::at(Vec::new()).close().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), 3 * SILENCE_MAX);
    }

    /// One that was not looked at for long, and has something to say, has not been silent.
    #[tokio::test(start_paused = true)]
    async fn what_has_come_counts_however_late_it_is_read() {
        let mut stream = Talker::at(vec![Duration::from_secs(1)]);
        tokio::time::advance(10 * SILENCE_MAX).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 1);
    }
}
