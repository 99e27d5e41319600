//! Layer 1: TOML to typed values with their places, by the table of keys.
//!
//! serde stops at the first fault and loses positions; walking the parsed document by hand keeps
//! both. Every fault of every key is told, and what is sound goes on to the next layer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Report};
use super::keys::{self, Key, Kind};
use super::value;
use crate::oauth::Json;

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

/// A table: its values, its tables, its lists of tables, each with its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) span: Span,
    /// The place in the table of keys.
    pub(super) place: String,
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
            report.push(unknown(&node.place, &name, &name_span));
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

fn unknown(place: &str, name: &str, span: &Span) -> Diagnostic {
    let known: Vec<_> = keys::below(place).collect();
    let table = if place.is_empty() { "the file" } else { place };
    let diagnostic =
        Diagnostic::error("BW0101", format!("unknown key `{name}` in {table}")).at(span);
    match nearest(name, known.iter().copied()) {
        Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
        None => diagnostic.help(format!("known here: {}", known.join(", "))),
    }
}

/// The nearest of some names, if one is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, two swapped neighbours counting as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let at = |row: usize, column: usize| {
            rows.get(row)
                .and_then(|row| row.get(column))
                .copied()
                .unwrap_or(usize::MAX - 1)
        };
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let left = row.last().copied().unwrap_or(0) + 1;
            let mut best = left
                .min(at(i, j + 1) + 1)
                .min(at(i, j) + usize::from(x != y));
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
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
                    ..Node::default()
                };
                walk(table, &mut child, report);
                children.push(child);
            }
            node.lists.insert(name, children);
        }
        (kind, given) => match typed(kind, given, report) {
            Ok(typed) => {
                node.values.insert(name, (typed, span));
            }
            Err(Fault::Type) => report.push(wrong(&name, &expectation(kind), &span)),
            Err(Fault::Value(why)) => report.push(
                Diagnostic::error("BW0104", format!("`{name}` has a bad value: {why}"))
                    .at(&span)
                    .label(format!("expected {}", expectation(kind))),
            ),
            Err(Fault::Told) => {}
        },
    }
}

fn wrong(name: &str, expected: &str, span: &Span) -> Diagnostic {
    Diagnostic::error("BW0103", format!("`{name}` has the wrong type"))
        .at(span)
        .label(format!("expected {expected}"))
}

enum Fault {
    Type,
    Value(String),
    /// Already in the report.
    Told,
}

fn typed(kind: Kind, value: &DeValue<'_>, report: &mut Report) -> Result<Value, Fault> {
    match (kind, value) {
        (Kind::Bool, DeValue::Boolean(flag)) => Ok(Value::Bool(*flag)),
        (
            Kind::Count { least, most } | Kind::CountOrAuto { least, most },
            DeValue::Integer(number),
        ) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            let count = number.and_then(|number| u64::try_from(number).ok());
            count
                .filter(|count| (least..=most).contains(count))
                .map(Value::Count)
                .ok_or_else(|| Fault::Value("out of range".to_owned()))
        }
        (Kind::Texts | Kind::Paths, DeValue::Array(items)) => {
            let mut texts = Vec::new();
            for item in items {
                let DeValue::String(text) = item.get_ref() else {
                    return Err(Fault::Type);
                };
                texts.push((substituted(text)?, item.span()));
            }
            Ok(Value::Texts(texts))
        }
        (Kind::Scalars, DeValue::Array(items)) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<_>>()
            .map(Value::Scalars)
            .ok_or(Fault::Type),
        (Kind::Secret, DeValue::String(_)) => Err(Fault::Value(
            "a secret is never written into the file".to_owned(),
        )),
        (Kind::Secret, DeValue::Table(table)) => secret(table, report),
        (_, DeValue::String(text)) => typed_text(kind, &substituted(text)?),
        _ => Err(Fault::Type),
    }
}

/// A value that is written as text.
fn typed_text(kind: Kind, text: &str) -> Result<Value, Fault> {
    let bad = |why: &str| Fault::Value(format!("`{text}` {why}"));
    match kind {
        Kind::Text | Kind::Path => Ok(Value::Text(text.to_owned())),
        // Defaults are written as text.
        Kind::Bool if text == "true" || text == "false" => Ok(Value::Bool(text == "true")),
        Kind::Count { .. } => text.parse().map(Value::Count).map_err(|_| Fault::Type),
        Kind::CountOrAuto { .. } if text == "auto" => Ok(Value::Text(text.to_owned())),
        Kind::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Word(words) => Err(match nearest(text, words.iter().copied()) {
            Some(near) => bad(&format!("is unknown; did you mean `{near}`?")),
            None => bad("is unknown"),
        }),
        Kind::Duration { least_ms, most_ms } => {
            let duration = value::duration(text).ok_or_else(|| bad("is no duration"))?;
            let range = Duration::from_millis(least_ms)..=Duration::from_millis(most_ms);
            if range.contains(&duration) {
                Ok(Value::Duration(Some(duration)))
            } else {
                Err(bad("is out of range"))
            }
        }
        Kind::DurationOr(word) if text == word => Ok(Value::Duration(None)),
        Kind::DurationOr(_) => value::duration(text)
            .filter(|duration| !duration.is_zero())
            .map(|duration| Value::Duration(Some(duration)))
            .ok_or_else(|| bad("is no duration above zero")),
        Kind::Size { least, most } => {
            value::size(text)
                .ok_or_else(|| bad("is no size"))
                .and_then(|size| {
                    let fits = (least..=most).contains(&size);
                    fits.then_some(Value::Size(Some(size)))
                        .ok_or_else(|| bad("is out of range"))
                })
        }
        Kind::SizeOr(word) if text == word => Ok(Value::Size(None)),
        Kind::SizeOr(_) => value::size(text)
            .map(|size| Value::Size(Some(size)))
            .ok_or_else(|| bad("is no size")),
        Kind::Percent => value::one_in(text)
            .map(Value::OneIn)
            .ok_or_else(|| bad("is no percent")),
        Kind::Rate => value::per_second(text)
            .map(Value::Count)
            .ok_or_else(|| bad("is no rate")),
        _ => Err(Fault::Type),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<Json> {
    Some(match value {
        DeValue::String(text) => Json::Text((&**text).into()),
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            // The same number in a token is read as unsigned where it can be.
            match u64::try_from(number) {
                Ok(number) => Json::Number(number.into()),
                Err(_) => Json::Number(number.into()),
            }
        }
        _ => return None,
    })
}

fn secret(table: &DeTable<'_>, report: &mut Report) -> Result<Value, Fault> {
    let mut sources = Vec::new();
    for (name, value) in table {
        let DeValue::String(text) = value.get_ref() else {
            return Err(Fault::Type);
        };
        match &**name.get_ref() {
            "file" => sources.push(SecretSource::File(substituted(text)?)),
            "env" => sources.push(SecretSource::Env(text.to_string())),
            other => {
                let known = ["file", "env"];
                report.push(
                    Diagnostic::error("BW0101", format!("unknown key `{other}` in a secret"))
                        .at(&name.span())
                        .help(format!("known here: {}", known.join(", "))),
                );
                return Err(Fault::Told);
            }
        }
    }
    match <[SecretSource; 1]>::try_from(sources) {
        Ok([source]) => Ok(Value::Secret(source)),
        Err(_) => Err(Fault::Value("exactly one of `file`, `env`".to_owned())),
    }
}

/// `${VAR}` and `${VAR:-default}` from the environment.
fn substituted(text: &str) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            return Err(Fault::Value("`${` without `}`".to_owned()));
        };
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        match (std::env::var(name), default) {
            (Ok(value), _) => out.push_str(&value),
            (Err(_), Some(default)) => out.push_str(default),
            (Err(_), None) => {
                return Err(Fault::Value(format!("the environment has no `{name}`")));
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn expectation(kind: Kind) -> String {
    let duration = |millis: u64| {
        if millis.is_multiple_of(3_600_000) && millis > 0 {
            format!("{}h", millis / 3_600_000)
        } else if millis.is_multiple_of(60_000) && millis > 0 {
            format!("{}m", millis / 60_000)
        } else if millis.is_multiple_of(1000) {
            format!("{}s", millis / 1000)
        } else {
            format!("{millis}ms")
        }
    };
    match kind {
        Kind::Table | Kind::Named => "a table".to_owned(),
        Kind::Tables => "a list of tables".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Text => "a string".to_owned(),
        Kind::Texts => "a list of strings".to_owned(),
        Kind::Word(words) => format!("one of \"{}\"", words.join("\", \"")),
        Kind::Count { least, most } => format!("a whole number from {least} to {most}"),
        Kind::CountOrAuto { least, most } => {
            format!("\"auto\" or a whole number from {least} to {most}")
        }
        Kind::Duration { least_ms, most_ms } => format!(
            "a duration from \"{}\" to \"{}\"",
            duration(least_ms),
            duration(most_ms)
        ),
        Kind::DurationOr(word) => format!("a duration like \"30s\", or \"{word}\""),
        Kind::Size { least, most } => {
            format!("a size from {least} to {most} bytes, like \"64KiB\"")
        }
        Kind::SizeOr(word) => format!("a size like \"64KiB\", or \"{word}\""),
        Kind::Percent => "a percent like \"1%\"".to_owned(),
        Kind::Rate => "a rate like \"1000/s\"".to_owned(),
        Kind::Path => "the path of a file".to_owned(),
        Kind::Paths => "a list of paths".to_owned(),
        Kind::Secret => "{ file = \"…\" } or { env = \"…\" }".to_owned(),
        Kind::Scalars => "a list of strings, numbers, true or false".to_owned(),
    }
}
