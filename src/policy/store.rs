//! The one place where the current policy is kept: many readers, one writer, no lock between.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Policy;

/// Holds the policy that a request sees.
#[derive(Debug)]
pub(crate) struct PolicyStore(ArcSwap<Policy>);

impl PolicyStore {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(ArcSwap::from_pointee(policy))
    }

    /// The policy of now. Owned, since a request keeps it over its waits.
    pub(crate) fn load(&self) -> Arc<Policy> {
        self.0.load_full()
    }

    /// Makes `policy` the one that new requests see. For control alone.
    pub(crate) fn publish(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}
