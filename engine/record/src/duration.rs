//! Lengths of time as people write them: `'200 ms'`, `'1 hour'`, `'1 day 12 hours'`, `'1.5 s'`.
//!
//! The result is exact, in microseconds. Months and years have no one length and are refused.

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotADuration {
    /// A unit whose length depends on the calendar.
    Calendar(String),
    NoSuchUnit(String),
    /// A number without a unit.
    NoUnit,
    TooFine,
    TooLong,
    Shape,
}

const UNITS: [(&str, u64); 28] = [
    ("us", 1),
    ("microsecond", 1),
    ("microseconds", 1),
    ("ms", 1_000),
    ("millisecond", 1_000),
    ("milliseconds", 1_000),
    ("s", 1_000_000),
    ("sec", 1_000_000),
    ("secs", 1_000_000),
    ("second", 1_000_000),
    ("seconds", 1_000_000),
    ("m", 60_000_000),
    ("min", 60_000_000),
    ("mins", 60_000_000),
    ("minute", 60_000_000),
    ("minutes", 60_000_000),
    ("h", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("hrs", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("hours", 3_600_000_000),
    ("d", 86_400_000_000),
    ("day", 86_400_000_000),
    ("days", 86_400_000_000),
    ("w", 604_800_000_000),
    ("wk", 604_800_000_000),
    ("week", 604_800_000_000),
    ("weeks", 604_800_000_000),
];

const CALENDAR: [&str; 7] = ["month", "months", "mon", "quarter", "quarters", "year", "years"];

/// Digits behind the point that are read; one microsecond is the sixth.
const FINEST: usize = 12;

/// Microseconds of a text such as `1 hour 30 minutes`.
pub fn microseconds(text: &str) -> Result<u64, NotADuration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(NotADuration::Shape);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_start();
        let letters = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        if number.is_empty() {
            return Err(NotADuration::Shape);
        }
        total = total.checked_add(times(number, length(unit)?)?).ok_or(NotADuration::TooLong)?;
        rest = behind.trim_start();
    }
    // Times are signed microseconds; what does not fit cannot be added to one.
    if i64::try_from(total).is_err() { Err(NotADuration::TooLong) } else { Ok(total) }
}

fn length(unit: &str) -> Result<u64, NotADuration> {
    let lower = unit.to_lowercase();
    if lower.is_empty() {
        return Err(NotADuration::NoUnit);
    }
    if CALENDAR.contains(&lower.as_str()) {
        return Err(NotADuration::Calendar(unit.to_owned()));
    }
    let found = UNITS.iter().find(|(name, _)| *name == lower);
    found.map(|(_, length)| *length).ok_or_else(|| NotADuration::NoSuchUnit(unit.to_owned()))
}

/// A decimal number of units, exactly.
fn times(number: &str, unit: u64) -> Result<u64, NotADuration> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.contains('.') || (number.contains('.') && part.is_empty()) {
        return Err(NotADuration::Shape);
    }
    let whole: u64 = whole.parse().map_err(|_| NotADuration::TooLong)?;
    let whole = whole.checked_mul(unit).ok_or(NotADuration::TooLong)?;
    if part.is_empty() {
        return Ok(whole);
    }
    if part.len() > FINEST {
        return Err(NotADuration::TooFine);
    }
    let scale = 10u128.pow(part.len() as u32);
    let part: u128 = part.parse().map_err(|_| NotADuration::Shape)?;
    let micros = part * u128::from(unit);
    if !micros.is_multiple_of(scale) {
        return Err(NotADuration::TooFine);
    }
    whole.checked_add((micros / scale) as u64).ok_or(NotADuration::TooLong)
}

/// A length in the largest unit that it is a whole number of: `90 minutes`.
pub fn shown(micros: u64) -> String {
    const SHOWN: [(&str, u64); 6] = [
        ("day", 86_400_000_000),
        ("hour", 3_600_000_000),
        ("minute", 60_000_000),
        ("second", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ];
    let (name, length) =
        SHOWN.into_iter().find(|(_, length)| micros >= *length && micros.is_multiple_of(*length)).unwrap_or(("us", 1));
    let count = micros / length;
    let plural = if count == 1 || name.len() == 2 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_exact() {
        for (text, micros) in [
            ("1 hour", 3_600_000_000),
            ("200 ms", 200_000),
            ("7 days", 604_800_000_000),
            ("1 day 12 hours", 129_600_000_000),
            ("1.5 s", 1_500_000),
            ("30s", 30_000_000),
            (" 2  Weeks ", 1_209_600_000_000),
            ("0 s", 0),
        ] {
            assert_eq!(microseconds(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_has_no_length_says_why() {
        for (text, why) in [
            ("1 month", NotADuration::Calendar("month".into())),
            ("5 parsecs", NotADuration::NoSuchUnit("parsecs".into())),
            ("15", NotADuration::NoUnit),
            ("", NotADuration::Shape),
            ("soon", NotADuration::Shape),
            ("-1 hour", NotADuration::Shape),
            ("1.5 us", NotADuration::TooFine),
            ("1..5 s", NotADuration::Shape),
            ("99999999999999999999 s", NotADuration::TooLong),
            ("9300000000000 s", NotADuration::TooLong),
            ("1.0000000000001 s", NotADuration::TooFine),
        ] {
            assert_eq!(microseconds(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_length_is_shown_in_its_largest_whole_unit() {
        assert_eq!([200_000, 5_400_000_000, 86_400_000_000, 1].map(shown), ["200 ms", "90 minutes", "1 day", "1 us"]);
    }
}
