//! The open streams of a connection, each in a place that outlives it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::queue::{Place, Queue};
use super::stream::{Blocked, Stream};

/// Places that a connection without streams keeps.
const KEPT: usize = 4;

/// The streams that were reset last: what was on its way then is left out.
#[derive(Debug)]
pub(super) struct Recent {
    ids: VecDeque<u32>,
    max: usize,
}

impl Recent {
    /// So many are remembered.
    pub(super) const fn new(max: usize) -> Self {
        let ids = VecDeque::new();
        Self { ids, max }
    }

    pub(super) fn put(&mut self, id: u32) {
        if self.ids.len() == self.max {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }
}

/// The open streams.
pub(super) struct Streams<R> {
    places: Vec<(Place, Option<Stream<R>>)>,
    free: Vec<usize>,
    /// Number and place of each, by number: clients count upwards.
    open: Vec<(u32, usize)>,
    queue: Arc<Queue>,
    /// Places that have something to do, as the connection knows.
    marked: Vec<usize>,
    /// Places that wait for the window of the connection, and got nothing of it when it was last open.
    without_window: Vec<usize>,
    /// And those that got some.
    with_some_window: Vec<usize>,
    /// Places that wait until what lies before them is written.
    without_room: Vec<usize>,
}

impl<R> Streams<R> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            open: Vec::new(),
            queue: Arc::new(Queue::default()),
            marked: Vec::new(),
            without_window: Vec::new(),
            with_some_window: Vec::new(),
            without_room: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// A place for a stream.
    pub(super) fn place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            let place = self.places.len();
            let waker = Place::new(place, Arc::clone(&self.queue));
            self.places.push((waker, None));
            place
        })
    }

    /// Puts a stream into its place, where it is run as soon as may be.
    pub(super) fn put(&mut self, place: usize, stream: Stream<R>) {
        self.open.push((stream.id, place));
        if let Some((_, free)) = self.places.get_mut(place) {
            *free = Some(stream);
        }
        self.mark(place);
    }

    /// The place of a stream.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        let at = self.open.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.open.get(at).map(|(_, place)| *place)
    }

    /// What is in a place.
    pub(super) fn at(&mut self, place: usize) -> Option<(&Place, &mut Stream<R>)> {
        let (waker, stream) = self.places.get_mut(place)?;
        Some((waker, stream.as_mut()?))
    }

    /// The waker of a place.
    pub(super) fn waker(&self, place: usize) -> Option<&Place> {
        self.places.get(place).map(|(waker, _)| waker)
    }

    /// Has the stream in a place run.
    pub(super) fn mark(&mut self, place: usize) {
        if let Some((waker, _)) = self.places.get(place)
            && waker.mark()
        {
            self.marked.push(place);
        }
    }

    /// A stream was kept from sending.
    pub(super) fn block(&mut self, place: usize, by: Option<Blocked>) {
        let places = match by {
            Some(Blocked::Connection { got_some: false }) => &mut self.without_window,
            Some(Blocked::Connection { got_some: true }) => &mut self.with_some_window,
            Some(Blocked::Room) => &mut self.without_room,
            // It is found by its number.
            Some(Blocked::Stream) | None => return,
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }

    /// Has those run that wait for the window of the connection: first who got none of the last.
    pub(super) fn unblock_window(&mut self) {
        let none = std::mem::take(&mut self.without_window);
        let some = std::mem::take(&mut self.with_some_window);
        none.into_iter().chain(some).for_each(|it| self.mark(it));
    }

    /// Has those run that wait for what is written.
    pub(super) fn unblock_room(&mut self) {
        let places = std::mem::take(&mut self.without_room);
        places.into_iter().for_each(|place| self.mark(place));
    }

    /// Those that are to run.
    pub(super) fn marked(&mut self) -> Vec<usize> {
        self.queue.take(&mut self.marked);
        std::mem::take(&mut self.marked)
    }

    /// Takes back the room of [`Self::marked`].
    pub(super) fn ran(&mut self, mut places: Vec<usize>) {
        places.clear();
        places.append(&mut self.marked);
        self.marked = places;
    }

    /// Whether the connection itself has marked some.
    pub(super) const fn has_marked(&self) -> bool {
        !self.marked.is_empty()
    }

    /// Gives every stream so much more window, or less; whether that is more than one can have.
    pub(super) fn widen(&mut self, by: i64) -> bool {
        let mut is_too_much = false;
        for (place, (waker, stream)) in self.places.iter_mut().enumerate() {
            let Some(stream) = stream else {
                continue;
            };
            is_too_much |= stream.widen(by);
            if stream.blocked == Some(Blocked::Stream) && waker.mark() {
                self.marked.push(place);
            }
        }
        is_too_much
    }

    /// Those that cannot be sent, and since when.
    pub(super) fn stuck(&self) -> impl Iterator<Item = (u32, Instant)> {
        let streams = self.places.iter().filter_map(|(_, it)| it.as_ref());
        streams.filter_map(|it| Some((it.id, it.stuck_since?)))
    }

    /// Takes a stream out.
    pub(super) fn remove(&mut self, place: usize) -> Option<Stream<R>> {
        let (_, stream) = self.places.get_mut(place)?;
        let stream = stream.take()?;
        self.open.retain(|(id, _)| *id != stream.id);
        self.free.push(place);
        if self.open.is_empty() && self.places.len() > KEPT {
            self.places.truncate(KEPT);
            self.free = (0..KEPT).collect();
        }
        Some(stream)
    }
}
