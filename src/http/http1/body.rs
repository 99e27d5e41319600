//! The body of a request: it is read from the connection by whoever wants it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::http::BodyError;

/// Where the bytes of a body come from. A connection lends itself to one body at a time.
pub(super) trait Source: Send + Sync {
    /// The next part; `None`: the body is over.
    fn poll_frame(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;

    /// The body is not read on.
    fn give_back(&self);
}

/// A request's body.
pub(crate) struct Http1Body {
    source: Arc<dyn Source>,
    /// Bytes that are still to come; `None`: nobody knows.
    rest: Option<u64>,
    done: bool,
}

impl std::fmt::Debug for Http1Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http1Body")
            .field("rest", &self.rest)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Http1Body {
    pub(super) fn new(source: Arc<dyn Source>, length: Option<u64>) -> Self {
        Self {
            source,
            rest: length,
            done: false,
        }
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let frame = ready!(self.source.poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.rest = self.rest.map(|rest| rest.saturating_sub(bytes));
                self.done = self.rest == Some(0);
            }
            Some(Err(_)) | None => self.done = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            _ if self.done => SizeHint::with_exact(0),
            Some(rest) => SizeHint::with_exact(rest),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        self.source.give_back();
    }
}
