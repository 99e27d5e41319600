//! A value that one side replaces as a whole and many read, with no lock between them.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Holds what readers see now.
#[derive(Debug)]
pub(crate) struct Published<T>(ArcSwap<T>);

impl<T> Published<T> {
    pub(crate) fn new(value: impl Into<Arc<T>>) -> Self {
        Self(ArcSwap::new(value.into()))
    }

    /// What stands now, to be kept over waits.
    pub(crate) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// What stands now, for a look that is soon over: cheaper than [`load`](Self::load).
    pub(crate) fn look(&self) -> impl Deref<Target = Arc<T>> {
        self.0.load()
    }

    /// From here on readers see this.
    pub(crate) fn publish(&self, value: impl Into<Arc<T>>) {
        self.0.store(value.into());
    }
}
