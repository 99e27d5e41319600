//! Running the streams of a connection, and what becomes due with it.

use std::task::Context;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use tokio::time::Instant;

use super::body::WINDOW_OF_ALL;
use super::connection::Connection;
use super::encode;
use super::frame::{self, Code};
use super::stream::Step;
use crate::http::Body;
use crate::http::body::RequestBody;
use crate::http::serve::{Farewell, Unreadable};

impl<S, F, G, R, D> Connection<'_, S, F, G, R, D>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
    D: Future<Output = Farewell>,
{
    /// Runs the streams that have something to do; whether there were any.
    pub(super) fn run(&mut self) -> bool {
        let mut marked = self.streams.marked();
        let any = !marked.is_empty();
        for place in marked.drain(..) {
            self.run_place(place);
        }
        self.streams.ran(marked);
        any
    }

    fn run_place(&mut self, place: usize) {
        // Also where the stream is gone: the next one in its place is to be woken.
        if let Some(waker) = self.streams.waker(place) {
            waker.begin();
        }
        let Some((waker, stream)) = self.streams.at(place) else {
            return;
        };
        let was_unanswered = stream.is_unanswered();
        let before = self.outgoing.len();
        let mut context = Context::from_waker(waker.waker());
        let step = stream.run(&mut context, &mut self.outgoing, &mut self.window);
        if was_unanswered && !stream.is_unanswered() {
            self.budget.answered();
        }
        if self.outgoing.len() > before {
            self.budget.useful();
        }
        let blocked = stream.blocked;
        let stuck_since = stream.stuck_since;
        let mut is_dropped = stream.receiving.is_none();
        if let Some(receiving) = &stream.receiving {
            let due = receiving.due();
            is_dropped = due.is_dropped;
            stream.held = stream.held.saturating_sub(due.taken);
            self.taken += due.taken;
            if let Some(more) = due.more
                && !stream.is_received
            {
                frame::write_window_update(&mut self.outgoing.frames, stream.id, more);
            }
            if due.goes_on && stream.is_unanswered() {
                encode::write_continue(&mut self.outgoing, stream.id);
            }
        }
        if let Some(since) = stuck_since
            && self.stuck_until.is_none()
        {
            self.stuck_until = Some(since + self.stuck_max);
        }
        match step {
            Step::Waits => self.streams.block(place, blocked),
            Step::Again => self.streams.mark(place),
            Step::Broken(code) => {
                frame::write_reset(&mut self.outgoing.frames, stream.id, code);
                self.was_reset.put(stream.id);
                self.remove(place);
            }
            Step::Sent if stream.is_received => self.remove(place),
            // The response came first (section 8.1).
            Step::Sent if is_dropped => {
                frame::write_reset(&mut self.outgoing.frames, stream.id, Code::NO_ERROR);
                self.was_reset.put(stream.id);
                self.remove(place);
            }
            Step::Sent => {}
        }
        self.tell_taken();
    }

    /// Gives up the streams whose client has taken nothing of them for too long.
    pub(super) fn poll_stuck(&mut self, context: &mut Context<'_>) {
        while let Some(until) = self.stuck_until
            && self.stuck_timer.poll(context, until).is_ready()
        {
            let now = Instant::now();
            let max = self.stuck_max;
            let due = self
                .streams
                .stuck()
                .filter(|(_, since)| *since + max <= now);
            for (id, _) in due.collect::<Vec<_>>() {
                // It has an answer: that costs no budget.
                let _ = self.reset(id, Code::CANCEL);
            }
            let first = self.streams.stuck().map(|(_, since)| since).min();
            self.stuck_until = first.map(|since| since + max);
        }
    }

    /// Takes a stream out; what it has not taken of its body is nobody's any more.
    pub(super) fn remove(&mut self, place: usize) {
        if let Some(stream) = self.streams.remove(place) {
            self.taken += stream.held;
        }
    }

    /// Tells the client of what was taken, when that has become much.
    pub(super) fn tell_taken(&mut self) {
        if self.taken >= WINDOW_OF_ALL as usize / 8 {
            let by = std::mem::take(&mut self.taken);
            self.room_left += by;
            let by = u32::try_from(by).unwrap_or(frame::WINDOW_MAX);
            frame::write_window_update(&mut self.outgoing.frames, 0, by);
        }
    }
}
