//! The table of keys as a JSON Schema, for editors and linters of TOML.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Kind};
use super::settings::needs_restart;
use super::typed::expectation;

/// Tables in which something has to be, besides what the check itself demands.
const REQUIRED: [(&str, &[&str]); 6] = [
    ("", &["version"]),
    ("listeners.*", &["address"]),
    ("issuers.*", &["issuer", "audiences"]),
    ("upstreams.*", &["servers"]),
    ("routes.*.limit", &["per", "rate"]),
    ("listeners.*.tls.certificates[]", &["chain", "key"]),
];

/// What `${VAR}` stands for is not known before it is there: such a string is taken in place of any other.
const VARIABLE: &str = r"\$\{[^}]+\}";

const DURATION: &str = r"([0-9]+(ms|s|m|h|d))+";
const SIZE: &str = "[0-9]+(B|KiB|MiB|GiB)";

/// The schema of a configuration file.
pub(crate) fn schema() -> Value {
    let mut schema = table("");
    for (name, value) in [
        ("$schema", json!("http://json-schema.org/draft-07/schema#")),
        ("title", json!("Bearward")),
        (
            "description",
            json!("The configuration of Bearward. `bearward check` finds what a schema cannot."),
        ),
    ] {
        schema.insert(name.to_owned(), value);
    }
    Value::Object(schema)
}

/// A table, with the keys below a place.
fn table(place: &str) -> Map<String, Value> {
    let mut properties = BTreeMap::new();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    for key in KEYS.iter().filter(|key| key.served) {
        let rest = match place {
            "" => Some(key.place),
            place => key
                .place
                .strip_prefix(place)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        let Some(name) = rest.map(|rest| rest.trim_end_matches("[]")) else {
            continue;
        };
        // The elements of a list have a place of their own.
        if name.contains('.') || name.contains('[') || key.place.ends_with("[]") {
            continue;
        }
        let mut own = match key.kind {
            Kind::Table | Kind::Named => table(key.place),
            Kind::Tables => {
                let items = table(&format!("{}[]", key.place));
                object(json!({ "type": "array", "items": items }))
            }
            kind => object(value(kind)),
        };
        let range = match key.kind {
            Kind::Duration { .. } | Kind::Size { .. } => format!(" {}.", expectation(key.kind)),
            _ => String::new(),
        };
        own.insert(
            "description".to_owned(),
            json!(format!("{}{range}", key.help)),
        );
        if needs_restart(key.place) {
            own.insert("x-needs-restart".to_owned(), json!(true));
        }
        if let Some(default) = key.default {
            own.insert("default".to_owned(), written(key.kind, default));
        }
        if name == "*" {
            schema.insert("additionalProperties".to_owned(), Value::Object(own));
        } else {
            properties.insert(name, Value::Object(own));
        }
    }
    if !schema.contains_key("additionalProperties") {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), json!(properties));
    }
    if let Some((_, names)) = REQUIRED.iter().find(|(of, _)| *of == place) {
        schema.insert("required".to_owned(), json!(names));
    }
    schema
}

/// A value of this kind.
fn value(kind: Kind) -> Value {
    let text =
        |pattern: &str| json!({ "type": "string", "pattern": format!("^({pattern})$|{VARIABLE}") });
    let or = |pattern: &str, word: &str| text(&format!("{pattern}|{word}"));
    match kind {
        Kind::Table | Kind::Named => json!({ "type": "object" }),
        Kind::Tables => json!({ "type": "array" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Text | Kind::Path => json!({ "type": "string" }),
        Kind::Texts | Kind::Paths => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Word(words) => json!({ "anyOf": [
            { "enum": words },
            { "type": "string", "pattern": VARIABLE },
        ] }),
        Kind::Count { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::CountOrAuto { least, most } => json!({ "anyOf": [
            { "type": "integer", "minimum": least, "maximum": most },
            text("auto"),
        ] }),
        Kind::Duration { .. } => text(DURATION),
        Kind::DurationOr(word) => or(DURATION, word),
        Kind::Size { .. } => text(SIZE),
        Kind::SizeOr(word) => or(SIZE, word),
        Kind::Percent => text(r"[0-9.]+%"),
        Kind::Rate => text(r"[0-9]+/[smh]|off"),
        Kind::Secret => json!({
            "type": "object",
            "properties": {
                "file": { "type": "string", "description": "A file that holds the secret." },
                "env": { "type": "string", "description": "A variable of the environment." },
                "credential": { "type": "string", "description": "A credential of systemd." },
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        }),
        Kind::Scalars => json!({
            "type": "array",
            "items": { "type": ["string", "number", "boolean"] },
        }),
    }
}

/// A default as the file would have it.
fn written(kind: Kind, default: &str) -> Value {
    match kind {
        Kind::Bool => json!(default == "true"),
        Kind::Count { .. } => default
            .parse()
            .map_or(Value::Null, |count: u64| json!(count)),
        _ => json!(default),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
