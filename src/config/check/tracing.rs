//! `[tracing]`: where spans go.

use http::Uri;

use super::Checker;
use crate::config::node::{Node, Value};
use crate::config::settings::TracingSettings;
use crate::http::host::is_loopback;

/// Where a collector listens, unless the URL says otherwise (OTLP specification, OTLP/HTTP).
const PATH: &str = "/v1/traces";

/// The collector; none where traces are off.
pub(super) fn check(table: &Node, checker: &mut Checker<'_>) -> Option<TracingSettings> {
    let text = table.text("otlp").filter(|text| text != "off");
    let ca = match table.value("ca") {
        Some((Value::Text(path), span)) => {
            let (path, span) = (path.clone(), span.clone());
            let pem = checker.file(&path, &span, "`ca`")?;
            if crate::tls::roots(&pem).is_none() {
                let message = format!("`tracing.ca`: `{path}` holds no certificates in PEM");
                checker.error("BW0108", message, &span);
            }
            Some(pem)
        }
        _ => None,
    };
    let text = text?;
    let span = table.value("otlp").map(|(_, span)| span.clone())?;
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && uri.authority().is_some_and(|it| !it.as_str().contains('@'))
    });
    let Some(uri) = uri else {
        if text.contains('@') {
            checker.report.hide(&span);
        }
        checker.error_help(
            "BW0104",
            "`tracing.otlp` is no URL of a collector".to_owned(),
            &span,
            "write \"http://127.0.0.1:4318\", \"https://collector.example.com\" or \"off\"",
        );
        return None;
    };
    let host = uri.host().unwrap_or_default();
    if uri.scheme_str() == Some("http") && !is_loopback(host) {
        checker.warn(
            "BW0217",
            "`tracing.otlp`: paths, addresses and ids of decisions go to the collector in clear text".to_owned(),
            &span,
            "use https, or a collector on this machine",
        );
    }
    let one_in = table.one_in("sample")?;
    let url = match uri.path() {
        "/" | "" => format!("{}{PATH}", text.trim_end_matches('/')),
        _ => text,
    };
    Some(TracingSettings {
        url: url.into(),
        ca,
        one_in,
    })
}
