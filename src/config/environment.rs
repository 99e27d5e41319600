//! What the environment overrides: `BEARWARD__SERVER__STATE_DIR` stands before `server.state_dir` of the file.
//!
//! Each variable becomes a line of TOML with a name of its own, so that a fault in it is told like one in a file.

use std::path::Path;

use super::keys::{self, Kind};
use super::texts::{Origin, Texts};

const PREFIX: &str = "BEARWARD__";

/// The variables that override something, in the order of their names.
pub(super) fn overrides(
    variables: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let ours = variables.filter(|(name, _)| name.starts_with(PREFIX));
    let mut all: Vec<_> = ours.collect();
    all.sort();
    all
}

/// Adds them.
pub(super) fn add(texts: &mut Texts, variables: &[(String, String)]) {
    for (name, value) in variables {
        if let Some(key) = name.strip_prefix(PREFIX) {
            texts.add(Origin::Variable, Path::new(name), &line(key, value));
        }
    }
}

/// The line of TOML that says the same.
fn line(name: &str, value: &str) -> String {
    let parts: Vec<_> = name.split("__").map(str::to_ascii_lowercase).collect();
    let mut place = String::new();
    let mut kind = Some(Kind::Table);
    for part in &parts {
        let dot = if place.is_empty() { "" } else { "." };
        let part = match kind {
            Some(Kind::Named) => "*",
            _ => part,
        };
        place = format!("{place}{dot}{part}");
        kind = keys::find(&place).map(|key| key.kind);
    }
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    // Of a text every blank counts.
    let value = match kind {
        Some(Kind::Text | Kind::Path) => value,
        _ => value.trim(),
    };
    if matches!(kind, Some(Kind::Texts | Kind::Paths)) && !value.starts_with('[') {
        let items = value.split(',').map(str::trim);
        let items: Vec<_> = items.filter(|item| !item.is_empty()).map(quoted).collect();
        return written(&parts, &format!("[{}]", items.join(", ")));
    }
    let is_toml = match kind {
        Some(Kind::Bool) => matches!(value, "true" | "false"),
        Some(Kind::Texts | Kind::Paths) => value.starts_with('['),
        Some(Kind::Secret | Kind::Table | Kind::Named) => value.starts_with('{'),
        Some(Kind::Tables | Kind::Scalars) => value.starts_with('['),
        Some(Kind::Count { .. } | Kind::CountOrAuto { .. }) => {
            value.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => false,
    };
    let value = if is_toml && !value.is_empty() && !value.contains(['\n', '\r']) {
        value.to_owned()
    } else {
        quoted(value)
    };
    written(&parts, &value)
}

fn written(parts: &[String], value: &str) -> String {
    let quoted = |text: &String| serde_json::to_string(text).unwrap_or_default();
    let key: Vec<_> = parts.iter().map(quoted).collect();
    format!("{} = {value}", key.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_line_of_toml() {
        for (name, value, expected) in [
            (
                "SERVER__STATE_DIR",
                "/var/lib/x",
                r#""server"."state_dir" = "/var/lib/x""#,
            ),
            ("SERVER__WORKERS", " 4", r#""server"."workers" = 4"#),
            ("SERVER__WORKERS", "auto", r#""server"."workers" = "auto""#),
            ("ADMIN__CONSOLE", "false", r#""admin"."console" = false"#),
            (
                "ISSUERS__MAIN__AUDIENCES",
                r#"["a", "b"]"#,
                r#""issuers"."main"."audiences" = ["a", "b"]"#,
            ),
            (
                "ISSUERS__MAIN__AUDIENCES",
                "a, b,",
                r#""issuers"."main"."audiences" = ["a", "b"]"#,
            ),
            (
                "ADMIN__TOKEN",
                "{ file = \"t\" }",
                r#""admin"."token" = { file = "t" }"#,
            ),
            // No second line comes in.
            (
                "ADMIN__CONSOLE",
                "false\nx = 1",
                r#""admin"."console" = "false\nx = 1""#,
            ),
            ("", "x", r#""" = "x""#),
        ] {
            assert_eq!(line(name, value), expected);
        }
    }
}
