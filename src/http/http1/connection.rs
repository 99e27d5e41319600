//! One connection: requests one after the other, each answered before the next is looked at.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::body::Http1Body;
use super::framing::Decoder;
use super::outgoing::Outgoing;
use super::request::{self, Head};
use super::response::{self, Asked, Framing};
use super::wire::{Shared, Wire, lock};
use crate::http::Body;
use crate::http::body::RequestBody;
use crate::http::deadline::Timed;
use crate::http::expect::Waits;
use crate::http::serve::{
    Farewell, LINGER_TIME_MAX, MessageLimits, ProtocolError, Service, Unreadable,
};
use crate::http::upgrade::Rewound;

/// How long a connection that ends waits for a body that is still being read: its client gets to read the
/// response instead of a reset.
const LAST_BODY_MAX: Duration = Duration::from_secs(2);
/// What is read and dropped after the last response.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection with its end, which may be asked for at any time.
struct Connection<'a, S, D> {
    wire: Arc<Shared<S>>,
    limits: MessageLimits,
    outgoing: Outgoing,
    drained: Pin<&'a mut D>,
    farewell: Option<Farewell>,
}

/// Where a connection goes if it is upgraded.
type Switch = oneshot::Sender<Rewound>;

/// Why there is no request.
enum Stopped {
    Unreadable(Unreadable),
    Error(ProtocolError),
}

/// Serves a connection until it ends; once `drained` is done, until what runs is finished.
///
/// # Errors
/// The connection ended in the middle of something.
pub(crate) async fn serve<S, F, R, G>(
    stream: Timed<S>,
    limits: MessageLimits,
    service: Service<F, G>,
    drained: impl Future<Output = Farewell>,
) -> Result<(), ProtocolError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
{
    let mut connection = Connection {
        wire: Arc::new(Mutex::new(Wire::new(stream))),
        limits,
        outgoing: Outgoing::default(),
        drained: pin!(drained),
        farewell: None,
    };
    let was_last = loop {
        let head = match connection.head().await {
            Ok(Some(head)) => head,
            Ok(None) => break false,
            Err(Stopped::Unreadable(why)) => {
                let asked = Asked::new(&Method::GET, Version::HTTP_11, false);
                connection.respond((service.refuse)(why), asked).await?;
                connection.end(true).await;
                return Err(ProtocolError::Parse);
            }
            Err(Stopped::Error(error)) => return Err(error),
        };
        let asked = Asked::new(&head.method, head.version, head.keep_alive);
        let (request, switch) = connection.request(head);
        // Large, and only here while a request is; made in its place, not moved there.
        let answering = Box::into_pin(Box::write(Box::new_uninit(), (service.answer)(request)));
        let response = connection.answer(answering).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return connection.switch(response, &asked, switch).await;
        }
        if !connection.respond(response, asked).await? {
            break true;
        }
    };
    connection.end(was_last).await;
    Ok(())
}

/// Whether a head may have come to its end, where it had not in the first `searched` bytes: to parse it again
/// with each byte of a slow client would be costly.
fn may_be_whole(incoming: &[u8], searched: usize, head_max: usize) -> bool {
    // The first time, and as soon as it is too large.
    if searched == 0 || incoming.len() > head_max {
        return !incoming.is_empty();
    }
    let new = incoming.get(searched.saturating_sub(3)..);
    let new = new.unwrap_or_default();
    let ends = |end: &[u8]| new.windows(end.len()).any(|bytes| bytes == end);
    ends(b"\n\r\n") || ends(b"\n\n")
}

/// Whether a request could become something else than HTTP/1.1.
fn may_switch(headers: &HeaderMap, version: Version) -> bool {
    version == Version::HTTP_11 && headers.contains_key(header::UPGRADE)
}

impl<S, D> Connection<'_, S, D>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: Future<Output = Farewell>,
{
    /// Looks whether the connection is to end.
    fn look(&mut self, context: &mut Context<'_>) {
        if self.farewell.is_none()
            && let Poll::Ready(farewell) = self.drained.as_mut().poll(context)
        {
            self.farewell = Some(farewell);
        }
    }

    /// The next request; `None`: there is none any more.
    async fn head(&mut self) -> Result<Option<Head>, Stopped> {
        let head_max = request::head_max(self.limits);
        // What was looked through without finding the end of a head.
        let mut searched = 0;
        poll_fn(|context| {
            self.look(context);
            let mut wire = lock(&self.wire);
            loop {
                if may_be_whole(&wire.incoming, searched, head_max) {
                    let head = request::read(&mut wire.incoming, head_max);
                    if let Some(head) = head.map_err(Stopped::Unreadable)? {
                        return Poll::Ready(Ok(Some(head)));
                    }
                }
                searched = wire.incoming.len();
                let over = match self.farewell {
                    None => false,
                    Some(Farewell::AtOnce) => true,
                    Some(Farewell::Gracefully) => searched == 0,
                };
                if over {
                    return Poll::Ready(Ok(None));
                }
                if searched == 0 && wire.incoming.capacity() > 0 {
                    // Nothing is kept by a connection that waits.
                    wire.incoming = BytesMut::new();
                }
                match ready!(wire.poll_more(context)) {
                    Ok(0) if searched == 0 => return Poll::Ready(Ok(None)),
                    Ok(0) => {
                        let error = Stopped::Error(ProtocolError::Disconnect);
                        return Poll::Ready(Err(error));
                    }
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(Stopped::Error(error.into()))),
                }
            }
        })
        .await
    }

    /// The request of a head.
    fn request(&self, head: Head) -> (Request<RequestBody>, Option<Switch>) {
        let mut switch = None;
        let body = if head.decoder == Decoder::Done {
            if may_switch(&head.headers, head.version) {
                let (sender, receiver) = oneshot::channel();
                switch = Some(sender);
                RequestBody::Upgradable(receiver)
            } else {
                RequestBody::Empty
            }
        } else {
            let length = head.decoder.remaining();
            let mut wire = lock(&self.wire);
            wire.decoder = head.decoder;
            wire.lent = true;
            wire.waits = Waits::new(head.expects_continue);
            RequestBody::Http1(Http1Body::new(Arc::clone(&self.wire) as _, length))
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        (request, switch)
    }

    /// The response to the present request.
    async fn answer(
        &mut self,
        mut answering: Pin<Box<impl Future<Output = Response<Body>>>>,
    ) -> Result<Response<Body>, ProtocolError> {
        poll_fn(|context| {
            if let Poll::Ready(response) = answering.as_mut().poll(context) {
                return Poll::Ready(Ok(response));
            }
            self.meanwhile(context)?;
            Poll::Pending
        })
        .await
    }

    /// What is looked at, and written, while something else is awaited.
    fn meanwhile(&mut self, context: &mut Context<'_>) -> Result<(), ProtocolError> {
        self.look(context);
        let mut wire = lock(&self.wire);
        wire.watch(context)?;
        if wire.waits.is_due() {
            self.outgoing.head.extend_from_slice(CONTINUE);
        }
        drop(wire);
        if !self.outgoing.is_empty()
            && let Poll::Ready(written) = self.outgoing.poll_write(&self.wire, context)
        {
            written?;
        }
        Ok(())
    }

    /// Writes what is to be written.
    async fn write(&mut self) -> Result<(), ProtocolError> {
        poll_fn(|context| self.outgoing.poll_write(&self.wire, context)).await?;
        Ok(())
    }

    /// Sends a response; whether the connection goes on after it.
    async fn respond(
        &mut self,
        response: Response<Body>,
        mut asked: Asked,
    ) -> Result<bool, ProtocolError> {
        // A client that was not told to go on may send its body or may not: what follows cannot be told.
        let waits = std::mem::replace(&mut lock(&self.wire).waits, Waits::No);
        let (is_left, is_whole) = {
            let wire = lock(&self.wire);
            (wire.is_left(), wire.decoder == Decoder::Done)
        };
        let is_certain = waits == Waits::No || is_whole;
        asked.keep_alive &= is_certain && !is_left && self.farewell.is_none();
        self.outgoing.head.reserve(1024);
        let begun = response::write_head(&mut self.outgoing.head, &response, &asked);
        self.send(response.into_body(), begun.framing).await?;
        // Nothing is kept by a connection that waits.
        self.outgoing = Outgoing::default();
        if begun.keep_alive {
            return Ok(self.body_over().await);
        }
        let _ = tokio::time::timeout(LAST_BODY_MAX, self.body_over()).await;
        Ok(false)
    }

    /// Sends a body after its head.
    async fn send(&mut self, mut body: Body, framing: Framing) -> Result<(), ProtocolError> {
        if framing == Framing::None {
            drop(body);
            return self.write().await;
        }
        let mut rest = match framing {
            Framing::Length(length) => length,
            _ => u64::MAX,
        };
        let mut ended = body.is_end_stream();
        let mut has_last_chunk = false;
        while !ended {
            let frame = poll_fn(|context| {
                if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                    return Poll::Ready(Ok::<_, ProtocolError>(frame));
                }
                self.meanwhile(context)?;
                Poll::Pending
            });
            let data = match frame.await? {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => {
                    // Its client gets as much as there was, and sees that it is not all.
                    self.write().await?;
                    return Err(ProtocolError::Disconnect);
                }
            };
            ended = body.is_end_stream();
            if data.is_empty() {
                continue;
            }
            // More than was promised would be the start of another response.
            let length = data.len() as u64;
            rest = rest.checked_sub(length).ok_or(ProtocolError::Disconnect)?;
            has_last_chunk = ended;
            self.outgoing.put(data, framing, ended);
            if !ended {
                self.write().await?;
            }
        }
        drop(body);
        if framing == Framing::Chunked && !has_last_chunk {
            self.outgoing.head.extend_from_slice(b"0\r\n\r\n");
        }
        self.write().await?;
        match framing {
            Framing::Length(_) if rest > 0 => Err(ProtocolError::Disconnect),
            _ => Ok(()),
        }
    }

    /// Done when nobody reads the request's body any more; whether it came to its end.
    async fn body_over(&mut self) -> bool {
        poll_fn(|context| {
            let mut wire = lock(&self.wire);
            if wire.lent {
                wire.task.register(context);
                return Poll::Pending;
            }
            Poll::Ready(wire.decoder == Decoder::Done)
        })
        .await
    }

    /// Gives the connection to whoever speaks something else on it.
    async fn switch(
        mut self,
        response: Response<Body>,
        asked: &Asked,
        switch: Option<Switch>,
    ) -> Result<(), ProtocolError> {
        response::write_head(&mut self.outgoing.head, &response, asked);
        self.write().await?;
        if let Some(switch) = switch
            && let Some(wire) = Arc::into_inner(self.wire)
        {
            let wire = wire
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            // Whoever wanted it may have gone.
            let _ = switch.send(Rewound::new(wire.incoming, wire.stream));
        }
        Ok(())
    }

    /// Says goodbye, to a client that may have gone already; whether a response `was_last`.
    async fn end(&mut self, was_last: bool) {
        let over = poll_fn(|context| Pin::new(&mut lock(&self.wire).stream).poll_shutdown(context));
        let _ = over.await;
        let goes_on = lock(&self.wire).goes_on();
        if was_last && goes_on {
            let _ = tokio::time::timeout(LINGER_TIME_MAX, self.linger()).await;
        }
    }

    /// Reads and drops what a client still sends: closed at once, the system would reset the connection, and the
    /// client might lose the end of its last response (RFC 9112 section 9.6).
    async fn linger(&mut self) {
        let mut bytes = 0;
        poll_fn(|context| {
            let mut wire = lock(&self.wire);
            while bytes < LINGER_BYTES_MAX {
                wire.incoming.clear();
                match ready!(wire.poll_more(context)) {
                    Ok(count) if count > 0 => bytes += count,
                    _ => break,
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}
