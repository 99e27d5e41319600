//! `bearward demo`: its lines, pasted into a shell, give what their comments say.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::program;

#[test]
fn the_demos_lines_do_what_they_say() {
    const TEST: &str = "the_demos_lines_do_what_they_say";
    if program::find(TEST, "curl").is_none() {
        return;
    }
    let mut demo = Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["demo", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let mut lines = Vec::new();
    let mut others = Vec::new();
    for line in out.by_ref() {
        let line = line.expect("UTF-8");
        if line.starts_with("curl ") {
            lines.push(line);
        } else if !line.is_empty() {
            others.push(line);
        }
        if others.len() == 6 {
            break;
        }
    }
    let mut told = Vec::new();
    for line in &lines {
        let (_, comment) = line.split_once("# ").expect("a comment");
        let (status, code) = comment.split_once(' ').unwrap_or((comment, ""));
        // As a person would: the whole line, comment and all, into a shell.
        let shell = |text: &str| {
            let output = Command::new("sh")
                .args(["-c", text])
                .output()
                .expect("a shell");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let body = shell(line);
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(
            answer["code"].as_str().unwrap_or_default(),
            code,
            "{line}\n{body}"
        );
        let found = shell(&line.replacen("curl ", "curl -o /dev/null -w '%{http_code}' ", 1));
        assert_eq!(found, status, "{line}");
        told.push(code.to_owned());
    }
    assert_eq!(
        told,
        [
            "token_missing",
            "",
            "token_expired",
            "signature_invalid",
            "audience_mismatch",
            "token_revoked",
            "token_malformed",
            "scope_missing",
        ]
    );
    // The metrics show them, each asked twice.
    let metrics = others
        .iter()
        .find(|line| line.starts_with("# metrics"))
        .expect("an address");
    let (_, command) = metrics.split_once("curl").expect("a command");
    let page = Command::new("sh")
        .args(["-c", &format!("curl{command}")])
        .output()
        .expect("a shell");
    let page = String::from_utf8(page.stdout).expect("UTF-8");
    for code in told.iter().filter(|code| !code.is_empty()) {
        let counted = page.lines().any(|line| {
            line.starts_with("bearward_decisions_total{")
                && line.contains(&format!("reason=\"{code}\""))
                && line.ends_with(" 2")
        });
        assert!(counted, "{code} is counted");
    }
    program::signal(demo.id(), "INT");
    assert_eq!(demo.wait().expect("an end").code(), Some(0));
    let mut said = String::new();
    demo.stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("UTF-8");
    assert!(said.contains("for development"), "{said}");
    // It leaves nothing behind.
    let folder = others
        .iter()
        .find_map(|line| line.split_once("$(cat ")?.1.split_once("/state/"))
        .expect("a folder")
        .0;
    assert!(!std::path::Path::new(folder).exists(), "{folder}");
}

#[test]
fn keys_and_tokens_for_development_are_accepted_and_explained() {
    use std::io::Write;
    let folder = tempfile::tempdir().expect("a folder");
    let bearward = |arguments: &[&str], input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bearward"))
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes())
            .expect("room");
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8"),
            said,
        )
    };
    for alg in ["ES256", "RS256", "EdDSA"] {
        let keys = format!("keys-{alg}");
        assert_eq!(
            bearward(&["keys", "generate", "--alg", alg, "--out", &keys], "").0,
            Some(0)
        );
        // Never over keys that are there.
        assert_eq!(
            bearward(&["keys", "generate", "--alg", alg, "--out", &keys], "").0,
            Some(2)
        );
        let config = format!(
            "version = 1\n[listeners.public]\naddress = \"127.0.0.1:0\"\nclear_text = true\n[issuers.dev]\nissuer = \"https://dev.test/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"{alg}\"]\njwks_file = \"{keys}/jwks.json\"\n[upstreams.api]\nservers = [\"http://127.0.0.1:9\"]\n[routes.api]\npath = \"/{{*rest}}\"\nupstream = \"api\"\nissuers = [\"dev\"]\n[[routes.api.rules]]\nmethods = [\"GET\"]\nscopes_all = [\"a\"]\n"
        );
        std::fs::write(folder.path().join("bearward.toml"), config).expect("a file");
        let private = format!("{keys}/private.pem");
        let mint = |more: &[&str]| {
            let mut arguments = vec![
                "token",
                "mint",
                "--key",
                &private,
                "--alg",
                alg,
                "--iss",
                "https://dev.test/",
                "--aud",
                "https://api.test",
            ];
            arguments.extend(more);
            bearward(&arguments, "").1
        };
        let (code, text, _) = bearward(&["token", "explain"], &mint(&["--scope", "a b"]));
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("signature   passed") && text.contains("allowed"),
            "{text}"
        );
        let (code, text, _) = bearward(
            &["token", "explain", "--json"],
            &mint(&["--scope", "a", "--expires", "-5m"]),
        );
        assert_eq!(code, Some(1));
        let verdict: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(verdict["code"], "token_expired");
        let (code, text, _) = bearward(&["token", "explain"], &mint(&[]));
        assert_eq!(code, Some(1));
        assert!(text.contains("refused: 403 scope_missing"), "{text}");
        // A token in the arguments is not taken, and not repeated.
        let (code, text, said) = bearward(&["token", "explain", "eyJhbGciOi"], "");
        assert_eq!(code, Some(2));
        assert!(!text.contains("eyJ") && !said.contains("eyJ"), "{said}");
    }
    let version = bearward(&["--version"], "").1;
    assert_eq!(version, format!("bearward {}\n", env!("CARGO_PKG_VERSION")));
    let (code, text, _) = bearward(&["explain", "token_expired"], "");
    assert_eq!(code, Some(0));
    assert!(text.contains("How to mend it"), "{text}");
}
