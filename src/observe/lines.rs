//! Lines that a thread of their own writes, behind a bounded queue.
//!
//! A slow disk, or a pipe that nobody reads, loses lines and counts them. It never makes a request
//! wait, and keeps no process from ending.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Lines that may wait to be written; at about 500 bytes each, 4 MiB.
const QUEUE_MAX: usize = 8192;
/// Lines are handed to the system in blocks of about this size.
const BLOCK_BYTES: usize = 64 * 1024;
/// A line waits this long for others to go with it: waking the thread for each would cost the
/// workers more than the line.
const GATHER: Duration = Duration::from_millis(10);
/// How long [`Lines::flush`] waits at the most.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// The way to the thread that writes. The thread ends when this is dropped and all is written.
#[derive(Debug)]
pub(crate) struct Lines {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    queued: AtomicU64,
    /// For which there was no room.
    dropped: AtomicU64,
    /// That the system did not take.
    failed: AtomicU64,
    /// Those that were handed to the system, or were to be.
    done: AtomicU64,
}

/// Takes blocks of whole lines. It is told how many were dropped so far.
pub(crate) trait Sink: Send + 'static {
    /// Writes them all.
    ///
    /// # Errors
    /// The system does not take them: they are lost.
    fn take(&mut self, block: &[u8], dropped: u64) -> std::io::Result<()>;
}

/// Any writer, without more.
#[derive(Debug)]
pub(crate) struct To<W>(pub(crate) W);

impl<W: Write + Send + 'static> Sink for To<W> {
    fn take(&mut self, block: &[u8], _: u64) -> std::io::Result<()> {
        write_all(&mut self.0, block)?;
        self.0.flush()
    }
}

impl Lines {
    /// Starts a thread of this name that writes to `out`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(name: &str, out: impl Sink) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE_MAX);
        let counts: Arc<Counts> = Arc::default();
        let own = Arc::clone(&counts);
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || write(&lines, &own, out))?;
        Ok(Self { queue, counts })
    }

    /// Has a line written that ends with its line break, or counts it as dropped.
    pub(crate) fn send(&self, line: Vec<u8>) {
        let counter = match self.queue.try_send(line) {
            Ok(()) => &self.counts.queued,
            Err(_) => &self.counts.dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that were not lost, as far as that is known.
    pub(crate) fn kept(&self) -> u64 {
        let failed = self.counts.failed.load(Ordering::Relaxed);
        self.queued().saturating_sub(failed)
    }

    fn queued(&self) -> u64 {
        self.counts.queued.load(Ordering::Relaxed)
    }

    /// Lines for which there was no room, or that the system did not take.
    pub(crate) fn dropped(&self) -> u64 {
        let failed = self.counts.failed.load(Ordering::Relaxed);
        self.counts.dropped.load(Ordering::Relaxed) + failed
    }

    /// Waits until what was sent is written, for a bounded time.
    pub(crate) fn flush(&self) {
        let until = Instant::now() + FLUSH_MAX;
        let done = || self.counts.done.load(Ordering::Acquire);
        while done() < self.queued() && Instant::now() < until {
            pause(GATHER / 4);
        }
    }
}

fn write(queue: &Receiver<Vec<u8>>, counts: &Counts, mut out: impl Sink) {
    while let Ok(mut block) = queue.recv() {
        pause(GATHER);
        let mut lines = 1;
        while block.len() < BLOCK_BYTES {
            let Ok(line) = queue.try_recv() else { break };
            block.extend_from_slice(&line);
            lines += 1;
        }
        let lost = counts.dropped.load(Ordering::Relaxed) + counts.failed.load(Ordering::Relaxed);
        if out.take(&block, lost).is_err() {
            // A closed pipe or a full disk: the metrics say so.
            counts.failed.fetch_add(lines, Ordering::Relaxed);
        }
        counts.done.fetch_add(lines, Ordering::Release);
    }
}

/// Writes all, also to a pipe that somebody has made non-blocking.
pub(super) fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> std::io::Result<()> {
    use std::io::ErrorKind::{Interrupted, WouldBlock};
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == WouldBlock => pause(GATHER),
            Err(error) if error.kind() == Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the writer's own thread, and the end of the process"
)]
fn pause(long: Duration) {
    std::thread::sleep(long);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is let go.
    struct Stuck(Receiver<()>, SyncSender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1
                .send(bytes.to_vec())
                .map_err(std::io::Error::other)
                .map(|()| bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_loses_lines_and_stops_nobody() {
        let (let_go, wait) = sync_channel(0);
        let (sender, taken) = sync_channel(usize::from(u16::MAX));
        let lines = Lines::start("stuck", To(Stuck(wait, sender))).expect("a thread");
        let sent = 2 * QUEUE_MAX as u64;
        for n in 0..sent {
            lines.send(format!("{n:060}\n").into_bytes());
        }
        assert!(lines.dropped() > 0);
        assert_eq!(lines.queued() + lines.dropped(), sent);
        drop(let_go);
        lines.flush();
        let kept = lines.queued();
        drop(lines);
        let bytes: Vec<u8> = taken.into_iter().flatten().collect();
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(text.lines().count() as u64, kept);
        let first: u64 = text
            .lines()
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        assert_eq!(first, 0, "the oldest stay");
    }
    /// Is full before each byte.
    struct NonBlocking(SyncSender<u8>, bool);

    impl Write for NonBlocking {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            let Some(byte) = bytes.first().filter(|_| !self.1) else {
                return Err(std::io::ErrorKind::WouldBlock.into());
            };
            self.0.send(*byte).map_err(std::io::Error::other)?;
            Ok(1)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_somebody_made_non_blocking_loses_nothing() {
        let (sender, taken) = sync_channel(64);
        let lines = Lines::start("full", To(NonBlocking(sender, false))).expect("a thread");
        lines.send(b"one\ntwo\n".to_vec());
        lines.flush();
        drop(lines);
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), b"one\ntwo\n");
    }
}
