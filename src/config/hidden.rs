//! What is never shown of a configuration: secrets that somebody wrote into it, and what variables of the environment
//! stand for.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Kind};
use super::texts::Texts;

/// What stands in names of values that are secrets, as far as can be told from a name.
const SECRET_NAMES: [&str; 6] = ["password", "passwd", "secret", "token", "key", "credential"];
/// Where a secret may be, in place of the secret itself.
pub(super) const PLACES: [&str; 3] = ["file", "env", "credential"];
/// A value of a variable that is shorter may be anywhere, and hides nothing.
const CONCEALED_LEAST: usize = 4;

/// The ranges of bytes that are hidden, and the values that are.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    spans: Vec<Range<usize>>,
    /// What stands for a value of the environment, and the value.
    values: Vec<(String, String)>,
}

impl Hidden {
    pub(super) fn add(&mut self, span: &Range<usize>) {
        self.spans.push(span.clone());
    }

    /// Has `${NAME}` told in place of what it stands for.
    pub(super) fn conceal(&mut self, name: &str, value: &str) {
        if value.len() >= CONCEALED_LEAST {
            self.values.push((format!("${{{name}}}"), value.to_owned()));
        }
    }

    /// A text without the values of variables.
    pub(super) fn without_values(&self, text: String) -> String {
        let mut text = text;
        for (name, value) in &self.values {
            if text.contains(value) {
                text = text.replace(value, name);
            }
        }
        text
    }

    /// A line with what is hidden in asterisks. `start`: where it begins.
    pub(super) fn masked(&self, start: usize, line: &str) -> String {
        let end = start + line.len();
        let here = self
            .spans
            .iter()
            .filter(|span| span.start < end && span.end > start);
        let mut here: Vec<_> = here.collect();
        here.sort_by_key(|span| span.start);
        let mut here = here.into_iter().peekable();
        let mut until = 0;
        let mask = |(at, char): (usize, char)| {
            let at = start + at;
            while let Some(span) = here.next_if(|span| span.start <= at) {
                until = until.max(span.end);
            }
            if at < until { '*' } else { char }
        };
        line.char_indices().map(mask).collect()
    }

    /// Hides what is a secret by the name of its key, wherever in the text it stands.
    pub(super) fn take_secrets(&mut self, table: &DeTable<'_>, begin: usize) {
        for (name, value) in table {
            self.visit(name.get_ref(), value, begin);
        }
    }

    fn visit(&mut self, name: &str, value: &toml::Spanned<DeValue<'_>>, begin: usize) {
        let hide = |all: &mut Self, span: Range<usize>| {
            all.spans.push(span.start + begin..span.end + begin);
        };
        match value.get_ref() {
            DeValue::Table(table) if is_secret(name) && !names_a_place(value.get_ref()) => {
                for (name, value) in table {
                    hide(self, name.span());
                    hide(self, value.span());
                }
            }
            DeValue::Table(table) => self.take_secrets(table, begin),
            DeValue::Array(items) => {
                for item in items {
                    self.visit(name, item, begin);
                }
            }
            _ if is_secret(name) => hide(self, value.span()),
            _ => {}
        }
    }

    /// Hides the rest of a line that is no TOML behind the name of a secret: its value has no end that could be known.
    pub(super) fn take_line(&mut self, start: usize, line: &str) {
        for (at, _) in line.match_indices('=') {
            let before = line.get(..at).unwrap_or_default();
            let name = before.trim_end().trim_end_matches(['"', '\'']);
            let last = name.rsplit(['.', '{', ',', ' ', '"', '\'']).next();
            if is_secret(last.unwrap_or_default()) {
                self.spans.push(start + at + 1..start + line.len());
                return;
            }
        }
    }
}

/// Whether a value of this name is a secret: by the table of keys, and of a name that is not in it by its words.
fn is_secret(name: &str) -> bool {
    let leaf = |place: &'static str| place.rsplit('.').next().unwrap_or_default();
    let mut known = KEYS.iter().filter(|key| leaf(key.place) == name).peekable();
    if known.peek().is_some() {
        return known.any(|key| key.kind == Kind::Secret);
    }
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Whether what is given for a secret says where it is, and is not the secret itself.
pub(super) fn names_a_place(given: &DeValue<'_>) -> bool {
    let DeValue::Table(table) = given else {
        return false;
    };
    table
        .iter()
        .all(|(name, _)| PLACES.contains(&&**name.get_ref()))
}

/// Every file and variable that texts name as the place of something: paths, and places of secrets.
pub(super) fn places(texts: &Texts) -> BTreeSet<String> {
    fn visit(name: &str, value: &DeValue<'_>, found: &mut BTreeSet<String>) {
        match value {
            DeValue::String(text) if is_place(name) => {
                found.insert(format!("`{name} = \"{text}\"`"));
            }
            DeValue::Array(items) => {
                for item in items {
                    visit(name, item.get_ref(), found);
                }
            }
            DeValue::Table(table) => {
                for (name, value) in table {
                    visit(name.get_ref(), value.get_ref(), found);
                }
            }
            _ => {}
        }
    }
    fn is_place(name: &str) -> bool {
        let leaf = |place: &'static str| place.rsplit('.').next().unwrap_or_default();
        let is_path = |kind| matches!(kind, Kind::Path | Kind::Paths);
        let mut keys = KEYS.iter().filter(|key| is_path(key.kind));
        PLACES.contains(&name) || keys.any(|key| leaf(key.place) == name)
    }
    let mut found = BTreeSet::new();
    for (_, _, text) in texts.iter() {
        let (table, _) = DeTable::parse_recoverable(text);
        visit("", &DeValue::Table(table.into_inner()), &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut hidden = Hidden::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        hidden.take_secrets(table.get_ref(), 0);
        if !errors.is_empty() {
            hidden.take_line(0, text);
        }
        hidden.masked(0, text)
    }

    #[test]
    fn secrets_are_hidden_wherever_they_are_written() {
        for (text, expected) in [
            ("admn = { token = \"S\" }", "admn = { token = *** }"),
            ("admin.Token = \"S\"", "admin.Token = ***"),
            ("admin.tls = { key = \"S\" }", "admin.tls = { key = *** }"),
            (
                "revocation = { feed = [{ url = \"S\" }] }",
                "revocation = { feed = [{ url = *** }] }",
            ),
            (
                "admin.token = { file = \"a\", \"S\" = \"x\" }",
                "admin.token = { **** = ***, *** = *** }",
            ),
            ("my_password = [\"S\"]", "my_password = [***]"),
            ("admin.token = S", "admin.token =**"),
            ("admin = { token = S x", "admin = { token =****"),
            ("\"admin\".\"token\" = {S", "\"admin\".\"token\" =***"),
            // What is no secret stays as it is.
            (
                "admin.token = { file = \"a\" }",
                "admin.token = { file = \"a\" }",
            ),
            ("x.keys = [\"a.pem\"]", "x.keys = [\"a.pem\"]"),
            ("x.token_types = [\"JWT\"]", "x.token_types = [\"JWT\"]"),
            ("server.address = 0.0.0.0:80", "server.address = 0.0.0.0:80"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }
}
