//! One request and its response on one connection.
//!
//! Upload and response run side by side in the task of the request: an upstream may answer before
//! it has read everything, and a connection needs no task of its own. A response that is here as a
//! whole gives the connection back at once; a longer one takes it along (`body`).

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::body::ResponseBody;
use super::head::{self, Head};
use crate::forward::ForwardError;
use crate::forward::pool::{Connection, Pool};
use crate::forward::request::Framing;
use crate::http::body::LimitedBody;
use crate::http::http1::Decoder;
use crate::http::room::Room;
use crate::http::{Body, BodyError};

/// What is read at once while a head is expected.
const HEAD_READ: usize = 4 * 1024;

/// Room that does not begin with a page: the records that TLS seals do, a few bytes in, and the processor takes
/// several times as long to copy between places that are alike but for the page.
fn room(size: usize) -> BytesMut {
    const ASIDE: usize = 1024;
    let mut room = BytesMut::with_capacity(size + ASIDE);
    room.resize(ASIDE, 0);
    room.advance(ASIDE);
    room
}

/// What an upstream answers.
#[derive(Debug)]
pub(in crate::forward) enum Answer {
    Response(Response<Body>),
    /// 101: from here on the connection speaks something else.
    Switched(Response<()>, Box<Connection>),
}

/// A request on its way.
#[derive(Debug)]
pub(in crate::forward) struct Transfer {
    connection: Box<Connection>,
    upgrades: bool,
    /// Bytes of `connection.outgoing` that are written.
    written: usize,
    /// Bytes that went out in all: as long as that grows, the upstream is not too slow.
    sent: u64,
    /// Body bytes that follow `outgoing`, and what follows them.
    chunk: Bytes,
    after_chunk: &'static [u8],
    upload: Option<LimitedBody>,
    framing: Framing,
    /// Body bytes that the framing still announces.
    announced: u64,
    /// Nothing more is to be written.
    uploaded: bool,
    /// For the response's body.
    room: Room,
    /// The upstream stopped reading; its answer may still come, the connection is spent.
    upload_broken: bool,
}

impl Transfer {
    /// A request whose head is in `connection.outgoing`; `upgrades`: it asks for an upgrade.
    pub(in crate::forward) const fn new(
        connection: Box<Connection>,
        upload: Option<LimitedBody>,
        framing: Framing,
        upgrades: bool,
    ) -> Self {
        Self {
            connection,
            upgrades,
            written: 0,
            sent: 0,
            chunk: Bytes::new(),
            after_chunk: &[],
            upload,
            framing,
            announced: match framing {
                Framing::Length(length) => length,
                Framing::None | Framing::Chunked => 0,
            },
            uploaded: false,
            room: Room::new(),
            upload_broken: false,
        }
    }

    /// Sends the request and reads the response as far as its head.
    ///
    /// # Errors
    /// No valid response came within `wait_max` of the last progress, or the client's body failed.
    // Not an `async fn`, which would hold what it takes twice.
    pub(in crate::forward) fn response(
        mut self,
        method: &Method,
        wait_max: Duration,
        now: Instant,
    ) -> impl Future<Output = Result<Answer, ForwardError>> {
        let mut deadline = now + wait_max;
        async move {
            let head = std::future::poll_fn(|context| {
                self.poll_response(context, method, wait_max, &mut deadline)
            })
            .await?;
            if head.response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Answer::Switched(head.response, self.connection));
            }
            Ok(Answer::Response(self.into_response(head)))
        }
    }

    fn poll_response(
        &mut self,
        context: &mut Context<'_>,
        method: &Method,
        wait_max: Duration,
        deadline: &mut Instant,
    ) -> Poll<Result<Head, ForwardError>> {
        let mut waits_for_client = false;
        if !self.uploaded {
            let before = self.sent;
            match self.poll_upload(context) {
                // The usual request is written whole, at once: its deadline stands already.
                Poll::Ready(Ok(())) if before == 0 => {}
                Poll::Ready(Ok(())) => *deadline = Instant::now() + wait_max,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ForwardError::Body(error))),
                Poll::Pending => {
                    waits_for_client = self.is_flushed();
                    if self.sent != before || waits_for_client {
                        *deadline = Instant::now() + wait_max;
                    }
                }
            }
        }
        loop {
            if let Some(head) = head::read(&mut self.connection.incoming, method, self.upgrades)? {
                return Poll::Ready(Ok(head));
            }
            match self.poll_read(context, HEAD_READ) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => {
                    let nothing_came = self.connection.incoming.is_empty();
                    return Poll::Ready(Err(ForwardError::Reset { nothing_came }));
                }
                Poll::Pending => break,
            }
        }
        if waits_for_client {
            return Poll::Pending;
        }
        ready!(self.connection.timer.poll(context, *deadline));
        Poll::Ready(Err(ForwardError::Timeout))
    }

    /// Turns head and connection into the response.
    fn into_response(mut self, head: Head) -> Response<Body> {
        let Head {
            response,
            mut decoder,
            keep_alive,
        } = head;
        let incoming = &mut self.connection.incoming;
        let body = match &decoder {
            Decoder::Done => Body::Empty,
            Decoder::Length(length) if incoming.len() as u64 >= *length => {
                match decoder.next(incoming) {
                    Ok(Some(frame)) => Body::Fixed(frame.into_data().unwrap_or_default()),
                    Ok(None) | Err(_) => Body::Empty,
                }
            }
            _ => {
                let body = ResponseBody::new(self, decoder, keep_alive);
                return response.map(|()| Body::streamed(body));
            }
        };
        self.finish(keep_alive);
        response.map(|()| body)
    }

    /// Keeps the connection if nothing is left on it in either direction.
    pub(super) fn finish(self, keep_alive: bool) {
        if keep_alive && self.uploaded && !self.upload_broken && self.connection.incoming.is_empty()
        {
            Pool::keep(self.connection);
        }
    }

    pub(super) const fn is_uploading(&self) -> bool {
        !self.uploaded
    }

    pub(super) const fn incoming(&mut self) -> &mut BytesMut {
        &mut self.connection.incoming
    }

    pub(super) fn poll_read_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        let read = ready!(self.poll_read(context, self.room.next()))?;
        self.room.took(read);
        Poll::Ready(Ok(read))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        size: usize,
    ) -> Poll<std::io::Result<usize>> {
        let Connection {
            stream, incoming, ..
        } = &mut *self.connection;
        if incoming.capacity() - incoming.len() < size / 4 {
            if incoming.is_empty() && size > HEAD_READ {
                *incoming = room(size);
            } else {
                incoming.reserve(size);
            }
        }
        // The future holds no state: one poll of it is one read into the spare capacity.
        let read = std::pin::pin!(stream.read_buf(incoming));
        read.poll(context)
    }

    const fn is_flushed(&self) -> bool {
        self.written == self.connection.outgoing.len()
            && self.chunk.is_empty()
            && self.after_chunk.is_empty()
    }

    /// Writes what there is to write. Ready when all of the request is sent, or the upstream does
    /// not want the rest.
    ///
    /// # Errors
    /// The client's body failed.
    pub(super) fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            while !self.is_flushed() {
                match ready!(self.poll_write(context)) {
                    Ok(count) if count > 0 => self.advance(count),
                    _ => {
                        self.upload_broken = true;
                        self.end_upload();
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            // TLS may hold back what it took.
            if ready!(Pin::new(&mut self.connection.stream).poll_flush(context)).is_err() {
                self.upload_broken = true;
                self.end_upload();
                return Poll::Ready(Ok(()));
            }
            let Some(upload) = &mut self.upload else {
                self.end_upload();
                return Poll::Ready(Ok(()));
            };
            self.connection.outgoing.clear();
            self.written = 0;
            match ready!(Pin::new(upload).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers end here: what they say was not checked.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.queue(data)?;
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    self.upload = None;
                    match self.framing {
                        Framing::Chunked => self.after_chunk = b"0\r\n\r\n",
                        Framing::Length(_) if self.announced > 0 => {
                            return Poll::Ready(Err(BodyError::Broken));
                        }
                        Framing::Length(_) | Framing::None => {}
                    }
                }
            }
        }
    }

    fn end_upload(&mut self) {
        self.uploaded = true;
        self.upload = None;
        self.chunk = Bytes::new();
        self.after_chunk = &[];
    }

    /// Makes body bytes the next to be written, in the request's framing.
    fn queue(&mut self, data: Bytes) -> Result<(), BodyError> {
        if self.framing == Framing::Chunked {
            use std::io::Write as _;
            // Writing to a vector does not fail.
            let _ = write!(self.connection.outgoing, "{:x}\r\n", data.len());
            self.after_chunk = b"\r\n";
        } else {
            // More bytes than the head announced would be the start of another request.
            self.announced = self
                .announced
                .checked_sub(data.len() as u64)
                .ok_or(BodyError::Broken)?;
        }
        self.chunk = data;
        Ok(())
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let stream = Pin::new(&mut self.connection.stream);
        let head = self
            .connection
            .outgoing
            .get(self.written..)
            .unwrap_or_default();
        if self.chunk.is_empty() && self.after_chunk.is_empty() {
            return stream.poll_write(context, head);
        }
        let parts = [
            IoSlice::new(head),
            IoSlice::new(&self.chunk),
            IoSlice::new(self.after_chunk),
        ];
        stream.poll_write_vectored(context, &parts)
    }

    fn advance(&mut self, mut count: usize) {
        self.sent += count as u64;
        let head = (self.connection.outgoing.len() - self.written).min(count);
        self.written += head;
        count -= head;
        let chunk = self.chunk.len().min(count);
        self.chunk.advance(chunk);
        count -= chunk;
        self.after_chunk = self.after_chunk.get(count..).unwrap_or_default();
    }
}
