//! A stream that was opened by extended CONNECT (RFC 8441): bytes both ways in its DATA frames.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::Http2Body;
use crate::http::BodyError;
use crate::http::waiting::Waiting;

/// What lies between the writer and the frames.
const BETWEEN_MAX: usize = 16 * 1024;

/// What is written on a tunnel and not yet framed.
#[derive(Debug, Default)]
struct Between(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    end: Option<End>,
    reader: Waiting,
    writer: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By the writer, in order.
    Shutdown,
    /// The writer has gone.
    Dropped,
    /// The stream has.
    Reset,
}

impl Between {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The gateway's side: what the client sends, and what it is sent.
#[derive(Debug)]
pub(crate) struct Tunnel {
    body: Http2Body,
    /// Of the present frame.
    rest: Bytes,
    between: Arc<Between>,
}

/// The stream's side: the body of the response that opens it.
#[derive(Debug)]
pub(super) struct Written(Arc<Between>);

impl Tunnel {
    /// A tunnel with what the client sends; and what it is sent.
    pub(super) fn new(body: Http2Body) -> (Self, Written) {
        let between = Arc::new(Between::default());
        let written = Written(Arc::clone(&between));
        let tunnel = Self {
            body,
            rest: Bytes::new(),
            between,
        };
        (tunnel, written)
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.between.lock();
        if state.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = BETWEEN_MAX.saturating_sub(state.bytes.len());
        if room == 0 {
            state.writer.register(context);
            return Poll::Pending;
        }
        let bytes = bytes.get(..room).unwrap_or(bytes);
        state.bytes.extend_from_slice(bytes);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.between.end(End::Shutdown);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.between.end(End::Dropped);
    }
}

impl Body for Written {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.lock();
        if state.bytes.has_remaining() {
            // Its room goes with it.
            let bytes = std::mem::take(&mut state.bytes).freeze();
            let writer = state.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match state.end {
            None => {
                state.reader.register(context);
                Poll::Pending
            }
            Some(End::Shutdown) => Poll::Ready(None),
            Some(End::Dropped | End::Reset) => Poll::Ready(Some(Err(BodyError::UpstreamReset))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.bytes.is_empty() && state.end == Some(End::Shutdown)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.0.end(End::Reset);
    }
}
