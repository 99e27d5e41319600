//! The tables and values of a configuration, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use super::keys;
use super::typed::typed_text;
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
    /// Of systemd (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl SecretSource {
    /// Where it is, as the file writes it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path) => format!("{{ file = {path:?} }}"),
            Self::Env(name) => format!("{{ env = {name:?} }}"),
            Self::Credential(name) => format!("{{ credential = {name:?} }}"),
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
    pub(super) path: String,
    /// Keys that are there, or were meant, and have a fault of their own.
    pub(super) faulty: BTreeSet<String>,
    pub(super) values: BTreeMap<String, (Value, Span)>,
    pub(super) tables: BTreeMap<String, Node>,
    pub(super) lists: BTreeMap<String, Vec<Node>>,
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

pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}
