//! What a client's frames say of its connection: SETTINGS, PING and windows (RFC 9113 sections 6.5, 6.7, 6.9).

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, LAST_PING, Leaving};
use super::frame::{self, ACK, Broken, Code, Head, WINDOW_MAX};
use super::receive::connection;
use super::stream::Blocked;
use crate::http::Body;
use crate::http::body::RequestBody;
use crate::http::serve::{Farewell, Unreadable};

impl<S, F, G, R, D> Connection<'_, S, F, G, R, D>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
    D: Future<Output = Farewell>,
{
    pub(super) fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if head.has(ACK) {
            return match payload.is_empty() {
                true => self.budget.idle_frame(),
                false => connection(Code::FRAME_SIZE_ERROR),
            };
        }
        self.budget.idle_frame()?;
        self.has_settings = true;
        let settings = frame::settings(payload)?;
        if let Some(window) = settings.initial_window {
            // Of the open streams too, below zero if need be (section 6.9.2).
            let by = i64::from(window) - self.window_first;
            self.window_first += by;
            if self.streams.widen(by) {
                return connection(Code::FLOW_CONTROL_ERROR);
            }
        }
        frame::write_settings_ack(&mut self.outgoing.frames);
        Ok(())
    }

    pub(super) fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        let Ok(payload) = <[u8; 8]>::try_from(payload) else {
            return connection(Code::FRAME_SIZE_ERROR);
        };
        self.budget.idle_frame()?;
        let out = &mut self.outgoing.frames;
        if !head.has(ACK) {
            frame::write_ping(out, ACK, payload);
        } else if payload == LAST_PING && self.leaving == Leaving::Announced {
            self.tell_last(Code::NO_ERROR);
        }
        Ok(())
    }

    pub(super) fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        let by = i64::from(frame::word(payload)? & WINDOW_MAX);
        if head.stream == 0 {
            self.window += by;
            return match (by, self.window > i64::from(WINDOW_MAX)) {
                (0, _) => connection(Code::PROTOCOL_ERROR),
                (_, true) => connection(Code::FLOW_CONTROL_ERROR),
                _ => {
                    self.is_wider = true;
                    Ok(())
                }
            };
        }
        if self.is_idle(head.stream) {
            return connection(Code::PROTOCOL_ERROR);
        }
        // A client may tell us of what it took of a stream that is over.
        let Some(place) = self.streams.find(head.stream) else {
            return Ok(());
        };
        let Some((_, stream)) = self.streams.at(place) else {
            return Ok(());
        };
        let is_too_much = stream.widen(by);
        let is_blocked = stream.blocked == Some(Blocked::Stream);
        match (by, is_too_much) {
            (0, _) => Err(Broken::Stream(head.stream, Code::PROTOCOL_ERROR)),
            (_, true) => Err(Broken::Stream(head.stream, Code::FLOW_CONTROL_ERROR)),
            _ if is_blocked => {
                self.streams.mark(place);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
