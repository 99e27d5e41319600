//! What stays open ends with its token: an answer that is still streamed, and a request that is still
//! being sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::authenticate::Life;
use crate::revocation::Revoked;

/// A token's life beside the stream that hangs on it.
pub(super) struct Lifetime {
    life: Life,
    /// Made when the stream first waits: most never do.
    end: Option<Pin<Box<dyn Future<Output = Revoked> + Send>>>,
}

impl Lifetime {
    pub(super) const fn new(life: Life) -> Self {
        Self { life, end: None }
    }

    /// Whether the token has been revoked.
    pub(super) fn is_over(&self) -> bool {
        self.life.is_over().is_some()
    }

    /// The same, for a stream that waits: it is woken at the token's end.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Revoked> {
        let life = &self.life;
        let end = self
            .end
            .get_or_insert_with(|| Box::pin(life.clone().over()));
        end.as_mut().poll(context)
    }
}
