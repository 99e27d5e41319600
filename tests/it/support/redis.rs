//! A real Redis server, installed by `.ci/run`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::gateway::write_certificate;
use super::process::free_port;
use super::program;

/// A server that forgets everything when it ends.
pub struct Redis {
    program: PathBuf,
    /// Its certificate lies there, `redis.crt`.
    pub folder: TempDir,
    pub port: u16,
    pub tls_port: u16,
    /// More lines of its configuration.
    more: String,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Redis {
    /// `None` if it is not installed, which is said. `more` is for its configuration.
    pub fn start(test: &str, more: &str) -> Option<Self> {
        let program = program::find(test, "redis-server")?;
        let folder = tempfile::tempdir().expect("a folder");
        write_certificate(folder.path(), "redis", &["localhost"]);
        let mut redis = Self {
            program,
            folder,
            port: free_port(),
            tls_port: free_port(),
            more: more.to_owned(),
            running: None,
        };
        redis.begin();
        Some(redis)
    }

    /// Where it is, in clear text.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn begin(&mut self) {
        let folder = self.folder.path().display();
        let settings = format!(
            "port {}\ntls-port {}\nbind 127.0.0.1\ndir {folder}\nsave \"\"\nappendonly no\n\
             tls-cert-file {folder}/redis.crt\ntls-key-file {folder}/redis.key\n\
             tls-ca-cert-file {folder}/redis.crt\ntls-auth-clients no\n{}\n",
            self.port, self.tls_port, self.more
        );
        let path = self.folder.path().join("redis.conf");
        std::fs::write(&path, settings).expect("a file");
        let mut child = Command::new(&self.program)
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut log = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            assert!(log.read_line(&mut line).expect("text") > 0, "redis starts");
        }
        self.running = Some((child, log));
    }

    /// Ends it, and everything in it.
    pub fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        self.begin();
    }

    pub fn signal(&self, name: &str) {
        let (child, _) = self.running.as_ref().expect("it runs");
        program::signal(child.id(), name);
    }

    /// Sends one command of any words.
    pub fn write(&self, words: &[&str]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(command.as_bytes()).expect("room");
        let mut said = [0];
        stream.read_exact(&mut said).expect("an answer");
        assert_ne!(said, *b"-");
    }

    /// Sends one command and gives what it says, up to the end of its first line and what comes with it.
    pub fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let command = format!("{command}\r\nQUIT\r\n");
        stream.write_all(command.as_bytes()).expect("room");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("text");
        let said = said.strip_suffix("+OK\r\n").unwrap_or(&said);
        assert!(!said.starts_with('-'), "{command}: {said}");
        said.trim_end().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
