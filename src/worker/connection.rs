//! One downstream connection from its handshake to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Drain, Listener};
use crate::gateway::{Downstream, Gateway, Serving, Upgraded};
use crate::http::deadline::{Activity, Timed};
use crate::http::network::is_in;
use crate::http::serve::{Farewell, Protocol, ProtocolError, serve};
use crate::listen::admission::Admitted;
use crate::listen::proxy_protocol;
use crate::published::Published;
use crate::tls::certificates::Served;

/// A connection that was just opened has this long to send its first request when draining begins:
/// it may be on its way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// What a connection is served with.
pub(super) struct Connection {
    pub(super) serving: Arc<Published<Serving>>,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: IpAddr,
    pub(super) drain: Drain,
    pub(super) admitted: Admitted,
    pub(super) _alive: mpsc::Sender<()>,
}

impl Connection {
    pub(super) async fn serve(mut self, mut stream: TcpStream) {
        let counts = &self.listener.counts;
        if self.listener.proxy_protocol {
            let reading = proxy_protocol::read(&mut stream);
            match tokio::time::timeout(self.listener.handshake_max, reading).await {
                Ok(Ok(told)) => self.peer = told.unwrap_or(self.peer),
                Ok(Err(_)) => return counts.protocol_error(ProtocolError::ProxyProtocol),
                Err(_) => return counts.protocol_error(ProtocolError::Timeout),
            }
        }
        // Behind a proxy there are many.
        if !is_in(&self.listener.front.trusted, self.peer)
            && let Err(refusal) = self.admitted.of_peer(self.peer)
        {
            return counts.refused(refusal);
        }
        let Some(tls) = &self.listener.tls else {
            let protocol = self.listener.clear_text;
            return self.speak(stream, protocol, None).await;
        };
        match tls.accept(stream).await {
            Ok(accepted) => {
                counts.handshake(Ok(()));
                self.speak(accepted.stream, accepted.protocol, Some(accepted.served))
                    .await;
            }
            Err(error) => counts.handshake(Err(error)),
        }
    }

    async fn speak<S>(&self, stream: S, protocol: Protocol, served: Option<Arc<Served>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let multiplexed = protocol == Protocol::Http2;
        let stream = Timed::new(
            stream,
            self.listener.waits,
            multiplexed,
            Arc::clone(&activity),
        );
        let downstream = Arc::new(Downstream {
            serving: Arc::clone(&self.serving),
            peer: self.peer,
            served,
            activity,
            upgraded: Upgraded::default(),
            draining: self.drain.0.clone(),
        });
        let upgraded = Arc::clone(&downstream);
        let activity = Arc::clone(&downstream.activity);
        let answer = move |request| Gateway::answer(Arc::clone(&downstream), request);
        let drained = async {
            self.drain.clone().begun().await;
            if !activity.used() {
                tokio::time::sleep(FIRST_REQUEST_GRACE).await;
            }
            if activity.used() {
                Farewell::Gracefully
            } else {
                Farewell::AtOnce
            }
        };
        let end = serve(stream, protocol, self.listener.messages, answer, drained).await;
        if let Err(error) = end {
            self.listener.counts.protocol_error(error);
        }
        // Whoever speaks something else now has a place among the connections all the same.
        if let Some(carrying) = upgraded.upgraded.take() {
            carrying.await;
        }
    }
}
