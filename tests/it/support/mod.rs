//! What the tests are built from: a gateway, issuers and their tokens, upstreams, clients.

pub mod client;
pub mod double;
pub mod frames;
pub mod gateway;
pub mod issuer;
pub mod load;
pub mod log;
pub mod node;
pub mod openid;
mod operator;
pub mod process;
pub mod program;
pub mod provider;
pub mod redis;
pub mod upstream;

pub use client::{Answer, Client};
pub use gateway::{Bearward, usual};
pub use issuer::TestIssuer;
pub use process::Process;
pub use provider::Provider;
pub use upstream::Upstream;

/// Runs a test's asynchronous part.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Nothing that is waited for takes longer than this.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Between two looks at what another process or thread does.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(5);

/// Asks until a condition holds.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} does not come about"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A runtime on a thread of its own, for a server of the test.
pub fn own_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The same with a socket on a free port.
pub fn own_server() -> (tokio::runtime::Runtime, tokio::net::TcpListener) {
    let runtime = own_runtime();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    (runtime, listener)
}
