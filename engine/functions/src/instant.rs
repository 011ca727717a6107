//! Instants and dates as text: RFC 3339 and the SQL forms, both ways.
//!
//! An offset is converted, no offset means UTC, digits past the microsecond are cut. Reading takes `T`, `t` or a space between date
//! and time, seconds may be absent, and a leap second is the first second of the next minute. Calendar arithmetic is the
//! proleptic Gregorian one (<https://howardhinnant.github.io/date_algorithms.html>).

use syncline_record::Micros;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const SECONDS_PER_DAY: i64 = 86_400;

/// Digits of a fraction that a microsecond can hold.
const FRACTION_DIGITS: usize = 6;

/// Days since 1970-01-01 of a date that exists.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + leap as i64,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (years + era * 400 + (month <= 2) as i64, month, day)
}

/// A cursor over the digits of a text.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + (byte - b'0') as i64))
    }

    fn eat(&mut self, bytes: &[u8]) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if bytes.contains(first) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.number(4)?;
        let month = self.eat(b"-").then(|| self.number(2))??;
        let day = self.eat(b"-").then(|| self.number(2))??;
        days(year, month, day)
    }

    /// Microseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2).filter(|hour| *hour < 24)?;
        let minute = self.eat(b":").then(|| self.number(2))?.filter(|minute| *minute < 60)?;
        let mut micros = (hour * 60 + minute) * 60 * MICROS_PER_SECOND;
        if self.eat(b":") {
            micros += self.number(2).filter(|second| *second <= 60)? * MICROS_PER_SECOND;
            if self.eat(b".") {
                micros += self.fraction()?;
            }
        }
        Some(micros)
    }

    fn fraction(&mut self) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = count.min(FRACTION_DIGITS);
        let value = self.number(kept)? * 10i64.pow((FRACTION_DIGITS - kept) as u32);
        self.0 = &self.0[count - kept..];
        (count > 0).then_some(value)
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        self.eat(b" ");
        if self.0.is_empty() || self.eat(b"Zz") {
            return Some(0);
        }
        let sign = if self.eat(b"+") { 1 } else { self.eat(b"-").then_some(-1)? };
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        let colon = self.eat(b":");
        let minutes = if self.0.is_empty() && !colon { 0 } else { self.number(2).filter(|minutes| *minutes < 60)? };
        Some(sign * (hours * 60 + minutes) * 60)
    }
}

/// Microseconds since 1970 of an instant's text; a date alone is its midnight in UTC.
pub fn parse(text: &[u8]) -> Option<Micros> {
    let mut rest = Digits(text);
    let mut micros = rest.date()? * SECONDS_PER_DAY * MICROS_PER_SECOND;
    if rest.eat(b"Tt ") {
        micros += rest.time()?;
        micros -= rest.offset()? * MICROS_PER_SECOND;
    }
    rest.0.is_empty().then_some(micros)
}

/// Days since 1970 of a date's text; of an instant's text, the day in UTC.
pub fn parse_date(text: &[u8]) -> Option<i32> {
    i32::try_from(parse(text)?.div_euclid(SECONDS_PER_DAY * MICROS_PER_SECOND)).ok()
}

fn padded(value: i64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = value;
    for _ in 0..width {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
    }
    out[start..].reverse();
}

/// `2026-11-20`; a year beyond four digits has a sign, as ISO 8601 says.
pub fn write_date(day: i64, out: &mut Vec<u8>) {
    let (year, month, of_month) = civil(day);
    match year {
        0..=9999 => padded(year, 4, out),
        _ => {
            out.push(if year < 0 { b'-' } else { b'+' });
            padded(year.abs(), 6, out);
        }
    }
    out.push(b'-');
    padded(month, 2, out);
    out.push(b'-');
    padded(of_month, 2, out);
}

/// `2026-11-20T10:00:00Z`, with a fraction only where there is one: `2026-11-20T10:00:00.25Z`.
pub fn write_instant(seconds: i64, nanos: u32, out: &mut Vec<u8>) {
    write_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    out.push(b'T');
    write_time(seconds.rem_euclid(SECONDS_PER_DAY), nanos, out);
    out.push(b'Z');
}

/// `10:00:00`, with a fraction only where there is one.
pub fn write_time(seconds: i64, nanos: u32, out: &mut Vec<u8>) {
    padded(seconds / 3600, 2, out);
    out.push(b':');
    padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    padded(seconds % 60, 2, out);
    if nanos > 0 {
        out.push(b'.');
        padded(nanos as i64, 9, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(micros: Micros) -> String {
        let mut out = Vec::new();
        let nanos = micros.rem_euclid(MICROS_PER_SECOND) as u32 * 1000;
        write_instant(micros.div_euclid(MICROS_PER_SECOND), nanos, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_is_one_instant_in_utc() {
        for (text, wanted) in [
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20 10:00:00", "2026-11-20T10:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20 10:00", "2026-11-20T10:00:00Z"),
            ("2026-11-20t10:00:00.250z", "2026-11-20T10:00:00.25Z"),
            ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00Z"),
            ("2026-11-20T10:00:00-0530", "2026-11-20T15:30:00Z"),
            ("2026-11-20 10:00:00+01", "2026-11-20T09:00:00Z"),
            ("2026-11-20 10:00:00 +01", "2026-11-20T09:00:00Z"),
            ("2026-11-20T10:00:00.123456789Z", "2026-11-20T10:00:00.123456Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("0000-03-01T00:00:00Z", "0000-03-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z"),
        ] {
            assert_eq!(parse(text.as_bytes()).map(written).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "nope",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-11-31",
            "2026-11-20T",
            "2026-11-20T25:00:00Z",
            "2026-11-20T10:60:00Z",
            "2026-11-20T10:00:61Z",
            "2026-11-20T10:00:00.Z",
            "2026-11-20T10:00:00Zx",
            "2026-11-20T10:00:00+24:00",
            "2026-11-20T10:00:00+01:",
            "2026-1-2",
            "20261120",
            "2026-11-20T1000",
            "1763632800",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_calendar_agrees_with_itself() {
        for day in (-800_000..800_000).step_by(97) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), Some(day));
        }
        assert_eq!(parse_date(b"1970-01-02"), Some(1));
        assert_eq!(parse_date(b"2026-11-20T23:30:00-01:00"), parse_date(b"2026-11-21"));
    }
}
