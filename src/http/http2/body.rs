//! The body of a request: what has come and was not taken yet, within the windows of its stream and its
//! connection (RFC 9113 section 5.2).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::frame::Code;
use crate::http::BodyError;
use crate::http::expect::Waits;
use crate::http::waiting::Waiting;

/// What a client may send of one body before it is taken: a quarter of what all have together, or one that its
/// upstream does not read would keep the others from coming.
pub(super) const WINDOW: u32 = WINDOW_OF_ALL / 4;
/// What a client may send of all bodies of a connection before it is taken.
pub(super) const WINDOW_OF_ALL: u32 = 1024 * 1024;
/// So much is taken before a client is told.
const TOLD_FROM: usize = WINDOW as usize / 4;

/// A body as its connection fills it.
#[derive(Debug)]
pub(super) struct Receiving(Mutex<State>);

#[derive(Debug)]
struct State {
    parts: VecDeque<Bytes>,
    /// What follows them.
    small: BytesMut,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), BodyError>>,
    /// Bytes that were promised and have not come; `None`: nobody knows.
    rest: Option<u64>,
    /// Bytes that the client may send before it is told of more.
    window: usize,
    /// Bytes that were taken, which the client has not been told.
    taken: usize,
    /// Of those, what the connection has not counted yet.
    uncounted: usize,
    /// The client waits for a word before it sends anything.
    waits: Waits,
    /// Nobody wants it any more.
    is_dropped: bool,
    reader: Waiting,
}

/// What a connection is to do about a body.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Bytes that were taken since it was last asked.
    pub(super) taken: usize,
    /// What the client may send more on its stream, where it is time to say so.
    pub(super) more: Option<u32>,
    /// The client is to be told to go on.
    pub(super) goes_on: bool,
    /// Nobody wants what follows.
    pub(super) is_dropped: bool,
}

impl Receiving {
    pub(super) fn new(length: Option<u64>, expects_continue: bool) -> Self {
        Self(Mutex::new(State {
            parts: VecDeque::new(),
            small: BytesMut::new(),
            trailers: None,
            end: None,
            rest: length,
            window: WINDOW as usize,
            taken: 0,
            uncounted: 0,
            waits: Waits::new(expects_continue),
            is_dropped: false,
            reader: Waiting::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the payload of a DATA frame, which came with so much padding; whether that makes something due. A
    /// small one is put together with others: it would keep all that was read with it.
    ///
    /// # Errors
    /// It is more than may come, or not as much as was promised.
    pub(super) fn data(
        &self,
        (data, is_small): (Bytes, bool),
        padding: usize,
        ends: bool,
    ) -> Result<bool, Code> {
        let mut state = self.lock();
        let window = state.window.checked_sub(data.len() + padding);
        state.window = window.ok_or(Code::FLOW_CONTROL_ERROR)?;
        if let Some(rest) = &mut state.rest {
            let left = rest.checked_sub(data.len() as u64);
            *rest = left.ok_or(Code::PROTOCOL_ERROR)?;
        }
        state.taken += padding;
        state.uncounted += padding;
        if state.is_dropped {
            state.uncounted += data.len();
        } else if is_small {
            state.small.extend_from_slice(&data);
        } else {
            if !state.small.is_empty() {
                let small = state.small.split().freeze();
                state.parts.push_back(small);
            }
            state.parts.push_back(data);
        }
        if ends {
            state.end()?;
        }
        state.reader.wake();
        Ok(padding > 0 || state.is_dropped)
    }

    /// The body is over, with these trailers.
    ///
    /// # Errors
    /// It is not as long as was promised.
    pub(super) fn ended(&self, trailers: HeaderMap) -> Result<(), Code> {
        let mut state = self.lock();
        state.trailers = (!trailers.is_empty()).then_some(trailers);
        state.end()?;
        state.reader.wake();
        Ok(())
    }

    /// Nothing comes any more, and it is not over.
    pub(super) fn broken(&self) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(Err(BodyError::Broken));
            state.reader.wake();
        }
    }

    /// What has become due since this was last asked.
    pub(super) fn due(&self) -> Due {
        let mut state = self.lock();
        let mut due = Due {
            taken: std::mem::take(&mut state.uncounted),
            is_dropped: state.is_dropped,
            goes_on: state.waits.is_due(),
            more: None,
        };
        if state.end.is_none() && !state.is_dropped && state.taken >= TOLD_FROM {
            let more = std::mem::take(&mut state.taken);
            state.window += more;
            due.more = u32::try_from(more).ok();
        }
        due
    }
}

impl State {
    fn end(&mut self) -> Result<(), Code> {
        if self.rest.is_some_and(|rest| rest > 0) {
            return Err(Code::PROTOCOL_ERROR);
        }
        self.end = Some(Ok(()));
        Ok(())
    }

    fn next(&mut self) -> Option<Bytes> {
        let next = self.parts.pop_front().or_else(|| {
            let small = (!self.small.is_empty()).then(|| self.small.split().freeze());
            // It would keep its room.
            self.small = BytesMut::new();
            small
        })?;
        self.taken += next.len();
        self.uncounted += next.len();
        Some(next)
    }

    fn is_over(&self) -> bool {
        self.end == Some(Ok(()))
            && self.parts.is_empty()
            && self.small.is_empty()
            && self.trailers.is_none()
    }
}

/// A request's body.
pub(crate) struct Http2Body {
    receiving: Arc<Receiving>,
    /// Of its stream.
    stream: Waker,
}

impl std::fmt::Debug for Http2Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http2Body")
    }
}

impl Http2Body {
    pub(super) fn new(receiving: Arc<Receiving>, stream: Waker) -> Self {
        Self { receiving, stream }
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.receiving.lock();
        let is_due = state.waits.want();
        let frame = if let Some(data) = state.next() {
            Some(Ok(Frame::data(data)))
        } else {
            match state.end {
                Some(Ok(())) => state.trailers.take().map(|it| Ok(Frame::trailers(it))),
                Some(Err(error)) => Some(Err(error)),
                None => {
                    state.reader.register(context);
                    drop(state);
                    if is_due {
                        self.stream.wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        };
        // The window of the connection must not run out with what was taken and not told.
        let is_empty = state.parts.is_empty() && state.small.is_empty();
        let is_due = state.uncounted >= TOLD_FROM || (state.uncounted > 0 && is_empty);
        drop(state);
        if is_due {
            self.stream.wake_by_ref();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.receiving.lock().is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.receiving.lock();
        let here = state.small.len() + state.parts.iter().map(Bytes::len).sum::<usize>();
        match (state.rest, state.end) {
            (_, Some(Ok(()))) => SizeHint::with_exact(here as u64),
            (Some(rest), _) => SizeHint::with_exact(rest + here as u64),
            (None, _) => SizeHint::default(),
        }
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        let mut state = self.receiving.lock();
        state.is_dropped = true;
        state.uncounted += state.small.len() + state.parts.iter().map(Bytes::len).sum::<usize>();
        state.parts.clear();
        state.small = BytesMut::new();
        drop(state);
        self.stream.wake_by_ref();
    }
}
