//! The byte stream of a downstream connection with its time limits.
//!
//! Three limits live here because only the stream sees them: *idle*, from the end of one request to
//! the first byte of the next; *header*, from that byte until the request is handed on; and one for a
//! client that takes nothing of what is written to it. A timer is armed once and only asked again when it
//! fires, instead of for every request, so a busy connection pays nothing for its limits.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A peer that is gone without a word is found out within two minutes, also where nothing is to be sent:
/// a quiet event stream or WebSocket has no other limit.
pub(crate) const fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

/// A timer that costs nothing while deadlines only move on.
///
/// It stays armed for the deadline that it was first asked for. When that fires and the deadline
/// has moved meanwhile, it is armed anew.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Ready when `deadline` has passed; otherwise the task is woken by then.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// What a connection's requests tell its stream.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    in_flight: AtomicU32,
    /// A request has come at all.
    used: AtomicBool,
    /// A request has ended since the stream last looked.
    ended: AtomicBool,
    /// Wakes the task of the connection.
    task: Mutex<Option<Waker>>,
}

/// One request under way; dropped when its response is done.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

impl Activity {
    /// Whether a request has come on this connection.
    pub(crate) fn used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Who is woken when the connection should look at its limits again.
    pub(crate) fn is_of(&self, task: &Waker) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.used.store(true, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

impl InFlight {
    /// The client takes nothing of the answer: the connection counts it for done, and looks at its limits.
    pub(crate) fn give_up(self) {
        let activity = Arc::clone(&self.0);
        drop(self);
        let task = activity.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The limits of a connection's waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitLimits {
    /// Between requests.
    pub(crate) idle: Duration,
    /// From a request's first byte until its header is whole.
    pub(crate) header: Duration,
    /// While nothing can be written. Far above `idle`: the system says that there is room only when a good
    /// part of its buffer is free, and a slow reader needs time for that.
    pub(crate) send: Duration,
}

/// A byte stream that ends itself when its limits pass.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    stream: S,
    limits: WaitLimits,
    /// HTTP/2 frames its requests itself; only idleness is measured.
    multiplexed: bool,
    activity: Arc<Activity>,
    /// When the present wait began; `None` while a request is under way.
    waiting_since: Option<Instant>,
    /// Bytes of a request have come in this wait.
    head_begun: bool,
    timer: LazyTimer,
    /// When the client stopped taking what is written.
    stuck_since: Option<Instant>,
    write_timer: LazyTimer,
}

impl<S> Timed<S> {
    pub(crate) fn new(
        stream: S,
        limits: WaitLimits,
        multiplexed: bool,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            stream,
            limits,
            multiplexed,
            activity,
            waiting_since: None,
            head_begun: false,
            timer: LazyTimer::default(),
            stuck_since: None,
            write_timer: LazyTimer::default(),
        }
    }

    /// How long the client may take nothing.
    pub(crate) const fn send_max(&self) -> Duration {
        self.limits.send
    }

    /// Passes a write's outcome on, unless the client has taken nothing for too long.
    fn poll_stuck<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck_since = None;
            return outcome;
        }
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        match self.write_timer.poll(context, since + self.limits.send) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Nothing to read: is there a limit that has passed?
    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_busy() {
            self.waiting_since = None;
            self.head_begun = false;
            return Poll::Pending;
        }
        if self.activity.ended.swap(false, Ordering::Relaxed) {
            self.waiting_since = None;
            self.head_begun = false;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let limit = if self.head_begun {
            self.limits.header
        } else {
            self.limits.idle
        };
        match self.timer.poll(context, since + limit) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if self.head_begun => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            // An end of stream between requests is an ordinary end.
            Poll::Ready(()) => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.poll_wait(context),
            Poll::Ready(result) => {
                if !self.multiplexed && !self.head_begun && buffer.filled().len() > before {
                    self.head_begun = true;
                    // The header's time runs from here, if it turns out to be a header.
                    self.waiting_since = None;
                }
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_stuck(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.poll_stuck(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.poll_stuck(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.poll_stuck(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMITS: WaitLimits = WaitLimits {
        idle: Duration::from_secs(75),
        header: Duration::from_secs(10),
        send: Duration::from_secs(300),
    };

    fn timed() -> (
        Timed<tokio::io::DuplexStream>,
        tokio::io::DuplexStream,
        Arc<Activity>,
    ) {
        let (ours, theirs) = tokio::io::duplex(64);
        let activity = Arc::new(Activity::default());
        (
            Timed::new(ours, LIMITS, false, Arc::clone(&activity)),
            theirs,
            activity,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_ends() {
        let (mut stream, _theirs, _) = timed();
        let started = Instant::now();
        assert_eq!(stream.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(started.elapsed(), LIMITS.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_header_fails_however_often_a_byte_comes() {
        let (mut stream, mut theirs, _) = timed();
        let started = Instant::now();
        let drip = async {
            loop {
                if theirs.write_all(b"G").await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
        };
        let read = async {
            loop {
                if let Err(error) = stream.read(&mut [0; 1]).await {
                    return error.kind();
                }
            }
        };
        tokio::select! {
            kind = read => assert_eq!(kind, io::ErrorKind::TimedOut),
            () = drip => unreachable!("the stream stays open until its limit"),
        }
        assert!(started.elapsed() <= LIMITS.header + Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut stream, _theirs, _) = timed();
        let started = Instant::now();
        // The pipe holds 64 bytes; nobody reads the rest.
        let kind = stream
            .write_all(&[0; 1000])
            .await
            .map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::TimedOut));
        assert_eq!(started.elapsed(), LIMITS.send);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_has_no_limit_here_and_idleness_starts_after_it() {
        let (mut stream, mut theirs, activity) = timed();
        theirs.write_all(b"GET /").await.expect("room");
        assert_eq!(stream.read(&mut [0; 8]).await.expect("bytes"), 5);
        let request = activity.begin();
        let long = Duration::from_secs(1000);
        let waited = tokio::time::timeout(long, stream.read(&mut [0; 8])).await;
        assert!(waited.is_err(), "still open");
        drop(request);
        let ended = Instant::now();
        assert_eq!(stream.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(ended.elapsed(), LIMITS.idle);
    }
}
