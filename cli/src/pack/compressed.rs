//! Streams from strangers: decompressed by what they are, and metered.

use super::error::OutOfProportion;
use super::limits::{Limits, XZ_MEMORY_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, Read};
use xz2::bufread::XzDecoder;
use xz2::stream::{CONCATENATED, Stream};

/// What a stream is compressed with, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Opens a stream of `compressed` bytes. Reading fails with [`OutOfProportion`] when it grows beyond
/// what its length allows.
pub(super) fn open<'a>(
    mut from: impl BufRead + 'a,
    compressed: u64,
    limits: &Limits,
) -> io::Result<Box<dyn Read + 'a>> {
    let compression = Compression::of(from.fill_buf()?);
    let by_ratio = compressed.saturating_mul(limits.ratio_max).max(limits.ratio_free_bytes);
    // Headers and padding of an archive add to the content; a tenth more is generous for any real one.
    let allowed = by_ratio.min(limits.tree_bytes_max.saturating_add(limits.tree_bytes_max / 10 + 1024 * 1024));
    let error = OutOfProportion { compressed, allowed };
    Ok(match compression {
        // Not compressed: its length is its proportion.
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(Meter { from: MultiGzDecoder::new(from), left: allowed, error }),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, CONCATENATED).map_err(io::Error::other)?;
            Box::new(Meter { from: XzDecoder::new_stream(from, stream), left: allowed, error })
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(Meter { from: decoder, left: allowed, error })
        }
    })
}

struct Meter<R> {
    from: R,
    left: u64,
    error: OutOfProportion,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(self.error))?;
        Ok(count)
    }
}

/// Counts what passes, so that the end of an archive can be told from the end of a file.
pub(super) struct Counter<R> {
    pub(super) from: R,
    pub(super) count: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}
