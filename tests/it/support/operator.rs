//! What an operator does: asks the admin API, runs the commands.

use std::process::Command;

use serde_json::Value;

use super::gateway::Gateway;

impl Gateway {
    /// What the admin API tells of a path.
    pub async fn told(&self, path: &str) -> Value {
        let answer = self.ask_admin("GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Runs a command that asks this gateway: its exit code, standard output and standard error.
    pub fn command(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(arguments)
            .args(["--admin", &format!("http://{}", self.admin()), "--config"])
            .arg(self.folder().join("bearward.toml"))
            .output()
            .expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}
