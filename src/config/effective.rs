//! The configuration as it counts: every value with where it comes from. Secrets are never in it, only where
//! they lie.

use std::sync::Arc;

use serde::Serialize;

use super::diagnostic::{Report, without_login};
use super::keys::{KEYS, Kind};
use super::node::{Node, Span, Value};
use super::raw;
use super::texts::Texts;

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
    /// The file that says so, or the variable of the environment; none for a default.
    pub(crate) file: Option<String>,
    /// Its line.
    pub(crate) line: Option<usize>,
    /// What the key does.
    pub(crate) help: &'static str,
}

/// Every value of a configuration that has no faults, in the order of the table of keys.
pub(crate) fn effective(texts: &Arc<Texts>) -> Vec<Effective> {
    let mut report = Report::new(Arc::clone(texts));
    let mut visitor = Visitor {
        texts,
        lines: texts.lines(),
        all: Vec::new(),
    };
    if let Some(root) = raw::read(&mut report) {
        visitor.visit(&root, "");
    }
    visitor.all
}

struct Visitor<'a> {
    texts: &'a Texts,
    lines: Vec<usize>,
    all: Vec<Effective>,
}

impl Visitor<'_> {
    fn visit(&mut self, node: &Node, path: &str) {
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
                    Some(table) => self.visit(table, &here),
                    None if ALWAYS.contains(&key.place) => {
                        self.visit(&node.absent(name), &here);
                    }
                    None => {}
                },
                Kind::Named => {
                    for (own, table) in node.tables(name) {
                        self.visit(table, &format!("{here}.{own}"));
                    }
                    // A named table of plain values: claims, headers.
                    if let Some(table) = node.table(name) {
                        for (own, value, span) in table.values() {
                            let own = format!("{here}.{own}");
                            self.take(own, value, span, key.help);
                        }
                    }
                }
                Kind::Tables => {
                    for (place, element) in node.list(name).iter().enumerate() {
                        self.visit(element, &format!("{here}[{place}]"));
                    }
                }
                _ => match (node.value(name), key.default) {
                    (Some((value, span)), _) => self.take(here, value, span, key.help),
                    (None, Some(default)) => self.all.push(Effective {
                        key: here,
                        value: as_toml(key.kind, default),
                        file: None,
                        line: None,
                        help: key.help,
                    }),
                    (None, None) => {}
                },
            }
        }
    }

    fn take(&mut self, key: String, value: &Value, span: &Span, help: &'static str) {
        let place = self.texts.place(span.start, &self.lines);
        let value = match value {
            Value::Secret(source) => source.place(),
            _ => without_login(self.texts.all().get(span.clone()).unwrap_or_default()),
        };
        self.all.push(Effective {
            key,
            value,
            file: Some(place.file.display().to_string()),
            line: Some(place.line),
            help,
        });
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

/// A default as the file would have it.
fn as_toml(kind: Kind, default: &str) -> String {
    match kind {
        Kind::Bool | Kind::Count { .. } => default.to_owned(),
        _ => format!("{default:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn values_have_their_origin_and_secrets_their_place_alone() {
        let text = "version = 1\n[issuers.main]\nissuer = \"https://login.test/\"\nsecret = { file = \"key\" }\n\
                    jwks = { proxy = \"http://me:hidden@proxy:1\" }\n[upstreams.api]\nservers = [\"http://a:1\", \"http://b:1\"]\n\
                    [routes.api]\npath = \"/\"\n[[routes.api.rules]]\nclaims = { tier = [\"gold\"] }\n";
        let all = effective(&Arc::new(Texts::of(Path::new("b.toml"), text)));
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
        assert_eq!(value("issuers.main.leeway"), Some(("\"30s\"", None)));
        assert_eq!(
            value("issuers.main.jwks.proxy"),
            Some(("\"http://*********@proxy:1\"", Some(5)))
        );
        assert_eq!(value("server.drain_timeout"), Some(("\"20s\"", None)));
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
