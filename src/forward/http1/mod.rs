//! An HTTP/1.1 client for upstreams: one request, one response, on one connection at a time.

mod body;
mod head;
mod transfer;

pub(super) use transfer::{Answer, Transfer};
