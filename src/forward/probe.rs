//! Asking a server whether it is well, as a client of its own would.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::stream::Stream;
use super::upstream::HealthProbe;
use super::{Server, Upstream};

/// Whether a server answers a GET with a status below 400 in time.
///
/// # Errors
/// Why not, in words for the operator.
pub(crate) async fn is_well(
    upstream: &Upstream,
    server: &Server,
    probe: &HealthProbe,
) -> Result<(), String> {
    let asking = tokio::time::timeout(probe.timeout, ask(upstream, server, probe));
    let status = asking.await.map_err(|_| "it took too long".to_owned())??;
    match status.as_u16() {
        200..400 => Ok(()),
        other => Err(format!("it answered {other}")),
    }
}

/// Whether a server takes connections, with TLS where it should, and is well where it is asked.
///
/// # Errors
/// Why not, in words for the operator.
pub(crate) async fn reach(upstream: &Upstream, server: &Server) -> Result<(), String> {
    if let Some(probe) = &upstream.probe {
        return is_well(upstream, server, probe).await;
    }
    let connecting = Stream::connect(upstream, server);
    let connecting = tokio::time::timeout(upstream.limits.connect_max, connecting).await;
    match connecting {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err("it took too long to connect".to_owned()),
    }
}

async fn ask(
    upstream: &Upstream,
    server: &Server,
    probe: &HealthProbe,
) -> Result<http::StatusCode, String> {
    let stream = Stream::connect(upstream, server).await;
    let stream = TokioIo::new(stream.map_err(|error| error.to_string())?);
    let words = |error: hyper::Error| error.to_string();
    let (mut client, connection) = http1::handshake(stream).await.map_err(words)?;
    let request = Request::get(&*probe.path)
        .header(header::HOST, &*server.authority)
        .header(header::USER_AGENT, "bearward-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let mut asked = std::pin::pin!(client.send_request(request));
    let answer = tokio::select! {
        answer = asked.as_mut() => answer,
        end = connection => match end {
            Err(error) => return Err(words(error)),
            // The answer may have been its last word.
            Ok(()) => asked.await,
        },
    };
    Ok(answer.map_err(words)?.status())
}
