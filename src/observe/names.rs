//! The configured names that are labels, and that lines are written with.
//!
//! What happens is counted by places in these lists, which is cheap. A name keeps its place for as long as
//! the process lives, so that a reload moves nothing that was counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Labels;

/// Names of one kind over all configurations of a run. What comes after them is `other`.
const NAMES_MAX: usize = 65_536;

/// All names of a run.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) listeners: Places,
    pub(crate) routes: Places,
    pub(crate) issuers: Places,
    pub(crate) upstreams: Places,
    routes_are_other: AtomicBool,
}

/// Names of one kind.
#[derive(Debug, Default)]
pub(crate) struct Places(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
}

impl Places {
    /// The place of a name, from now on and for ever.
    pub(crate) fn of(&self, name: &Arc<str>) -> usize {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.places.get(name) {
            return *place;
        }
        let place = known.names.len();
        if place >= NAMES_MAX {
            return usize::MAX;
        }
        known.names.push(Arc::clone(name));
        known.places.insert(Arc::clone(name), place);
        place
    }

    /// The places of names, in their order.
    pub(crate) fn all<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) -> Box<[usize]> {
        names.map(|name| self.of(name)).collect()
    }

    /// The name at a place.
    pub(crate) fn name(&self, place: usize) -> Option<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.names.get(place).cloned()
    }

    fn names(&self) -> Vec<Arc<str>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.names.clone()
    }
}

impl Names {
    /// Whether routes are labels by name, or all `other`.
    pub(crate) fn name_routes(&self, by_name: bool) {
        self.routes_are_other.store(!by_name, Ordering::Relaxed);
    }

    /// All of them as they are now.
    pub(crate) fn labels(&self) -> Labels {
        Labels {
            routes: self.routes.names(),
            route_names: !self.routes_are_other.load(Ordering::Relaxed),
            issuers: self.issuers.names(),
            upstreams: self.upstreams.names(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_place() {
        let places = Places::default();
        let names: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        assert_eq!(*places.all(names.iter()), [0, 1]);
        let names: Vec<Arc<str>> = vec!["c".into(), "b".into()];
        assert_eq!(*places.all(names.iter()), [2, 1]);
        assert_eq!(places.name(0).as_deref(), Some("a"));
        assert_eq!(places.name(3), None);
    }
}
