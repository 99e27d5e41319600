//! Real programs that some tests need.

use std::path::PathBuf;

/// Finds a program. Without it a test is left out and says so, unless `BEARWARD_TEST_ALL` demands
/// every test.
pub fn find(test: &str, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        missing(test, name);
    }
    found
}

/// Finds a program that `.ci/run` puts under `target/python`.
pub fn find_in_python(test: &str, name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/python/bin").join(name);
    if program.is_file() {
        return Some(program);
    }
    missing(test, &format!("{name} under target/python"));
    None
}

/// Runs a command to its end: whether it went well, and all that it said.
pub fn told(command: &mut std::process::Command) -> (bool, String) {
    let output = command.output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Says that a test is left out, or fails where every test is demanded.
pub fn missing(test: &str, what: &str) {
    assert!(
        std::env::var_os("BEARWARD_TEST_ALL").is_none(),
        "{test} needs {what}, which is not installed"
    );
    eprintln!("left out: {test} needs {what}, which is not installed");
}

/// Sends a signal to a process that the test started. The shell has `kill` built in.
pub fn signal(process: u32, name: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -s {name} {process}")])
        .status()
        .expect("a shell");
    assert!(status.success());
}
