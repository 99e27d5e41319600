//! One stream: its request is answered, and the response sent within the client's windows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body as _;

use tokio::time::Instant;

use super::body::Receiving;
use super::encode;
use super::frame::{Code, PAYLOAD_MAX, WINDOW_MAX};
use super::outgoing::Outgoing;
use super::tunnel::Written;
use crate::http::Body;

/// What one stream may send before it is another's turn.
const TURN: usize = 4 * PAYLOAD_MAX;

/// One stream of a connection.
pub(super) struct Stream<R> {
    pub(super) id: u32,
    phase: Phase<R>,
    /// Bytes that the client takes on this stream. Its settings may make that less than nothing.
    window: i64,
    /// Why something that is to be sent was not.
    pub(super) blocked: Option<Blocked>,
    /// Since when the client takes nothing of it.
    pub(super) stuck_since: Option<Instant>,
    /// Its request has a body.
    pub(super) receiving: Option<Arc<Receiving>>,
    /// The client has sent all of its request.
    pub(super) is_received: bool,
    /// Bytes of its body that have come, and that the connection's window lacks for them.
    pub(super) held: usize,
    /// No body follows the response.
    is_head: bool,
    /// What the stream becomes, if its request is granted.
    written: Option<Written>,
}

/// What keeps a stream from sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Its own window.
    Stream,
    /// That of the connection. Who got none of it comes before who got some.
    Connection { got_some: bool },
    /// What waits to be written.
    Room,
}

enum Phase<R> {
    Answering(Pin<Box<R>>),
    Sending(Sending),
    Sent,
}

struct Sending {
    body: Body,
    /// Of the body, and not yet sent.
    part: Bytes,
    /// Nothing follows that.
    is_last: bool,
}

/// How far a stream came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for something.
    Waits,
    /// It could go on, after the others.
    Again,
    /// Its response is sent.
    Sent,
    /// It cannot be brought to its end.
    Broken(Code),
}

impl<R> Stream<R> {
    /// The client takes so much more, or less; whether that is more than a window can be.
    pub(super) fn widen(&mut self, by: i64) -> bool {
        self.window += by;
        self.window > i64::from(WINDOW_MAX)
    }
}

impl<R: Future<Output = Response<Body>>> Stream<R> {
    pub(super) fn new(
        id: u32,
        answering: Pin<Box<R>>,
        window: i64,
        is_head: bool,
        (receiving, written): (Option<Arc<Receiving>>, Option<Written>),
    ) -> Self {
        Self {
            id,
            phase: Phase::Answering(answering),
            window,
            blocked: None,
            stuck_since: None,
            is_received: receiving.is_none(),
            receiving,
            held: 0,
            is_head,
            written,
        }
    }

    /// One that has an answer from the beginning, and whose body nobody reads.
    pub(super) const fn refused(id: u32, window: i64, is_received: bool) -> Self {
        Self {
            id,
            phase: Phase::Sent,
            window,
            blocked: None,
            stuck_since: None,
            is_received,
            receiving: None,
            held: 0,
            is_head: false,
            written: None,
        }
    }

    /// The response has not begun.
    pub(super) const fn is_unanswered(&self) -> bool {
        matches!(self.phase, Phase::Answering(_))
    }

    /// All of the response is sent.
    pub(super) const fn is_sent(&self) -> bool {
        matches!(self.phase, Phase::Sent)
    }

    /// Goes on as far as it can; `window`: what the client takes on the whole connection.
    pub(super) fn run(
        &mut self,
        context: &mut Context<'_>,
        out: &mut Outgoing,
        window: &mut i64,
    ) -> Step {
        self.blocked = None;
        if let Phase::Answering(answering) = &mut self.phase {
            let Poll::Ready(response) = answering.as_mut().poll(context) else {
                return Step::Waits;
            };
            self.begin(response, out);
        }
        let stuck_since = self.stuck_since.take();
        let before = self.window;
        let step = match &mut self.phase {
            Phase::Sending(sending) => {
                let windows = (&mut self.window, window);
                match sending.send(self.id, context, out, windows) {
                    Sent::Blocked(by) => {
                        self.blocked = Some(by);
                        if by != Blocked::Room {
                            let since = stuck_since.filter(|_| self.window == before);
                            self.stuck_since = since.or_else(|| Some(Instant::now()));
                        }
                        Step::Waits
                    }
                    Sent::Step(step) => step,
                }
            }
            // It waits for the end of its request.
            _ => return Step::Sent,
        };
        if step == Step::Sent {
            self.phase = Phase::Sent;
        }
        step
    }

    /// Writes the head of the response.
    pub(super) fn begin(&mut self, response: Response<Body>, out: &mut Outgoing) {
        let (parts, mut body) = response.into_parts();
        let has_none = parts.status.is_informational()
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let mut length = body.size_hint().exact();
        if let Some(written) = self.written.take()
            && parts.status.is_success()
        {
            body = Body::streamed(written);
            length = None;
        } else if has_none {
            length = None;
        } else if self.is_head {
            // What is not known is not told.
            length = length.filter(|length| *length > 0);
        }
        let ends = has_none || self.is_head || body.is_end_stream();
        encode::write_response(out, self.id, parts.status, &parts.headers, (length, ends));
        self.phase = if ends {
            Phase::Sent
        } else {
            Phase::Sending(Sending {
                body,
                part: Bytes::new(),
                is_last: false,
            })
        };
    }
}

impl<R> Drop for Stream<R> {
    fn drop(&mut self) {
        // Whoever still reads the body may do so in a task of its own.
        if let Some(receiving) = &self.receiving {
            receiving.broken();
        }
    }
}

enum Sent {
    Blocked(Blocked),
    Step(Step),
}

impl Sending {
    fn send(
        &mut self,
        id: u32,
        context: &mut Context<'_>,
        out: &mut Outgoing,
        (window, of_connection): (&mut i64, &mut i64),
    ) -> Sent {
        let mut sent = 0;
        loop {
            // The next part is awaited without any window too: it may be the end, which needs none.
            if self.part.is_empty() && !self.is_last {
                match Pin::new(&mut self.body).poll_frame(context) {
                    Poll::Pending => return Sent::Step(Step::Waits),
                    Poll::Ready(None) => self.is_last = true,
                    Poll::Ready(Some(Err(_))) => {
                        return Sent::Step(Step::Broken(Code::INTERNAL_ERROR));
                    }
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => {
                            self.part = data;
                            self.is_last = self.body.is_end_stream();
                            if self.part.is_empty() && !self.is_last {
                                continue;
                            }
                        }
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            encode::write_trailers(out, id, &trailers);
                            return Sent::Step(Step::Sent);
                        }
                    },
                }
            }
            let takes = (*window).min(*of_connection).max(0);
            let takes = usize::try_from(takes).unwrap_or(usize::MAX);
            let count = self.part.len().min(takes).min(PAYLOAD_MAX);
            if count == 0 && !self.part.is_empty() {
                return Sent::Blocked(match *window {
                    ..=0 => Blocked::Stream,
                    _ => Blocked::Connection { got_some: sent > 0 },
                });
            }
            if out.is_full() {
                return Sent::Blocked(Blocked::Room);
            }
            if sent >= TURN {
                return Sent::Step(Step::Again);
            }
            let part = self.part.split_to(count);
            let ends = self.is_last && self.part.is_empty();
            out.data(id, part, ends);
            *window -= count as i64;
            *of_connection -= count as i64;
            sent += count;
            if ends {
                return Sent::Step(Step::Sent);
            }
        }
    }
}
