//! What a client may ask for without any use to it, before its connection is ended with
//! `ENHANCE_YOUR_CALM`.

use std::time::Duration;

use tokio::time::Instant;

use super::frame::{Broken, Code};

/// Frames that bring nothing, in [`IDLE_TIME`].
const IDLE_FRAMES_MAX: u32 = 1000;
const IDLE_TIME: Duration = Duration::from_secs(1);
/// Streams that end before their response begins, beyond those that are answered: each may have cost a
/// signature check and a request to the upstream (CVE-2023-44487, CVE-2025-8671).
const RESETS_MAX: u32 = 200;
/// So many of them are forgotten each second: a connection that lives long has some that it could not help.
const RESETS_FORGOTTEN: u32 = 10;

const SPENT: Broken = Broken::Connection(Code::ENHANCE_YOUR_CALM);

/// What is left of a client's budget.
#[derive(Debug, Default)]
pub(super) struct Budget {
    idle_frames: u32,
    since: Option<Instant>,
    resets: u32,
    /// Up to when they have been forgotten.
    forgotten: Option<Instant>,
}

impl Budget {
    /// A frame came that brings nothing: a PING, SETTINGS, a priority, DATA without any.
    pub(super) fn idle_frame(&mut self) -> Result<(), Broken> {
        self.idle_frames += 1;
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.idle_frames < IDLE_FRAMES_MAX {
            return Ok(());
        }
        if since.elapsed() < IDLE_TIME {
            return Err(SPENT);
        }
        self.idle_frames = 0;
        self.since = None;
        Ok(())
    }

    /// Something was asked, sent or answered.
    pub(super) const fn useful(&mut self) {
        self.idle_frames = 0;
        self.since = None;
    }

    /// A stream was reset before its response began, by whichever side.
    pub(super) fn reset(&mut self) -> Result<(), Broken> {
        let now = Instant::now();
        let since = *self.forgotten.get_or_insert(now);
        let seconds = now.duration_since(since).as_secs();
        if seconds > 0 {
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.resets = self
                .resets
                .saturating_sub(seconds.saturating_mul(RESETS_FORGOTTEN));
            self.forgotten = Some(now);
        }
        self.resets += 1;
        if self.resets > RESETS_MAX {
            return Err(SPENT);
        }
        Ok(())
    }

    /// A response has begun.
    pub(super) const fn answered(&mut self) {
        self.resets = self.resets.saturating_sub(1);
    }
}
