//! What a client's frames do (RFC 9113 sections 5 and 6).

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Http2Body, Receiving};
use super::connection::{Connection, Leaving};
use super::frame::{self, ACK, Broken, Code, END_HEADERS, END_STREAM, Head};
use super::request::{self, Fields, Unfit};
use super::stream::Stream;
use super::tunnel::Tunnel;
use crate::http::Body;
use crate::http::body::RequestBody;
use crate::http::serve::{Farewell, Unreadable};

/// What a client begins a connection with (section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much more than itself a part of a body may keep of what was read with it; if it is more, it is copied.
const KEPT_FACTOR_MAX: usize = 8;
/// A header section that is this much longer than what is looked at is still read, so that only its own stream
/// ends.
const BLOCK_BEYOND: usize = 64 * 1024;

/// A header block that is not whole yet.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
}

pub(super) const fn connection<T>(code: Code) -> Result<T, Broken> {
    Err(Broken::Connection(code))
}

impl<S, F, G, R, D> Connection<'_, S, F, G, R, D>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
    D: Future<Output = Farewell>,
{
    /// What is looked at of a header section.
    pub(super) const fn list_max(&self) -> usize {
        2 * self.limits.header_bytes
    }

    /// Takes the next frame off what has come; `None`: it is not whole.
    pub(super) fn take(&mut self, incoming: &mut BytesMut) -> Option<Result<(), Broken>> {
        if !self.is_greeted {
            let (here, due) = (incoming.iter(), PREFACE.iter());
            if here.zip(due).any(|(is, due)| is != due) {
                return Some(connection(Code::PROTOCOL_ERROR));
            }
            if incoming.len() < PREFACE.len() {
                return None;
            }
            incoming.advance(PREFACE.len());
            self.is_greeted = true;
        }
        let head = Head::read(incoming)?;
        if head.length > frame::PAYLOAD_MAX {
            return Some(connection(Code::FRAME_SIZE_ERROR));
        }
        let end = frame::HEAD_BYTES + head.length;
        let payload = incoming.get(frame::HEAD_BYTES..end)?;
        if head.kind == frame::DATA && self.block.is_none() && self.has_settings {
            let mut frame = incoming.split_to(end);
            frame.advance(frame::HEAD_BYTES);
            return Some(self.data(head, frame.freeze()));
        }
        let taken = self.frame(head, payload);
        incoming.advance(end);
        Some(taken)
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        let is_due = match &self.block {
            // Nothing comes between the frames of a block (section 4.3).
            Some(block) => head.kind == frame::CONTINUATION && head.stream == block.stream,
            None => head.kind != frame::CONTINUATION,
        };
        let is_first = !self.has_settings;
        if !is_due || (is_first && (head.kind != frame::SETTINGS || head.has(ACK))) {
            return connection(Code::PROTOCOL_ERROR);
        }
        let of_stream = head.stream != 0;
        match (head.kind, of_stream) {
            (frame::HEADERS, true) => self.headers(head, payload),
            (frame::CONTINUATION, true) => self.continuation(head, payload),
            (frame::PRIORITY, true) => {
                self.budget.idle_frame()?;
                frame::priority(head, payload)
            }
            (frame::RST_STREAM, true) => self.reset_by_client(head, payload),
            (frame::SETTINGS, false) => self.settings(head, payload),
            (frame::PING, false) => self.ping(head, payload),
            (frame::GOAWAY, false) => {
                if payload.len() < 8 {
                    return connection(Code::FRAME_SIZE_ERROR);
                }
                self.client_leaves = true;
                Ok(())
            }
            (frame::WINDOW_UPDATE, _) => self.window_update(head, payload),
            // A client promises nothing; the others are on a stream where they must not be, or the other
            // way round.
            (0..=frame::CONTINUATION, _) => connection(Code::PROTOCOL_ERROR),
            // What is not known is left out (section 5.5).
            _ => self.budget.idle_frame(),
        }
    }

    /// Whether no stream with this number was ever opened.
    pub(super) const fn is_idle(&self, id: u32) -> bool {
        id > self.last || id.is_multiple_of(2)
    }

    fn data(&mut self, head: Head, mut payload: Bytes) -> Result<(), Broken> {
        if self.is_idle(head.stream) {
            return connection(Code::PROTOCOL_ERROR);
        }
        let length = payload.len();
        let Some(left) = self.room_left.checked_sub(length) else {
            return connection(Code::FLOW_CONTROL_ERROR);
        };
        self.room_left = left;
        let inner = head.unpadded(&payload)?.len();
        payload.advance(usize::from(head.has(frame::PADDED)));
        payload.truncate(inner);
        let ends = head.has(END_STREAM);
        if inner == 0 && !ends {
            self.budget.idle_frame()?;
        } else {
            self.budget.useful();
        }
        let found = self.streams.find(head.stream);
        let stream = found.and_then(|place| self.streams.at(place));
        let Some((_, stream)) = stream else {
            // Its window is the connection's too.
            self.taken += length;
            self.tell_taken();
            return self.closed(head.stream);
        };
        stream.held += length;
        let closed = Err(Broken::Stream(head.stream, Code::STREAM_CLOSED));
        let receiving = match &stream.receiving {
            _ if stream.is_received => return closed,
            Some(receiving) => receiving,
            // Of what was refused: nobody reads it.
            None => {
                stream.is_received = ends;
                return Ok(());
            }
        };
        stream.is_received = ends;
        let is_small = inner.saturating_mul(KEPT_FACTOR_MAX) < self.incoming_bytes;
        let taken = receiving.data((payload, is_small), length - inner, ends);
        let is_due = taken.map_err(|code| Broken::Stream(head.stream, code))?;
        let is_over = ends && stream.is_sent();
        if let Some(place) = found.filter(|_| is_due || is_over) {
            self.streams.mark(place);
        }
        Ok(())
    }

    /// Something came on a stream that is over. What was on its way when we reset it is left out.
    fn closed(&self, id: u32) -> Result<(), Broken> {
        if self.was_reset.contains(id) {
            return Ok(());
        }
        Err(Broken::Stream(id, Code::STREAM_CLOSED))
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if head.stream.is_multiple_of(2) {
            return connection(Code::PROTOCOL_ERROR);
        }
        let fragment = frame::fragment(head, payload)?;
        let ends = head.has(END_STREAM);
        if head.has(END_HEADERS) {
            return self.block(head.stream, ends, fragment);
        }
        self.block = Some(Block {
            stream: head.stream,
            ends,
            bytes: fragment.to_vec(),
        });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        self.budget.idle_frame()?;
        let Some(mut block) = self.block.take() else {
            return connection(Code::PROTOCOL_ERROR);
        };
        if block.bytes.len() + payload.len() > self.list_max() + BLOCK_BEYOND {
            return connection(Code::ENHANCE_YOUR_CALM);
        }
        block.bytes.extend_from_slice(payload);
        if head.has(END_HEADERS) {
            return self.block(block.stream, block.ends, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block: it is read in any case, since the next ones build on it.
    fn block(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Broken> {
        let mut fields = Fields::new(self.list_max());
        let read = self.decoder.read(block, |field| fields.take(field));
        read.map_err(|_| Broken::Connection(Code::COMPRESSION_ERROR))?;
        if id <= self.last {
            return self.trailers(id, ends, fields);
        }
        self.last = id;
        if self.leaving == Leaving::Told {
            // The client has been told that this one is not served.
            self.was_reset.put(id);
            return Ok(());
        }
        if self.streams.len() >= self.limits.streams as usize {
            // It may not have heard of our bound yet.
            self.budget.idle_frame()?;
            return Err(Broken::Stream(id, Code::REFUSED_STREAM));
        }
        match fields.request() {
            Ok(head) => self.open(id, ends, head),
            Err(Unfit::Malformed) => {
                self.budget.reset()?;
                Err(Broken::Stream(id, Code::PROTOCOL_ERROR))
            }
            Err(Unfit::TooLarge(why)) => {
                self.budget.reset()?;
                self.refuse(id, ends, why);
                Ok(())
            }
        }
    }

    /// Answers what is no request that could be judged.
    fn refuse(&mut self, id: u32, ends: bool, why: Unreadable) {
        let place = self.streams.place();
        let mut stream = Stream::refused(id, self.window_first, ends);
        stream.begin((self.service.refuse)(why), &mut self.outgoing);
        self.streams.put(place, stream);
    }

    /// A second header section ends a body.
    fn trailers(&mut self, id: u32, ends: bool, fields: Fields) -> Result<(), Broken> {
        let Some(place) = self.streams.find(id) else {
            return match self.was_reset.contains(id) {
                true => Ok(()),
                // Or a number that was passed over (section 5.1.1).
                false => connection(Code::STREAM_CLOSED),
            };
        };
        let Some((_, stream)) = self.streams.at(place) else {
            return Ok(());
        };
        let receiving = match &stream.receiving {
            Some(receiving) if !stream.is_received => receiving,
            _ => return Err(Broken::Stream(id, Code::STREAM_CLOSED)),
        };
        let malformed = Broken::Stream(id, Code::PROTOCOL_ERROR);
        let trailers = fields.trailers().map_err(|_| malformed)?;
        if !ends {
            return Err(malformed);
        }
        stream.is_received = true;
        let ended = receiving.ended(trailers);
        ended.map_err(|code| Broken::Stream(id, code))?;
        self.streams.mark(place);
        Ok(())
    }

    /// A new stream.
    fn open(&mut self, id: u32, ends: bool, head: request::Head) -> Result<(), Broken> {
        if ends && head.length.is_some_and(|length| length > 0) {
            self.budget.reset()?;
            return Err(Broken::Stream(id, Code::PROTOCOL_ERROR));
        }
        let place = self.streams.place();
        let waker = self.streams.waker(place).map(|it| it.waker().clone());
        let (body, receiving, written) = match waker.filter(|_| !ends) {
            None => (RequestBody::Empty, None, None),
            Some(waker) => {
                let receiving = Arc::new(Receiving::new(head.length, head.expects_continue));
                let body = Http2Body::new(Arc::clone(&receiving), waker);
                if head.connects {
                    let (tunnel, written) = Tunnel::new(body);
                    (RequestBody::Tunnel(tunnel), Some(receiving), Some(written))
                } else {
                    (RequestBody::Http2(body), Some(receiving), None)
                }
            }
        };
        self.budget.useful();
        let is_head = *head.request.method() == Method::HEAD;
        let request = head.request.map(|()| body);
        // Large, and only here while a request is; made in its place, not moved there.
        let answering = Box::into_pin(Box::write(
            Box::new_uninit(),
            (self.service.answer)(request),
        ));
        let both = (receiving, written);
        let stream = Stream::new(id, answering, self.window_first, is_head, both);
        self.streams.put(place, stream);
        Ok(())
    }

    fn reset_by_client(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        frame::word(payload)?;
        if self.is_idle(head.stream) {
            return connection(Code::PROTOCOL_ERROR);
        }
        self.give_up(head.stream)
    }

    /// Ends a stream with an error.
    pub(super) fn reset(&mut self, id: u32, code: Code) -> Result<(), Broken> {
        frame::write_reset(&mut self.outgoing.frames, id, code);
        self.was_reset.put(id);
        self.give_up(id)
    }

    /// Ends what a stream has begun, if it is open.
    fn give_up(&mut self, id: u32) -> Result<(), Broken> {
        let Some(place) = self.streams.find(id) else {
            return self.budget.idle_frame();
        };
        let is_unanswered = self
            .streams
            .at(place)
            .is_some_and(|(_, it)| it.is_unanswered());
        self.remove(place);
        self.tell_taken();
        match is_unanswered {
            true => self.budget.reset(),
            false => Ok(()),
        }
    }
}
