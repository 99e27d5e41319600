//! The metrics: cells of each worker, added up when somebody scrapes.
//!
//! A worker records a whole exchange under one uncontended lock of its own, so no counter is
//! shared between cores. Labels are places in configured lists, which bounds the series; every
//! reason of a route is shown at 0 from the start. Only this folder knows the `prometheus` crate.

mod cells;
mod minutes;
mod readings;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::Names;
use super::exchange::{CacheLabel, Outcome, StreamEnd};
use super::histogram::{Histogram, OWN_BOUNDS};
use crate::clock::UnixTime;
use crate::verdict::Reason;
use cells::{RouteIndex, STATUS_CLASSES, UpstreamCells};
use readings::{counter, family, histogram};

pub(crate) use cells::WorkerCells;
pub(crate) use minutes::Minute;
pub(crate) use readings::{Durations, Readings};

/// The names that are labels at one moment, each list in the order of its places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) routes: Vec<Arc<str>>,
    /// Whether routes are labels by name; otherwise all are `other`.
    pub(crate) route_names: bool,
    pub(crate) issuers: Vec<Arc<str>>,
    pub(crate) upstreams: Vec<Arc<str>>,
}

impl Labels {
    fn route(&self, route: RouteIndex) -> &str {
        match route {
            None => "none",
            Some(_) if !self.route_names => "other",
            Some(index) => self.routes.get(index).map_or("other", |name| name),
        }
    }
}

/// All cells.
#[derive(Debug)]
pub(crate) struct Metrics {
    names: Arc<Names>,
    /// What revocations select by.
    selectors: Vec<&'static str>,
    workers: Vec<Arc<WorkerCells>>,
}

impl Metrics {
    /// Cells for a number of workers.
    pub(crate) fn new(names: Arc<Names>, selectors: Vec<&'static str>, workers: usize) -> Self {
        let cells = || Arc::new(WorkerCells::default());
        Self {
            names,
            selectors,
            workers: (0..workers.max(1)).map(|_| cells()).collect(),
        }
    }

    /// The cells of one worker.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerCells> {
        let index = index % self.workers.len().max(1);
        self.workers
            .get(index)
            .map_or_else(|| Arc::new(WorkerCells::default()), Arc::clone)
    }

    /// What the minutes up to a time came to, the oldest first.
    pub(crate) fn minutes(&self, now: UnixTime) -> Vec<Minute> {
        let mut sums = minutes::up_to(now);
        for worker in &self.workers {
            let cells = worker.0.lock().unwrap_or_else(PoisonError::into_inner);
            cells.minutes.add_to(&mut sums);
        }
        sums
    }

    /// The names of everything that is counted.
    pub(crate) fn names(&self) -> &Names {
        &self.names
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

    fn families(&self) -> Vec<MetricFamily> {
        let labels = self.names.labels();
        let mut requests: BTreeMap<(&str, &str, u16), u64> = BTreeMap::new();
        let mut durations: BTreeMap<&str, Histogram> = BTreeMap::new();
        let mut overhead = Histogram::new(OWN_BOUNDS);
        let mut limited: BTreeMap<&str, u64> = BTreeMap::new();
        for index in 0..labels.routes.len() {
            limited.insert(labels.route(Some(index)), 0);
        }
        let mut decisions = decisions_at_zero(&labels);
        let mut would_deny: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut verifications: BTreeMap<&str, Histogram> = BTreeMap::new();
        let mut cache = [0; CacheLabel::ALL.len()];
        let mut streams_ended = [0; StreamEnd::ALL.len()];
        let selectors = self.selectors.iter();
        let mut hits: BTreeMap<&str, u64> = selectors.map(|name| (*name, 0)).collect();
        let mut upstreams: BTreeMap<&str, UpstreamCells> = labels
            .upstreams
            .iter()
            .map(|name| (&**name, UpstreamCells::default()))
            .collect();
        for worker in &self.workers {
            let cells = worker.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (answer, count) in &cells.answers {
                let route = labels.route(answer.route);
                *requests
                    .entry((route, answer.method.0, answer.status))
                    .or_default() += count;
                if answer.reason == Some(Reason::RateLimited) {
                    *limited.entry(route).or_default() += count;
                }
                let issuer = match answer.issuer {
                    None => "none",
                    Some(place) => labels.issuers.get(place).map_or("other", |name| name),
                };
                let key = (
                    route,
                    issuer,
                    Outcome::of(answer.reason),
                    answer.reason.map_or("none", Reason::code),
                );
                *decisions.entry(key).or_default() += count;
            }
            for (route, histogram) in &cells.durations {
                add(&mut durations, labels.route(*route), histogram);
            }
            overhead.add(&cells.overhead);
            for (alg, histogram) in &cells.verifications {
                add(&mut verifications, alg, histogram);
            }
            for ((route, reason), count) in &cells.would_deny {
                let key = (labels.route(*route), reason.code());
                *would_deny.entry(key).or_default() += count;
            }
            for (selector, count) in &cells.revocation_hits {
                *hits.entry(selector).or_default() += count;
            }
            for (sum, count) in cache.iter_mut().zip(cells.cache) {
                *sum += count;
            }
            for (sum, count) in streams_ended.iter_mut().zip(cells.streams_ended) {
                *sum += count;
            }
            for (index, cells) in &cells.upstreams {
                let name = labels.upstreams.get(*index);
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
                "bearward_would_deny_total",
                "Requests that routes with `auth = \"report\"` let pass and would have refused.",
                MetricType::COUNTER,
                would_deny.iter().map(|((route, reason), count)| {
                    counter(&[("route", route), ("reason", reason)], *count)
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
                "bearward_revocation_hits_total",
                "Tokens refused because they were revoked.",
                MetricType::COUNTER,
                hits.iter()
                    .map(|(selector, count)| counter(&[("selector", selector)], *count)),
            ),
            family(
                "bearward_streams_closed_total",
                "Answers that were ended before their end.",
                MetricType::COUNTER,
                StreamEnd::ALL
                    .iter()
                    .zip(streams_ended)
                    .map(|(cause, count)| counter(&[("cause", cause.name())], count)),
            ),
            family(
                "bearward_rate_limited_total",
                "Requests that were refused because there were too many.",
                MetricType::COUNTER,
                limited
                    .iter()
                    .map(|(route, count)| counter(&[("route", route)], *count)),
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
}

/// Every reason of every route, before any of them happened.
fn decisions_at_zero(labels: &Labels) -> BTreeMap<(&str, &str, Outcome, &'static str), u64> {
    let routes = (0..labels.routes.len()).map(Some).chain([None]);
    let reasons = || Reason::ALL.iter().copied().map(Some).chain([None]);
    routes
        .flat_map(|route| {
            reasons().map(move |reason| {
                let code = reason.map_or("none", Reason::code);
                let route = labels.route(route);
                ((route, "none", Outcome::of(reason), code), 0)
            })
        })
        .collect()
}

fn add<'a>(sums: &mut BTreeMap<&'a str, Histogram>, key: &'a str, cells: &Histogram) {
    match sums.get_mut(key) {
        Some(sum) => sum.add(cells),
        None => _ = sums.insert(key, cells.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Exchange;
    use std::time::{Duration, Instant};

    #[test]
    fn every_reason_of_every_route_is_there_at_zero() {
        let names = Names::default();
        names.routes.of(&"orders".into());
        let text = Metrics::new(names.into(), vec![], 1).text(Readings::default());
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
        let metrics = Metrics::new(Arc::default(), vec![], 2);
        for worker in 0..2 {
            let mut exchange = Exchange::begin(
                UnixTime::default(),
                0,
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
