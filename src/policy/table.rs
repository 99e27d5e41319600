//! Finding the route: host first (exact, `*.host`, any), then the longest literal path.
//!
//! Each look-up is a hash probe a path segment, so ten thousand routes cost what ten do. A host
//! that has routes of its own still falls to the routes for any host when none of its own match.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{PathPattern, Route};
use crate::http::host::HostPattern;

/// A listener's place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListenerId(pub(crate) usize);

/// All routes, by listener.
#[derive(Debug)]
pub(crate) struct RouteTable {
    placements: Vec<Placement>,
    listeners: Vec<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, Paths>,
    /// By what follows the first label, with its dot.
    suffix: HashMap<Box<str>, Paths>,
    any: Paths,
}

#[derive(Debug, Default)]
struct Paths(HashMap<Box<str>, Ends>);

/// The routes at one literal path.
#[derive(Debug, Default)]
struct Ends {
    exact: Option<Arc<Route>>,
    any_rest: Option<Arc<Route>>,
}

/// Two routes cannot be told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Collision {
    pub(crate) first: usize,
    pub(crate) second: usize,
}

/// A route with what it matches.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) route: Arc<Route>,
    pub(crate) listeners: Vec<ListenerId>,
    /// Empty: any host.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) path: PathPattern,
}

impl Placement {
    /// Whether it matches a host (lower case, no port).
    pub(crate) fn answers_for(&self, host: &str) -> bool {
        let fits = |pattern: &HostPattern| pattern.covers(host);
        self.hosts.is_empty() || self.hosts.iter().any(fits)
    }
}

impl RouteTable {
    /// Builds the table for a number of listeners, and names every collision.
    pub(crate) fn new(listeners: usize, placements: &[Placement]) -> (Self, Vec<Collision>) {
        let mut table = Self {
            placements: placements.to_vec(),
            listeners: (0..listeners).map(|_| Hosts::default()).collect(),
        };
        let mut collisions = Vec::new();
        for placement in placements {
            for listener in &placement.listeners {
                let Some(hosts) = table.listeners.get_mut(listener.0) else {
                    continue;
                };
                for taken in hosts.insert(placement) {
                    let collision = Collision {
                        first: taken,
                        second: placement.route.index,
                    };
                    if !collisions.contains(&collision) {
                        collisions.push(collision);
                    }
                }
            }
        }
        (table, collisions)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.placements.iter().map(|placement| &*placement.route)
    }

    /// All of them, with what they match.
    pub(crate) fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The route of a name, if it answers for this host at this listener.
    pub(crate) fn named(&self, listener: ListenerId, host: &str, name: &str) -> Option<&Placement> {
        let named = |placement: &&Placement| {
            *placement.route.name == *name
                && placement.listeners.contains(&listener)
                && placement.answers_for(host)
        };
        self.placements.iter().find(named)
    }

    /// The route for a host (lower case, no port) and a path.
    pub(crate) fn find(&self, listener: ListenerId, host: &str, path: &str) -> Option<&Arc<Route>> {
        let hosts = self.listeners.get(listener.0)?;
        hosts
            .exact
            .get(host)
            .and_then(|paths| paths.find(path))
            .or_else(|| {
                let dot = host.find('.')?;
                hosts.suffix.get(host.get(dot..)?)?.find(path)
            })
            .or_else(|| hosts.any.find(path))
    }

    /// Whether any route of the listener could answer for this host.
    pub(crate) fn serves_host(&self, listener: ListenerId, host: &str) -> bool {
        self.listeners.get(listener.0).is_some_and(|hosts| {
            !hosts.any.0.is_empty()
                || hosts.exact.contains_key(host)
                || host
                    .find('.')
                    .and_then(|dot| host.get(dot..))
                    .is_some_and(|suffix| hosts.suffix.contains_key(suffix))
        })
    }
}

impl Hosts {
    fn insert(&mut self, placement: &Placement) -> Vec<usize> {
        if placement.hosts.is_empty() {
            return self.any.insert(placement).into_iter().collect();
        }
        let mut taken = Vec::new();
        for host in &placement.hosts {
            let paths = match host {
                HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
                HostPattern::Suffix(suffix) => self.suffix.entry(suffix.clone()).or_default(),
            };
            taken.extend(paths.insert(placement));
        }
        taken
    }
}

impl Paths {
    /// The index of the route that stands there already, if one does.
    fn insert(&mut self, placement: &Placement) -> Option<usize> {
        let ends = self.0.entry(placement.path.literal.clone()).or_default();
        let end = if placement.path.any_rest {
            &mut ends.any_rest
        } else {
            &mut ends.exact
        };
        if let Some(taken) = end {
            return Some(taken.index);
        }
        *end = Some(Arc::clone(&placement.route));
        None
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.0.get(path).and_then(|ends| ends.exact.as_ref()) {
            return Some(route);
        }
        let mut literal = path;
        loop {
            if let Some(route) = self.0.get(literal).and_then(|ends| ends.any_rest.as_ref()) {
                return Some(route);
            }
            let slash = literal.rfind('/')?;
            literal = literal.get(..slash)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Access;

    fn placement(index: usize, host: &str, path: &str) -> Placement {
        Placement {
            route: Arc::new(Route::of_a_test(
                &format!("{host}{path}"),
                index,
                Access::Open,
            )),
            listeners: vec![ListenerId(0)],
            hosts: host.parse().into_iter().collect(),
            path: path.parse().expect("a path"),
        }
    }

    #[test]
    fn host_first_then_longest_literal_path() {
        let placements = [
            placement(0, "", "/{*rest}"),
            placement(1, "", "/orders/{*rest}"),
            placement(2, "", "/orders/special"),
            placement(3, "a.test", "/orders/{*rest}"),
            placement(4, "*.b.test", "/{*rest}"),
        ];
        let (table, collisions) = RouteTable::new(1, &placements);
        assert!(collisions.is_empty());
        for (host, path, index) in [
            ("x.test", "/", 0),
            ("x.test", "/other/thing", 0),
            ("x.test", "/ordersx", 0),
            ("x.test", "/orders", 1),
            ("x.test", "/orders/", 1),
            ("x.test", "/orders/1/items", 1),
            ("x.test", "/orders/special", 2),
            ("x.test", "/orders/special/", 1),
            ("x.test", "/Orders", 0),
            ("a.test", "/orders/special", 3),
            ("a.test", "/other", 0),
            ("c.b.test", "/orders", 4),
            ("b.test", "/orders", 1),
        ] {
            let found = table
                .find(ListenerId(0), host, path)
                .map(|route| route.index);
            assert_eq!(found, Some(index), "{host}{path}");
        }
        assert!(table.find(ListenerId(1), "a.test", "/").is_none());
    }

    #[test]
    fn equal_routes_collide() {
        let placements = [
            placement(0, "a.test", "/x/{*rest}"),
            placement(1, "a.test", "/x"),
            placement(2, "a.test", "/x/{*other}"),
        ];
        let (_, collisions) = RouteTable::new(1, &placements);
        assert_eq!(
            collisions,
            [Collision {
                first: 0,
                second: 2
            }]
        );
    }

    #[test]
    fn hosts_that_no_route_names_are_unknown() {
        let (table, _) = RouteTable::new(
            1,
            &[placement(0, "a.test", "/x"), placement(1, "*.b.test", "/")],
        );
        assert!(table.serves_host(ListenerId(0), "a.test"));
        assert!(table.serves_host(ListenerId(0), "c.b.test"));
        assert!(!table.serves_host(ListenerId(0), "b.test"));
    }
}
