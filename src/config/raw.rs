//! Layer 1: TOML to typed values with their places, by the table of keys.
//!
//! serde stops at the first fault and loses positions; walking the parsed document by hand keeps
//! both. Every fault of every key is told, and what is sound goes on to the next layer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Report};
use super::keys::{self, Key, Kind};
use super::suggest::nearest;
use super::typed::{Fault, expectation, typed, typed_text};
use crate::oauth::Json;

/// What stands in names of keys that hold secrets. Of a key that is not known, such a value is not shown.
const SECRET_NAMES: [&str; 4] = ["password", "passwd", "secret", "token"];

pub(super) type Span = Range<usize>;

/// A value of the kind that its key has.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    Text(String),
    Texts(Vec<(String, Span)>),
    Count(u64),
    /// `None`: the word that stands for no limit.
    Duration(Option<Duration>),
    Size(Option<u64>),
    OneIn(Option<u64>),
    Scalars(Vec<Json>),
    Secret(SecretSource),
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub(super) enum SecretSource {
    File(String),
    Env(String),
}

impl SecretSource {
    /// Where it is, as the file writes it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path) => format!("{{ file = {path:?} }}"),
            Self::Env(name) => format!("{{ env = {name:?} }}"),
        }
    }
}

/// A table: its values, its tables, its lists of tables, each with its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) span: Span,
    /// The place in the table of keys.
    pub(super) place: String,
    /// The place in the file, for people.
    path: String,
    /// Keys that are there, or were meant, and have a fault of their own.
    faulty: BTreeSet<String>,
    values: BTreeMap<String, (Value, Span)>,
    tables: BTreeMap<String, Node>,
    lists: BTreeMap<String, Vec<Node>>,
}

impl Node {
    /// A value that the file gives.
    pub(super) fn value(&self, name: &str) -> Option<(&Value, &Span)> {
        self.values.get(name).map(|(value, span)| (value, span))
    }

    /// The table that the file leaves out: it gives the defaults of its keys.
    pub(super) fn absent(&self, name: &str) -> Self {
        Self {
            span: self.span.clone(),
            place: join(&self.place, name),
            ..Self::default()
        }
    }

    /// Whether a fault of this key was told already: that it is missing would be its echo.
    pub(super) fn is_faulty(&self, name: &str) -> bool {
        self.faulty.contains(name)
    }

    pub(super) fn table(&self, name: &str) -> Option<&Self> {
        self.tables.get(name)
    }

    /// The tables of a named table, or nothing.
    pub(super) fn tables(&self, name: &str) -> impl Iterator<Item = (&str, &Self)> {
        let tables = self.tables.get(name).map(|node| node.tables.iter());
        tables
            .into_iter()
            .flatten()
            .map(|(name, node)| (name.as_str(), node))
    }

    pub(super) fn list(&self, name: &str) -> &[Self] {
        self.lists.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &Value, &Span)> {
        self.values
            .iter()
            .map(|(name, (value, span))| (name.as_str(), value, span))
    }

    /// The value, or the key's default read as if it were written.
    fn effective(&self, name: &str) -> Option<Value> {
        if let Some((value, _)) = self.values.get(name) {
            return Some(value.clone());
        }
        let key = keys::find(&join(&self.place, name))?;
        let default = key.default?;
        typed_text(key.kind, default).ok()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.effective(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn texts(&self, name: &str) -> Option<&[(String, Span)]> {
        match self.value(name)? {
            (Value::Texts(texts), _) => Some(texts),
            _ => None,
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.effective(name), Some(Value::Bool(true)))
    }

    pub(super) fn count(&self, name: &str) -> Option<u64> {
        match self.effective(name)? {
            Value::Count(count) => Some(count),
            _ => None,
        }
    }

    /// A duration; zero never stands in for a missing one, since every such key has a default.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        match self.effective(name)? {
            Value::Duration(duration) => duration,
            _ => None,
        }
    }

    pub(super) fn size(&self, name: &str) -> Option<u64> {
        match self.effective(name)? {
            Value::Size(size) => size,
            _ => None,
        }
    }

    pub(super) fn one_in(&self, name: &str) -> Option<u64> {
        match self.effective(name)? {
            Value::OneIn(one_in) => one_in,
            _ => None,
        }
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}

/// Reads a whole file. `None` after a fault of syntax: what follows would only be its echo.
/// The names of the environment's variables that a text uses, whatever escapes it writes them with.
pub(super) fn variables(text: &str) -> BTreeSet<String> {
    fn visit(value: &DeValue<'_>, found: &mut BTreeSet<String>) {
        match value {
            DeValue::String(text) => {
                for rest in text.split("${").skip(1) {
                    let name = rest.split('}').next().unwrap_or_default();
                    let name = name.split(":-").next().unwrap_or_default();
                    found.insert(name.to_owned());
                }
            }
            DeValue::Array(items) => items.iter().for_each(|item| visit(item.get_ref(), found)),
            DeValue::Table(table) => table.values().for_each(|item| visit(item.get_ref(), found)),
            _ => {}
        }
    }
    let (table, _) = DeTable::parse_recoverable(text);
    let mut found = BTreeSet::new();
    visit(&DeValue::Table(table.into_inner()), &mut found);
    found
}

pub(super) fn read(text: &str, report: &mut Report) -> Option<Node> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut lines = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = report.place(span.start).0;
            if !lines.contains(&line) {
                lines.push(line);
                report.push(
                    Diagnostic::error(
                        "BW0001",
                        format!("not TOML: {}", error.message().replace('\n', ", ")),
                    )
                    .at(&span),
                );
            }
        }
        return None;
    }
    let mut root = Node {
        span: 0..0,
        ..Node::default()
    };
    walk(document.get_ref(), &mut root, report);
    Some(root)
}

fn walk(table: &DeTable<'_>, node: &mut Node, report: &mut Report) {
    let named = keys::find(&node.place).is_some_and(|key| key.kind == Kind::Named);
    for (name, value) in table {
        let (name, name_span) = (name.get_ref().to_string(), name.span());
        let place = join(&node.place, if named { "*" } else { &name });
        let Some(key) = keys::find(&place) else {
            if SECRET_NAMES.iter().any(|part| name.contains(part)) {
                report.hide(&value.span());
            }
            let (fault, meant) = unknown(node, &name, &name_span);
            node.faulty.extend(meant);
            report.push(fault);
            continue;
        };
        if !key.served {
            report.push(
                Diagnostic::error(
                    "BW0102",
                    format!("`{}` is not served by this version", shown(&place, &name)),
                )
                .at(&name_span)
                .label("take it out: it would have no effect"),
            );
            continue;
        }
        take(key, name, value, node, report);
    }
}

fn shown<'a>(place: &'a str, name: &'a str) -> &'a str {
    if place.contains(['*', '[']) {
        name
    } else {
        place
    }
}

/// The fault of an unknown key, and the key that was probably meant.
fn unknown(node: &Node, name: &str, span: &Span) -> (Diagnostic, Option<String>) {
    let known: Vec<_> = keys::below(&node.place).collect();
    let table = if node.path.is_empty() {
        "the file".to_owned()
    } else {
        format!("[{}]", node.path)
    };
    let diagnostic =
        Diagnostic::error("BW0101", format!("unknown key `{name}` in {table}")).at(span);
    match nearest(name, known.iter().copied()) {
        Some(near) => (
            diagnostic.label(format!("did you mean `{near}`?")),
            Some(near.to_owned()),
        ),
        None => (
            diagnostic.help(format!("known here: {}", known.join(", "))),
            None,
        ),
    }
}

/// Takes one key's value into the node, or says what is wrong with it.
fn take(
    key: &Key,
    name: String,
    value: &Spanned<DeValue<'_>>,
    node: &mut Node,
    report: &mut Report,
) {
    let span = value.span();
    match (key.kind, value.get_ref()) {
        (Kind::Table | Kind::Named, DeValue::Table(table)) => {
            let mut child = Node {
                span,
                place: key.place.to_owned(),
                path: join(&node.path, &name),
                ..Node::default()
            };
            walk(table, &mut child, report);
            node.tables.insert(name, child);
        }
        (Kind::Tables, DeValue::Array(items)) => {
            let mut children = Vec::new();
            for item in items {
                let DeValue::Table(table) = item.get_ref() else {
                    report.push(wrong(&name, "a list of tables", &item.span()));
                    continue;
                };
                let mut child = Node {
                    span: item.span(),
                    place: format!("{}[]", key.place),
                    path: join(&node.path, &name),
                    ..Node::default()
                };
                walk(table, &mut child, report);
                children.push(child);
            }
            node.lists.insert(name, children);
        }
        (kind, given) => {
            if kind == Kind::Secret && !names_a_place(given) {
                report.hide(&span);
            }
            let fault = match typed(kind, given, report) {
                Ok(typed) => {
                    node.values.insert(name, (typed, span));
                    return;
                }
                Err(fault) => fault,
            };
            match fault {
                Fault::Type => {
                    report.push(wrong(&name, &expectation(kind), &span).help(key.help));
                }
                Fault::Value(why) => report.push(
                    Diagnostic::error("BW0104", format!("`{name}` has a bad value: {why}"))
                        .at(&span)
                        .label(format!("expected {}", expectation(kind)))
                        .help(key.help),
                ),
                Fault::Told => {}
            }
            node.faulty.insert(name);
        }
    }
}

/// Whether what is given for a secret says where it is, and is not the secret itself.
fn names_a_place(given: &DeValue<'_>) -> bool {
    let DeValue::Table(table) = given else {
        return false;
    };
    table
        .iter()
        .all(|(name, _)| matches!(&**name.get_ref(), "file" | "env"))
}

fn wrong(name: &str, expected: &str, span: &Span) -> Diagnostic {
    Diagnostic::error("BW0103", format!("`{name}` has the wrong type"))
        .at(span)
        .label(format!("expected {expected}"))
}
