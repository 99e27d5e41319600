//! HTTP/2 with a client, by a server of our own (RFC 9113, RFC 7541, RFC 8441).
//!
//! One task a connection, in which all its streams run: frames are read (`receive`, `control`), requests made of
//! them (`hpack`, `request`) and answered (`run`), and what the streams have to say (`stream`) is gathered and written
//! together (`outgoing`). A library that serves every purpose gives each stream a task and its state a lock;
//! it cost a third of the CPU of a request. Priorities are left out of account, as RFC 9113 has it, and
//! nothing is pushed.
//!
//! What a client can make us hold or do has a bound: [`body::WINDOW`] for the bodies that it sends, one part of
//! a body for each stream that it does not read, [`outgoing::WAITING_MAX`] for what is written, `budget` for
//! frames that bring nothing and for streams that it opens and resets.

mod body;
mod budget;
mod connection;
mod control;
mod encode;
mod fields;
mod frame;
mod hpack;
mod huffman;
mod outgoing;
mod queue;
mod receive;
mod request;
mod run;
mod stream;
mod streams;
mod tunnel;

pub(crate) use body::Http2Body;
pub(crate) use connection::serve;
pub(crate) use tunnel::Tunnel;

#[cfg(test)]
mod tests;
