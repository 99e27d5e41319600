//! Spans, and the document that carries them (OTLP/JSON, opentelemetry-proto 1.x).

use std::time::Duration;

use serde_json::{Value, json};

use super::Traced;
use crate::observe::{Exchange, Names, hex, shown};
use crate::verdict::Reason;

/// Of a path.
const PATH_CHARS_MAX: usize = 256;
/// `SPAN_KIND_*`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The spans of one request.
#[derive(Debug)]
pub(crate) struct Spans(pub(crate) Vec<Span>);

/// One span.
#[derive(Debug)]
pub(crate) struct Span(Value);

impl Spans {
    /// Those of an exchange that is over.
    pub(crate) fn of(traced: &Traced, exchange: &mut Exchange, names: &Names) -> Self {
        let trace = hex(&traced.trace);
        let begun = exchange.started;
        let at = exchange.at;
        let took = begun.elapsed();
        let id = exchange.id().hyphenated().to_string();
        let nanos = |from: Duration| (at.plus(from).nanos()).to_string();
        let make = |name: &str,
                    kind: u8,
                    (span, parent): (&[u8; 8], Option<&[u8; 8]>),
                    (from, took): (Duration, Duration),
                    attributes: Vec<Value>,
                    failed: bool| {
            let mut span = json!({
                "traceId": trace,
                "spanId": hex(span),
                "name": name,
                "kind": kind,
                "startTimeUnixNano": nanos(from),
                "endTimeUnixNano": nanos(from + took),
                "attributes": attributes,
                "status": if failed { json!({ "code": ERROR }) } else { json!({}) },
                "flags": 1,
            });
            if let (Some(parent), Some(members)) = (parent, span.as_object_mut()) {
                members.insert("parentSpanId".to_owned(), hex(parent).into());
            }
            Span(span)
        };
        let route = exchange.route.and_then(|place| names.routes.name(place));
        let issuer = exchange.issuer.and_then(|place| names.issuers.name(place));
        let reason = exchange.reason.or(exchange.would_deny).map(Reason::code);
        let mut attributes = vec![
            text("http.request.method", exchange.method.0),
            number("http.response.status_code", exchange.status.into()),
            text("url.path", &shown(exchange.uri.path(), PATH_CHARS_MAX)),
            text("client.address", &exchange.peer.to_string()),
            text("bearward.decision_id", &id),
            text("bearward.outcome", exchange.outcome().name()),
        ];
        attributes.extend(route.as_deref().map(|route| text("bearward.route", route)));
        attributes.extend(
            issuer
                .as_deref()
                .map(|issuer| text("bearward.issuer", issuer)),
        );
        attributes.extend(reason.map(|reason| text("error.type", reason)));
        let name = match &route {
            Some(route) => format!("{} {route}", exchange.method.0),
            None => exchange.method.0.to_owned(),
        };
        let own = (&traced.span, traced.parent.as_ref());
        let failed = exchange.status >= 500;
        let mut spans = vec![make(
            &name,
            SERVER,
            own,
            (Duration::ZERO, took),
            attributes,
            failed,
        )];
        // Their ids are nobody's parents, and follow from that of the request.
        let part = |n: u8| {
            let mut id = traced.span;
            if let Some(last) = id.last_mut() {
                *last ^= n;
            }
            id
        };
        if let Some((from, took)) = traced.verified {
            let attributes = vec![
                text(
                    "bearward.cache",
                    exchange.cache.map_or("none", |it| it.name()),
                ),
                text(
                    "bearward.alg",
                    exchange.verified_in.map_or("none", |(alg, _)| alg),
                ),
            ];
            let ids = (&part(1), Some(&traced.span));
            let from = from.saturating_duration_since(begun);
            spans.push(make(
                "verify token",
                INTERNAL,
                ids,
                (from, took),
                attributes,
                false,
            ));
        }
        if let Some((from, took)) = traced.waited {
            let ids = (&part(2), Some(&traced.span));
            let from = from.saturating_duration_since(begun);
            spans.push(make(
                "wait for keys",
                INTERNAL,
                ids,
                (from, took),
                Vec::new(),
                false,
            ));
        }
        if let Some((from, took)) = traced.forwarded {
            let upstream = exchange
                .upstream
                .and_then(|it| names.upstreams.name(it.index));
            let status = exchange.upstream.and_then(|it| it.status);
            let mut attributes = vec![text("http.request.method", exchange.method.0)];
            attributes.extend(upstream.as_deref().map(|it| text("bearward.upstream", it)));
            attributes
                .extend(status.map(|status| number("http.response.status_code", status.into())));
            let ids = (&traced.upstream_span, Some(&traced.span));
            let from = from.saturating_duration_since(begun);
            let failed = status.is_none_or(|status| status >= 500);
            spans.push(make(
                exchange.method.0,
                CLIENT,
                ids,
                (from, took),
                attributes,
                failed,
            ));
        }
        Self(spans)
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Whole numbers are strings in OTLP/JSON, as in all JSON of protocol buffers.
fn number(key: &str, value: i64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// `ExportTraceServiceRequest`.
pub(crate) fn document(spans: Vec<Span>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let spans: Vec<Value> = spans.into_iter().map(|span| span.0).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": [text("service.name", "bearward"), text("service.version", version)] },
            "scopeSpans": [{ "scope": { "name": "bearward", "version": version }, "spans": spans }],
        }],
    })
    .to_string()
}
