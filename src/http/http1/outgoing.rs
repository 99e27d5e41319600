//! What is written to a client, in as few calls as can be.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::response::Framing;
use super::wire::{Shared, lock};

/// Parts of a body that are smaller are written together with what is around them.
const COPIED_MAX: usize = 4 * 1024;

/// What is to be written, in its order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The head, and small parts of the body.
    pub(super) head: Vec<u8>,
    written: usize,
    chunk: Bytes,
    /// What follows the chunk.
    tail: &'static [u8],
}

impl Outgoing {
    pub(super) const fn is_empty(&self) -> bool {
        self.head.is_empty() && self.chunk.is_empty()
    }

    /// Writes all of it.
    pub(super) fn poll_write<S>(
        &mut self,
        wire: &Shared<S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut wire = lock(wire);
        loop {
            let head = self.head.get(self.written..).unwrap_or_default();
            let stream = Pin::new(&mut wire.stream);
            let rest = self.chunk.len() + self.tail.len();
            let count = match (head.is_empty(), rest) {
                (true, 0) => break,
                (false, 0) => ready!(stream.poll_write(context, head))?,
                _ => {
                    let parts = [head, &self.chunk, self.tail].map(IoSlice::new);
                    ready!(stream.poll_write_vectored(context, &parts))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            self.written += of_head;
            let of_chunk = (count - of_head).min(self.chunk.len());
            self.chunk.advance(of_chunk);
            self.tail = self
                .tail
                .get(count - of_head - of_chunk..)
                .unwrap_or_default();
        }
        self.head.clear();
        self.written = 0;
        self.chunk = Bytes::new();
        Pin::new(&mut wire.stream).poll_flush(context)
    }

    /// Puts a part of a body in its framing; `last`: nothing follows.
    pub(super) fn put(&mut self, data: Bytes, framing: Framing, last: bool) {
        let tail: &[u8] = match framing {
            Framing::Chunked if last => b"\r\n0\r\n\r\n",
            Framing::Chunked => b"\r\n",
            _ => b"",
        };
        if framing == Framing::Chunked {
            // Writing to a vector does not fail.
            let _ = write!(self.head, "{:x}\r\n", data.len());
        }
        if data.len() <= COPIED_MAX {
            self.head.extend_from_slice(&data);
            self.head.extend_from_slice(tail);
        } else {
            self.chunk = data;
            self.tail = tail;
        }
    }
}
