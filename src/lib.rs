//! Bearward.
#![allow(dead_code, reason = "scaffold")]
pub mod clock;
mod secret;

mod observe;
mod tls;

mod http;
mod oauth;
pub mod verdict;

mod keys;
mod revocation;

mod policy;

mod authenticate;

mod authorize;

mod forward;

mod reject;

mod gateway;

mod listen;
mod worker;

pub mod config;

mod control;

mod admin;

pub mod app;
pub mod cli;
pub mod develop;
