//! A response's body that is not here as a whole, with its record and the life of its token.
//!
//! A task of its own waits for the token's end: a client that takes nothing keeps nobody waiting, and the
//! connection to the upstream is given up at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lifetime::StreamKind;
use super::record::Recorder;
use crate::authenticate::{Ended, Life};
use crate::http::deadline::LazyTimer;
use crate::http::{Body, BodyError};
use crate::observe::exchange::StreamEnd;
use crate::reject::grpc;

/// A streamed body.
pub(super) struct Streamed {
    shared: Arc<Shared>,
    kind: StreamKind,
    /// No length was promised.
    endless: bool,
    /// An error that waits its turn.
    failed: Option<BodyError>,
    /// The caller's, where there is one and the stream ends with it.
    life: Option<Life>,
    /// Who waits for its end.
    watch: Option<AbortHandle>,
    /// How long the upstream may be silent; `None`: as long as it likes.
    gap_max: Option<Duration>,
    /// Since when it has been.
    waiting_since: Option<Instant>,
    timer: LazyTimer,
    recorder: Recorder,
}

/// What is shared with whoever waits for the token's end.
struct Shared(Mutex<State>);

struct State {
    body: Body,
    /// Of who waits for the next frame.
    waker: Option<Waker>,
    ended: Option<Ended>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token's life is over: what follows is not for its holder any more.
    fn end(&self, ended: Ended) {
        let mut state = self.state();
        state.body = Body::Empty;
        state.ended = Some(ended);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Streamed {
    pub(super) fn new(
        body: Body,
        kind: StreamKind,
        life: Option<Life>,
        gap_max: Option<Duration>,
        recorder: Recorder,
    ) -> Self {
        Self {
            endless: body.size_hint().exact().is_none(),
            shared: Arc::new(Shared(Mutex::new(State {
                body,
                waker: None,
                ended: None,
            }))),
            kind,
            failed: None,
            life,
            watch: None,
            gap_max: gap_max.filter(|_| kind == StreamKind::Ordinary),
            waiting_since: None,
            timer: LazyTimer::default(),
            recorder,
        }
    }

    /// Has somebody wait for the end of the token, once: most bodies are over before.
    fn watch(&mut self) {
        if self.watch.is_some() {
            return;
        }
        if let Some(life) = self.life.clone() {
            let shared = Arc::clone(&self.shared);
            let watching = tokio::spawn(async move { shared.end(life.over().await) });
            self.watch = Some(watching.abort_handle());
        }
    }

    /// Whether the upstream has been silent for too long. A client that takes nothing stops this clock:
    /// then nobody asks.
    fn poll_gap(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(gap_max) = self.gap_max else {
            return Poll::Pending;
        };
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        self.timer.poll(context, since + gap_max)
    }

    /// What its client gets at the token's end.
    fn last(&mut self, ended: &Ended) -> Option<Result<Frame<Bytes>, BodyError>> {
        let end = StreamEnd::from(ended);
        self.life = None;
        self.recorder.stream_ended(end);
        match self.kind {
            StreamKind::Grpc => Some(Ok(Frame::trailers(grpc::trailers(end.reason())))),
            StreamKind::Events if self.endless && end == StreamEnd::Expired => None,
            // It must not be taken for whole.
            _ => Some(Err(ended.into())),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        // Its client has never come for its last word.
        if let Some(ended) = self.shared.state().ended.take() {
            self.recorder.stream_ended(StreamEnd::from(&ended));
        }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Self { shared, life, .. } = &mut *self;
        let mut state = shared.state();
        let ended = state.ended.take();
        if let Some(ended) = ended.or_else(|| life.as_ref()?.is_over()) {
            state.body = Body::Empty;
            drop(state);
            return Poll::Ready(self.last(&ended));
        }
        let mut poll = Pin::new(&mut state.body).poll_frame(context);
        if poll.is_pending() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
        let goes_on = !state.body.is_end_stream();
        drop(state);
        if poll.is_ready() {
            self.waiting_since = None;
        } else if self.poll_gap(context).is_ready() {
            self.shared.state().body = Body::Empty;
            poll = Poll::Ready(Some(Err(BodyError::UpstreamStalled)));
        }
        if goes_on {
            self.watch();
        }
        if let Poll::Ready(Some(Err(error))) = poll {
            self.recorder.exchange.cause = Some(error.to_string());
            // hyper drops what it has not written yet when a body fails. One turn later it has
            // written it, and the client gets as much as there was before the connection breaks.
            self.failed = Some(error);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.state();
        state.ended.is_none() && self.failed.is_none() && state.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.state();
        match state.ended {
            // A length that was promised is not kept.
            Some(_) => SizeHint::default(),
            None => state.body.size_hint(),
        }
    }
}
