//! The body of a response that was not here as a whole: it owns the connection until its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::transfer::Transfer;
use crate::http::BodyError;
use crate::http::http1::{Decoder, Unframed};

/// Streams a response's body, and goes on with the request's while that lasts.
#[derive(Debug)]
pub(super) struct ResponseBody {
    /// `None` once the end was reached and the connection given back.
    transfer: Option<Transfer>,
    decoder: Decoder,
    keep_alive: bool,
}

impl ResponseBody {
    pub(super) const fn new(transfer: Transfer, decoder: Decoder, keep_alive: bool) -> Self {
        Self {
            transfer: Some(transfer),
            decoder,
            keep_alive,
        }
    }

    fn finish(&mut self) {
        if let Some(transfer) = self.transfer.take() {
            transfer.finish(self.keep_alive);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self {
            transfer, decoder, ..
        } = &mut *self;
        let Some(transfer) = transfer else {
            return Poll::Ready(None);
        };
        if transfer.is_uploading()
            && let Poll::Ready(Err(error)) = transfer.poll_upload(context)
        {
            self.transfer = None;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let frame = decoder
                .next(transfer.incoming())
                .map_err(|Unframed| BodyError::UpstreamInvalid)?;
            if let Some(frame) = frame {
                // The last bytes give the connection back before they are sent on.
                if *decoder == Decoder::Done {
                    self.finish();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            if *decoder == Decoder::Done {
                self.finish();
                return Poll::Ready(None);
            }
            match ready!(transfer.poll_read_body(context)) {
                Ok(count) if count > 0 => {}
                end => {
                    let whole = end.is_ok() && *decoder == Decoder::UntilClose;
                    self.transfer = None;
                    let broken = Poll::Ready(Some(Err(BodyError::UpstreamReset)));
                    return if whole { Poll::Ready(None) } else { broken };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.transfer.is_none() || self.decoder == Decoder::Done
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.transfer, self.decoder.remaining()) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(rest)) => SizeHint::with_exact(rest),
            (Some(_), None) => SizeHint::default(),
        }
    }
}
