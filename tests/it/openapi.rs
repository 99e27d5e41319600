//! The OpenAPI document is what the gateway does: schemathesis makes requests from it, good and bad ones, and compares
//! the answers.

use std::path::PathBuf;
use std::process::Command;

use crate::support::process::free_port;
use crate::support::program::{find_in_python, told};
use crate::support::{Bearward, TestIssuer, Upstream, block_on};

#[test]
fn the_document_is_what_the_gateway_does() {
    let test = "the_document_is_what_the_gateway_does";
    let Some(schemathesis) = find_in_python(test, "schemathesis") else {
        return;
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let (main, upstream) = (
        TestIssuer::new("https://login.test/", "ES256", "main-1"),
        Upstream::echo(),
    );
    let port = free_port();
    let gateway = Bearward::usual(&main, &upstream)
        .table(&format!(
            "[listeners.clear]\naddress = \"127.0.0.1:{port}\"\nclear_text = true"
        ))
        .table("[endpoints]\ncheck = true\nrevoke = true")
        .table("[routes.any]\nlisteners = [\"clear\"]\npath = \"/any\"\nupstream = \"orders\"\nissuers = [\"main\"]")
        .start();
    let token = main.token().sign();
    block_on(async {
        // So that there are decisions of each kind.
        gateway.http1().get("/orders/1", &token).await;
        gateway.http1().get("/orders/1", "a.b.c").await;
    });
    let folder = tempfile::tempdir().expect("a folder");
    let admin = format!("http://{}", gateway.admin());
    let public = format!("http://127.0.0.1:{port}");
    let runs = [
        (&admin, gateway.admin_token(), "--exclude-path-regex"),
        (&public, token, "--include-path-regex"),
    ];
    for (url, token, paths) in runs {
        let (is_good, said) = told(
            Command::new("/usr/bin/python3")
                .arg(&schemathesis)
                .arg("run")
                .arg(root.join("docs/openapi.yaml"))
                .args(["--url", url, paths, "^/\\.well-known"])
                .args(["--header", &format!("Authorization: Bearer {token}")])
                // It would end the gateway.
                .args(["--exclude-path", "/api/v1/drain"])
                .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
                .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20"])
                .args(["--seed", "1", "--no-color"])
                .env("PYTHONPATH", root.join("target/python"))
                .current_dir(folder.path()),
        );
        assert!(is_good, "{said}");
    }
}
