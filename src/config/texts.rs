//! The texts that a configuration is made of: its file, the files that it includes, and what the environment says.
//!
//! They stand behind one another in one text, so that a place in any of them is one range of bytes.

use std::path::{Path, PathBuf};

use super::files;

/// The most files of one configuration.
const FILES_MAX: usize = 1_000;
/// The most bytes of all of them.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// All texts of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    all: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    begin: usize,
    origin: Origin,
    /// What it is called: the file, as it was named, or the variable.
    name: PathBuf,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Main,
    Included,
    /// A variable of the environment, which overrides what files say.
    Variable,
}

/// A place in a text, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// What its text is called.
    pub(super) file: &'a Path,
    pub(super) origin: Origin,
    /// Line and column, from 1; columns count characters.
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Texts {
    /// The main file's.
    pub(super) fn of(path: &Path, text: &str) -> Self {
        let mut texts = Self::default();
        texts.add(Origin::Main, path, text);
        texts
    }

    pub(super) fn add(&mut self, origin: Origin, name: &Path, text: &str) {
        if !self.parts.is_empty() {
            // The end of one text is not the beginning of the next.
            self.all.push('\n');
        }
        let name = name.to_owned();
        let begin = self.all.len();
        self.parts.push(Part {
            begin,
            origin,
            name,
        });
        self.all.push_str(text);
    }

    /// Adds a file that is included.
    ///
    /// # Errors
    /// It cannot be read, or is one too many.
    pub(super) fn include(&mut self, name: &Path, path: &Path) -> std::io::Result<()> {
        let other = |why: String| std::io::Error::other(why);
        if self.parts.len() >= FILES_MAX {
            return Err(other(format!("more than {FILES_MAX} files")));
        }
        let text = String::from_utf8(files::read(path)?);
        let text = text.map_err(|_| other("it is not UTF-8".to_owned()))?;
        if self.all.len() + text.len() > BYTES_MAX {
            return Err(other(format!(
                "all files are larger than {BYTES_MAX} bytes"
            )));
        }
        self.add(Origin::Included, name, &text);
        Ok(())
    }

    /// All texts behind one another.
    pub(super) fn all(&self) -> &str {
        &self.all
    }

    /// Each with where it comes from and begins.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Origin, usize, &str)> {
        let ends = self.parts.iter().skip(1).map(|next| next.begin - 1);
        let ends = ends.chain(std::iter::once(self.all.len()));
        self.parts.iter().zip(ends).map(|(part, end)| {
            let text = self.all.get(part.begin..end).unwrap_or_default();
            (part.origin, part.begin, text)
        })
    }

    /// What the main file is called.
    pub(super) fn main(&self) -> &Path {
        self.parts
            .first()
            .map_or_else(|| Path::new(""), |part| &part.name)
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &Path) -> bool {
        self.parts.iter().any(|part| part.name == name)
    }

    /// Where each line begins.
    pub(super) fn lines(&self) -> Vec<usize> {
        let breaks = self.all.match_indices('\n').map(|(at, _)| at + 1);
        std::iter::once(0).chain(breaks).collect()
    }

    /// A place for people. `lines`: where they begin.
    pub(super) fn place(&self, offset: usize, lines: &[usize]) -> Place<'_> {
        let after = self.parts.partition_point(|part| part.begin <= offset);
        let part = self.parts.get(after.saturating_sub(1));
        let begin = part.map_or(0, |part| part.begin);
        let line = lines.partition_point(|start| *start <= offset).max(1);
        let first = lines.partition_point(|start| *start <= begin).max(1);
        let start = lines.get(line - 1).copied().unwrap_or(0);
        let before = self.all.get(start..offset).unwrap_or_default();
        Place {
            file: part.map_or_else(|| Path::new(""), |part| &part.name),
            origin: part.map_or(Origin::Main, |part| part.origin),
            line: line - first + 1,
            column: before.chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_file_line_and_column() {
        let mut texts = Texts::of(Path::new("a"), "x\nyé z");
        texts.add(Origin::Included, Path::new("b"), "");
        texts.add(Origin::Variable, Path::new("c"), "u\nv");
        let begin = texts.all().len() - 3;
        let all: Vec<_> = texts.iter().collect();
        assert_eq!(all[0], (Origin::Main, 0, "x\nyé z"));
        assert_eq!(all[1].2, "");
        assert_eq!(all[2], (Origin::Variable, begin, "u\nv"));
        let lines = texts.lines();
        let told = |offset| {
            let place = texts.place(offset, &lines);
            let name = place.file.display().to_string();
            (name, place.line, place.column)
        };
        assert_eq!(told(0), ("a".to_owned(), 1, 1));
        assert_eq!(told(6), ("a".to_owned(), 2, 4));
        assert_eq!(told(begin), ("c".to_owned(), 1, 1));
        assert_eq!(told(begin + 2), ("c".to_owned(), 2, 1));
    }
}
