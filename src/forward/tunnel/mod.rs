//! An upgraded connection: bytes both ways until one side ends it, or the token of its caller ends.
//!
//! Each direction has one small buffer, and reads only when that is written: a slow side slows the other.
//! A side that closes its half is passed on; the other half may go on for a while. A WebSocket that is
//! ended by us gets a Close frame where a frame of the upstream ends, so that its client reads why.

mod frames;
pub(super) mod handshake;

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::pool::Connection;
use crate::observe::exchange::StreamEnd;
use frames::{CloseCode, Frames, close};

/// What one direction holds.
const BUFFER_BYTES: usize = 16 * 1024;
/// What it begins with: most upgraded connections are quiet.
const BUFFER_BYTES_FIRST: usize = 2 * 1024;
/// When one half is closed, the other may be silent for so long.
const HALF_OPEN_MAX: Duration = Duration::from_secs(60);
/// For a frame to end, and for a client to answer our Close.
const CLOSING_MAX: Duration = Duration::from_secs(2);

/// The upstream's side of an upgraded connection.
#[derive(Debug)]
pub(crate) struct Tunnel {
    connection: Box<Connection>,
    websocket: bool,
}

/// One direction.
struct Way {
    buffer: BytesMut,
    /// The sender has ended.
    ended: bool,
    /// Of a WebSocket.
    frames: Option<Frames>,
    /// What is read at once: more where there is more.
    room: usize,
    /// Bytes that were read.
    bytes: u64,
    /// How long its taker may take nothing.
    send_max: Duration,
}

impl Way {
    fn new(begun: BytesMut, websocket: bool, send_max: Duration) -> Self {
        let mut frames = websocket.then(Frames::default);
        if let Some(frames) = &mut frames {
            frames.pass(&begun);
        }
        Self {
            buffer: begun,
            ended: false,
            frames,
            room: BUFFER_BYTES_FIRST,
            bytes: 0,
            send_max,
        }
    }

    /// Passes bytes on until the sender ends. What was read and not written stays if this is dropped.
    async fn pump(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        loop {
            // Whoever takes nothing holds the other side too.
            tokio::time::timeout(self.send_max, self.write(to)).await??;
            if self.ended {
                return to.shutdown().await;
            }
            self.read(from, BUFFER_BYTES).await?;
        }
    }

    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<()> {
        let room = self.room.min(max);
        self.buffer.reserve(room);
        let count = from.read_buf(&mut (&mut self.buffer).limit(room)).await?;
        self.ended = count == 0;
        if count == self.room {
            self.room = BUFFER_BYTES;
        }
        self.bytes += count as u64;
        if let Some(frames) = &mut self.frames {
            frames.pass(&self.buffer);
        }
        Ok(())
    }

    async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        while !self.buffer.is_empty() {
            let count = to.write(&self.buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.buffer.advance(count);
        }
        to.flush().await
    }

    /// Reads and drops what still comes, up to a Close frame or the end.
    async fn drop_rest(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        while !self.ended && !self.frames.as_ref().is_some_and(|frames| frames.closed) {
            self.buffer.clear();
            self.read(from, BUFFER_BYTES).await?;
        }
        Ok(())
    }

    /// Goes on to the end of the frame that has begun; whether a frame of ours may follow.
    async fn finish_frame(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        self.write(to).await?;
        while let Some(frames) = self.frames.as_ref().filter(|it| !it.is_between()) {
            if self.ended {
                return Ok(false);
            }
            let rest = frames.rest();
            self.read(from, rest.min(BUFFER_BYTES)).await?;
            self.write(to).await?;
        }
        Ok(self.frames.as_ref().is_some_and(|frames| !frames.closed))
    }
}

impl Tunnel {
    pub(super) const fn new(connection: Box<Connection>, websocket: bool) -> Self {
        Self {
            connection,
            websocket,
        }
    }

    /// Carries bytes until both sides have ended, one breaks, or takes nothing for `send_max`, or `ended` is done; gives why it was ended
    /// then.
    pub(crate) async fn run<S>(
        self,
        client: S,
        send_max: Duration,
        ended: impl Future<Output = StreamEnd>,
    ) -> Option<StreamEnd>
    where
        S: AsyncRead + AsyncWrite,
    {
        let Self {
            mut connection,
            websocket,
        } = self;
        let begun = std::mem::take(&mut connection.incoming);
        let mut down = Way::new(begun, websocket, send_max);
        let mut up = Way::new(BytesMut::new(), websocket, send_max);
        let (mut client_reads, mut client_writes) = tokio::io::split(client);
        let (mut server_reads, mut server_writes) = tokio::io::split(&mut connection.stream);
        let ended = {
            let carried = carry(
                (&mut down, &mut server_reads, &mut client_writes),
                (&mut up, &mut client_reads, &mut server_writes),
            );
            tokio::select! {
                _ = carried => return None,
                ended = ended => ended,
            }
        };
        if websocket {
            let (code, reason) = match ended {
                StreamEnd::Draining => (CloseCode::GoingAway, ""),
                StreamEnd::Expired | StreamEnd::Revoked | StreamEnd::Stalled => {
                    (CloseCode::PolicyViolation, ended.reason().code())
                }
            };
            let farewell = async {
                if down
                    .finish_frame(&mut server_reads, &mut client_writes)
                    .await?
                {
                    client_writes.write_all(&close(code, reason, None)).await?;
                    client_writes.flush().await?;
                }
                io::Result::Ok(())
            };
            let _ = tokio::time::timeout(CLOSING_MAX, farewell).await;
            // The server is told where that fits; it is no client's business any more.
            if up.buffer.is_empty() && up.frames.as_ref().is_some_and(Frames::is_between) {
                let frame = close(code, reason, Some(mask()));
                let telling = server_writes.write_all(&frame);
                let _ = tokio::time::timeout(CLOSING_MAX, telling).await;
            }
            // What the client still sends is read, so that it gets to read our last frame.
            let _ = tokio::time::timeout(CLOSING_MAX, up.drop_rest(&mut client_reads)).await;
        }
        let _ = tokio::time::timeout(CLOSING_MAX, client_writes.shutdown()).await;
        Some(ended)
    }
}

/// A direction with where its bytes come from and where they go.
type Direction<'a, R, W> = (&'a mut Way, &'a mut R, &'a mut W);

/// Both directions until both have ended; the second has a limit once the first has.
async fn carry<A, B, C, D>(
    (down, down_from, down_to): Direction<'_, A, B>,
    (up, up_from, up_to): Direction<'_, C, D>,
) -> io::Result<()>
where
    A: AsyncRead + Unpin,
    B: AsyncWrite + Unpin,
    C: AsyncRead + Unpin,
    D: AsyncWrite + Unpin,
{
    let down_ended = tokio::select! {
        done = down.pump(down_from, down_to) => { done?; true }
        done = up.pump(up_from, up_to) => { done?; false }
    };
    if down_ended {
        half_open(up, up_from, up_to).await
    } else {
        half_open(down, down_from, down_to).await
    }
}

async fn half_open(
    way: &mut Way,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let before = way.bytes;
        match tokio::time::timeout(HALF_OPEN_MAX, way.pump(from, to)).await {
            Ok(done) => return done,
            Err(_) if way.bytes == before => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
    }
}

/// Four bytes that nobody guesses (RFC 6455 section 5.3).
pub(super) fn mask() -> [u8; 4] {
    let mut mask = [0; 4];
    // Without random bytes the mask is no worse than none, which a proxy cannot be tricked with.
    let _ = aws_lc_rs::rand::fill(&mut mask);
    mask
}
