//! Counts and gauges that others hold, and families in the crate's own types.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramProto, LabelPair, Metric, MetricFamily,
    MetricType,
};

use crate::observe::histogram::{Histogram, REQUEST_BOUNDS};

/// Counts and gauges that others hold, read at the time of a scrape.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    pub(super) families: Vec<MetricFamily>,
}

/// Durations that are counted off the request's way.
#[derive(Debug)]
pub(crate) struct Durations(Mutex<Histogram>);

impl Default for Durations {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new(REQUEST_BOUNDS)))
    }
}

impl Durations {
    pub(crate) fn observe(&self, took: Duration) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .observe(took);
    }
}

impl Readings {
    /// A family of counters: labels and values.
    pub(crate) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        metrics: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, u64)>,
    ) {
        let metrics = metrics
            .into_iter()
            .map(|(labels, value)| counter(&labels, value));
        self.families
            .push(family(name, help, MetricType::COUNTER, metrics));
    }

    /// A family of histograms of durations.
    pub(crate) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        metrics: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, &'a Durations)>,
    ) {
        let metrics = metrics.into_iter().map(|(labels, durations)| {
            let cells = durations.0.lock().unwrap_or_else(PoisonError::into_inner);
            histogram(&labels, &cells)
        });
        self.families
            .push(family(name, help, MetricType::HISTOGRAM, metrics));
    }

    /// A family of gauges: labels and values.
    pub(crate) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        metrics: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        let metrics = metrics.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(pairs(&labels));
            metric.set_gauge(gauge);
            metric
        });
        self.families
            .push(family(name, help, MetricType::GAUGE, metrics));
    }
}

pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.into_iter().collect());
    family
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let mut pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    pairs
}

#[expect(clippy::cast_precision_loss, reason = "counts stay exact up to 2^53")]
pub(super) fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

pub(super) fn histogram(labels: &[(&str, &str)], cells: &Histogram) -> Metric {
    let mut proto = HistogramProto::default();
    proto.set_sample_count(cells.count());
    proto.set_sample_sum(cells.sum());
    proto.set_bucket(
        cells
            .cumulative()
            .map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(count);
                bucket
            })
            .collect(),
    );
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_histogram(proto);
    metric
}
