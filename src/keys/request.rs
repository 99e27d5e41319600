//! The channel on which a request asks for a key that its issuer's set does not hold.
//!
//! Checking does no I/O: it sends the question to control, which fetches at most once for all who
//! ask, and waits a bounded time for "look again". The queue is bounded too; when it is full the
//! answer is the one that a failed fetch gives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Questions that may wait; more than this at once is a flood of forged `kid`s.
const QUEUE_MAX: usize = 16_384;

/// "Issuer number `issuer` does not publish `kid`; has it a newer set?"
#[derive(Debug)]
pub(crate) struct KeyRequest {
    /// The configured name of the issuer.
    pub(crate) issuer: Arc<str>,
    pub(crate) kid: Option<Box<str>>,
    /// Told when looking again makes sense or is pointless; dropped means pointless too.
    pub(crate) answer: oneshot::Sender<()>,
}

/// The asking end.
#[derive(Clone, Debug)]
pub(crate) struct KeyRequests {
    queue: mpsc::Sender<KeyRequest>,
    wait_max: Duration,
}

impl KeyRequests {
    /// A channel; a question waits at most `wait_max`.
    pub(crate) fn channel(wait_max: Duration) -> (Self, mpsc::Receiver<KeyRequest>) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { queue, wait_max }, receiver)
    }

    /// Asks once and waits until the issuer's keys are worth another look, or the bound.
    pub(crate) async fn ask(&self, issuer: Arc<str>, kid: Option<&str>) {
        let (answer, answered) = oneshot::channel();
        let request = KeyRequest {
            issuer,
            kid: kid.map(Into::into),
            answer,
        };
        if self.queue.try_send(request).is_ok() {
            // Late, answered or dropped: the caller looks at the policy again in every case.
            let _ = tokio::time::timeout(self.wait_max, answered).await;
        }
    }
}
