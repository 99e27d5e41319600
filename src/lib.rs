//! Bearward stands in front of backend APIs, checks every bearer token, and says exactly why one is
//! refused.
//!
//! # The way of a request
//!
//! A [`worker`] is a thread with its own runtime, sockets and upstream connections. Its listeners
//! ([`listen`]) accept and admit a connection, [`tls`] shakes hands, and [`http::serve`] reads
//! requests from it, through a stream that knows its time limits ([`http::deadline`]). Each request
//! comes to [`gateway::Gateway::answer`], the function to read first:
//!
//! 1. the target is checked and never rewritten ([`http::target`]): 400, 421;
//! 2. the [`policy`] gives the route and the rule for the method: 404, 405;
//! 3. [`authenticate`] finds the one bearer token, verifies its signature by the cache or anew,
//!    checks its claims and asks the revocations: 401, or 503 without keys;
//! 4. [`authorize`] compares scopes and claims with the rule and gives a permit: 403;
//! 5. [`forward`] takes the permit and the request to the upstream and streams the response back:
//!    502, 504.
//!
//! What stops a request becomes a response in [`reject`] and nowhere else; requests to the gateway itself,
//! which revoke tokens, are answered in [`inbound`]. At its end the exchange
//! is counted and, if it is to be, written as a line ([`observe`]). Keys are refreshed, opaque tokens
//! asked about, and the admin listener answers, on a thread of their own ([`control`], [`admin`]),
//! which cannot delay a request.
//!
//! # Layers
//!
//! A module imports only from its own layer or those above it; a test reads the source and says
//! so when that breaks. The order of the modules in this file is the order of the layers.
//!
//! # Invariants
//!
//! 1. No permit, no forwarding: [`authorize::Permit`] has one constructor.
//! 2. A missing rule never means "not checked": no issuer, audience, algorithm or key source, no
//!    start.
//! 3. The key decides the algorithm; the token's header may only agree. The issuer comes first,
//!    then `kid` within that issuer.
//! 4. A request sees one [`policy::Policy`], loaded once; only an issuer's keys are asked for at the
//!    moment that they are needed.
//! 5. One writer, [`control`], publishes policies and keys; readers never lock.
//! 6. Only [`signing`] knows jsonwebtoken, only `keys/verification_key.rs` verifies
//!    signatures, only `published.rs` knows arc-swap, only `observe/metrics` prometheus, only
//!    `clock.rs` the wall clock, only [`reject`] makes refusals, only `config/keys.rs` the file's
//!    keys.
//! 7. Raw tokens, claim values and keys never reach logs, labels or errors.
//! 8. Every queue, cache, buffer, wait and retry has a bound with a name.
//! 9. [`authenticate`] does no I/O: keys and the word of an issuer are asked for through channels,
//!    within a bound.
//! 10. A client's copies of identity headers never pass, in any spelling.
//!
//! # What is deliberately absent
//!
//! No TLS early data, which can be replayed. No form-body tokens. No tower stacks: a
//! request's way is plain async functions. No `unsafe`.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "this text is for those who read the source, with private items shown"
)]

pub mod clock;
#[cfg(test)]
mod fuzz;
mod published;
mod secret;

mod http;
mod limit;
mod oauth;
mod observe;
mod tls;
pub mod verdict;

mod keys;
mod revocation;
pub mod signing;

mod policy;

mod authenticate;

mod authorize;

mod forward;

mod reject;

mod explain;

mod decisions;
mod oddities;

mod inbound;

mod gateway;

mod listen;
mod worker;

pub mod config;

mod control;

mod admin;

pub mod app;
pub mod cli;
#[cfg(feature = "bench")]
pub mod steps;
