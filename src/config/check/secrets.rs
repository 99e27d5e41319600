//! The files that a configuration names, and the secrets behind its keys: they are never in it.

use std::path::{Path, PathBuf};

use super::Checker;
use crate::config::files;
use crate::config::node::{Node, SecretSource, Span, Value};
use crate::secret::Secret;

impl Checker<'_> {
    pub(super) fn file(&mut self, text: &str, span: &Span, what: &str) -> Option<Vec<u8>> {
        self.bytes(&self.path(text), text, span, what)
    }

    /// The file that a secret is in, if it is in one.
    pub(super) fn secret_file(&self, source: &SecretSource) -> Option<PathBuf> {
        match source {
            SecretSource::File(path) => Some(self.path(path)),
            // Names of credentials are names of files, nothing more.
            SecretSource::Credential(name) if !name.contains('/') && !name.starts_with('.') => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
                Some(Path::new(&folder).join(name))
            }
            SecretSource::Credential(_) | SecretSource::Env(_) => None,
        }
    }

    /// The bytes of a file that is called `text` in what is said of it.
    fn bytes(&mut self, path: &Path, text: &str, span: &Span, what: &str) -> Option<Vec<u8>> {
        match files::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.error(
                    "BW0108",
                    format!("{what}: `{text}` cannot be read: {error}"),
                    span,
                );
                None
            }
        }
    }

    /// The secret behind a key. A file of text loses the line break at its end, which editors and
    /// `echo` add; a file of other bytes is taken as it is.
    pub(super) fn secret(&mut self, node: &Node, name: &str) -> Option<(Secret, Span)> {
        let Some((Value::Secret(source), span)) = node.value(name) else {
            return None;
        };
        let span = span.clone();
        let bytes = match source {
            SecretSource::Credential(credential) if self.secret_file(source).is_none() => {
                let message = format!("`{name}`: there is no credential `{credential}`");
                let help = "systemd gives them to a service with LoadCredential=; outside, $CREDENTIALS_DIRECTORY is their folder";
                self.error_help("BW0108", message, &span, help);
                return None;
            }
            SecretSource::File(told) | SecretSource::Credential(told) => {
                let path = self.secret_file(source)?;
                let mut bytes = self.bytes(&path, told, &span, &format!("`{name}`"))?;
                let is_text = std::str::from_utf8(&bytes).is_ok();
                while is_text && matches!(bytes.last(), Some(b'\n' | b'\r')) {
                    bytes.pop();
                }
                bytes
            }
            SecretSource::Env(variable) => match std::env::var(variable) {
                Ok(value) => value.into_bytes(),
                Err(_) => {
                    self.error(
                        "BW0108",
                        format!("`{name}`: the environment has no `{variable}`"),
                        &span,
                    );
                    return None;
                }
            },
        };
        if bytes.is_empty() {
            self.error("BW0108", format!("`{name}` is empty"), &span);
            return None;
        }
        Some((Secret::new(bytes), span))
    }
}
