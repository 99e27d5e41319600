//! The real program, with its files in a folder of the test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::Bearward;

/// A `bearward run` that the test started.
pub struct Process {
    pub child: Child,
    /// Where its listener `public` listens.
    pub public: SocketAddr,
    /// Where its admin listener listens.
    pub admin: SocketAddr,
    log: BufReader<Box<dyn Read + Send>>,
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
        process.serves();
        process
    }

    /// Waits until it serves.
    pub fn serves(&mut self) {
        self.public = address(&self.wait_for("\"listener\":\"public\""));
        self.admin = address(&self.wait_for("bearward serves"));
    }

    /// The same where the admin listener has no port.
    pub fn without_admin(command: Command) -> Self {
        let mut process = Self::spawn(command);
        process.wait_for("bearward serves");
        process
    }

    /// Starts it, and does not wait.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("a pipe"));
        let log = BufReader::new(log);
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

    /// Has the rest of its log read as it comes, so that none of it is lost.
    pub fn read_log(&mut self) -> JoinHandle<String> {
        let nothing: Box<dyn Read + Send> = Box::new(std::io::empty());
        let mut log = std::mem::replace(&mut self.log, BufReader::new(nothing));
        std::thread::spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).expect("UTF-8");
            rest
        })
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

/// A port that is free, and that no other test gets. It is below those that the system gives to outgoing
/// connections, so that none of these takes it meanwhile.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another run beside this one begins elsewhere.
    let start = std::process::id().wrapping_mul(97) % COUNT;
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = FIRST + (start + next) % COUNT;
        let port = u16::try_from(port).expect("a port");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
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
