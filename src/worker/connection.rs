//! One downstream connection from its handshake to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Drain, Listener};
use crate::gateway::{Downstream, Gateway, Serving, Upgraded};
use crate::http::deadline::{Activity, Timed};
use crate::http::network::is_in;
use crate::http::serve::{Farewell, Protocol, ProtocolError, Service, serve};
use crate::listen::Stream;
use crate::listen::admission::Admitted;
use crate::listen::proxy_protocol;
use crate::published::Published;
use crate::tls::certificates::Served;

/// A connection that waits for a request when draining begins goes on to wait for so long: one may be on
/// its way, and its answer can say that the connection closes. HTTP/2 has a message of its own for that,
/// which a connection without a request has no need of.
const REQUEST_GRACE: Duration = Duration::from_secs(1);

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
    pub(super) async fn serve(mut self, mut stream: Stream) {
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
            return self.speak(stream, protocol, None, None).await;
        };
        match tls.accept(stream).await {
            Ok(accepted) => {
                counts.handshake(Ok(()));
                self.speak(
                    accepted.stream,
                    accepted.protocol,
                    Some(accepted.served),
                    accepted.client,
                )
                .await;
            }
            Err(error) => counts.handshake(Err(error)),
        }
    }

    async fn speak<S>(
        &self,
        stream: S,
        protocol: Protocol,
        served: Option<Arc<Served>>,
        certificate: Option<[u8; 32]>,
    ) where
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
            certificate,
            activity,
            upgraded: Upgraded::default(),
            draining: self.drain.0.clone(),
        });
        let upgraded = Arc::clone(&downstream);
        let activity = Arc::clone(&downstream.activity);
        let refusing = Arc::clone(&downstream);
        let service = Service {
            answer: move |request| Gateway::answer(Arc::clone(&downstream), request),
            refuse: move |why| Gateway::refuse(&refusing, why),
        };
        let drained = async {
            let mut begun = std::pin::pin!(self.drain.clone().begun());
            let mut known = false;
            std::future::poll_fn(|context| {
                if !known {
                    activity.is_of(context.waker());
                    known = true;
                }
                begun.as_mut().poll(context)
            })
            .await;
            if !(multiplexed && activity.used()) {
                let mut grace = std::pin::pin!(tokio::time::sleep(REQUEST_GRACE));
                // Asked again whenever the connection has moved.
                std::future::poll_fn(|context| match activity.is_busy() {
                    true => Poll::Ready(()),
                    false => grace.as_mut().poll(context),
                })
                .await;
            }
            if activity.used() {
                Farewell::Gracefully
            } else {
                Farewell::AtOnce
            }
        };
        let end = serve(stream, protocol, self.listener.messages, service, drained).await;
        if let Err(error) = end {
            self.listener.counts.protocol_error(error);
        }
        // Whoever speaks something else now has a place among the connections all the same.
        if let Some(carrying) = upgraded.upgraded.take() {
            carrying.await;
        }
    }
}
