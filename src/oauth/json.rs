//! JSON as tokens and key sets must be read: one member a name, at every depth.
//!
//! `serde_json` keeps the last of two equal members, other parsers the first; a token that says
//! two things would mean one to the gateway and another to the API behind it (RFC 7515 section 4,
//! RFC 8725 section 2.4). So a duplicate is an error here. Depth is bounded by `serde_json` (128),
//! size by the caller.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Above this many members a hash set looks for duplicates; below, comparing is cheaper.
const LINEAR_MEMBERS: usize = 24;

/// A JSON value without duplicate members. Members keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Box<str>),
    Array(Box<[Json]>),
    Object(Members),
}

/// The members of a JSON object, in the order of the document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Members(Box<[(Box<str>, Json)]>);

impl Json {
    /// Reads one object and nothing behind it. `None` if the text is anything else.
    pub(crate) fn object(text: &[u8]) -> Option<Members> {
        match serde_json::from_slice(text).ok()? {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The same as another library has it.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.to_string()),
            Self::Array(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let members = members.0.iter();
                members
                    .map(|(name, value)| (name.to_string(), value.to_value()))
                    .collect()
            }
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// The text or texts of a value that may be one string or an array of strings, such as `aud`
    /// (RFC 7519 section 4.1.3). `None` if anything else is in it.
    pub(crate) fn one_or_many_texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Text(text) => Some(vec![text]),
            Self::Array(items) => items.iter().map(Self::as_text).collect(),
            _ => None,
        }
    }

    /// Bytes that this value holds on the heap, about; for the bound of the token cache.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::Text(text) => text.len(),
            Self::Array(items) => items
                .iter()
                .map(|item| size_of::<Self>() + item.heap_bytes())
                .sum(),
            Self::Object(members) => members.heap_bytes(),
        }
    }
}

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        // Most registered claims have three letters: the first tells nearly all of them apart
        // without a call to compare.
        let first = name.as_bytes().first();
        self.0
            .iter()
            .find(|(member, _)| member.as_bytes().first() == first && **member == *name)
            .map(|(_, value)| value)
    }

    /// The names of the members, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// A claim by its literal name or, where the name starts with `/`, by RFC 6901 pointer.
    pub(crate) fn claim(&self, name: &str) -> Option<&Json> {
        let Some(pointer) = name.strip_prefix('/') else {
            return self.get(name);
        };
        let mut steps = pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"));
        let mut value = self.get(&steps.next()?)?;
        for step in steps {
            value = match value {
                Json::Object(members) => members.get(&step)?,
                Json::Array(items) => items.get(array_index(&step)?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| size_of::<(Box<str>, Json)>() + name.len() + value.heap_bytes())
            .sum()
    }
}

/// RFC 6901 section 4: digits without a leading zero.
fn array_index(step: &str) -> Option<usize> {
    if step.len() > 1 && step.starts_with('0') || !step.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    step.parse().ok()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members: Vec<(Box<str>, Json)> = Vec::new();
        let mut seen: HashSet<Box<str>> = HashSet::new();
        while let Some(name) = access.next_key::<Box<str>>()? {
            let duplicate = if members.len() < LINEAR_MEMBERS {
                members.iter().any(|(member, _)| *member == name)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(member, _)| member.clone()));
                }
                !seen.insert(name.clone())
            };
            if duplicate {
                return Err(A::Error::custom("duplicate member"));
            }
            members.push((name, access.next_value()?));
        }
        Ok(Json::Object(Members(members.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_refused_at_every_depth_and_width() {
        for text in [
            r#"{"a":1,"a":1}"#.to_owned(),
            r#"{"a":{"b":[{"c":1,"c":2}]}}"#.to_owned(),
            // An escape is the same name.
            r#"{"a":1,"\u0061":2}"#.to_owned(),
            format!(
                "{{{},\"m7\":0}}",
                (0..100)
                    .map(|i| format!("\"m{i}\":0"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        ] {
            assert!(Json::object(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn only_one_object_is_an_object() {
        for text in [
            "[]",
            "1",
            "null",
            "{} {}",
            "{}x",
            "",
            "{\"a\":1e999}",
            "\u{feff}{}",
        ] {
            assert!(Json::object(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Json::object(b"{\"a\":\"\xff\"}").is_none(), "not UTF-8");
        assert!(Json::object(b" {} ").is_some());
    }

    #[test]
    fn deep_nesting_ends() {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(Json::object(text.as_bytes()).is_none());
    }

    #[test]
    fn claims_by_name_and_by_pointer() {
        let claims = Json::object(br#"{"a":{"b":[1,{"c/d":"x","e~f":"y"}]},"https://x/y":"z"}"#);
        let claims = claims.expect("an object");
        for (name, expected) in [
            ("/a/b/1/c~1d", Some("x")),
            ("/a/b/1/e~0f", Some("y")),
            ("/a/b/01/c~1d", None),
            ("/a/b/-", None),
            ("https://x/y", Some("z")),
            ("/nothing", None),
        ] {
            assert_eq!(
                claims.claim(name).and_then(Json::as_text),
                expected,
                "{name}"
            );
        }
    }
}
