//! What is never shown of a configuration: secrets that somebody wrote into it, and what variables of the environment
//! stand for.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Kind};
use super::node::join;

/// What stands in names of values that are secrets, as far as can be told from a name.
const SECRET_NAMES: [&str; 7] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "bearer",
];
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

    /// A text in whose quotations no values of variables are.
    pub(super) fn without_values(&self, text: String) -> String {
        if self.values.iter().all(|(_, value)| !text.contains(value)) {
            return text;
        }
        let mut values: Vec<_> = self.values.iter().collect();
        // One may be a part of another.
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let clean = |(place, part): (usize, &str)| match place % 2 {
            // Our own words.
            0 => part.to_owned(),
            _ => values.iter().fold(part.to_owned(), |part, (name, value)| {
                part.replace(value.as_str(), name)
            }),
        };
        let parts: Vec<_> = text.split('`').enumerate().map(clean).collect();
        parts.join("`")
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
        self.take_table(table, Some(""), begin);
    }

    /// `place`: of the table, in the table of keys; `None` where nobody knows it.
    fn take_table(&mut self, table: &DeTable<'_>, place: Option<&str>, begin: usize) {
        let is_named = place
            .and_then(keys::find)
            .is_some_and(|key| key.kind == Kind::Named);
        for (name, value) in table {
            let name = name.get_ref();
            // A name that the operator chose says nothing of what is in it.
            let own = place.map(|place| join(place, if is_named { "*" } else { name }));
            let own = own.filter(|own| keys::find(own).is_some());
            let is_secret = match own.as_deref().and_then(keys::find) {
                Some(key) => key.kind == Kind::Secret,
                None => is_named_like_one(name) && is_secret_leaf(name),
            };
            self.visit(value, is_secret, own.as_deref(), begin);
        }
    }

    fn visit(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        is_secret: bool,
        place: Option<&str>,
        begin: usize,
    ) {
        let shifted = |span: Range<usize>| span.start + begin..span.end + begin;
        match value.get_ref() {
            DeValue::Table(table) if is_secret && !names_a_place(value.get_ref()) => {
                for (name, value) in table {
                    self.spans.push(shifted(name.span()));
                    self.spans.push(shifted(value.span()));
                }
            }
            // It says where the secret is.
            DeValue::Table(_) if is_secret => {}
            DeValue::Table(table) => self.take_table(table, place, begin),
            DeValue::Array(items) => {
                let place = place.map(|place| format!("{place}[]"));
                for item in items {
                    self.visit(item, is_secret, place.as_deref(), begin);
                }
            }
            _ if is_secret => self.spans.push(shifted(value.span())),
            _ => {}
        }
    }

    /// Hides the whole value of a variable: whoever has set it knows it.
    pub(super) fn take_variable(&mut self, begin: usize, line: &str) {
        if let Some((name, value)) = line.split_once(" = ") {
            let start = begin + name.len() + 3;
            self.spans.push(start..start + value.len());
        }
    }

    /// Hides what may be a secret in a text that is no TOML: behind the name of one, up to where another name stands.
    pub(super) fn take_broken(&mut self, text: &str, begin: usize) {
        let mut in_secret = false;
        let mut at = begin;
        for line in text.split_inclusive('\n') {
            let whole = line.trim_end();
            let hidden = match heading(whole) {
                Some(name) => {
                    in_secret = is_named_like_one(name);
                    None
                }
                None => match secret_behind(whole) {
                    Some(from) => {
                        in_secret = true;
                        Some(from)
                    }
                    None if begins_a_key(whole) => {
                        in_secret = false;
                        None
                    }
                    None => in_secret.then_some(0),
                },
            };
            if let Some(from) = hidden {
                self.spans.push(at + from..at + whole.len());
            }
            at += line.len();
        }
    }
}

/// The last name of a table's heading.
fn heading(line: &str) -> Option<&str> {
    let inner = line.trim_start().strip_prefix('[')?;
    let inner = inner.trim_start_matches('[').split(']').next()?;
    inner
        .rsplit('.')
        .next()
        .map(|name| name.trim().trim_matches(['"', '\'']))
}

/// Where in a line a secret begins, behind its name and what stands between.
fn secret_behind(line: &str) -> Option<usize> {
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut rest = line;
    while !rest.is_empty() {
        let begin = rest.find(is_of_names)?;
        let tail = rest.get(begin..)?;
        let end = tail.find(|c| !is_of_names(c)).unwrap_or(tail.len());
        let (name, behind) = tail.split_at_checked(end)?;
        let value = behind.trim_start_matches(['"', '\'', ' ', '\t']);
        let is_assigned = value.starts_with(['=', ':']) || value.len() < behind.len();
        if is_assigned && !behind.is_empty() && is_named_like_one(name) && is_secret_leaf(name) {
            let value = value.strip_prefix(['=', ':']).unwrap_or(value);
            return Some(line.len() - value.len());
        }
        rest = behind;
    }
    None
}

/// Whether a line is a key with its value, and no part of something longer, such as base64.
fn begins_a_key(line: &str) -> bool {
    const NAME_CHARS_MAX: usize = 60;
    let Some((name, value)) = line.split_once('=') else {
        return false;
    };
    let is_of_keys = |c: char| c.is_ascii_alphanumeric() || "_-.\"' \t".contains(c);
    !value.is_empty()
        && !value.starts_with('=')
        && !value.ends_with('=')
        && name.len() <= NAME_CHARS_MAX
        && name.chars().all(is_of_keys)
}

/// Whether a name that is a key somewhere is one of a secret; one that is none anywhere may be one.
fn is_secret_leaf(name: &str) -> bool {
    let mut known = KEYS.iter().filter(|key| key.name() == name).peekable();
    known.peek().is_none() || known.any(|key| key.kind == Kind::Secret)
}

/// Whether a name that is not known is one of a secret, by its words.
fn is_named_like_one(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "url" || SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Whether what is given for a secret says where it is, and is not the secret itself.
pub(super) fn names_a_place(given: &DeValue<'_>) -> bool {
    let DeValue::Table(table) = given else {
        return false;
    };
    table.iter().all(|(name, value)| {
        let is_text = matches!(value.get_ref(), DeValue::String(_));
        is_text && PLACES.contains(&&**name.get_ref())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut hidden = Hidden::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        hidden.take_secrets(table.get_ref(), 0);
        if !errors.is_empty() {
            hidden.take_broken(text, 0);
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
            ("admin.token S", "admin.token *"),
            ("token: S", "token:**"),
            ("admin = { token = S x", "admin = { token =****"),
            ("token =\n\"S\"", "token =\n***"),
            (
                "key = \"-----B\nMII+\nab==\"\nx = 1",
                "key =********\n****\n*****\nx = 1",
            ),
            ("[admin.token]\nS", "[admin.token]\n*"),
            (
                "admin.token = { file = [\"S\"] }",
                "admin.token = { **** = ***** }",
            ),
            // What is no secret stays as it is.
            (
                "admin.token = { file = \"a\" }",
                "admin.token = { file = \"a\" }",
            ),
            ("x.keys = [\"a.pem\"]", "x.keys = [\"a.pem\"]"),
            ("x.token_types = [\"JWT\"]", "x.token_types = [\"JWT\"]"),
            ("server.address = 0.0.0.0:80", "server.address = 0.0.0.0:80"),
            (
                "[issuers.keycloak]\nissuer = x",
                "[issuers.keycloak]\nissuer = x",
            ),
            (
                "issuers.keycloak.discovry = true",
                "issuers.keycloak.discovry = true",
            ),
            ("x.token_types = [JWT]", "x.token_types = [JWT]"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }
}
