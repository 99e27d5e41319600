//! The byte stream of a TLS connection with a client, over rustls' unbuffered API.
//!
//! Records are read into a buffer that all connections of a thread share, and are written from another.
//! So a connection that waits keeps no buffer at all, one system call takes or gives as many records as
//! there are, and what is copied is still in the processor's cache. The usual stream over rustls reads 4 KiB
//! a call, keeps them, and holds every record in an allocation of its own until it is written.
//!
//! Reading never writes: a request's body may be read by another task than the one that writes the
//! response, and a socket wakes only the last one that asked. What TLS wants to say meanwhile (the answer to
//! a key update) goes out before the next bytes.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at once.
const READ_MAX: usize = 128 * 1024;
/// Plain text that is sealed, and written, at once.
const WRITE_MAX: usize = 128 * 1024;
/// What is kept of a record or of a handshake message that is not whole yet; rustls takes none that is larger.
const PARTIAL_MAX: usize = 64 * 1024 + 1024;
/// What sealing adds to a record at most: its header, the nonce of TLS 1.2, the inner type, the tag.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;
/// The plain text of a record.
const RECORD_MAX: usize = 16 * 1024;
/// What TLS itself may have to say along with data before it is written on its own.
const ASIDE_MAX: usize = 4 * 1024;
/// Parts that are smaller than this in all become one record.
const GATHERED_MAX: usize = 4 * 1024;

thread_local! {
    /// Records as they came.
    static OPENED: RefCell<Box<[u8]>> = RefCell::new(vec![0; PARTIAL_MAX + READ_MAX].into());
    /// Records as they go.
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; ASIDE_MAX + sealed_max(WRITE_MAX)].into());
}

/// The most that so many bytes of plain text come to. A vectored write makes a record of each part.
const fn sealed_max(plain: usize) -> usize {
    plain + (plain / RECORD_MAX + PARTS_MAX + 1) * RECORD_OVERHEAD
}

/// Parts of a vectored write that are taken at once.
const PARTS_MAX: usize = 64;

/// A TLS connection with a client. It is large, and moved about before it comes to where it stays.
pub(crate) struct TlsStream<S>(Box<Records<S>>);

/// A connection with what of its records is not done with.
struct Records<S> {
    io: S,
    connection: UnbufferedServerConnection,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// Plain text that nobody has taken yet.
    plain: BytesMut,
    /// Records that are not written yet.
    outgoing: BytesMut,
    /// The client takes nothing: what is outgoing goes first.
    blocked: bool,
    /// The client has ended its side.
    ended: bool,
    /// We have ended ours.
    closed: bool,
}

impl<S> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

/// What came of some bytes.
struct Processed {
    /// Bytes that are done with.
    used: usize,
    /// The client has said that nothing follows.
    ended: bool,
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Goes through the records in `bytes`: their plain text is given to `taken`, and what TLS itself has to say
/// is put to what is `outgoing`.
fn process(
    connection: &mut UnbufferedServerConnection,
    bytes: &mut [u8],
    outgoing: &mut BytesMut,
    mut taken: impl FnMut(&[u8]),
) -> Result<Processed, rustls::Error> {
    let mut used = 0;
    let mut ended = false;
    loop {
        let rest = bytes.get_mut(used..).unwrap_or_default();
        let status = connection.process_tls_records(rest);
        let mut discard = status.discard;
        match status.state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    taken(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let at = outgoing.len();
                let mut size = 0;
                loop {
                    outgoing.resize(at + size, 0);
                    let place = outgoing.get_mut(at..).unwrap_or_default();
                    match data.encode(place) {
                        Ok(written) => break outgoing.truncate(at + written),
                        Err(EncodeError::InsufficientSize(needs)) => size = needs.required_size,
                        Err(EncodeError::AlreadyEncoded) => break outgoing.truncate(at),
                    }
                }
            }
            // It will be written in its turn.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => ended = true,
            ConnectionState::BlockedHandshake
            | ConnectionState::WriteTraffic(_)
            | ConnectionState::Closed => {
                used += discard;
                return Ok(Processed { used, ended });
            }
            // Early data is off: it could be replayed.
            _ => return Err(rustls::Error::HandshakeNotComplete),
        }
        used += discard;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Shakes hands. What a client sends along with its last message is kept for the first read.
    ///
    /// # Errors
    /// The client leaves, or it and we do not agree; it has been told so.
    pub(super) async fn accept(config: Arc<ServerConfig>, io: S) -> io::Result<Self> {
        let mut stream = Box::new(Records {
            io,
            connection: UnbufferedServerConnection::new(config).map_err(invalid)?,
            partial: Vec::new(),
            plain: BytesMut::new(),
            outgoing: BytesMut::new(),
            blocked: false,
            ended: false,
            closed: false,
        });
        while stream.connection.is_handshaking() {
            let mut nothing = ReadBuf::new(&mut []);
            std::future::poll_fn(|context| stream.poll_records(context, &mut nothing)).await?;
            if stream.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A session ticket can wait for the response to a request that has come along.
            if stream.connection.is_handshaking() || stream.plain.is_empty() {
                std::future::poll_fn(|context| stream.poll_outgoing(context)).await?;
            }
        }
        Ok(Self(stream))
    }

    pub(super) fn connection(&self) -> &UnbufferedServerConnection {
        &self.0.connection
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Records<S> {
    /// Reads once, and goes through the records that are whole: into `buffer` as far as there is room.
    fn poll_records(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = OPENED.with_borrow_mut(|bytes| {
            let begun = self.partial.len();
            if begun > PARTIAL_MAX {
                return Poll::Ready(Err(invalid("a message that does not end")));
            }
            // No more than is wanted, or a slow reader would make us keep it.
            let wanted = sealed_max(buffer.remaining().max(GATHERED_MAX));
            let whole = begun + wanted.min(READ_MAX);
            let bytes = bytes.get_mut(..whole).unwrap_or_default();
            let (before, room) = bytes.split_at_mut(begun);
            before.copy_from_slice(&self.partial);
            let mut read = ReadBuf::new(room);
            ready!(Pin::new(&mut self.io).poll_read(context, &mut read))?;
            let count = read.filled().len();
            if count == 0 {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            let bytes = bytes.get_mut(..begun + count).unwrap_or_default();
            let Self {
                connection, plain, ..
            } = self;
            let processed = process(connection, bytes, &mut self.outgoing, |record| {
                let fits = record.len().min(buffer.remaining());
                let (now, later) = record.split_at_checked(fits).unwrap_or((record, &[]));
                buffer.put_slice(now);
                plain.extend_from_slice(later);
            });
            let processed = processed.map_err(invalid)?;
            self.ended = processed.ended;
            let rest = bytes.get(processed.used..).unwrap_or_default();
            if rest.is_empty() {
                self.partial = Vec::new();
            } else {
                self.partial.clear();
                self.partial.extend_from_slice(rest);
            }
            Poll::Ready(Ok(()))
        });
        if let Poll::Ready(Err(_)) = outcome {
            self.tell_why(context);
        }
        outcome
    }

    /// Sends the alert that an error has made, if the socket takes it at once: the connection is over.
    fn tell_why(&mut self, context: &mut Context<'_>) {
        self.ended = true;
        // It is handed out before anything is read.
        let _ = process(&mut self.connection, &mut [], &mut self.outgoing, |_| {});
        let _ = self.poll_outgoing(context);
    }

    /// Writes what is outgoing.
    fn poll_outgoing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(context, &self.outgoing)
            else {
                self.blocked = true;
                return Poll::Pending;
            };
            match written? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.outgoing.advance(count),
            }
        }
        self.blocked = false;
        // Nothing is kept by a connection that waits.
        if self.outgoing.capacity() > 0 {
            self.outgoing = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Seals plain text into the front of `place`; gives how much that came to.
    fn seal(&mut self, plain: &[u8], place: &mut [u8]) -> io::Result<usize> {
        let status = self.connection.process_tls_records(&mut self.partial);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(invalid("nothing can be sent any more"));
        };
        let sealed = traffic.encrypt(plain, place);
        sealed.map_err(|error: EncryptError| invalid(error.to_string()))
    }

    /// Seals parts, after what TLS has to say, and writes it all at once; gives how many bytes of the parts
    /// were taken. What the socket does not take is kept.
    fn poll_write_parts<'a>(
        &mut self,
        context: &mut Context<'_>,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        if self.blocked || self.outgoing.len() > ASIDE_MAX {
            ready!(self.poll_outgoing(context))?;
        }
        SEALED.with_borrow_mut(|sealed| {
            let mut end = self.outgoing.len();
            let aside = sealed.get_mut(..end).unwrap_or_default();
            aside.copy_from_slice(&self.outgoing);
            self.outgoing = BytesMut::new();
            let mut taken = 0;
            for part in parts.filter(|part| !part.is_empty()).take(PARTS_MAX) {
                let part = part.get(..WRITE_MAX - taken).unwrap_or(part);
                end += self.seal(part, sealed.get_mut(end..).unwrap_or_default())?;
                taken += part.len();
                if taken == WRITE_MAX {
                    break;
                }
            }
            let mut bytes = sealed.get(..end).unwrap_or_default();
            while !bytes.is_empty() {
                match Pin::new(&mut self.io).poll_write(context, bytes) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.outgoing.extend_from_slice(bytes);
                        self.blocked = true;
                        break;
                    }
                }
            }
            Poll::Ready(Ok(taken))
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self.get_mut().0;
        if !this.plain.is_empty() {
            let count = this.plain.len().min(buffer.remaining());
            buffer.put_slice(&this.plain.split_to(count));
            if this.plain.is_empty() {
                this.plain = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        while buffer.filled().len() == before && !this.ended && buffer.remaining() > 0 {
            ready!(this.poll_records(context, buffer))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self.get_mut().0;
        this.poll_write_parts(context, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self.get_mut().0;
        let whole: usize = parts.iter().map(|part| part.len()).sum();
        if whole > GATHERED_MAX {
            let parts = parts.iter().map(|part| &**part);
            return this.poll_write_parts(context, parts);
        }
        let mut gathered = [0; GATHERED_MAX];
        let mut end = 0;
        for part in parts {
            if let Some(place) = gathered.get_mut(end..end + part.len()) {
                place.copy_from_slice(part);
                end += part.len();
            }
        }
        let gathered = gathered.get(..end).unwrap_or_default();
        this.poll_write_parts(context, std::iter::once(gathered))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.get_mut().0;
        ready!(this.poll_outgoing(context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.get_mut().0;
        if !this.closed {
            this.closed = true;
            let status = this.connection.process_tls_records(&mut this.partial);
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
                let mut notice = [0; 2 * (RECORD_OVERHEAD + 2)];
                if let Ok(count) = traffic.queue_close_notify(&mut notice) {
                    let notice = notice.get(..count).unwrap_or_default();
                    this.outgoing.extend_from_slice(notice);
                }
            }
        }
        ready!(this.poll_outgoing(context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
