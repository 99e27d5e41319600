//! Keys over time: rotations without a refusal, sets on disk, watched files, safe and sparing
//! fetches, many issuers.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::double::{Does, TcpDouble};
use crate::support::gateway::{Gateway, ORDERS, write_certificate};
use crate::support::provider::set_of;
use crate::support::{Bearward, Process, Provider, TestIssuer, Upstream, block_on, eventually};

const ISSUER: &str = "https://login.test/";

fn key(kid: &str) -> TestIssuer {
    TestIssuer::new(ISSUER, "ES256", kid)
}

/// Keys come from a URL; `more` is TOML for `[issuers.main.jwks]`.
fn fetching(base: &str, upstream: &Upstream, more: &str) -> Bearward {
    Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{ISSUER}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{base}/jwks\"\n[issuers.main.jwks]\n{more}\n"
        ))
        .table(ORDERS)
}

const LOOPBACK: &str = "allow_http_loopback = true";

async fn kids(gateway: &Gateway) -> Vec<String> {
    let issuer = gateway.issuer("main").await;
    let keys = issuer["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn ten_thousand_requests_across_three_rotations_and_none_is_refused() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let keys: Vec<_> = (0..4).map(|n| key(&n.to_string())).collect();
    provider.publish(&[&keys[0]]);
    // In the background at least once a second, as well as by unknown key ids.
    let gateway = fetching(
        &provider.base,
        &upstream,
        &format!("{LOOPBACK}\nrefresh = \"1s\""),
    );
    let gateway = gateway.start();
    block_on(async {
        gateway.ready().await;
        let mut client = gateway.http1().keep().await;
        let mut all = 0;
        for rotation in 0..3 {
            let (old, new) = (&keys[rotation], &keys[rotation + 1]);
            let old_tokens: Vec<_> = (0..50)
                .map(|n| old.token().with("jti", n.to_string()).sign())
                .collect();
            for n in 0..1000 {
                assert_eq!(client.get("/orders/1", &old_tokens[n % 50]).await.0, 200);
            }
            // The new key is published beside the old one. Twice the first token finds it by its
            // unknown key id; the third time it was fetched in the background before.
            provider.publish(&[old, new]);
            if rotation == 2 {
                let known = async || kids(&gateway).await.contains(&"3".to_owned());
                eventually("the background", known).await;
            }
            let new_tokens: Vec<_> = (0..50)
                .map(|n| new.token().with("jti", n.to_string()).sign())
                .collect();
            for n in 0..1200 {
                let (old, new) = (&old_tokens[n % 50], &new_tokens[n % 50]);
                assert_eq!(client.get("/orders/1", new).await.0, 200);
                assert_eq!(client.get("/orders/1", old).await.0, 200);
            }
            all += 1000 + 2 * 1200;
            // The old key goes once its tokens are over.
            provider.publish(&[new]);
        }
        assert!(all >= 10_000);
    });
    let lines = gateway.stop();
    let changes: Vec<_> = lines.iter().filter(|line| line["event"] == "key").collect();
    assert!(changes.len() >= 4, "each change has its line: {changes:?}");
    let came: Vec<_> = changes
        .iter()
        .filter(|line| line["came"] == json!(["1"]))
        .collect();
    assert_eq!(came.len(), 1, "{changes:?}");
    assert_eq!(came[0]["issuer"], "main");
    assert_eq!(came[0]["action"], "replaced");
}

#[test]
fn a_document_that_did_not_change_is_not_sent_again_over_one_connection() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let (old, new) = (key("old"), key("new"));
    let publish = |keys: &[&TestIssuer], etag: &str| {
        provider.set_with("/jwks", 200, &set_of(keys), &[("etag", etag)]);
    };
    publish(&[&old], "\"one\"");
    let gateway = fetching(&provider.base, &upstream, LOOPBACK).start();
    block_on(async {
        gateway.ready().await;
        for _ in 0..5 {
            assert_eq!(gateway.refresh("main").await.0, 200);
        }
        assert_eq!(kids(&gateway).await, ["old"]);
        publish(&[&new], "\"two\"");
        assert_eq!(gateway.refresh("main").await.0, 200);
        assert_eq!(kids(&gateway).await, ["new"]);
        assert_eq!(provider.asked("/jwks"), 7);
        assert_eq!(provider.connections(), 1);
        // Garbage that has a name is garbage the second time too.
        provider.set_with("/jwks", 200, "<html>", &[("etag", "\"three\"")]);
        for _ in 0..2 {
            assert_eq!(gateway.refresh("main").await.0, 502);
        }
        assert_eq!(kids(&gateway).await, ["new"]);
    });
}

#[test]
fn own_roots_are_trusted_and_others_are_not() {
    let upstream = Upstream::echo();
    let main = key("main");
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path(), "provider", &["login.test"]);
    write_certificate(folder.path(), "other", &["login.test"]);
    let provider = Provider::start_tls(folder.path(), "provider");
    provider.publish(&[&main]);
    for (ca, trusted) in [("provider", true), ("other", false)] {
        let path = folder.path().join(format!("{ca}.crt"));
        let gateway = fetching(
            &provider.base,
            &upstream,
            &format!("ca = \"{}\"", path.display()),
        );
        let gateway = gateway.start();
        block_on(async {
            let (status, detail) = gateway.refresh("main").await;
            if trusted {
                assert_eq!(status, 200, "{detail}");
                let token = main.token().sign();
                assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
            } else {
                assert_eq!(status, 502);
                assert!(detail.contains("TLS with the provider failed"), "{detail}");
                assert!(!gateway.is_ready().await);
            }
        });
    }
}

#[test]
fn the_environments_proxy_is_not_asked() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let proxy = Provider::start();
    provider.publish(&[&key("main")]);
    let folder = fetching(&provider.base, &upstream, LOOPBACK).into_files();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["run", "--config"])
        .arg(folder.path().join("bearward.toml"))
        .envs(
            ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"]
                .map(|name| (name, &proxy.base)),
        )
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    block_on(eventually("a fetch", async || provider.asked("/jwks") > 0));
    child.kill().expect("an end");
    child.wait().expect("an end");
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_configured_proxy_is_asked_to_connect() {
    let upstream = Upstream::echo();
    let main = key("main");
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path(), "provider", &["login.test"]);
    let provider = Provider::start_tls(folder.path(), "provider");
    provider.publish(&[&main]);
    let behind = provider
        .base
        .trim_start_matches("https://")
        .parse()
        .expect("an address");
    let ca = folder.path().join("provider.crt");
    for (does, good) in [
        (Does::Tunnel(behind), true),
        (
            Does::Answers("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_owned()),
            false,
        ),
        (Does::Reset, false),
        (Does::Answers("x".repeat(10_000)), false),
    ] {
        let proxy = TcpDouble::start(does);
        // The proxy resolves the name: here nobody could.
        let gateway = fetching(
            "https://login.test",
            &upstream,
            &format!(
                "proxy = \"http://{}\"\nca = \"{}\"",
                proxy.address,
                ca.display()
            ),
        )
        .start();
        block_on(async {
            let (status, detail) = gateway.refresh("main").await;
            if good {
                assert_eq!(status, 200, "{detail}");
                let token = main.token().sign();
                assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
            } else {
                assert_eq!(status, 502);
                assert!(detail.starts_with("the proxy does not connect to the provider"));
            }
        });
    }
}

#[test]
fn killed_while_it_writes_sets_it_starts_again_without_the_provider() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let (kept, other, third) = (key("kept"), key("other"), key("third"));
    provider.publish(&[&kept]);
    let folder = fetching(&provider.base, &upstream, LOOPBACK)
        .at_port(crate::support::process::free_port())
        .into_files();
    let saved = folder.path().join("state/keys");
    for round in 0..6_u32 {
        let process = Process::start_in(folder.path());
        let token = std::fs::read_to_string(folder.path().join("state/admin-token"));
        let token = token.expect("a token").trim().to_owned();
        block_on(async {
            let sets = [[&kept, &other], [&kept, &third]];
            for count in 0..=(round * 3) {
                provider.publish(&sets[(count % 2) as usize]);
                let path = "/api/v1/issuers/main/refresh";
                let admin = process.admin;
                let answer =
                    crate::support::client::plain_request(admin, "POST", path, Some(&token), None);
                assert_eq!(answer.await.status, 200);
            }
            // Whatever the writer is at now.
            process.signal("KILL");
        });
        drop(process);
        if sets_in(&saved) == 0 {
            continue;
        }
        provider.set("/jwks", 500, "down");
        let process = Process::start_in(folder.path());
        let answer = block_on(async {
            let address = process.public;
            let good = kept.token_now().sign();
            crate::support::Client::http1(address)
                .get("/orders/1", &good)
                .await
        });
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        drop(process);
        provider.publish(&[&kept]);
    }
    assert!(sets_in(&saved) >= 1, "it was saved at least once");
}

fn sets_in(folder: &Path) -> usize {
    let files = folder.read_dir().expect("a folder");
    let names = files.map(|file| file.expect("a file").path());
    names
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .count()
}

#[test]
fn a_saved_set_counts_for_its_issuer_place_and_time_alone() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = key("main");
    provider.publish(&[&main]);
    let first = fetching(&provider.base, &upstream, LOOPBACK).start();
    block_on(async {
        first.ready().await;
        let saved = async || first.issuer("main").await["saved_at"].is_string();
        eventually("a saved set", saved).await;
    });
    provider.set("/jwks", 500, "down");
    let file = first.folder().join("state/keys");
    let file = file
        .read_dir()
        .expect("a folder")
        .next()
        .expect("a file")
        .expect("a file")
        .path();
    let record: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    let written = |change: &dyn Fn(&mut Value)| {
        let mut record = record.clone();
        change(&mut record);
        std::fs::write(&file, record.to_string()).expect("a file");
        let gateway = fetching(&provider.base, &upstream, LOOPBACK)
            .with_state_of(&first.folder())
            .start();
        let answer = block_on(gateway.http1().get("/orders/1", &main.token().sign()));
        answer.status
    };
    let seen_at = record["seen_at"].as_i64().expect("a time");
    assert_eq!(written(&|_| {}), 200);
    assert_eq!(
        written(&|record| record["seen_at"] = json!(seen_at - 86_399)),
        200
    );
    assert_eq!(
        written(&|record| record["seen_at"] = json!(seen_at - 86_400)),
        503,
        "too old"
    );
    assert_eq!(
        written(&|record| record["seen_at"] = json!(seen_at + 301)),
        503,
        "the future"
    );
    assert_eq!(
        written(&|record| record["from"] = json!("https://b.test/jwks")),
        503
    );
    assert_eq!(
        written(&|record| record["issuer"] = json!("https://b.test/")),
        503
    );
    assert_eq!(written(&|record| record["version"] = json!(2)), 503);
    assert_eq!(
        written(&|record| record["document"] = json!("garbage")),
        503
    );
    std::fs::write(&file, "{\"version\":1,").expect("a file");
    let gateway = fetching(&provider.base, &upstream, LOOPBACK)
        .with_state_of(&first.folder())
        .start();
    let answer = block_on(gateway.http1().get("/orders/1", &main.token().sign()));
    assert_eq!(answer.code(), "keys_unavailable", "damage is not fatal");
}

#[test]
fn a_state_folder_that_fills_up_costs_no_request() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = key("main");
    provider.publish(&[&main]);
    let gateway = fetching(&provider.base, &upstream, LOOPBACK).start();
    block_on(async {
        gateway.ready().await;
        // The folder goes away, which the system answers like a full disk: with an error.
        let folder = gateway.folder().join("state/keys");
        let saved = async || gateway.issuer("main").await["saved_at"].is_string();
        eventually("a saved set", saved).await;
        std::fs::remove_dir_all(&folder).expect("a folder");
        gateway.clock.advance(1);
        assert_eq!(gateway.refresh("main").await.0, 200);
        let failed = async || gateway.issuer("main").await["save_error"].is_string();
        eventually("the failure is shown", failed).await;
        let token = main.token().sign();
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        assert!(gateway.is_ready().await);
        // There is room again: nobody has to wait for the next fetch.
        std::fs::create_dir(&folder).expect("a folder");
        let written = async || gateway.issuer("main").await["save_error"].is_null();
        eventually("it is written", written).await;
        assert_eq!(sets_in(&folder), 1);
    });
}

#[test]
fn a_key_file_that_is_no_file_does_not_hang_anybody() {
    let upstream = Upstream::echo();
    let (old, new) = (key("old"), key("new"));
    let gateway = Bearward::usual(&old, &upstream).start();
    let file = gateway.folder().join("main.json");
    block_on(async {
        std::fs::remove_file(&file).expect("a file");
        let made = std::process::Command::new("mkfifo").arg(&file).status();
        assert!(made.expect("mkfifo runs").success());
        let told = async || {
            let error = gateway.issuer("main").await["last_error"].clone();
            error.to_string().contains("no regular file")
        };
        eventually("an error", told).await;
        replace(&file, &set_of(&[&new]));
        eventually("the new file", async || kids(&gateway).await == ["new"]).await;
    });
    let _ = gateway.stop();
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, file).expect("a file");
}

#[test]
fn a_key_file_is_watched() {
    let upstream = Upstream::echo();
    let (old, new) = (key("old"), key("new"));
    let gateway = Bearward::usual(&old, &upstream).start();
    let file = gateway.folder().join("main.json");
    block_on(async {
        let old_token = old.token().sign();
        assert_eq!(
            gateway.http1().get("/orders/1", &old_token).await.status,
            200
        );
        // By an editor that moves the new file over the old one.
        replace(&file, &set_of(&[&old, &new]));
        let both = async || kids(&gateway).await == ["old", "new"];
        eventually("both keys", both).await;
        // In place, and the old key is out: its cached tokens are void at once.
        std::fs::write(&file, set_of(&[&new])).expect("a file");
        let one = async || kids(&gateway).await == ["new"];
        eventually("the new key alone", one).await;
        let answer = gateway.http1().get("/orders/1", &old_token).await;
        assert_eq!(answer.code(), "key_unknown");
        // Garbage and a file that is gone do not replace a good set.
        for broken in [Some("<html>"), Some("{\"keys\":[]}"), None] {
            let before = gateway.issuer("main").await["last_error"].clone();
            match broken {
                Some(text) => replace(&file, text),
                None => std::fs::remove_file(&file).expect("a file"),
            }
            let told = async || {
                let error = gateway.issuer("main").await["last_error"].clone();
                error.is_object() && error != before
            };
            eventually("an error", told).await;
            assert_eq!(kids(&gateway).await, ["new"], "{broken:?}");
        }
        std::fs::write(&file, set_of(&[&old])).expect("a file");
        let back = async || kids(&gateway).await == ["old"];
        eventually("the file is back", back).await;
        assert_eq!(
            gateway.http1().get("/orders/1", &old_token).await.status,
            200
        );
    });
}

#[test]
fn a_mounted_secret_of_kubernetes_is_watched() {
    let upstream = Upstream::echo();
    let (old, new) = (key("old"), key("new"));
    let mount = tempfile::tempdir().expect("a folder");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, mount.path().join(name)).expect("a link");
    };
    for (name, keys) in [("..2026_a", &old), ("..2026_b", &new)] {
        std::fs::create_dir(mount.path().join(name)).expect("a folder");
        std::fs::write(mount.path().join(name).join("jwks.json"), set_of(&[keys])).expect("a file");
    }
    link("..2026_a", "..data");
    link("..data/jwks.json", "jwks.json");
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{ISSUER}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_file = \"{}/jwks.json\"\n",
            mount.path().display()
        ))
        .table(ORDERS)
        .start();
    block_on(async {
        assert_eq!(kids(&gateway).await, ["old"]);
        link("..2026_b", "..data_tmp");
        std::fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data"))
            .expect("a swap");
        let swapped = async || kids(&gateway).await == ["new"];
        eventually("the swap is seen", swapped).await;
        let token = new.token().sign();
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
    });
}

#[test]
fn a_link_anywhere_on_the_way_to_a_key_file_is_followed() {
    let upstream = Upstream::echo();
    let (old, new) = (key("old"), key("new"));
    let place = tempfile::tempdir().expect("a folder");
    for (name, keys) in [("v1", &old), ("v2", &new)] {
        std::fs::create_dir(place.path().join(name)).expect("a folder");
        std::fs::write(place.path().join(name).join("jwks.json"), set_of(&[keys])).expect("a file");
    }
    let current = place.path().join("current");
    std::os::unix::fs::symlink("v1", &current).expect("a link");
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{ISSUER}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_file = \"{}/jwks.json\"\n",
            current.display()
        ))
        .table(ORDERS)
        .start();
    block_on(async {
        assert_eq!(kids(&gateway).await, ["old"]);
        std::os::unix::fs::symlink("v2", place.path().join("next")).expect("a link");
        std::fs::rename(place.path().join("next"), &current).expect("a swap");
        eventually("the new release", async || kids(&gateway).await == ["new"]).await;
        // The folder is made anew, twice.
        for keys in [&old, &new] {
            std::fs::remove_dir_all(place.path().join("v2")).expect("a folder");
            std::fs::create_dir(place.path().join("v2")).expect("a folder");
            std::fs::write(place.path().join("v2/jwks.json"), set_of(&[keys])).expect("a file");
            let name = keys.key.jwk().expect("a key")["kid"].clone();
            let seen = async || kids(&gateway).await == [name.as_str().expect("text")];
            eventually("the folder that was made anew", seen).await;
        }
    });
}

#[test]
fn a_set_that_moves_is_found_when_an_operator_asks() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let old = TestIssuer::new(&provider.base, "ES256", "old");
    let new = TestIssuer::new(&provider.base, "ES256", "new");
    let at = |path: &str| json!({ "issuer": provider.base, "jwks_uri": format!("{}{path}", provider.base) });
    let metadata = "/.well-known/openid-configuration";
    provider.set(metadata, 200, &at("/old").to_string());
    provider.set("/old", 200, &set_of(&[&old]));
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&format!(
            "[issuers.main]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\ndiscovery = true\njwks = {{ allow_http_loopback = true }}\n",
            provider.base
        ))
        .table(ORDERS)
        .start();
    block_on(async {
        gateway.ready().await;
        // The old place goes on answering with the old set.
        provider.set(metadata, 200, &at("/new").to_string());
        provider.set("/new", 200, &set_of(&[&new]));
        assert_eq!(gateway.refresh("main").await.0, 200);
        assert_eq!(kids(&gateway).await, ["new"]);
    });
}

/// Runs the program, which must end by itself, and gives its exit code and what it said.
fn run_in(folder: &Path) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bearward"))
        .args(["run", "--config"])
        .arg(folder.join("bearward.toml"))
        .output()
        .expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_state_folder_of_two_masters_or_of_everybody_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    provider.publish(&[&key("main")]);
    let (process, folder) = Process::start(fetching(&provider.base, &upstream, LOOPBACK));
    let (code, said) = run_in(folder.path());
    assert_eq!(code, Some(71), "{said}");
    assert!(said.contains("another gateway uses this folder"), "{said}");
    drop(process);
    let state = folder.path().join("state");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&state, open).expect("a folder");
    let (code, said) = run_in(folder.path());
    assert_eq!(code, Some(71), "{said}");
    assert!(said.contains("everybody may write to it"), "{said}");
}

#[test]
fn a_damaged_memory_of_exposed_keys_stops_the_start() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let (main, other) = (key("main"), key("other"));
    let mut exposed = main.key.jwk().expect("a key");
    exposed["d"] = json!("AAAA");
    let keys = json!({ "keys": [exposed, other.key.jwk()] });
    provider.set("/jwks", 200, &keys.to_string());
    let (process, folder) = Process::start(fetching(&provider.base, &upstream, LOOPBACK));
    let saved = folder.path().join("state/keys");
    let memory = || {
        let files = saved.read_dir().expect("a folder");
        let mut names = files.map(|file| file.expect("a file").path());
        names.find(|path| path.extension().is_some_and(|end| end == "exposed"))
    };
    block_on(eventually("the memory", async || memory().is_some()));
    drop(process);
    let file = memory().expect("a file");
    let text = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &text[..text.len() / 2]).expect("a file");
    let (code, said) = run_in(folder.path());
    assert_eq!(code, Some(71), "{said}");
    assert!(
        said.contains("names keys that must not be trusted, and cannot be read"),
        "{said}"
    );
}

#[test]
fn an_exposed_key_is_refused_with_its_cached_tokens_also_after_a_restart() {
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let (main, other) = (key("main"), key("other"));
    provider.publish(&[&main, &other]);
    let gateway = fetching(&provider.base, &upstream, LOOPBACK).start();
    let token = main.token().sign();
    block_on(async {
        gateway.ready().await;
        assert_eq!(gateway.http1().get("/orders/1", &token).await.status, 200);
        let mut exposed = main.key.jwk().expect("a key");
        exposed["d"] = json!("AAAA");
        let keys = json!({ "keys": [exposed, other.key.jwk()] });
        provider.set("/jwks", 200, &keys.to_string());
        assert_eq!(gateway.refresh("main").await.0, 200);
        let answer = gateway.http1().get("/orders/1", &token).await;
        assert_eq!(answer.code(), "key_unknown");
        // The provider cleans up, and it does not help.
        provider.publish(&[&main, &other]);
        assert_eq!(gateway.refresh("main").await.0, 200);
        let answer = gateway.http1().get("/orders/1", &token).await;
        assert_eq!(answer.code(), "key_unknown");
        let issuer = gateway.issuer("main").await;
        assert_eq!(issuer["distrusted"], 1);
        assert_eq!(
            issuer["skipped"][0]["why"],
            "it was published with its private part, and is never trusted again"
        );
        let saved = async || gateway.issuer("main").await["saved_at"].is_string();
        eventually("a saved set", saved).await;
    });
    // A newly started gateway knows it too.
    let restarted = fetching(&provider.base, &upstream, LOOPBACK)
        .with_state_of(&gateway.folder())
        .start();
    block_on(async {
        restarted.ready().await;
        assert_eq!(restarted.refresh("main").await.0, 200);
        let answer = restarted.http1().get("/orders/1", &token).await;
        assert_eq!(answer.code(), "key_unknown");
    });
}

#[test]
fn two_thousand_issuers_on_demand_cost_what_they_are_asked_for() {
    use std::fmt::Write as _;
    const ISSUERS: usize = 2000;
    let (provider, upstream) = (Provider::start(), Upstream::echo());
    let main = key("main");
    provider.publish(&[&main]);
    let mut tables = String::new();
    let mut names = Vec::new();
    for n in 0..ISSUERS {
        // One in a hundred has a provider that does not answer.
        let path = if n % 100 == 7 { "gone" } else { "jwks" };
        let _ = write!(
            tables,
            "[issuers.i{n}]\nissuer = \"https://login.test/{n}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/{path}\"\njwks = {{ load = \"on_demand\", allow_http_loopback = true }}\n",
            provider.base
        );
        names.push(format!("\"i{n}\""));
    }
    let orders = ORDERS.replace("[\"main\"]", &format!("[{}]", names.join(", ")));
    let gateway = Bearward::new()
        .upstream("orders", upstream.address, "")
        .table(&tables)
        .table(&orders)
        .start();
    let token = |n: usize| {
        let issuer = format!("https://login.test/{n}");
        main.token().with("iss", issuer).sign()
    };
    block_on(async {
        assert!(gateway.is_ready().await, "nobody is waited for");
        assert_eq!(provider.asked("/jwks"), 0, "no storm at the start");
        let mut client = gateway.http1().keep().await;
        for n in [0, 1, 999, 1999] {
            assert_eq!(client.get("/orders/1", &token(n)).await.0, 200, "{n}");
        }
        assert_eq!(provider.asked("/jwks"), 4);
        assert_eq!(client.get("/orders/1", &token(107)).await.0, 503);
        assert_eq!(client.get("/orders/1", &token(1)).await.0, 200);
        assert_eq!(gateway.issuer("i5").await["state"], "waiting");
        assert_eq!(gateway.issuer("i107").await["state"], "unavailable");
        assert_eq!(gateway.issuer("i999").await["state"], "ok");
    });
}
