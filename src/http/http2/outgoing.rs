//! What is written to a client: frames one after the other, in as few calls as can be.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::frame::{self, DATA, END_STREAM};

/// Parts of a body that are smaller are written together with what is around them.
const COPIED_MAX: usize = 4 * 1024;
/// While more than this waits for the client, nothing of it is read and no body goes on.
pub(super) const WAITING_MAX: usize = 128 * 1024;
/// Parts that are written at once.
const PARTS: usize = 16;
/// What is kept of the room for frames while a connection waits.
const KEPT: usize = 4 * 1024;

/// What is to be written, in its order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What comes first.
    parts: VecDeque<Bytes>,
    /// Bytes in them.
    in_parts: usize,
    /// What follows: frames are written here.
    pub(super) frames: Vec<u8>,
    /// How much of that has been written.
    written: usize,
    /// All is written, and may lie in the byte stream.
    unflushed: bool,
    /// A header block has been written, with what the first one begins with.
    pub(super) has_said_no_table: bool,
}

impl Outgoing {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.in_parts + self.frames.len() - self.written
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= WAITING_MAX
    }

    /// Puts a DATA frame.
    pub(super) fn data(&mut self, stream: u32, data: Bytes, ends: bool) {
        let flags = if ends { END_STREAM } else { 0 };
        frame::write_head(&mut self.frames, data.len(), DATA, flags, stream);
        if data.len() <= COPIED_MAX {
            self.frames.extend_from_slice(&data);
            return;
        }
        let mut before = Bytes::from(std::mem::take(&mut self.frames));
        before.advance(std::mem::take(&mut self.written));
        for part in [before, data] {
            self.in_parts += part.len();
            self.parts.push_back(part);
        }
    }

    /// Writes all of it.
    pub(super) fn poll_write(
        &mut self,
        mut stream: Pin<&mut (impl AsyncWrite + ?Sized)>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_empty() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        self.unflushed = true;
        while !self.is_empty() {
            let frames = self.frames.get(self.written..).unwrap_or_default();
            let count = if self.parts.is_empty() {
                ready!(stream.as_mut().poll_write(context, frames))?
            } else {
                let mut slices = [IoSlice::new(&[]); PARTS];
                let parts = self.parts.iter().map(Bytes::as_ref).chain([frames]);
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part);
                }
                ready!(stream.as_mut().poll_write_vectored(context, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
        }
        self.frames.clear();
        self.written = 0;
        ready!(stream.poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0
            && let Some(first) = self.parts.front_mut()
        {
            let of_first = count.min(first.len());
            first.advance(of_first);
            self.in_parts -= of_first;
            count -= of_first;
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
        self.written += count;
    }

    /// Gives back what a connection that waits has no need of.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.frames.capacity() > KEPT {
            self.frames = Vec::new();
        }
    }
}
