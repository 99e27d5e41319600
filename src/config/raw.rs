//! Layer 1: TOML to typed values with their places, by the table of keys.
//!
//! serde stops at the first fault and loses positions; walking the parsed document by hand keeps
//! both. Every fault of every key is told, and what is sound goes on to the next layer.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Report};
use super::hidden::names_a_place;
use super::keys::{self, Key, Kind};
use super::node::{Node, Span, join};
use super::suggest::nearest;
use super::texts::Origin;
use super::typed::{Fault, expectation, typed};

/// Reads all texts. `None` after a fault of syntax in one of them: what follows would only be its echo.
pub(super) fn read(report: &mut Report) -> Option<Node> {
    let (root, is_toml) = read_what_can(report);
    is_toml.then_some(root)
}

/// Reads what can be read of all texts, and whether that is all of them.
pub(super) fn read_what_can(report: &mut Report) -> (Node, bool) {
    let texts = Arc::clone(report.texts());
    let mut root = Node {
        span: 0..0,
        ..Node::default()
    };
    let mut is_toml = true;
    for (origin, begin, text) in texts.iter() {
        let (document, errors) = DeTable::parse_recoverable(text);
        report.hidden().take_secrets(document.get_ref(), begin);
        if origin == Origin::Variable {
            report.hidden().take_variable(begin, text);
        }
        if !errors.is_empty() {
            report.hidden().take_broken(text, begin);
        }
        // What else is wrong with a text that is none may be an echo of that.
        let mut echoes = Report::new(Arc::clone(&texts));
        let mut reader = Reader {
            report: if errors.is_empty() {
                report
            } else {
                &mut echoes
            },
            begin,
            origin,
        };
        reader.walk(document.get_ref(), &mut root);
        if errors.is_empty() {
            continue;
        }
        is_toml = false;
        let mut lines = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = text
                .get(..span.start)
                .unwrap_or_default()
                .matches('\n')
                .count();
            // The others of a line are echoes of its first.
            if !lines.contains(&line) {
                lines.push(line);
                let message = format!("not TOML: {}", error.message().replace('\n', ", "));
                report.push(
                    Diagnostic::error("BW0001", message)
                        .at(&(span.start + begin..span.end + begin)),
                );
            }
        }
    }
    (root, is_toml)
}

/// Reads one text into the tables.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) report: &'a mut Report,
    /// Where the text begins.
    begin: usize,
    origin: Origin,
}

impl Reader<'_> {
    /// A place of the text, among all texts.
    pub(super) fn span(&self, span: &Span) -> Span {
        span.start + self.begin..span.end + self.begin
    }

    fn walk(&mut self, table: &DeTable<'_>, node: &mut Node) {
        let named = keys::find(&node.place).is_some_and(|key| key.kind == Kind::Named);
        for (name, value) in table {
            let (name, name_span) = (name.get_ref().to_string(), self.span(&name.span()));
            let place = join(&node.place, if named { "*" } else { &name });
            let Some(key) = keys::find(&place) else {
                let (fault, meant) = unknown(node, &name, &name_span);
                node.faulty.extend(meant);
                self.report.push(fault);
                continue;
            };
            if !key.served {
                self.report.push(
                    Diagnostic::error(
                        "BW0102",
                        format!("`{}` is not served by this version", shown(&place, &name)),
                    )
                    .at(&name_span)
                    .label("take it out: it would have no effect"),
                );
                continue;
            }
            if self.origin == Origin::Variable && key.place == "include" {
                let message = "`include` stands in the file alone".to_owned();
                self.report
                    .push(Diagnostic::error("BW0111", message).at(&name_span));
                continue;
            }
            if self.origin == Origin::Included && node.place.is_empty() && key.kind != Kind::Named {
                let message = format!("`{name}` in an included file");
                self.report.push(
                    Diagnostic::error("BW0111", message)
                        .at(&name_span)
                        .label("belongs into the file that includes it")
                        .help("included files add listeners, issuers, upstreams and routes"),
                );
                continue;
            }
            let name = match self.origin {
                Origin::Variable if named => named_alike(node, name),
                _ => name,
            };
            self.take(key, (name, &name_span), value, node);
        }
    }

    /// Takes one key's value into the node, or says what is wrong with it.
    fn take(
        &mut self,
        key: &Key,
        (name, name_span): (String, &Span),
        value: &Spanned<DeValue<'_>>,
        node: &mut Node,
    ) {
        let span = self.span(&value.span());
        match (key.kind, value.get_ref()) {
            (Kind::Table | Kind::Named, DeValue::Table(table)) => {
                let known = node.tables.remove(&name);
                let again = known
                    .as_ref()
                    .filter(|_| self.origin == Origin::Included && key.kind != Kind::Named);
                if let Some(known) = again {
                    let path = join(&node.path, &name);
                    self.report.push(
                        Diagnostic::error("BW0111", format!("[{path}] is there twice"))
                            .at(name_span)
                            .related(&known.span, "here too"),
                    );
                }
                let mut child = known.unwrap_or_else(|| Node {
                    span,
                    place: key.place.to_owned(),
                    path: join(&node.path, &name),
                    ..Node::default()
                });
                self.walk(table, &mut child);
                node.tables.insert(name, child);
            }
            (Kind::Tables, DeValue::Array(items)) => {
                let mut children = Vec::new();
                for item in items {
                    let span = self.span(&item.span());
                    let DeValue::Table(table) = item.get_ref() else {
                        self.report.push(wrong(&name, "a list of tables", &span));
                        continue;
                    };
                    let mut child = Node {
                        span,
                        place: format!("{}[]", key.place),
                        path: join(&node.path, &name),
                        ..Node::default()
                    };
                    self.walk(table, &mut child);
                    children.push(child);
                }
                node.lists.insert(name, children);
            }
            (kind, given) => {
                if kind == Kind::Secret && !names_a_place(given) {
                    self.report.hide(&span);
                }
                match typed(kind, given, self) {
                    Ok(typed) => {
                        node.values.insert(name, (typed, span));
                        return;
                    }
                    Err(Fault::Type) => {
                        let fault = wrong(&name, &expectation(kind), &span);
                        self.report.push(fault.help(key.help));
                    }
                    Err(Fault::Value(why)) => self.report.push(
                        Diagnostic::error("BW0104", format!("`{name}` has a bad value: {why}"))
                            .at(&span)
                            .label(format!("expected {}", expectation(kind)))
                            .help(key.help),
                    ),
                    Err(Fault::Told) => {}
                }
                node.faulty.insert(name);
            }
        }
    }
}

/// The name that a variable of the environment means: those have no lower case and no hyphens.
fn named_alike(node: &Node, name: String) -> String {
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let known = || node.tables.keys().chain(node.values.keys());
    if known().any(|known| *known == name) {
        return name;
    }
    // Where several are alike it is none of them: it would be chance.
    let mut alike = known().filter(|known| plain(known) == plain(&name));
    match (alike.next(), alike.next()) {
        (Some(one), None) => one.clone(),
        _ => name,
    }
}

fn shown<'a>(place: &'a str, name: &'a str) -> &'a str {
    if place.contains(['*', '[']) {
        name
    } else {
        place
    }
}

/// The fault of an unknown key, and the key that was probably meant.
fn unknown(node: &Node, name: &str, span: &Span) -> (Diagnostic, Option<String>) {
    let known: Vec<_> = keys::below(&node.place).collect();
    let table = if node.path.is_empty() {
        "the file".to_owned()
    } else {
        format!("[{}]", node.path)
    };
    let diagnostic =
        Diagnostic::error("BW0101", format!("unknown key `{name}` in {table}")).at(span);
    match nearest(name, known.iter().copied()) {
        Some(near) => (
            diagnostic.label(format!("did you mean `{near}`?")),
            Some(near.to_owned()),
        ),
        None => (
            diagnostic.help(format!("known here: {}", known.join(", "))),
            None,
        ),
    }
}

fn wrong(name: &str, expected: &str, span: &Span) -> Diagnostic {
    Diagnostic::error("BW0103", format!("`{name}` has the wrong type"))
        .at(span)
        .label(format!("expected {expected}"))
}
