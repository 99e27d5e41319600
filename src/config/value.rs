//! The texts that values are written in: durations, sizes, rates, percents.

use std::time::Duration;

/// `"5s"`, `"10m"`, `"250ms"`, `"24h"`, `"7d"`, or parts of falling size as `"1h30m"`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = rest.get(..end)?;
        let millis = UNITS.into_iter().find(|(name, _)| *name == unit)?.1;
        if millis >= smaller_than {
            return None;
        }
        smaller_than = millis;
        total = total.checked_add(number.checked_mul(millis)?)?;
        rest = rest.get(end..)?;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// `"512B"`, `"64KiB"`, `"10MiB"`, `"2GiB"`: binary units, since that is what buffers have.
pub(super) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];
    let (number, unit) = UNITS
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// `"1%"`, `"0.1%"`, `"100%"`: one in so many; `"0%"` is none.
pub(super) fn one_in(text: &str) -> Option<Option<u64>> {
    let number = text.strip_suffix('%')?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let percent: f64 = number.parse().ok()?;
    if !(0.0..=100.0).contains(&percent) {
        return None;
    }
    if percent == 0.0 {
        return Some(None);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a number that the cast saturates"
    )]
    let one_in = (100.0 / percent).round() as u64;
    Some(Some(one_in.max(1)))
}

/// `"100/s"`, `"50/m"`, `"10/h"`: so many, and in which time.
pub(super) fn rate(text: &str) -> Option<(u32, Duration)> {
    let (number, unit) = text.split_once('/')?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some((number, Duration::from_secs(seconds)))
}

/// `"1000/s"`, `"50/m"`: so many a second, at least one.
pub(super) fn per_second(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once('/')?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "s" => Some(number),
        "m" if number >= 60 => Some(number / 60),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5s", Some(5_000)),
            ("250ms", Some(250)),
            ("10m", Some(600_000)),
            ("24h", Some(86_400_000)),
            ("7d", Some(604_800_000)),
            ("1h30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("5 s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5S", None),
            ("30m1h", None),
            ("1s1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("10MiB", Some(10_485_760)),
            ("1GiB", Some(1 << 30)),
            ("64", None),
            ("64KB", None),
            ("64kib", None),
            ("KiB", None),
            ("-1KiB", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn percents_and_rates() {
        assert_eq!(one_in("1%"), Some(Some(100)));
        assert_eq!(one_in("0.1%"), Some(Some(1000)));
        assert_eq!(one_in("100%"), Some(Some(1)));
        assert_eq!(one_in("0%"), Some(None));
        for bad in ["101%", "-1%", "1", "%", "1e1%", "NaN%"] {
            assert_eq!(one_in(bad), None, "{bad}");
        }
        let minute = Duration::from_secs(60);
        assert_eq!(rate("50/m"), Some((50, minute)));
        assert_eq!(rate("1/h"), Some((1, minute * 60)));
        for bad in ["50", "/m", "0/s", "5/d", "-5/s", "1.5/s", "99999999999/s"] {
            assert_eq!(rate(bad), None, "{bad}");
        }
        assert_eq!(per_second("1000/s"), Some(1000));
        assert_eq!(per_second("120/m"), Some(2));
        for bad in ["1000", "/s", "5/h", "-5/s", "1/m"] {
            assert_eq!(per_second(bad), None, "{bad}");
        }
    }
}
