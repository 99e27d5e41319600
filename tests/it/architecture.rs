//! The house rules, checked by reading the source: layers, headers, file sizes, who knows whom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// From the top: a module imports from its own layer or those above it.
const LAYERS: [&[&str]; 17] = [
    &["clock", "fuzz", "published", "secret"],
    &["oauth", "verdict", "http", "limit", "tls", "observe"],
    &["signing", "keys", "revocation"],
    &["policy"],
    &["authenticate"],
    &["authorize"],
    &["forward"],
    &["reject"],
    &["explain"],
    &["decisions", "oddities"],
    &["inbound"],
    &["gateway"],
    &["worker", "listen"],
    &["config"],
    &["control"],
    &["admin"],
    &["app", "cli", "steps"],
];
const LINES_MAX: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 50, "the source was found");
    found
}

/// The module of a file, by its first folder or its name.
fn module(path: &Path) -> String {
    let inside = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("inside src");
    let first = inside.components().next().expect("a component").as_os_str();
    Path::new(first)
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a file names by `crate::`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let code: Vec<_> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let text = code.join("\n");
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or_default()
                .split(',')
                .collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String = name
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn every_import_goes_up() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let own = module(&path);
        if own == "main" || own == "lib" {
            continue;
        }
        let Some(here) = layer(&own) else {
            panic!("{own} stands in no layer");
        };
        for other in imports(&text) {
            match layer(&other) {
                Some(there) if there > here => {
                    faults.push(format!("{}: {own} imports {other}", path.display()))
                }
                Some(_) => {}
                None => faults.push(format!("{}: {other} stands in no layer", path.display())),
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_file_opens_with_its_purpose_and_stays_small() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//! ") {
            faults.push(format!("{}: no //! header", path.display()));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn one_place_knows_each_thing() {
    let known: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("jsonwebtoken::", ["src/signing/key.rs"].as_slice()),
        ("arc_swap::", &["src/published.rs"]),
        (
            "prometheus::",
            &[
                "src/observe/metrics/mod.rs",
                "src/observe/metrics/readings.rs",
            ],
        ),
        ("SystemTime::now", &["src/clock.rs"]),
        ("ParsedPublicKey::new", &["src/keys/verification_key.rs"]),
        ("Permit::new", &["src/authorize/mod.rs"]),
        (
            "redb::",
            &[
                "src/revocation/journal/mod.rs",
                "src/revocation/journal/opening.rs",
                "src/revocation/journal/shared.rs",
                "src/revocation/journal/tables.rs",
            ],
        ),
        ("papaya::", &["src/revocation/index.rs"]),
        (
            "moka::",
            &["src/authenticate/cache.rs", "src/forward/internal.rs"],
        ),
    ]);
    for (path, text) in sources() {
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for (word, places) in &known {
            if code.contains(word) {
                let allowed = places.iter().any(|place| path.ends_with(place));
                assert!(allowed, "{} knows {word}", path.display());
            }
        }
    }
}

#[test]
fn the_layers_stand_in_lib_rs_in_their_order() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("text");
    let order: Vec<usize> = lib
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
        })
        .map(|name| layer(name).unwrap_or_else(|| panic!("{name} stands in no layer")))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    assert!(order.len() > 15);
}
