//! The files that a configuration includes: `include = ["routes.d/*.toml"]`.
//!
//! Only the main file includes. Paths, here and in what is included, are relative to the main file's folder.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::texts::Texts;
use super::typed::substituted;

/// Adds the files that the main text includes. What is no list of texts is told by whoever reads the keys.
pub(super) fn add(texts: &mut Texts, folder: &Path) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    for Pattern {
        written,
        made,
        span,
    } in patterns(texts.all())
    {
        let fault = |why: String| {
            Diagnostic::error("BW0108", format!("`include`: `{written}` {why}")).at(&span)
        };
        let files = match files(folder, &made) {
            Ok(files) => files,
            Err(error) => {
                faults.push(fault(format!("cannot be read: {error}")));
                continue;
            }
        };
        if files.is_empty() {
            faults.push(
                Diagnostic::warning("BW0219", format!("`include`: `{written}` matches no file"))
                    .at(&span)
                    .help("routes that are not there protect nothing: an open one may stand in their place"),
            );
        }
        for file in files {
            // A file that two patterns match is one.
            if texts.has(&file) {
                continue;
            }
            if let Err(error) = texts.include(&file, &file) {
                let name = file.file_name().unwrap_or_default().display();
                let which = match file == folder.join(&made) {
                    true => String::new(),
                    false => format!(" {name}:"),
                };
                faults.push(fault(format!("cannot be read:{which} {error}")));
            }
        }
    }
    faults
}

/// Files that a text includes.
struct Pattern {
    /// As it is written: what its variables stand for is not told.
    written: String,
    made: String,
    span: Range<usize>,
}

/// What a text includes.
fn patterns(text: &str) -> Vec<Pattern> {
    let (table, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(items)) = table.get_ref().get("include").map(|it| it.get_ref()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items {
        if let DeValue::String(written) = item.get_ref()
            && let Ok(made) = substituted(written)
        {
            found.push(Pattern {
                written: written.to_string(),
                made,
                span: item.span(),
            });
        }
    }
    found
}

/// The files that a pattern matches, in the order of their names. `*` stands for any part of a file's name.
fn files(folder: &Path, pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    let whole = folder.join(pattern);
    let name = whole.file_name().and_then(|name| name.to_str());
    let Some((name, folder)) = name.zip(whole.parent()) else {
        return Err(std::io::Error::other("it names no file"));
    };
    if !name.contains('*') {
        return Ok(vec![whole]);
    }
    let mut found = Vec::new();
    // The folder of a bare name is the empty path, which cannot be read.
    let here = folder.as_os_str().is_empty();
    for entry in std::fs::read_dir(if here { Path::new(".") } else { folder })? {
        let entry = entry?;
        let known = entry.file_name();
        if known.to_str().is_some_and(|known| matches(name, known)) {
            found.push(folder.join(known));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name is of a pattern; one that begins with a dot only by a dot.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_part_of_a_name() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            ("*.toml", ".a.toml", false),
            (".*.toml", ".a.toml", true),
            ("*.toml", "a.toml~", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("*", "x", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
