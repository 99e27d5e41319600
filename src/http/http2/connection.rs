//! One connection: what comes is read, the streams run, and what they have to say is written, in turn.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use tokio::time::Instant;

use super::body::{WINDOW, WINDOW_OF_ALL};
use super::budget::Budget;
use super::frame::{self, Broken, Code};
use super::hpack::Decoder;
use super::outgoing::Outgoing;
use super::receive::Block;
use super::streams::{Recent, Streams};
use crate::http::Body;
use crate::http::body::RequestBody;
use crate::http::deadline::{LazyTimer, Timed};
use crate::http::room::Room;
use crate::http::serve::{
    Farewell, LINGER_TIME_MAX, MessageLimits, ProtocolError, Service, Unreadable,
};

/// What a window is until somebody says otherwise (RFC 9113 section 6.9.2).
const WINDOW_FIRST: u32 = 65_535;
/// What is read at once: more would be kept whole by each part of a body that is not taken.
const READ_MAX: usize = 64 * 1024;
/// How often a connection goes on before it is another's turn.
const ROUNDS: usize = 8;
/// Frames that are taken before the streams run: a read may hold thousands that cost little to send.
const FRAMES: usize = 256;
/// How long a connection is read on that its client has broken.
const LINGER_BROKEN_MAX: Duration = Duration::from_secs(2);
/// What is read and dropped then.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// How much longer than a body a stream waits for a client that takes nothing: the body says first why it ends.
const STUCK_BEYOND: Duration = Duration::from_secs(1);
/// What our PING says: its answer comes when the client has seen that no more streams are to come.
pub(super) const LAST_PING: [u8; 8] = *b"bearward";
/// The number above all streams, which tells a client to open no more (section 6.8).
const STREAM_MAX: u32 = 0x7fff_ffff;

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The client was told to open no more streams. What it has sent before it read that is still taken.
    Announced,
    /// And the last stream that is served.
    Told,
}

/// How a connection ended.
struct Ended {
    error: Option<ProtocolError>,
    /// The client is told why, and gets time to read it.
    lingers: bool,
}

/// A connection.
pub(super) struct Connection<'a, S, F, G, R, D> {
    stream: Timed<S>,
    /// What was read and not yet taken.
    pub(super) incoming: BytesMut,
    /// What was read lies in so many bytes; who keeps a part of it keeps them all.
    pub(super) incoming_bytes: usize,
    room: Room,
    pub(super) outgoing: Outgoing,
    pub(super) limits: MessageLimits,
    pub(super) service: Service<F, G>,
    pub(super) decoder: Decoder,
    /// A header block that is not whole yet.
    pub(super) block: Option<Block>,
    pub(super) streams: Streams<R>,
    /// What the client takes on the whole connection, and on each new stream.
    pub(super) window: i64,
    pub(super) window_first: i64,
    /// It takes more than when the streams last ran.
    pub(super) is_wider: bool,
    /// What the client may send on the whole connection.
    pub(super) room_left: usize,
    /// Of what it has sent, what was taken and not told.
    pub(super) taken: usize,
    pub(super) budget: Budget,
    /// The highest stream that was opened.
    pub(super) last: u32,
    pub(super) was_reset: Recent,
    /// The client's preface has come, and its first SETTINGS.
    pub(super) is_greeted: bool,
    pub(super) has_settings: bool,
    /// The client opens no more streams.
    pub(super) client_leaves: bool,
    pub(super) leaving: Leaving,
    /// There may be whole frames in what was read.
    has_frames: bool,
    /// The last stream that the client was told of.
    told: Option<u32>,
    /// By when the first of the streams that cannot be sent is given up.
    pub(super) stuck_until: Option<Instant>,
    pub(super) stuck_timer: LazyTimer,
    /// How long the client may take nothing of a stream.
    pub(super) stuck_max: Duration,
    /// None once it is done.
    drained: Option<Pin<&'a mut D>>,
    /// The client has ended, or been silent for too long.
    is_ended: bool,
    broken: bool,
}

/// Serves a connection until it ends; once `drained` is done, until what runs is finished.
///
/// # Errors
/// The connection ended in the middle of something.
pub(crate) async fn serve<S, F, R, G>(
    stream: Timed<S>,
    limits: MessageLimits,
    service: Service<F, G>,
    drained: impl Future<Output = Farewell>,
) -> Result<(), ProtocolError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
{
    let mut drained = pin!(drained);
    let stuck_max = stream.send_max() + STUCK_BEYOND;
    let mut connection = Connection {
        stream,
        incoming: BytesMut::new(),
        incoming_bytes: 0,
        room: Room::up_to(READ_MAX),
        outgoing: Outgoing::default(),
        limits,
        service,
        decoder: Decoder::new(),
        block: None,
        streams: Streams::new(),
        window: i64::from(WINDOW_FIRST),
        window_first: i64::from(WINDOW_FIRST),
        is_wider: false,
        room_left: WINDOW_OF_ALL as usize,
        taken: 0,
        budget: Budget::default(),
        last: 0,
        was_reset: Recent::new(2 * limits.streams as usize),
        is_greeted: false,
        has_settings: false,
        client_leaves: false,
        leaving: Leaving::No,
        has_frames: false,
        told: None,
        stuck_until: None,
        stuck_timer: LazyTimer::default(),
        stuck_max,
        drained: Some(drained.as_mut()),
        is_ended: false,
        broken: false,
    };
    connection.greet();
    let ended = poll_fn(|context| connection.poll(context)).await;
    // What still ran has nobody to answer to.
    connection.streams = Streams::new();
    if ended.lingers {
        connection.end(ended.error.is_some()).await;
    }
    ended.error.map_or(Ok(()), Err)
}

impl<S, F, G, R, D> Connection<'_, S, F, G, R, D>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<RequestBody>) -> R,
    R: Future<Output = Response<Body>>,
    G: Fn(Unreadable) -> Response<Body>,
    D: Future<Output = Farewell>,
{
    fn greet(&mut self) {
        let list = u32::try_from(self.list_max()).unwrap_or(u32::MAX);
        let settings = [
            (frame::MAX_CONCURRENT_STREAMS, self.limits.streams),
            (frame::INITIAL_WINDOW_SIZE, WINDOW),
            (frame::MAX_HEADER_LIST_SIZE, list),
            (frame::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        let out = &mut self.outgoing.frames;
        frame::write_settings(out, &settings);
        frame::write_window_update(out, 0, WINDOW_OF_ALL - WINDOW_FIRST);
    }

    /// Goes on until there is nothing to do but wait.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if let Some(Farewell::AtOnce) = self.look(context) {
            // As far as it can be said at once.
            let _ = self
                .outgoing
                .poll_write(Pin::new(&mut self.stream), context);
            return Poll::Ready(Ended {
                error: None,
                lingers: false,
            });
        }
        for _ in 0..ROUNDS {
            let was_full = self.outgoing.is_full();
            let received = match self.poll_receive(context) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(failed(error.into())),
                Poll::Pending => false,
            };
            let ran = self.run();
            self.poll_stuck(context);
            self.take_leave();
            let written = self
                .outgoing
                .poll_write(Pin::new(&mut self.stream), context);
            let has_room = was_full && written.is_ready();
            if written.is_ready() {
                self.streams.unblock_room();
            }
            if let Some(ended) = self.ended(written) {
                return Poll::Ready(ended);
            }
            let goes_on = received || ran || has_room || self.streams.has_marked();
            if !goes_on && !self.streams.queue().sleep(context) {
                self.rest();
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks whether the connection is to end.
    fn look(&mut self, context: &mut Context<'_>) -> Option<Farewell> {
        let Poll::Ready(farewell) = self.drained.as_mut()?.as_mut().poll(context) else {
            return None;
        };
        self.drained = None;
        // The number of the last stream only ever goes down (section 6.8).
        if !self.broken && self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            let out = &mut self.outgoing.frames;
            frame::write_goaway(out, STREAM_MAX, Code::NO_ERROR);
            frame::write_ping(out, 0, LAST_PING);
        }
        Some(farewell)
    }

    /// Reads, and takes what has come; pending too while the client does not take what it is sent.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.broken || self.outgoing.is_full() {
            return Poll::Pending;
        }
        if !std::mem::take(&mut self.has_frames) {
            ready!(self.poll_read(context))?;
        }
        // Of its own, so that what is in it can be looked at beside everything else.
        let mut incoming = std::mem::take(&mut self.incoming);
        for n in 0.. {
            self.has_frames = n == FRAMES;
            if self.has_frames || self.broken {
                break;
            }
            match self.take(&mut incoming) {
                None => break,
                Some(Ok(())) => {}
                Some(Err(Broken::Stream(id, code))) => {
                    if let Err(Broken::Connection(code)) = self.reset(id, code) {
                        self.breaks(code);
                    }
                }
                Some(Err(Broken::Connection(code))) => self.breaks(code),
            }
        }
        self.incoming = incoming;
        if std::mem::take(&mut self.is_wider) {
            self.streams.unblock_window();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.is_ended {
            return Poll::Pending;
        }
        if self.incoming.capacity() - self.incoming.len() < self.room.next() / 2 {
            self.incoming.reserve(self.room.next());
            self.incoming_bytes = self.incoming.capacity();
        }
        let read = self.stream.read_buf(&mut self.incoming);
        // The future holds no state: one poll of it is one read into the spare capacity.
        let count = ready!(pin!(read).poll(context))?;
        self.is_ended = count == 0;
        self.room.took(count);
        Poll::Ready(Ok(()))
    }

    /// Ends the connection with an error.
    fn breaks(&mut self, code: Code) {
        self.broken = true;
        self.tell_last(code);
        self.streams = Streams::new();
    }

    /// Tells a client that goes, or has been silent for too long, that it is right to.
    fn take_leave(&mut self) {
        let goes = self.is_ended || self.client_leaves;
        if goes && !self.broken && self.streams.is_empty() && self.leaving != Leaving::Told {
            self.tell_last(Code::NO_ERROR);
        }
    }

    /// Tells the client which stream is the last; that number only ever goes down (section 6.8).
    pub(super) fn tell_last(&mut self, code: Code) {
        self.leaving = Leaving::Told;
        let last = *self.told.get_or_insert(self.last);
        frame::write_goaway(&mut self.outgoing.frames, last, code);
    }

    /// How the connection ended, if it has, with what became of the last write.
    fn ended(&mut self, written: Poll<std::io::Result<()>>) -> Option<Ended> {
        let has_failed = matches!(written, Poll::Ready(Err(_)));
        let error = if self.broken {
            Some(ProtocolError::Parse)
        } else if !self.streams.is_empty() && self.is_ended {
            // Nobody is left to be answered.
            return Some(failed(ProtocolError::Disconnect));
        } else if self.streams.is_empty() && self.leaving == Leaving::Told {
            None
        } else {
            return match written {
                Poll::Ready(Err(error)) => Some(failed(error.into())),
                _ => None,
            };
        };
        let lingers = !has_failed;
        written.is_ready().then_some(Ended { error, lingers })
    }

    /// Gives back what a connection that waits has no need of.
    fn rest(&mut self) {
        if self.streams.is_empty() {
            if self.incoming.is_empty() && self.incoming.capacity() > 0 {
                self.incoming = BytesMut::new();
            }
            self.outgoing.rest();
        }
    }

    /// Says goodbye, to a client that may have gone already.
    async fn end(&mut self, was_broken: bool) {
        let over = poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context));
        let _ = over.await;
        if !self.is_ended {
            let time_max = if was_broken {
                LINGER_BROKEN_MAX
            } else {
                LINGER_TIME_MAX
            };
            let _ = tokio::time::timeout(time_max, self.linger()).await;
        }
    }

    /// Reads and drops what a client still sends.
    async fn linger(&mut self) {
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            self.incoming.clear();
            self.incoming.reserve(self.room.next());
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(count) if count > 0 => bytes += count,
                _ => break,
            }
        }
    }
}

const fn failed(error: ProtocolError) -> Ended {
    Ended {
        error: Some(error),
        lingers: false,
    }
}
