//! The bytes of a connection, which a body may read while the response is written.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::body::Source;
use super::framing::{Decoder, Unframed};
use crate::http::BodyError;
use crate::http::deadline::Timed;
use crate::http::expect::Waits;
use crate::http::room::Room;
use crate::http::serve::ProtocolError;
use crate::http::waiting::Waiting;

/// What is read at once while a head is expected.
const HEAD_READ: usize = 8 * 1024;

/// What is read of the next requests while a response is awaited, to see whether the client is still there.
const WATCHED_MAX: usize = HEAD_READ;

/// A connection's bytes and how far its present request was read.
pub(super) struct Wire<S> {
    pub(super) stream: Timed<S>,
    /// What was read and not yet taken.
    pub(super) incoming: BytesMut,
    /// Of the body of the present request.
    pub(super) decoder: Decoder,
    /// For the body.
    room: Room,
    /// The client waits for a word before it sends its body.
    pub(super) waits: Waits,
    /// The client has ended, or was silent for too long.
    pub(super) ended: bool,
    /// A body reads from here.
    pub(super) lent: bool,
    /// Who is told when it does not any more.
    pub(super) task: Waiting,
}

pub(super) type Shared<S> = Mutex<Wire<S>>;

pub(super) fn lock<S>(wire: &Shared<S>) -> MutexGuard<'_, Wire<S>> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Wire<S> {
    pub(super) fn new(stream: Timed<S>) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            decoder: Decoder::Done,
            room: Room::new(),
            waits: Waits::No,
            ended: false,
            lent: false,
            task: Waiting::default(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Reads more of what is not a body. Nothing is kept to read into.
    pub(super) fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut place = [const { MaybeUninit::uninit() }; HEAD_READ];
        let mut read = ReadBuf::uninit(&mut place);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        self.incoming.extend_from_slice(read.filled());
        self.ended = read.filled().is_empty();
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.capacity() - self.incoming.len() < self.room.next() / 2 {
            self.incoming.reserve(self.room.next());
        }
        let read = self.stream.read_buf(&mut self.incoming);
        // The future holds no state: one poll of it is one read into the spare capacity.
        let read = ready!(pin!(read).poll(context))?;
        self.room.took(read);
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// While a response is awaited: the client may leave, or wait for a word.
    pub(super) fn watch(&mut self, context: &mut Context<'_>) -> Result<(), ProtocolError> {
        if self.lent {
            self.task.register(context);
            return Ok(());
        }
        // Beyond the beginning of another request too: its end would not be seen behind it.
        while self.incoming.len() < WATCHED_MAX {
            match self.poll_more(context) {
                Poll::Ready(Ok(0)) => return Err(ProtocolError::Disconnect),
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Whether the client may still send something, which nobody reads.
    pub(super) const fn goes_on(&self) -> bool {
        !self.lent && !self.ended
    }

    /// Whether there is more of a body, and nobody reads it.
    pub(super) fn is_left(&self) -> bool {
        !self.lent && self.decoder != Decoder::Done
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Source for Shared<S> {
    fn poll_frame(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let broken = Poll::Ready(Some(Err(BodyError::Broken)));
        let mut wire = lock(self);
        loop {
            let Wire {
                decoder, incoming, ..
            } = &mut *wire;
            match decoder.next(incoming) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if *decoder == Decoder::Done => return Poll::Ready(None),
                Ok(None) => {}
                Err(Unframed) => return broken,
            }
            if wire.waits.want() {
                wire.task.wake();
            }
            match ready!(wire.poll_body(context)) {
                Ok(count) if count > 0 => {}
                _ => return broken,
            }
        }
    }

    fn give_back(&self) {
        let mut wire = lock(self);
        wire.lent = false;
        wire.task.wake();
    }
}
