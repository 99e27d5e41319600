//! What the tests are built from: a gateway, issuers and their tokens, upstreams, clients.

pub mod client;
pub mod gateway;
pub mod issuer;
pub mod program;
pub mod upstream;

pub use client::{Answer, Client};
pub use gateway::{Bearward, usual};
pub use issuer::TestIssuer;
pub use upstream::Upstream;

/// Runs a test's asynchronous part.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
