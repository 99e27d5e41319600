//! HTTP as Bearward reads and writes it, apart from any verdict: targets, header lists, bodies,
//! CORS, the time limits of a connection, and serving one.

pub(crate) mod body;
pub(crate) mod cors;
mod date;
pub(crate) mod deadline;
mod expect;
pub(crate) mod form;
pub(crate) mod garbled;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod network;
pub(crate) mod redirect;
pub(crate) mod room;
pub(crate) mod serve;
pub(crate) mod target;
pub(crate) mod upgrade;
pub(crate) mod waiting;

pub(crate) use body::{Body, BodyError};
