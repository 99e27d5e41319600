//! What both benches measure.

use bearward::steps::{Steps, World};

/// A step of a verdict, by name.
pub type Step = (&'static str, fn(&Steps) -> bool);

/// The steps, in their order, and the whole.
pub const STEPS: [Step; 8] = [
    ("route", Steps::route),
    ("extract", Steps::extract),
    ("digest", |steps| steps.digest() != [0; 32]),
    ("look_up", Steps::look_up),
    ("parse", Steps::parse),
    ("claims", Steps::claims),
    ("authorize", Steps::authorize),
    ("hot", Steps::hot),
];

/// A world with a token of an algorithm.
///
/// # Panics
/// It cannot be made.
#[must_use]
pub fn steps(alg: &str, world: World) -> Steps {
    Steps::new(alg, world).unwrap_or_else(|error| panic!("{alg}: {error:#}"))
}
