//! The metrics: cells of each worker, added up when somebody scrapes.
//!
//! A worker records a whole exchange under one uncontended lock of its own, so no counter is
//! shared between cores. Labels are places in configured lists, which bounds the series; every
//! reason of a route is shown at 0 from the start. Only this file knows the `prometheus` crate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use prometheus::core::Collector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramProto, LabelPair, Metric, MetricFamily,
    MetricType,
};
use prometheus::{Encoder, TextEncoder};

use super::exchange::{CacheLabel, Exchange, MethodLabel, Outcome, UpstreamNotes};
use super::histogram::{Histogram, OWN_BOUNDS, REQUEST_BOUNDS};
use crate::verdict::Reason;

/// The configured names that are labels, each list in the order of its places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) routes: Vec<Arc<str>>,
    /// Whether routes are labels by name; otherwise all are `other`.
    pub(crate) route_names: bool,
    pub(crate) issuers: Vec<Arc<str>>,
    pub(crate) upstreams: Vec<Arc<str>>,
}

/// Counts and gauges that others hold, read at the time of a scrape.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    families: Vec<MetricFamily>,
}

/// All cells.
#[derive(Debug)]
pub(crate) struct Metrics {
    labels: Labels,
    workers: Vec<Arc<WorkerCells>>,
}

/// The cells of one worker.
#[derive(Debug)]
pub(crate) struct WorkerCells(Mutex<Cells>);

type RouteIndex = Option<usize>;

/// Maps with few entries, each looked up on every request: the hash is the cheap one, and the keys
/// are of closed lists.
#[derive(Debug)]
struct Cells {
    requests: HashMap<(RouteIndex, MethodLabel, u16), u64>,
    durations: HashMap<RouteIndex, Histogram>,
    overhead: Histogram,
    decisions: HashMap<(RouteIndex, Option<usize>, Option<Reason>), u64>,
    verifications: HashMap<&'static str, Histogram>,
    cache: [u64; CacheLabel::ALL.len()],
    upstreams: HashMap<usize, UpstreamCells>,
}

#[derive(Debug)]
struct UpstreamCells {
    by_class: [u64; STATUS_CLASSES.len()],
    durations: Histogram,
    retries: u64,
}

/// The classes of a response; the first is for none.
const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for Cells {
    fn default() -> Self {
        Self {
            requests: HashMap::new(),
            durations: HashMap::new(),
            overhead: Histogram::new(OWN_BOUNDS),
            decisions: HashMap::new(),
            verifications: HashMap::new(),
            cache: [0; CacheLabel::ALL.len()],
            upstreams: HashMap::new(),
        }
    }
}

impl Default for UpstreamCells {
    fn default() -> Self {
        Self {
            by_class: [0; STATUS_CLASSES.len()],
            durations: Histogram::new(REQUEST_BOUNDS),
            retries: 0,
        }
    }
}

impl UpstreamCells {
    fn record(&mut self, upstream: &UpstreamNotes) {
        let class = upstream
            .status
            .map_or(0, |status| usize::from(status / 100));
        if let Some(count) = self.by_class.get_mut(class.min(STATUS_CLASSES.len() - 1)) {
            *count += 1;
        }
        self.durations.observe(upstream.took);
        self.retries += u64::from(upstream.retries);
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.by_class.iter_mut().zip(other.by_class) {
            *mine += theirs;
        }
        self.durations.add(&other.durations);
        self.retries += other.retries;
    }
}

impl WorkerCells {
    /// Adds an exchange that is over.
    pub(crate) fn record(&self, exchange: &Exchange) {
        let took = exchange.started.elapsed();
        let route = exchange.route.as_ref().map(|(index, _)| *index);
        let issuer = exchange.issuer.as_ref().map(|(index, _)| *index);
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = &mut *cells;
        *cells
            .requests
            .entry((route, exchange.method, exchange.status))
            .or_default() += 1;
        cells
            .durations
            .entry(route)
            .or_insert_with(|| Histogram::new(REQUEST_BOUNDS))
            .observe(took);
        *cells
            .decisions
            .entry((route, issuer, exchange.reason))
            .or_default() += 1;
        if let Some(cache) = exchange.cache
            && let Some(count) = cells.cache.get_mut(cache as usize)
        {
            *count += 1;
        }
        if let Some((alg, took)) = exchange.verified_in {
            cells
                .verifications
                .entry(alg)
                .or_insert_with(|| Histogram::new(OWN_BOUNDS))
                .observe(took);
        }
        let mut own = took;
        if let Some(upstream) = &exchange.upstream {
            own = own.saturating_sub(upstream.took);
            cells
                .upstreams
                .entry(upstream.index)
                .or_default()
                .record(upstream);
        }
        cells.overhead.observe(own);
    }
}

impl Metrics {
    /// Cells for a number of workers.
    pub(crate) fn new(labels: Labels, workers: usize) -> Self {
        let cells = || Arc::new(WorkerCells(Mutex::new(Cells::default())));
        Self {
            labels,
            workers: (0..workers.max(1)).map(|_| cells()).collect(),
        }
    }

    /// The cells of one worker.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerCells> {
        let index = index % self.workers.len().max(1);
        self.workers.get(index).map_or_else(
            || Arc::new(WorkerCells(Mutex::new(Cells::default()))),
            Arc::clone,
        )
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn text(&self, readings: Readings) -> String {
        let mut families = self.families();
        families.extend(readings.families);
        families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut out = Vec::new();
        // Families are never empty and writing to a vector does not fail.
        families.retain(|family| !family.get_metric().is_empty());
        let _ = TextEncoder::new().encode(&families, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    fn route_label(&self, route: RouteIndex) -> &str {
        match route {
            None => "none",
            Some(_) if !self.labels.route_names => "other",
            Some(index) => self.labels.routes.get(index).map_or("other", |name| name),
        }
    }

    fn families(&self) -> Vec<MetricFamily> {
        let mut requests: BTreeMap<(&str, &str, u16), u64> = BTreeMap::new();
        let mut durations: BTreeMap<&str, Histogram> = BTreeMap::new();
        let mut overhead = Histogram::new(OWN_BOUNDS);
        let mut decisions = self.decisions_at_zero();
        let mut verifications: BTreeMap<&str, Histogram> = BTreeMap::new();
        let mut cache = [0; CacheLabel::ALL.len()];
        let mut upstreams: BTreeMap<&str, UpstreamCells> = self
            .labels
            .upstreams
            .iter()
            .map(|name| (&**name, UpstreamCells::default()))
            .collect();
        for worker in &self.workers {
            let cells = worker.0.lock().unwrap_or_else(PoisonError::into_inner);
            for ((route, method, status), count) in &cells.requests {
                *requests
                    .entry((self.route_label(*route), method.0, *status))
                    .or_default() += count;
            }
            for (route, histogram) in &cells.durations {
                add(&mut durations, self.route_label(*route), histogram);
            }
            overhead.add(&cells.overhead);
            for ((route, issuer, reason), count) in &cells.decisions {
                let issuer = issuer.and_then(|index| self.labels.issuers.get(index));
                let key = (
                    self.route_label(*route),
                    issuer.map_or("none", |name| name),
                    Outcome::of(*reason),
                    reason.map_or("none", Reason::code),
                );
                *decisions.entry(key).or_default() += count;
            }
            for (alg, histogram) in &cells.verifications {
                add(&mut verifications, alg, histogram);
            }
            for (sum, count) in cache.iter_mut().zip(cells.cache) {
                *sum += count;
            }
            for (index, cells) in &cells.upstreams {
                let name = self.labels.upstreams.get(*index);
                let name = name.map_or("other", |name| name);
                upstreams.entry(name).or_default().add(cells);
            }
        }
        vec![
            family(
                "bearward_requests_total",
                "Requests answered.",
                MetricType::COUNTER,
                requests.iter().map(|((route, method, status), count)| {
                    counter(
                        &[
                            ("route", route),
                            ("method", method),
                            ("status", &status.to_string()),
                        ],
                        *count,
                    )
                }),
            ),
            family(
                "bearward_request_duration_seconds",
                "From a request's header to the end of its response.",
                MetricType::HISTOGRAM,
                durations
                    .iter()
                    .map(|(route, h)| histogram(&[("route", route)], h)),
            ),
            family(
                "bearward_overhead_seconds",
                "A request's time without the upstream's.",
                MetricType::HISTOGRAM,
                [histogram(&[], &overhead)],
            ),
            family(
                "bearward_decisions_total",
                "Verdicts by their reason.",
                MetricType::COUNTER,
                decisions
                    .iter()
                    .map(|((route, issuer, outcome, reason), count)| {
                        counter(
                            &[
                                ("route", route),
                                ("issuer", issuer),
                                ("outcome", outcome.name()),
                                ("reason", reason),
                            ],
                            *count,
                        )
                    }),
            ),
            family(
                "bearward_verify_duration_seconds",
                "Signature checks.",
                MetricType::HISTOGRAM,
                verifications
                    .iter()
                    .map(|(alg, h)| histogram(&[("alg", alg)], h)),
            ),
            family(
                "bearward_token_cache_lookups_total",
                "How the token cache answered.",
                MetricType::COUNTER,
                CacheLabel::ALL
                    .iter()
                    .zip(cache)
                    .map(|(label, count)| counter(&[("result", label.name())], count)),
            ),
            family(
                "bearward_upstream_requests_total",
                "Requests sent to upstreams, by the class of their response.",
                MetricType::COUNTER,
                upstreams.iter().flat_map(|(name, cells)| {
                    let classes = STATUS_CLASSES.iter().zip(cells.by_class);
                    classes.map(|(class, count)| {
                        counter(&[("upstream", name), ("status_class", class)], count)
                    })
                }),
            ),
            family(
                "bearward_upstream_request_duration_seconds",
                "From sending a request to its response's header.",
                MetricType::HISTOGRAM,
                upstreams
                    .iter()
                    .map(|(name, cells)| histogram(&[("upstream", name)], &cells.durations)),
            ),
            family(
                "bearward_upstream_retries_total",
                "Requests sent again.",
                MetricType::COUNTER,
                upstreams
                    .iter()
                    .map(|(name, cells)| counter(&[("upstream", name)], cells.retries)),
            ),
        ]
    }

    /// Every reason of every route, before any of them happened.
    fn decisions_at_zero(&self) -> BTreeMap<(&str, &'_ str, Outcome, &'static str), u64> {
        let routes = (0..self.labels.routes.len()).map(Some).chain([None]);
        let reasons = || Reason::ALL.iter().copied().map(Some).chain([None]);
        routes
            .flat_map(|route| {
                reasons().map(move |reason| {
                    let code = reason.map_or("none", Reason::code);
                    (
                        (self.route_label(route), "none", Outcome::of(reason), code),
                        0,
                    )
                })
            })
            .collect()
    }
}

fn add<'a>(sums: &mut BTreeMap<&'a str, Histogram>, key: &'a str, cells: &Histogram) {
    match sums.get_mut(key) {
        Some(sum) => sum.add(cells),
        None => _ = sums.insert(key, cells.clone()),
    }
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

fn family(
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
fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

fn histogram(labels: &[(&str, &str)], cells: &Histogram) -> Metric {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn every_reason_of_every_route_is_there_at_zero() {
        let labels = Labels {
            routes: vec!["orders".into()],
            route_names: true,
            ..Labels::default()
        };
        let text = Metrics::new(labels, 1).text(Readings::default());
        for reason in Reason::ALL {
            let outcome = Outcome::of(Some(*reason)).name();
            let line = format!(
                "bearward_decisions_total{{issuer=\"none\",outcome=\"{outcome}\",reason=\"{}\",route=\"orders\"}} 0",
                reason.code()
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }

    #[test]
    fn cells_of_workers_add_up() {
        let metrics = Metrics::new(Labels::default(), 2);
        for worker in 0..2 {
            let mut exchange = Exchange::begin(
                crate::clock::UnixTime::default(),
                &"public".into(),
                std::net::IpAddr::from([127, 0, 0, 1]),
                &http::Method::GET,
            );
            exchange.started = Instant::now();
            exchange.status = 404;
            exchange.reason = Some(Reason::RouteNotFound);
            exchange.verified_in = Some(("RS256", Duration::from_micros(15)));
            metrics.worker(worker).record(&exchange);
        }
        let text = metrics.text(Readings::default());
        for line in [
            "bearward_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 2",
            "bearward_verify_duration_seconds_count{alg=\"RS256\"} 2",
            "bearward_overhead_seconds_count 2",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
