//! How much room is made for the next bytes of a body: little, until they come in plenty.
//!
//! Who sends slowly, or an event stream that says something now and then, holds little; a long body goes in
//! few system calls.

/// At first.
const LEAST: usize = 8 * 1024;
/// What is read at once of a long body.
const MOST: usize = 128 * 1024;

/// The room for a body's next bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    next: usize,
    most: usize,
}

impl Room {
    pub(crate) const fn new() -> Self {
        Self::up_to(MOST)
    }

    /// Never more than this.
    pub(crate) const fn up_to(most: usize) -> Self {
        Self { next: LEAST, most }
    }

    /// Bytes that there should be room for.
    pub(crate) const fn next(self) -> usize {
        self.next
    }

    /// So many bytes came in one read.
    pub(crate) fn took(&mut self, bytes: usize) {
        if bytes >= self.next / 2 {
            self.next = (self.next * 2).min(self.most);
        } else if bytes < self.next / 8 {
            self.next = (self.next / 2).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_what_comes_and_shrinks_again() {
        let mut room = Room::new();
        for _ in 0..10 {
            room.took(room.next());
        }
        assert_eq!(room.next(), MOST);
        // Less than would fill it is no reason to shrink.
        room.took(MOST / 4);
        assert_eq!(room.next(), MOST);
        for _ in 0..10 {
            room.took(100);
        }
        assert_eq!(room.next(), LEAST);
    }
}
