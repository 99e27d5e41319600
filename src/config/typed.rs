//! One value of TOML to the type that its key has, or what is wrong with it.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::hidden::PLACES;
use super::keys::Kind;
use super::node::{SecretSource, Value};
use super::raw::Reader;
use super::suggest::nearest;
use super::value;
use crate::oauth::Json;

/// The longest duration where a key has no bound of its own.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// What is wrong with a value.
pub(super) enum Fault {
    Type,
    Value(String),
    /// Already in the report.
    Told,
}

/// The value of a key of this kind.
pub(super) fn typed(
    kind: Kind,
    value: &DeValue<'_>,
    reader: &mut Reader<'_>,
) -> Result<Value, Fault> {
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
                texts.push((taken(text, reader)?, reader.span(&item.span())));
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
        (Kind::Secret, DeValue::Table(table)) => secret(table, reader),
        (Kind::Bool | Kind::Count { .. }, _) => Err(Fault::Type),
        (_, DeValue::String(text)) => typed_text(kind, &taken(text, reader)?),
        _ => Err(Fault::Type),
    }
}

/// A value that is written as text.
pub(super) fn typed_text(kind: Kind, text: &str) -> Result<Value, Fault> {
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
            .filter(|duration| !duration.is_zero() && *duration <= DURATION_MAX)
            .map(|duration| Value::Duration(Some(duration)))
            .ok_or_else(|| bad("is no duration above zero and up to ten years")),
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

fn secret(table: &DeTable<'_>, reader: &mut Reader<'_>) -> Result<Value, Fault> {
    let mut sources = Vec::new();
    for (name, value) in table {
        let DeValue::String(text) = value.get_ref() else {
            return Err(Fault::Type);
        };
        match &**name.get_ref() {
            "file" => sources.push(SecretSource::File(taken(text, reader)?)),
            "env" => sources.push(SecretSource::Env(text.to_string())),
            "credential" => sources.push(SecretSource::Credential(text.to_string())),
            _ => {
                let span = reader.span(&name.span());
                reader.report.push(
                    // Somebody may have taken it for the place of the secret itself.
                    Diagnostic::error("BW0101", "unknown key in a secret".to_owned())
                        .at(&span)
                        .help(format!("known here: {}", PLACES.join(", "))),
                );
                return Err(Fault::Told);
            }
        }
    }
    match <[SecretSource; 1]>::try_from(sources) {
        Ok([source]) => Ok(Value::Secret(source)),
        Err(_) => Err(Fault::Value(
            "exactly one of `file`, `env`, `credential`".to_owned(),
        )),
    }
}

/// The same, with its values kept out of what is said of it.
fn taken(text: &str, reader: &mut Reader<'_>) -> Result<String, Fault> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        let name = name.split(":-").next().unwrap_or_default();
        if let Ok(value) = std::env::var(name) {
            reader.report.hidden().conceal(name, &value);
        }
        rest = behind;
    }
    let made = substituted(text);
    made.map_err(|fault| match fault {
        Fault::Value(why) => Fault::Value(reader.report.hidden().without_values(why)),
        other => other,
    })
}

/// `${VAR}` and `${VAR:-default}` from the environment.
pub(super) fn substituted(text: &str) -> Result<String, Fault> {
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

/// What a value of this kind looks like.
pub(super) fn expectation(kind: Kind) -> String {
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
        Kind::Count { least, most } if least == most => format!("{least}"),
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
        Kind::Secret => "{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }".to_owned(),
        Kind::Scalars => "a list of strings, numbers, true or false".to_owned(),
    }
}
