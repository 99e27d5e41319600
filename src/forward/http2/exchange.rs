//! One request over HTTP/2 and its answer.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Lease, Place};
use crate::authenticate::{Ended, Life};
use crate::forward::pool::Slot;
use crate::forward::{ForwardError, length};
use crate::http::body::LimitedBody;
use crate::http::{Body, BodyError};

/// How far an upload has come: as long as it goes on, the server is not too slow.
#[derive(Debug)]
struct Progress {
    began: Instant,
    /// Milliseconds after that, of the last bytes.
    last: AtomicU64,
    /// The client makes us wait.
    waiting: AtomicBool,
}

/// A client's body on its way.
pub(in crate::forward) struct Upload {
    body: Option<LimitedBody>,
    progress: Arc<Progress>,
    /// The token's, where the upload ends with it.
    life: Option<Life>,
    /// Made when the client first makes us wait.
    end: Option<Over>,
    /// The stream counts until both of its directions have ended.
    held: Option<Held>,
}

/// The end of a token.
type Over = Pin<Box<dyn Future<Output = Ended> + Send>>;
/// What a stream takes of its connection and of its server.
type Held = Arc<(Place, Slot)>;

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// `life`: the upload ends with it, also after the answer has begun.
    pub(in crate::forward) fn new(body: Option<LimitedBody>, life: Option<Life>) -> Self {
        Self {
            body,
            life,
            end: None,
            held: None,
            progress: Arc::new(Progress {
                began: Instant::now(),
                last: AtomicU64::new(0),
                waiting: AtomicBool::new(false),
            }),
        }
    }

    pub(in crate::forward) fn into_body(self) -> Option<LimitedBody> {
        self.body
    }
}

impl Progress {
    fn note(&self) {
        let since = self.began.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// From when the server's time for its answer counts.
    fn counts_from(&self) -> Instant {
        if self.waiting.load(Ordering::Relaxed) {
            return Instant::now();
        }
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self {
            body,
            progress,
            life,
            end,
            ..
        } = &mut *self;
        let Some(inner) = body else {
            return Poll::Ready(None);
        };
        loop {
            if let Some(ended) = life.as_ref().and_then(Life::is_over) {
                *body = None;
                return Poll::Ready(Some(Err(BodyError::from(&ended))));
            }
            let poll = Pin::new(&mut *inner).poll_frame(context);
            progress.waiting.store(poll.is_pending(), Ordering::Relaxed);
            if poll.is_pending()
                && let Some(life) = life
            {
                let end = end.get_or_insert_with(|| Box::pin(life.clone().over()));
                let ended = ready!(end.as_mut().poll(context));
                *body = None;
                return Poll::Ready(Some(Err(BodyError::from(&ended))));
            }
            let frame = ready!(poll);
            progress.note();
            match frame {
                // Trailers end here: what they say was not checked.
                Some(Ok(frame)) if frame.is_trailers() => {}
                None => {
                    *body = None;
                    return Poll::Ready(None);
                }
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::forward) enum Unanswered {
    /// Nothing of it was sent.
    Unsent(Upload),
    /// The server has not looked at it: its connection comes to its end.
    Unseen,
    /// The server has not looked at it: it does not want to.
    Refused,
    Error(ForwardError),
}

impl Lease {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::forward) async fn send(
        mut self,
        mut request: Request<Upload>,
        wait_max: Duration,
        slot: Slot,
    ) -> Result<Response<Body>, Unanswered> {
        let held = Arc::new((self.place, slot));
        request.body_mut().held = Some(Arc::clone(&held));
        let progress = Arc::clone(&request.body().progress);
        let is_head = request.method() == Method::HEAD;
        let mut sent = std::pin::pin!(self.sender.try_send_request(request));
        let answer = loop {
            let deadline = progress.counts_from() + wait_max;
            tokio::select! {
                biased;
                answer = sent.as_mut() => break answer,
                () = tokio::time::sleep_until(deadline) => {
                    if progress.counts_from() + wait_max <= Instant::now() {
                        return Err(Unanswered::Error(ForwardError::Timeout));
                    }
                }
            }
        };
        let mut response = answer.map_err(|mut error| match error.take_message() {
            Some(request) => {
                held.0.spend();
                Unanswered::Unsent(request.into_body())
            }
            None => why(error.error(), &held.0),
        })?;
        let status = response.status();
        length::settle(response.headers_mut(), status).map_err(Unanswered::Error)?;
        Ok(response.map(|body| {
            if is_head || body.is_end_stream() {
                return Body::Empty;
            }
            Body::streamed(Download { body, _held: held })
        }))
    }
}

/// What became of a request that was sent.
fn why(error: &hyper::Error, place: &Place) -> Unanswered {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = source {
        if let Some(body) = error.downcast_ref::<BodyError>() {
            return Unanswered::Error(ForwardError::Body(*body));
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            // GOAWAY and REFUSED_STREAM say so (RFC 9113 sections 6.8 and 8.7).
            let goes = error.is_go_away() && error.is_remote();
            if goes {
                place.spend();
            }
            if goes && error.reason() == Some(h2::Reason::NO_ERROR) {
                return Unanswered::Unseen;
            }
            if goes || error.reason() == Some(h2::Reason::REFUSED_STREAM) {
                return Unanswered::Refused;
            }
            let ours = error.is_library() && !error.is_go_away();
            return Unanswered::Error(match ours {
                true => ForwardError::Invalid("it breaks the rules of HTTP/2"),
                false => ForwardError::Reset { nothing_came: true },
            });
        }
        source = error.source();
    }
    Unanswered::Error(ForwardError::Reset { nothing_came: true })
}

/// A response's body; the stream counts as long as it lasts.
struct Download {
    body: Incoming,
    _held: Held,
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(frame) => Some(frame.map_err(|_| BodyError::UpstreamReset)),
            None if self.body.is_end_stream() => None,
            // hyper takes a stream that is reset without an error for one that has ended.
            None => Some(Err(BodyError::UpstreamReset)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
