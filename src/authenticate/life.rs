//! The rest of a token's life, for what stays open after its verdict: long answers, uploads, streams.

use std::sync::Arc;
use std::time::Duration;

use super::Principal;
use super::error::AuthenticationError;
use super::principal::Verified;
use crate::clock::{Clock, UnixTime};
use crate::http::BodyError;
use crate::policy::Issuer;
use crate::revocation::{Revocations, Revoked};

/// Between two looks at a list that keeps changing: with many open streams each look of each counts.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Between two looks at the clock, which may be set meanwhile.
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// What ended a token's life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    Revoked(Revoked),
    /// Its `exp`.
    Expired(UnixTime),
}

impl From<Ended> for AuthenticationError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Revoked(revoked) => Self::Revoked(revoked),
            Ended::Expired(at) => Self::Expired { at },
        }
    }
}

impl From<&Ended> for BodyError {
    fn from(ended: &Ended) -> Self {
        match ended {
            Ended::Revoked(_) => Self::Revoked,
            Ended::Expired(_) => Self::Expired,
        }
    }
}

/// When a token ends by itself.
#[derive(Clone, Copy, Debug)]
struct Expiry {
    exp: UnixTime,
    /// With the issuer's leeway.
    over_at: UnixTime,
}

/// A token whose end is waited for.
#[derive(Clone)]
pub(crate) struct Life {
    verified: Arc<Verified>,
    revocations: Arc<Revocations>,
    clock: Arc<dyn Clock>,
    /// `None`: what hangs on it may outlive it.
    expiry: Option<Expiry>,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl Life {
    /// A life that ends when the token is revoked.
    pub(super) fn new(
        principal: &Principal,
        revocations: &Arc<Revocations>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        Self {
            verified: principal.shared(),
            revocations: Arc::clone(revocations),
            clock: Arc::clone(clock),
            expiry: None,
        }
    }

    /// The same, which also ends when the token expires, by the rules of its issuer. One without `exp`,
    /// which only opaque tokens may lack, does not.
    pub(crate) fn until_expiry(mut self, issuer: &Issuer) -> Self {
        let exp = self.verified.times.ok().and_then(|times| times.exp);
        self.expiry = exp.map(|exp| Expiry {
            exp,
            over_at: exp.plus(issuer.leeway),
        });
        self
    }

    /// Whether it is over. One comparison while the list has not changed, and a look at the clock
    /// where it ends by itself.
    pub(crate) fn is_over(&self) -> Option<Ended> {
        let revoked = self.verified.revoked(&self.verified.iss, &self.revocations);
        if let Some(revoked) = revoked {
            return Some(Ended::Revoked(revoked));
        }
        let expiry = self.expiry?;
        (self.clock.now() >= expiry.over_at).then_some(Ended::Expired(expiry.exp))
    }

    /// Waits until it is over.
    pub(crate) async fn over(self) -> Ended {
        // Listens before it looks: nothing is missed in between.
        let mut changes = self.revocations.changes();
        loop {
            if let Some(ended) = self.is_over() {
                return ended;
            }
            let rest = self.expiry.map(|it| it.over_at.since(self.clock.now()));
            let changed = async {
                if changes.changed().await.is_err() {
                    // The list is gone, and with it the gateway.
                    std::future::pending::<()>().await;
                }
            };
            match rest {
                None => changed.await,
                Some(rest) => match tokio::time::timeout(rest.min(CLOCK_LOOK), changed).await {
                    Ok(()) => {}
                    Err(_) => continue,
                },
            }
            if let Some(ended) = self.is_over() {
                return ended;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
