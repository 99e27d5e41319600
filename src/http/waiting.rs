//! A task that waits for what another part of its connection does.

use std::task::{Context, Waker};

/// Who is woken; nobody at first.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<Waker>);

impl Waiting {
    /// From here on this task waits, and no other.
    pub(crate) fn register(&mut self, context: &Context<'_>) {
        match &mut self.0 {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// Wakes it, once.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    /// It, to be woken when a lock is given back.
    pub(crate) const fn take(&mut self) -> Option<Waker> {
        self.0.take()
    }
}
