//! The steps of a verdict in time. On a shared machine compare only within one run.

use std::hint::black_box;

use bearward::steps::World;
use bearward_steps::{STEPS, steps};
use criterion::{Criterion, criterion_group, criterion_main};

fn verdict(criterion: &mut Criterion) {
    for (size, world) in [("small", World::SMALL), ("large", World::LARGE)] {
        let steps = steps("ES256", world);
        for (name, step) in STEPS {
            criterion.bench_function(&format!("{name}/{size}"), |bencher| {
                bencher.iter(|| black_box(step(black_box(&steps))));
            });
        }
    }
    for alg in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let steps = steps(alg, World::SMALL);
        for (name, step) in [
            ("verify", bearward::steps::Steps::verify as fn(&_) -> _),
            ("cold", bearward::steps::Steps::cold),
        ] {
            criterion.bench_function(&format!("{name}/{alg}"), |bencher| {
                bencher.iter(|| black_box(step(black_box(&steps))));
            });
        }
    }
}

criterion_group!(benches, verdict);
criterion_main!(benches);
