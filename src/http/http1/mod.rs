//! HTTP/1.1 with a client, by a server of our own.
//!
//! One task a connection: it reads a head (`request`), has it answered, writes head and body (`response`,
//! `connection`). hyper's server costs a tenth more CPU a request, and keeps 8 KiB to read into and all of
//! the last answer's future while a client thinks; here a connection that waits keeps its byte stream and
//! little else. Of two readings of a message the stricter is taken, as with upstreams, whose bodies are
//! taken out of their framing by the same code (`framing`).

mod body;
mod connection;
mod framing;
mod outgoing;
mod request;
mod response;

mod wire;

pub(crate) use body::Http1Body;
pub(crate) use connection::serve;
pub(crate) use framing::{Decoder, Unframed};

#[cfg(test)]
mod tests;
