//! The real program, with its files in a folder of the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use tempfile::TempDir;

use super::Bearward;

/// A `bearward run` that the test started.
pub struct Process {
    pub child: Child,
    /// Where its listener `public` listens.
    pub public: SocketAddr,
    /// Where its admin listener listens.
    pub admin: SocketAddr,
    log: BufReader<ChildStderr>,
}

impl Process {
    pub fn start(gateway: Bearward) -> (Self, TempDir) {
        let folder = gateway.into_files();
        (Self::start_in(folder.path()), folder)
    }

    /// Starts with the files that are in a folder.
    pub fn start_in(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
        command
            .args(["run", "--config"])
            .arg(folder.join("bearward.toml"));
        Self::of(command)
    }

    /// Starts it by a command of the test's own.
    pub fn of(command: Command) -> Self {
        let mut process = Self::spawn(command);
        process.public = address(&process.wait_for("\"listener\":\"public\""));
        process.admin = address(&process.wait_for("bearward serves"));
        process
    }

    /// The same where the admin listener has no port.
    pub fn without_admin(command: Command) -> Self {
        let mut process = Self::spawn(command);
        process.wait_for("bearward serves");
        process
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            child,
            public: nowhere,
            admin: nowhere,
            log,
        }
    }

    /// Reads the log up to a line with these words.
    pub fn wait_for(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(
                self.log.read_line(&mut line).expect("UTF-8") > 0,
                "it ended before it said {words}"
            );
        }
        line
    }

    pub fn signal(&self, name: &str) {
        super::program::signal(self.child.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line of the log.
fn address(line: &str) -> SocketAddr {
    let at = line.find("127.0.0.1:").expect("an address");
    let end = line[at..].find('"').expect("a quote");
    line[at..at + end].parse().expect("an address")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

/// Descriptors and resident KiB of a process.
pub fn cost(process: u32) -> (usize, u64) {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("a folder");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("text");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident
        .expect("a line")
        .trim()
        .trim_end_matches(" kB")
        .parse();
    (descriptors.count(), resident.expect("a number"))
}
