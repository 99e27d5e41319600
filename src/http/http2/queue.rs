//! Which of a connection's streams have something to do.
//!
//! All of them run in the task of their connection: what they write is gathered and goes out together, and
//! nothing of a stream needs a lock but its body. Each place has one waker, which outlives the stream in it;
//! to be woken for nothing is harmless.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// The streams that were woken.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Woken>);

#[derive(Debug, Default)]
struct Woken {
    /// Each place once.
    places: Vec<usize>,
    /// Of the connection, where it sleeps.
    task: Option<Waker>,
}

/// Wakes the stream in one place.
struct PlaceWaker {
    place: usize,
    /// It is in the queue.
    queued: AtomicBool,
    queue: Arc<Queue>,
}

/// The waker of a place, and whether it lies in the queue.
pub(super) struct Place(Arc<PlaceWaker>, Waker);

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was woken to `places`. The connection is awake now, and woken no more.
    pub(super) fn take(&self, places: &mut Vec<usize>) {
        let mut woken = self.lock();
        woken.task = None;
        places.append(&mut woken.places);
    }

    /// Has the connection woken with the next stream; whether one has been already.
    pub(super) fn sleep(&self, context: &Context<'_>) -> bool {
        let mut woken = self.lock();
        if !woken.places.is_empty() {
            return true;
        }
        woken.task = Some(context.waker().clone());
        false
    }
}

impl Place {
    pub(super) fn new(place: usize, queue: Arc<Queue>) -> Self {
        let waker = Arc::new(PlaceWaker {
            place,
            queued: AtomicBool::new(false),
            queue,
        });
        Self(Arc::clone(&waker), waker.into())
    }

    pub(super) const fn waker(&self) -> &Waker {
        &self.1
    }

    /// Whether this is the first to be woken; if so, the place is to be put among the others.
    pub(super) fn mark(&self) -> bool {
        !self.0.queued.swap(true, Ordering::AcqRel)
    }

    /// What was woken is looked at now; what is woken from here on comes again.
    pub(super) fn begin(&self) {
        self.0.queued.store(false, Ordering::Release);
    }
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut woken = self.queue.lock();
        woken.places.push(self.place);
        let task = woken.task.take();
        drop(woken);
        if let Some(task) = task {
            task.wake();
        }
    }
}
