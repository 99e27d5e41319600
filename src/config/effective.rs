//! The configuration as it counts: every value with where it comes from. Secrets are never in it, only where
//! they lie.

use serde::Serialize;

use super::diagnostic::Report;
use super::keys::{KEYS, Kind};
use super::raw::{self, Node, Span, Value};

/// Tables that count with their defaults where the file leaves them out.
const ALWAYS: [&str; 10] = [
    "server",
    "listeners.*.limits",
    "issuers.*.jwks",
    "cache",
    "revocation",
    "endpoints",
    "admin",
    "metrics",
    "log",
    "audit",
];

/// One value.
#[derive(Debug, Serialize)]
pub(crate) struct Effective {
    /// As the file names it: `routes.orders.path`.
    pub(crate) key: String,
    /// As the file writes it.
    pub(crate) value: String,
    /// The line of the file; none for a default.
    pub(crate) line: Option<usize>,
    /// What the key does.
    pub(crate) help: &'static str,
}

/// Every value of a configuration that has no faults, in the order of the table of keys.
pub(crate) fn effective(text: &str) -> Vec<Effective> {
    let mut report = Report::new(std::path::Path::new(""), text.to_owned());
    let mut all = Vec::new();
    if let Some(root) = raw::read(text, &mut report) {
        visit(&root, "", text, &mut all);
    }
    all
}

fn visit(node: &Node, path: &str, text: &str, all: &mut Vec<Effective>) {
    let prefix = match path {
        "" => String::new(),
        path => format!("{path}."),
    };
    for key in KEYS.iter().filter(|key| key.served) {
        let Some(name) = child(&node.place, key.place) else {
            continue;
        };
        let here = format!("{prefix}{name}");
        match key.kind {
            Kind::Table => match node.table(name) {
                Some(table) => visit(table, &here, text, all),
                None if ALWAYS.contains(&key.place) => {
                    visit(&node.absent(name), &here, text, all);
                }
                None => {}
            },
            Kind::Named => {
                for (own, table) in node.tables(name) {
                    visit(table, &format!("{here}.{own}"), text, all);
                }
                // A named table of plain values: claims, headers.
                if let Some(table) = node.table(name) {
                    for (own, value, span) in table.values() {
                        let own = format!("{here}.{own}");
                        all.push(written(own, value, span, text, key.help));
                    }
                }
            }
            Kind::Tables => {
                for (place, element) in node.list(name).iter().enumerate() {
                    visit(element, &format!("{here}[{place}]"), text, all);
                }
            }
            _ => match (node.value(name), key.default) {
                (Some((value, span)), _) => all.push(written(here, value, span, text, key.help)),
                (None, Some(default)) => all.push(Effective {
                    key: here,
                    value: default.to_owned(),
                    line: None,
                    help: key.help,
                }),
                (None, None) => {}
            },
        }
    }
}

/// The name of a key that stands directly in a place, and is a name of its own.
fn child<'a>(place: &str, key: &'a str) -> Option<&'a str> {
    let rest = match place {
        "" => key,
        place => key.strip_prefix(place)?.strip_prefix('.')?,
    };
    (!rest.contains('.') && rest != "*").then(|| rest.trim_end_matches("[]"))
}

fn written(key: String, value: &Value, span: &Span, text: &str, help: &'static str) -> Effective {
    let before = text.get(..span.start).unwrap_or_default();
    let value = match value {
        Value::Secret(source) => source.place(),
        _ => without_passwords(text.get(span.clone()).unwrap_or_default()),
    };
    Effective {
        key,
        value,
        line: Some(before.matches('\n').count() + 1),
        help,
    }
}

/// A URL may hold a password that nobody should have put there.
fn without_passwords(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let end = rest
        .find(['/', '?', '#', '"', '\'', ','])
        .unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{tail}"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_origin_and_secrets_their_place_alone() {
        let text = "version = 1\n[issuers.main]\nissuer = \"https://login.test/\"\nsecret = { file = \"key\" }\n\
                    jwks = { proxy = \"http://me:hidden@proxy:1\" }\n[upstreams.api]\nservers = [\"http://a:1\", \"http://b:1\"]\n\
                    [routes.api]\npath = \"/\"\n[[routes.api.rules]]\nclaims = { tier = [\"gold\"] }\n";
        let all = effective(text);
        let find = |key: &str| all.iter().find(|it| it.key == key);
        let value = |key: &str| find(key).map(|it| (it.value.as_str(), it.line));
        assert_eq!(
            value("issuers.main.issuer"),
            Some(("\"https://login.test/\"", Some(3)))
        );
        assert_eq!(
            value("issuers.main.secret"),
            Some(("{ file = \"key\" }", Some(4)))
        );
        assert_eq!(value("issuers.main.leeway"), Some(("30s", None)));
        assert_eq!(
            value("issuers.main.jwks.proxy"),
            Some(("\"http://***@proxy:1\"", Some(5)))
        );
        assert_eq!(value("server.drain_timeout"), Some(("20s", None)));
        assert_eq!(
            value("upstreams.api.servers"),
            Some(("[\"http://a:1\", \"http://b:1\"]", Some(7)))
        );
        assert_eq!(
            value("routes.api.rules[0].claims.tier"),
            Some(("[\"gold\"]", Some(11)))
        );
        assert!(!all.iter().any(|it| it.value.contains("hidden")));
    }
}
