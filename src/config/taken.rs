//! What a configuration takes from the machine that it is read on: variables, files, places of secrets. One that is sent
//! to a gateway may take no more than the one that serves; its findings would tell of the rest.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::hidden::PLACES;
use super::keys::{KEYS, Kind};
use super::texts::Texts;

/// What a text takes and the texts that serve do not, in words.
pub(crate) fn taken_beyond(text: &str, serving: &Texts) -> Vec<String> {
    let known = taken(serving);
    let all = taken(&Texts::of(Path::new(""), text)).into_iter();
    all.filter(|what| !known.contains(what)).collect()
}

/// Everything that texts take. Only the main one includes.
fn taken(texts: &Texts) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, _, text) in texts.iter() {
        let (table, _) = DeTable::parse_recoverable(text);
        visit("", &DeValue::Table(table.into_inner()), &mut found);
    }
    found
}

fn visit(name: &str, value: &DeValue<'_>, found: &mut BTreeSet<String>) {
    match value {
        DeValue::String(text) => {
            for rest in text.split("${").skip(1) {
                let name = rest.split('}').next().unwrap_or_default();
                let name = name.split(":-").next().unwrap_or_default();
                found.insert(format!("${{{name}}}"));
            }
            if is_place(name) {
                found.insert(format!("`{name} = \"{text}\"`"));
            }
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

/// Whether a value of this name is a file, or says where a secret is. `include` is a list of files too.
fn is_place(name: &str) -> bool {
    let mut paths = KEYS
        .iter()
        .filter(|key| matches!(key.kind, Kind::Path | Kind::Paths));
    PLACES.contains(&name) || paths.any(|key| key.name() == name)
}
