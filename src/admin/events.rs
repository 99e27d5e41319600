//! Server-sent events (the HTML standard): an answer that goes on, and the bound on how many do.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Answers that go on, at once.
pub(crate) const FOLLOWERS_MAX: usize = 16;

/// A place among those who follow.
#[derive(Debug)]
pub(super) struct Following {
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// `None`: there are too many.
    pub(super) fn begin(places: &Arc<Semaphore>) -> Option<Self> {
        let place = Arc::clone(places).try_acquire_owned().ok()?;
        Some(Self { _place: place })
    }
}

/// The body: what comes by a channel, until its other end is gone.
#[derive(Debug)]
pub(crate) struct Events {
    events: mpsc::Receiver<Bytes>,
    _following: Following,
}

impl Events {
    pub(super) const fn new(events: mpsc::Receiver<Bytes>, following: Following) -> Self {
        Self {
            events,
            _following: following,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let event = self.events.poll_recv(context);
        event.map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
