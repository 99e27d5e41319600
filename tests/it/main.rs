//! One integration binary: a real gateway with real sockets, one file for each promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that meets the unexpected should fail where it stands"
)]

mod streams;
mod support;

mod agreement;
mod architecture;
mod attacks;
mod attacks_http;
mod audit;
mod bodies;
mod candidates;
mod clients;
mod configuration;
mod console;
mod decisions;
mod demo;
mod deploy;
mod documents;
mod downstream;
mod explanations;
mod fault_run;
mod feed;
mod fleet;
mod floods;
mod forwarding;
mod gigabyte;
mod handover;
mod http2_rules;
mod http2_upstreams;
mod inbound;
mod internal_token;
mod introspection;
mod issuers;
mod keys;
mod keys_kept;
mod lifecycle;
mod metrics;
mod near_misses;
mod oddities;
mod openapi;
mod operators;
mod oracle;
mod outages;
mod peers;
mod postman;
mod provider;
mod rates;
mod reasons;
mod reference;
mod refusals;
mod reload;
mod reload_load;
mod revocation;
mod revocation_kept;
mod secrets;
mod shaping;
mod smuggling;
mod sockets;
mod token_check;
mod traces;
mod upstreams;
mod watch;
mod websocket;
