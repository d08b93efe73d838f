//! Messages of gRPC in the bytes of a request, counted as they come: whatever is thrown at it, it keeps nothing.

/// Where in its messages a body is: five bytes before each say how long it is.
pub(super) struct Frames {
    pub(super) most: usize,
    header: [u8; 5],
    header_bytes: usize,
    /// Bytes of the message begun that are not here yet.
    missing: usize,
    /// Messages that came to their end.
    pub(super) whole: u64,
}

/// A message longer than any can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) usize);

impl Frames {
    pub(super) fn new(most: usize) -> Self {
        Self { most, header: [0; 5], header_bytes: 0, missing: 0, whole: 0 }
    }

    /// Whether it is between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.header_bytes == 0 && self.missing == 0
    }

    /// Goes on by these bytes. A message that begins in them and is not whole is told, by its length.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> Result<Option<usize>, TooLong> {
        let mut begun = None;
        while !bytes.is_empty() {
            if self.missing > 0 {
                let here = self.missing.min(bytes.len());
                self.missing -= here;
                self.whole += u64::from(self.missing == 0);
                bytes = &bytes[here..];
                continue;
            }
            self.header[self.header_bytes] = bytes[0];
            self.header_bytes += 1;
            bytes = &bytes[1..];
            if self.header_bytes == self.header.len() {
                let [_, length @ ..] = self.header;
                let length = u32::from_be_bytes(length) as usize;
                if length > self.most {
                    return Err(TooLong(length));
                }
                (self.header_bytes, self.missing, begun) = (0, length, Some(length));
                self.whole += u64::from(length == 0);
            }
        }
        Ok(begun.filter(|_| self.missing > 0))
    }
}
