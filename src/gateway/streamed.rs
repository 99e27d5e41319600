//! A response's body that is not here as a whole, with its record and the life of its token.
//!
//! A task of its own waits for the token's end: a client that takes nothing keeps nobody waiting, and the
//! connection to the upstream is given up at once. It waits for a client that takes nothing too: over HTTP/2
//! such a client says so by its window, and the byte stream goes on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lifetime::StreamKind;
use super::record::Recorder;
use crate::authenticate::{Ended, Life};
use crate::http::deadline::{InFlight, LazyTimer};
use crate::http::waiting::Waiting;
use crate::http::{Body, BodyError};
use crate::observe::exchange::StreamEnd;
use crate::reject::grpc;

/// A streamed body.
pub(super) struct Streamed {
    shared: Arc<Shared>,
    kind: StreamKind,
    /// No length was promised.
    endless: bool,
    /// The caller's, where there is one and the stream ends with it.
    life: Option<Life>,
    /// Who waits for its end.
    watch: Option<AbortHandle>,
    /// How long the client may take nothing.
    send_max: Duration,
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
    waiting: Waiting,
    /// Since when a part lies with the client, which has not asked for the next.
    given_since: Option<Instant>,
    over: Option<Over>,
    in_flight: Option<InFlight>,
}

/// Why it ends before its end.
enum Over {
    Token(Ended),
    /// The client takes nothing.
    Stalled,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that follows is sent.
    fn end(&self, over: Over) {
        let mut state = self.state();
        state.body = Body::Empty;
        let given_up = match over {
            Over::Stalled => state.in_flight.take(),
            Over::Token(_) => None,
        };
        state.over = Some(over);
        let waker = state.waiting.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(given_up) = given_up {
            given_up.give_up();
        }
    }

    /// Done when the client has taken nothing for so long.
    async fn stalls(&self, send_max: Duration) {
        loop {
            let since = self.state().given_since;
            tokio::time::sleep_until(since.unwrap_or_else(Instant::now) + send_max).await;
            if since.is_some() && self.state().given_since == since {
                return;
            }
        }
    }
}

impl Streamed {
    pub(super) fn new(
        body: Body,
        kind: StreamKind,
        life: Option<Life>,
        (gap_max, send_max): (Option<Duration>, Duration),
        mut recorder: Recorder,
    ) -> Self {
        Self {
            endless: body.size_hint().exact().is_none(),
            shared: Arc::new(Shared(Mutex::new(State {
                body,
                waiting: Waiting::default(),
                given_since: None,
                over: None,
                in_flight: recorder.take_in_flight(),
            }))),
            kind,
            life,
            watch: None,
            send_max,
            gap_max: gap_max.filter(|_| kind == StreamKind::Ordinary),
            waiting_since: None,
            timer: LazyTimer::default(),
            recorder,
        }
    }

    /// Has somebody wait for the end of the token, or of the client's patience, once: most bodies are over
    /// before.
    fn watch(&mut self) {
        if self.watch.is_some() {
            return;
        }
        let (shared, life) = (Arc::clone(&self.shared), self.life.clone());
        let send_max = self.send_max;
        let watching = tokio::spawn(async move {
            let ended = async {
                match life {
                    Some(life) => life.over().await,
                    None => std::future::pending().await,
                }
            };
            let over = tokio::select! {
                ended = ended => Over::Token(ended),
                () = shared.stalls(send_max) => Over::Stalled,
            };
            shared.end(over);
        });
        self.watch = Some(watching.abort_handle());
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

    /// What its client gets at the end.
    fn last(&mut self, over: &Over) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.life = None;
        let end = StreamEnd::from(over);
        self.recorder.stream_ended(end);
        let Over::Token(ended) = over else {
            return Some(Err(BodyError::ClientStalled));
        };
        match self.kind {
            StreamKind::Grpc => Some(Ok(Frame::trailers(grpc::trailers(end.reason())))),
            StreamKind::Events if self.endless && end == StreamEnd::Expired => None,
            // It must not be taken for whole.
            _ => Some(Err(ended.into())),
        }
    }
}

impl From<&Over> for StreamEnd {
    fn from(over: &Over) -> Self {
        match over {
            Over::Token(ended) => ended.into(),
            Over::Stalled => Self::Stalled,
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        let mut state = self.shared.state();
        // The watch may hold the rest for a moment.
        let in_flight = state.in_flight.take();
        let over = state.over.take();
        drop(state);
        drop(in_flight);
        // Its client has never come for its last word.
        if let Some(over) = over {
            self.recorder.stream_ended(StreamEnd::from(&over));
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
        let Self { shared, life, .. } = &mut *self;
        let mut state = shared.state();
        let over = state.over.take();
        if let Some(over) = over.or_else(|| life.as_ref()?.is_over().map(Over::Token)) {
            state.body = Body::Empty;
            drop(state);
            return Poll::Ready(self.last(&over));
        }
        let mut poll = Pin::new(&mut state.body).poll_frame(context);
        if poll.is_pending() {
            state.waiting.register(context);
        }
        let goes_on = !state.body.is_end_stream();
        state.given_since = (goes_on && poll.is_ready()).then(Instant::now);
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
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.state();
        state.over.is_none() && state.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.state();
        match state.over {
            // A length that was promised is not kept.
            Some(_) => SizeHint::default(),
            None => state.body.size_hint(),
        }
    }
}
