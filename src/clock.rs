//! Wall-clock time, and the only place that reads it.
//!
//! A verdict depends on the time, so the time is an argument of every check and comes from one
//! [`Clock`]: the system's in production, a hand-moved one in tests. Monotonic time for time
//! limits is tokio's and needs no seam: tests pause it.

use std::fmt;
use std::time::Duration;

/// Microseconds in a second; the resolution of a [`UnixTime`].
const MICROS: i64 = 1_000_000;

/// A point in time as RFC 7519 counts it (`NumericDate`), in microseconds since the Unix epoch.
///
/// Arithmetic saturates: a token that expires in the year 300,000 is late, not a panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    micros: i64,
}

impl UnixTime {
    /// The time `seconds` after the epoch.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self {
            micros: seconds.saturating_mul(MICROS),
        }
    }

    /// The time `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// A JSON number of seconds (RFC 7519 section 2, "Seconds Since the Epoch", may be
    /// fractional). `None` if it is negative or not finite.
    #[must_use]
    pub fn from_numeric_date(seconds: f64) -> Option<Self> {
        if !seconds.is_finite() || seconds < 0.0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "float to integer casts saturate, which is what a far future means"
        )]
        let micros = (seconds * 1e6) as i64;
        Some(Self { micros })
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.micros.div_euclid(MICROS)
    }

    /// Seconds since the epoch with their fraction.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a float of seconds keeps microseconds until the year 2255"
    )]
    pub fn as_secs_f64(self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// Milliseconds since the epoch, not below zero: the time field of a UUIDv7.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.micros / 1000).unwrap_or(0)
    }

    /// Nanoseconds since the epoch, not below zero.
    #[must_use]
    pub fn nanos(self) -> u64 {
        u64::try_from(self.micros).unwrap_or(0).saturating_mul(1000)
    }

    /// This time and `span`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self {
            micros: self.micros.saturating_add(span),
        }
    }

    /// This time less `span`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self {
            micros: self.micros.saturating_sub(span),
        }
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.micros.saturating_sub(earlier.micros);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// RFC 3339 in UTC with whole seconds, as bodies and logs show it.
    #[must_use]
    pub fn rfc3339(self) -> String {
        // Years beyond 9999 have no RFC 3339 form; they are shown as the last one that has.
        const YEAR_9999_END: i64 = 253_402_300_799;
        time::OffsetDateTime::from_unix_timestamp(self.secs().clamp(0, YEAR_9999_END))
            .ok()
            .and_then(|at| {
                at.format(&time::format_description::well_known::Rfc3339)
                    .ok()
            })
            .unwrap_or_default()
    }

    /// RFC 3339 with milliseconds, for the audit line.
    #[must_use]
    pub fn rfc3339_millis(self) -> String {
        let mut text = self.rfc3339();
        if text.ends_with('Z') {
            text.truncate(text.len() - 1);
            let millis = self.micros.rem_euclid(MICROS) / 1000;
            text.push_str(&format!(".{millis:03}Z"));
        }
        text
    }

    /// RFC 3339 with as much of a fraction as there is.
    #[must_use]
    pub fn rfc3339_exact(self) -> String {
        let text = self.rfc3339();
        match (self.micros.rem_euclid(MICROS), text.strip_suffix('Z')) {
            (0, _) | (_, None) => text,
            (micros, Some(whole)) => format!("{whole}.{micros:06}Z"),
        }
    }

    /// Reads RFC 3339, for times that people write (`--until`, `issued_before`).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
            .ok()?;
        let micros = i64::try_from(at.unix_timestamp_nanos() / 1000).ok()?;
        Some(Self { micros })
    }

    /// As HTTP writes it (RFC 9110 section 5.6.7), in whole seconds.
    #[must_use]
    pub fn http_date(self) -> String {
        let since = Duration::from_secs(u64::try_from(self.secs()).unwrap_or(0));
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
    }

    /// Reads an HTTP date (RFC 9110 section 5.6.7).
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let at = httpdate::parse_http_date(text).ok()?;
        let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self::from_secs(i64::try_from(since.as_secs()).ok()?))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> UnixTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the system clock"
    )]
    fn now(&self) -> UnixTime {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        UnixTime::default().plus(since_epoch)
    }
}

/// A span as people say it: "3 minutes and 12 seconds". Two units at most, whole seconds.
#[must_use]
pub fn spoken(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let mut rest = span.as_secs();
    if rest == 0 {
        return "less than a second".to_owned();
    }
    let mut parts = Vec::with_capacity(2);
    for (size, name) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            parts.push(format!("{count} {name}{plural}"));
            if parts.len() == 2 {
                break;
            }
        } else if !parts.is_empty() {
            // Units next to each other only: "2 days and 3 seconds" says more than is known.
            break;
        }
    }
    parts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_dates() {
        for (seconds, micros) in [
            (0.0, Some(0)),
            (1.5, Some(1_500_000)),
            (1e300, Some(i64::MAX)),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            let parsed = UnixTime::from_numeric_date(seconds);
            assert_eq!(parsed.map(|at| at.micros), micros, "{seconds}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let far = UnixTime::from_secs(i64::MAX);
        assert_eq!(far.plus(Duration::from_secs(1)), far);
        assert_eq!(far.rfc3339(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn spans_are_spoken() {
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (192, "3 minutes and 12 seconds"),
            (3600, "1 hour"),
            (3601, "1 hour"),
            (90_000, "1 day and 1 hour"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn rfc3339_reads_what_it_writes() {
        let at = UnixTime::from_secs(1_795_532_645);
        assert_eq!(at.rfc3339(), "2026-11-24T15:04:05Z");
        assert_eq!(UnixTime::parse_rfc3339(&at.rfc3339()), Some(at));
    }
}
