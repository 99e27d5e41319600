//! Another gateway takes over, and drains, while clients are served: nothing is lost.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::support::client::{Answer, plain_request};
use crate::support::load::{Load, TALK, talking};
use crate::support::{
    Bearward, Client, Process, TestIssuer, Upstream, block_on, eventually, own_runtime,
};

fn issuer() -> TestIssuer {
    TestIssuer::new("https://login.test/", "ES256", "main-1")
}

/// A gateway that takes over from the one that runs in a folder.
fn take_over(folder: &Path) -> Process {
    Process::of(taking_over(&folder.join("bearward.toml")))
}

fn taking_over(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command.args(["run", "--take-over", "--config"]).arg(config);
    command
}

/// What one says that does not come to serve.
fn cannot_take_over(config: &Path) -> String {
    let out = taking_over(config).output().expect("it runs");
    let said = String::from_utf8(out.stderr).expect("text");
    assert_eq!(out.status.code(), Some(71), "{said}");
    said
}

/// Whether a process has ended well.
async fn ends_well(process: &mut Process) {
    eventually("its end", async || {
        let status = process.child.try_wait().expect("a status");
        assert!(status.is_none_or(|status| status.success()), "{status:?}");
        status.is_some()
    })
    .await;
}

async fn revoke(process: &Process, folder: &Path, jti: &str) -> Answer {
    let token = std::fs::read_to_string(folder.join("state/admin-token")).expect("a token");
    let body = json!({ "selector": { "issuer": "main", "jti": jti } });
    plain_request(
        process.admin,
        "POST",
        "/api/v1/revocations",
        Some(token.trim()),
        Some(&body),
    )
    .await
}

#[test]
fn ten_upgrades_under_load_lose_nothing() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (_talking, talks) = talking();
    let gateway = Bearward::usual(&main, &upstream)
        .upstream("talk", talks, "")
        .table(TALK)
        .table("[probes]\naddress = \"127.0.0.1:0\"");
    let folder = gateway.into_files();
    let path = folder.path().join("bearward.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    // Nobody reads the audit; and each worker has a socket of its own.
    let text = text.replace("[audit]", "[audit]\noutput = \"off\"");
    std::fs::write(&path, text.replace("workers = 1", "workers = 2")).expect("a file");
    let mut process = Process::start_in(folder.path());
    let load = Load::new(process.public, main.token_now().sign(), false);
    let runtime = own_runtime();
    let mut clients = load.start(runtime.handle());
    block_on(async {
        for n in 0..10 {
            load.moves_on(&mut clients).await;
            let jti = format!("dead-{n}");
            assert_eq!(revoke(&process, folder.path(), &jti).await.status, 201);
            let next = take_over(folder.path());
            assert_eq!((next.public, next.admin), (process.public, process.admin));
            ends_well(&mut process).await;
            process = next;
            load.moves_on(&mut clients).await;
            // What was revoked before stays so, and more can be.
            let token = main.token_now().with("jti", jti).sign();
            let answer = Client::http1(process.public).get("/orders/1", &token).await;
            assert_eq!(answer.code(), "token_revoked");
        }
        load.end(clients).await;
    });
}

#[test]
fn ten_drains_under_load_answer_what_was_asked() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (_talking, talks) = talking();
    for _ in 0..10 {
        let gateway = Bearward::usual(&main, &upstream)
            .upstream("talk", talks, "")
            .table(TALK)
            .start();
        let load = Load::new(gateway.address(), main.token().sign(), true);
        let runtime = own_runtime();
        let mut clients = load.start(runtime.handle());
        block_on(load.moves_on(&mut clients));
        assert_eq!(gateway.drain(), 0, "connections were cut");
        block_on(load.end(clients));
    }
}

#[test]
fn one_that_cannot_serve_leaves_everything_as_it_was() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (mut process, folder) = Process::start(Bearward::usual(&main, &upstream));
    let path = folder.path().join("bearward.toml");
    let good = std::fs::read_to_string(&path).expect("a file");
    // A listener whose address somebody else has.
    let listens = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listens.local_addr().expect("an address");
    let more = format!("[listeners.more]\naddress = \"{taken}\"\nclear_text = true\n[admin]");
    std::fs::write(&path, good.replace("[admin]", &more)).expect("a file");
    let said = cannot_take_over(&path);
    assert!(said.contains("listener `more` cannot listen on"), "{said}");
    process.wait_for("another gateway did not take over");
    std::fs::write(&path, good).expect("a file");
    block_on(async {
        let added = revoke(&process, folder.path(), "dead").await;
        assert_eq!(added.status, 201, "{}", added.text());
        let get = async |process: &Process, jti: &str| {
            let token = main.token_now().with("jti", jti).sign();
            let client = Client::http1(process.public);
            client.get("/orders/1", &token).await.status
        };
        assert_eq!(get(&process, "alive").await, 200);
        assert_eq!(get(&process, "dead").await, 401);
        let next = take_over(folder.path());
        ends_well(&mut process).await;
        assert_eq!(get(&next, "alive").await, 200);
        assert_eq!(get(&next, "dead").await, 401);
    });
}

#[test]
fn changes_wait_while_the_other_has_not_said_that_it_serves() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (process, folder) = Process::start(Bearward::usual(&main, &upstream));
    let place = folder.path().join("state/take-over.sock");
    let get = async || {
        let client = Client::http1(process.public);
        client
            .get("/orders/1", &main.token_now().sign())
            .await
            .status
    };
    let mut other = UnixStream::connect(&place).expect("a connection");
    let wish = "{\"take_over\":{\"version\":1,\"process\":1}}\n";
    other.write_all(wish.as_bytes()).expect("room");
    let mut said = Vec::new();
    while !said.ends_with(b"\"all\"\n") {
        let mut byte = [0];
        other.read_exact(&mut byte).expect("all");
        said.extend(byte);
    }
    let said = String::from_utf8(said).expect("text");
    assert!(said.contains("listeners.public"), "{said}");
    block_on(async {
        assert_eq!(get().await, 200);
        let later = revoke(&process, folder.path(), "dead").await;
        assert_eq!((later.status, later.header("retry-after")), (503, "1"));
        drop(other);
        eventually("the folder of before", async || {
            revoke(&process, folder.path(), "dead").await.status == 201
        })
        .await;
        // One that speaks another version, or something else, changes nothing.
        for wish in [
            "{\"take_over\":{\"version\":2,\"process\":1}}\n",
            "give me all\n",
        ] {
            let mut other = UnixStream::connect(&place).expect("a connection");
            other.write_all(wish.as_bytes()).expect("room");
            let mut said = String::new();
            // It may close before it has read all.
            let _ = other.read_to_string(&mut said);
            assert_eq!(said.contains("refused"), wish.contains("version"), "{said}");
            assert!(!said.contains("listeners"), "{said}");
        }
        assert_eq!(get().await, 200);
    });
}

#[test]
fn where_no_gateway_runs_there_is_nothing_to_take_over() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let folder = Bearward::usual(&main, &upstream).into_files();
    let process = take_over(folder.path());
    let answer = block_on(async {
        let client = Client::http1(process.public);
        client.get("/orders/1", &main.token_now().sign()).await
    });
    assert_eq!(answer.status, 200);
}

#[test]
fn what_is_revoked_at_the_new_one_ends_what_the_old_one_still_serves() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (_talking, talks) = talking();
    let folder = Bearward::usual(&main, &upstream)
        .upstream("talk", talks, "")
        .table(TALK)
        .into_files();
    let path = folder.path().join("bearward.toml");
    let text = std::fs::read_to_string(&path).expect("a file");
    let text = text.replace("drain_timeout = \"2s\"", "drain_timeout = \"60s\"");
    std::fs::write(&path, text).expect("a file");
    let mut process = Process::start_in(folder.path());
    let token = main.token_now().with("jti", "talker").sign();
    let load = Load::new(process.public, token, false);
    block_on(async {
        let mut stream = load.open_talk().await;
        let next = take_over(folder.path());
        Load::say(&mut stream).await;
        assert_eq!(revoke(&next, folder.path(), "other").await.status, 201);
        Load::say(&mut stream).await;
        assert_eq!(revoke(&next, folder.path(), "talker").await.status, 201);
        let mut frame = [0; 4];
        stream.read_exact(&mut frame).await.expect("a frame");
        assert_eq!((frame[0], &frame[2..]), (0x88, &1008_u16.to_be_bytes()[..]));
        drop(stream);
        ends_well(&mut process).await;
        // And with the old one gone, changes are as before.
        assert_eq!(revoke(&next, folder.path(), "another").await.status, 201);
    });
}

#[test]
fn one_without_keys_does_not_replace_one_that_has_them() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let (process, folder) = Process::start(Bearward::usual(&main, &upstream));
    let path = folder.path().join("bearward.toml");
    let good = std::fs::read_to_string(&path).expect("a file");
    // Nobody listens there.
    let more = format!(
        "[issuers.more]\nissuer = \"https://more.test/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"http://127.0.0.1:{}/\"\njwks = {{ allow_http_loopback = true }}\n[admin]",
        crate::support::process::free_port()
    );
    std::fs::write(&path, good.replace("[admin]", &more)).expect("a file");
    let said = cannot_take_over(&path);
    assert!(said.contains("there are no keys of more"), "{said}");
    assert!(!said.contains("bearward serves"), "{said}");
    block_on(async {
        let client = Client::http1(process.public);
        let answer = client.get("/orders/1", &main.token_now().sign()).await;
        assert_eq!(answer.status, 200);
        eventually("the folder of before", async || {
            revoke(&process, folder.path(), "dead").await.status == 201
        })
        .await;
    });
}

/// A provider that answers when it is told to: where it is, and the way to tell.
fn late_provider(issuer: &TestIssuer) -> (String, std::sync::mpsc::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let body = crate::support::provider::set_of(&[issuer]);
    let (tell, told) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // Whoever tells may have gone.
            let _ = told.recv();
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
    });
    (url, tell)
}

#[test]
fn whoever_ends_while_one_takes_over_leaves_one_that_serves() {
    let (main, upstream) = (issuer(), Upstream::echo());
    let more = TestIssuer::new("https://more.test/", "ES256", "more-1");
    for old_ends in [true, false] {
        let (mut old, folder) = Process::start(Bearward::usual(&main, &upstream));
        let path = folder.path().join("bearward.toml");
        let good = std::fs::read_to_string(&path).expect("a file");
        let (url, tell) = late_provider(&more);
        let table = format!(
            "[issuers.more]\nissuer = \"https://more.test/\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{url}\"\njwks = {{ allow_http_loopback = true }}\n[revocation]\nwatch = \"revoked.jsonl\"\n[admin]"
        );
        std::fs::write(&path, good.replace("[admin]", &table)).expect("a file");
        let line = json!({ "selector": { "issuer": "main", "jti": "filed" } });
        std::fs::write(folder.path().join("revoked.jsonl"), format!("{line}\n")).expect("a file");
        let mut new = Process::spawn(taking_over(&path));
        old.wait_for("another gateway takes over");
        let asks = async |address, jti: &str| {
            let token = main.token_now().with("jti", jti).sign();
            Client::http1(address).get("/orders/1", &token).await.status
        };
        let get = async |address| asks(address, "alive").await;
        // The old one alone serves, and knows what the new one finds revoked.
        assert_eq!(block_on(get(old.public)), 200);
        block_on(eventually("the revocation of the file", async || {
            asks(old.public, "filed").await == 401
        }));
        if old_ends {
            old.signal("KILL");
            let _ = old.child.wait();
            let _ = tell.send(());
            new.serves();
            assert_eq!(block_on(get(new.public)), 200);
            assert_eq!(block_on(revoke(&new, folder.path(), "dead")).status, 201);
        } else {
            new.signal("TERM");
            assert_eq!(new.child.wait().expect("an end").code(), Some(71));
            assert_eq!(block_on(get(old.public)), 200);
            block_on(eventually("the folder of before", async || {
                revoke(&old, folder.path(), "dead").await.status == 201
            }));
        }
    }
}
