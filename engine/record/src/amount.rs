//! Amounts as people write them: sizes (`'25 MB'`, `'512 KiB'`) and rates (`'100 per second'`, `'5000 per 2 hours'`).
//!
//! Like lengths of time ([`duration`](crate::duration)) they are whole and exact, and a mistake says what it is.

use crate::duration::{self, NotADuration};

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotASize {
    NoSuchUnit(String),
    /// A number without a unit.
    NoUnit,
    /// A part of a byte.
    TooFine,
    TooLarge,
    Shape,
}

/// Units with their bytes. `kB` counts in thousands and `KiB` in 1024, as IEC 80000-13 has it.
const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("byte", 1),
    ("bytes", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Digits behind the point that are read: a thousandth of the next smaller unit is a byte at best.
const FINEST: usize = 9;

/// Bytes of a text such as `25 MB` or `1.5 GiB`.
pub fn bytes(text: &str) -> Result<u64, NotASize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.contains('.') || number.ends_with('.') {
        return Err(NotASize::Shape);
    }
    if unit.is_empty() {
        return Err(NotASize::NoUnit);
    }
    let found = UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let Some((_, unit)) = found else { return Err(NotASize::NoSuchUnit(unit.to_owned())) };
    let whole: u64 = whole.parse().map_err(|_| NotASize::TooLarge)?;
    let whole = whole.checked_mul(*unit).ok_or(NotASize::TooLarge)?;
    if part.is_empty() {
        return Ok(whole);
    }
    if part.len() > FINEST {
        return Err(NotASize::TooFine);
    }
    let scale = 10u64.pow(part.len() as u32);
    // At most nine digits times at most 2^30.
    let part = part.parse::<u64>().map_err(|_| NotASize::Shape)? * unit;
    if !part.is_multiple_of(scale) {
        return Err(NotASize::TooFine);
    }
    whole.checked_add(part / scale).ok_or(NotASize::TooLarge)
}

/// A size in the largest unit that it is a whole number of: `25 MB`, `16 MiB`.
pub fn shown(bytes: u64) -> String {
    const SHOWN: [(&str, u64); 6] =
        [("GB", 1_000_000_000), ("GiB", 1 << 30), ("MB", 1_000_000), ("MiB", 1 << 20), ("kB", 1_000), ("KiB", 1 << 10)];
    match SHOWN.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u64,
    /// Microseconds.
    pub per: u64,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotARate {
    /// Not of the form `N per TIME`.
    Shape,
    /// A rate of nothing would never let anything pass.
    Nothing,
    Time(NotADuration),
}

/// The rate of a text such as `100 per second` or `5000 per 2 hours`.
pub fn rate(text: &str) -> Result<Rate, NotARate> {
    let (count, per) = text.trim().split_once(char::is_whitespace).ok_or(NotARate::Shape)?;
    let per = per.trim_start().strip_prefix("per").filter(|per| per.starts_with(char::is_whitespace));
    let per = per.ok_or(NotARate::Shape)?.trim();
    let count: u64 = count.parse().map_err(|_| NotARate::Shape)?;
    let one = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1 {per}") };
    let per = duration::microseconds(&one).map_err(NotARate::Time)?;
    if count == 0 || per == 0 { Err(NotARate::Nothing) } else { Ok(Rate { count, per }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (text, size) in [
            ("25 MB", 25_000_000),
            ("512KiB", 524_288),
            ("1.5 GiB", 1_610_612_736),
            (" 16 mib ", 16 << 20),
            ("0.001 kB", 1),
            ("0 bytes", 0),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        assert_eq!([25_000_000, 16 << 20, 1_500, 7].map(shown), ["25 MB", "16 MiB", "1500 bytes", "7 bytes"]);
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, why) in [
            ("25", NotASize::NoUnit),
            ("25 parsecs", NotASize::NoSuchUnit("parsecs".into())),
            ("", NotASize::Shape),
            ("big", NotASize::Shape),
            ("-1 MB", NotASize::Shape),
            ("1. MB", NotASize::Shape),
            ("1.2.3 MB", NotASize::Shape),
            ("0.5 bytes", NotASize::TooFine),
            ("0.0000000001 GB", NotASize::TooFine),
            ("99999999999999999999 B", NotASize::TooLarge),
            ("99999999999 GB", NotASize::TooLarge),
        ] {
            assert_eq!(bytes(text), Err(why), "{text}");
        }
    }

    #[test]
    fn rates_are_a_number_and_a_time() {
        for (text, count, per) in [
            ("100 per second", 100, 1_000_000),
            ("5000 per 2 hours", 5_000, 7_200_000_000),
            (" 1  per  100 ms", 1, 100_000),
        ] {
            assert_eq!(rate(text), Ok(Rate { count, per }), "{text}");
        }
        for (text, why) in [
            ("100", NotARate::Shape),
            ("fast", NotARate::Shape),
            ("100 a second", NotARate::Shape),
            ("100 persecond", NotARate::Shape),
            ("1.5 per second", NotARate::Shape),
            ("0 per second", NotARate::Nothing),
            ("5 per 0 s", NotARate::Nothing),
            ("5 per month", NotARate::Time(NotADuration::Calendar("month".into()))),
        ] {
            assert_eq!(rate(text), Err(why), "{text}");
        }
    }
}
