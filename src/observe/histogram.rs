//! A histogram that one thread fills and another adds up.

use std::time::Duration;

/// Upper bounds, in seconds, for whole requests and upstream responses.
pub(super) const REQUEST_BOUNDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];
/// For what takes microseconds: our own time, and signature checks.
pub(super) const OWN_BOUNDS: &[f64] = &[
    0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5,
    0.001, 0.005, 0.025, 0.1,
];

/// Counts of durations by bound.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// One more than the bounds: the last is for what exceeds them all.
    counts: Box<[u64]>,
    sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
        }
    }

    pub(super) fn observe(&mut self, value: Duration) {
        let seconds = value.as_secs_f64();
        let index = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.sum += seconds;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Bounds with the counts up to each.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds
            .iter()
            .zip(&self.counts)
            .scan(0, |total, (bound, count)| {
                *total += count;
                Some((*bound, *total))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_counts_add_up() {
        let mut one = Histogram::new(&[0.001, 0.01]);
        for micros in [500, 1000, 1001, 20_000] {
            one.observe(Duration::from_micros(micros));
        }
        let mut two = one.clone();
        two.add(&one);
        assert_eq!(
            one.cumulative().collect::<Vec<_>>(),
            [(0.001, 2), (0.01, 3)]
        );
        assert_eq!(two.count(), 8);
        assert!((two.sum() - 0.045_002).abs() < 1e-9);
    }
}
