//! Fairness of a worker: between two signature checks everybody else comes on.
//!
//! A check takes ten times as long as all else of a request. Were those of a burst of new tokens made one
//! after the other, whoever has a known token would wait for all of them. So a worker makes one at a time, and
//! before each it looks who else can go on.

use tokio::sync::{Semaphore, SemaphorePermit};

/// A worker's turns. Who waits for one waits in the order in which it came; as many wait as there are requests
/// under way, which the listeners bound.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

/// One turn; dropped when it is over.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turns {
    /// Waits until it is our turn, and whoever could go on before has.
    pub(super) async fn take(&self) -> Turn<'_> {
        // Nobody closes it.
        let permit = self.0.acquire().await.ok();
        tokio::task::yield_now().await;
        Turn { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn whoever_has_heard_something_comes_on_between_two_turns() {
        let turns = Arc::new(Turns::default());
        let seen = Arc::new(Mutex::new(String::new()));
        let note = |what: char, seen: &Mutex<String>| seen.lock().expect("whole").push(what);
        let (mut hears, says) = UnixStream::pair().expect("a pair");
        let says = Arc::new(says);
        let checks: Vec<_> = (0..10)
            .map(|_| {
                let (turns, seen) = (Arc::clone(&turns), Arc::clone(&seen));
                let says = Arc::clone(&says);
                tokio::spawn(async move {
                    let _turn = turns.take().await;
                    note('c', &seen);
                    // A request comes in while the signature is checked.
                    says.writable().await.expect("open");
                    says.try_write(b"x").expect("room");
                })
            })
            .collect();
        let other = Arc::clone(&seen);
        let others = tokio::spawn(async move {
            for _ in 0..10 {
                hears.read_u8().await.expect("a request");
                note('o', &other);
            }
        });
        for task in checks.into_iter().chain([others]) {
            task.await.expect("no panic");
        }
        assert_eq!(*seen.lock().expect("whole"), "co".repeat(10));
    }
}
