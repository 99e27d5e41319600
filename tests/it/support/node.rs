//! Real programs on node, whose packages `.ci/run` installs under `target/node`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::program;

/// Node with some packages.
pub struct Node(PathBuf);

impl Node {
    /// `None` if something is missing, which is said.
    pub fn find(test: &str, packages: &[&str]) -> Option<Self> {
        let node = program::find(test, "node")?;
        for package in packages {
            if !modules().join("node_modules").join(package).is_dir() {
                let what = format!("the npm package {package} under target/node");
                program::missing(test, &what);
                return None;
            }
        }
        Some(Self(node))
    }

    /// A script of `tests/node` with its first argument.
    pub fn script(&self, name: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&self.0);
        command
            .arg(root.join("tests/node").join(name))
            .arg(modules());
        command
    }
}

fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node")
}

/// A script that runs, and is told what to do a line at a time.
pub struct Script {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// The next line that it writes.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }

    /// Tells it something.
    pub fn tell(&mut self, what: &str) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        writeln!(input, "{what}").expect("room");
    }

    /// Has it do something, to the end.
    pub fn does(&mut self, what: &str) {
        self.tell(what);
        assert_eq!(self.line(), "done");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
