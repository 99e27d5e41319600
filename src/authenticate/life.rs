//! The rest of a token's life, for what stays open after its verdict: long answers and uploads.

use std::sync::Arc;
use std::time::Duration;

use super::Principal;
use super::principal::Verified;
use crate::revocation::{Revocations, Revoked};

/// Between two looks at a list that keeps changing: with many open streams each look of each counts.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A token whose end is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    verified: Arc<Verified>,
    revocations: Arc<Revocations>,
}

impl Life {
    pub(super) fn new(principal: &Principal, revocations: &Arc<Revocations>) -> Self {
        Self {
            verified: principal.shared(),
            revocations: Arc::clone(revocations),
        }
    }

    /// Whether the token has been revoked. One comparison while the list has not changed.
    pub(crate) fn is_over(&self) -> Option<Revoked> {
        self.verified.revoked(&self.verified.iss, &self.revocations)
    }

    /// Waits until the token is revoked.
    pub(crate) async fn over(self) -> Revoked {
        // Listens before it looks: nothing is missed in between.
        let mut changes = self.revocations.changes();
        loop {
            if let Some(revoked) = self.is_over() {
                return revoked;
            }
            if changes.changed().await.is_err() {
                // The list is gone, and with it the gateway.
                std::future::pending::<()>().await;
            }
            if let Some(revoked) = self.is_over() {
                return revoked;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
