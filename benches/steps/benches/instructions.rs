//! The steps of a verdict in CPU instructions, which a shared machine does not change.

use std::hint::black_box;

use bearward::steps::{Steps, World};
use bearward_steps::steps;
use gungraun::{library_benchmark, library_benchmark_group, main};

/// A world whose caches and lazy parts have been used.
fn small(alg: &str) -> Steps {
    let steps = steps(alg, World::SMALL);
    assert!(steps.hot() && steps.cold());
    steps
}

macro_rules! step {
    ($($name:ident),*) => {$(
        #[library_benchmark]
        #[bench::small(setup = small, args = ("ES256"))]
        fn $name(steps: Steps) -> Steps {
            assert!(black_box(black_box(&steps).$name()));
            steps
        }
    )*};
}

step!(route, extract, look_up, parse, claims, authorize, hot);

#[library_benchmark]
#[bench::small(setup = small, args = ("ES256"))]
fn digest(steps: Steps) -> Steps {
    black_box(black_box(&steps).digest());
    steps
}

#[library_benchmark]
#[bench::rs256(setup = small, args = ("RS256"))]
#[bench::ps256(setup = small, args = ("PS256"))]
#[bench::es256(setup = small, args = ("ES256"))]
#[bench::es384(setup = small, args = ("ES384"))]
#[bench::eddsa(setup = small, args = ("EdDSA"))]
fn verify(steps: Steps) -> Steps {
    assert!(black_box(black_box(&steps).verify()));
    steps
}

#[library_benchmark]
#[bench::es256(setup = small, args = ("ES256"))]
fn cold(steps: Steps) -> Steps {
    assert!(black_box(black_box(&steps).cold()));
    steps
}

library_benchmark_group!(
    name = verdict;
    benchmarks = route, extract, digest, look_up, parse, verify, claims, authorize, hot, cold
);

main!(library_benchmark_groups = verdict);
