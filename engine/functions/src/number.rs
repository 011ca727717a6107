//! Decimal numbers as they are written, without a float in between.
//!
//! A number is an integer times a power of ten. Up to 38 significant digits it is held exactly; a number with more digits is
//! not held at all, so that nothing is ever rounded without being asked.

use std::cmp::Ordering;

/// Powers of ten that an `i128` can hold go up to this exponent.
const MOST_DIGITS: u32 = 38;

/// Longest number whose digits surely fit a `u64`.
const SHORT: usize = 18;

/// Longest plain form of a canonical number; beyond it the exponent form is shorter and as exact.
const LONGEST_PLAIN: i64 = 40;

/// `mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    pub mantissa: i128,
    pub exponent: i64,
}

fn power(exponent: i64) -> Option<i128> {
    let exponent = u32::try_from(exponent).ok().filter(|exponent| *exponent <= MOST_DIGITS)?;
    Some(10i128.pow(exponent))
}

/// The number that `text` spells: optional sign, digits, fraction, exponent. `None` where it is no number or has too many digits.
#[inline]
pub fn parse(text: &[u8]) -> Option<Exact> {
    if text.len() <= SHORT { parse_short(text).or_else(|| parse_long(text)) } else { parse_long(text) }
}

#[inline]
fn parse_short(text: &[u8]) -> Option<Exact> {
    let (negative, digits) = split_sign(text);
    let (mut mantissa, mut exponent, mut count, mut fraction) = (0u64, 0i64, 0usize, false);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + (byte - b'0') as u64;
                exponent -= fraction as i64;
                count += 1;
            }
            b'.' if !fraction && count > 0 => fraction = true,
            _ => return None,
        }
    }
    if count == 0 || digits.last() == Some(&b'.') {
        return None;
    }
    let mantissa = mantissa as i128;
    Some(Exact { mantissa: if negative { -mantissa } else { mantissa }, exponent })
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// The parts of a number's text, checked: sign, digits before and after the point, exponent.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

fn parts(text: &[u8]) -> Option<Parts<'_>> {
    let (negative, rest) = split_sign(text);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, mut rest) = rest.split_at(digits(rest));
    let mut fraction: &[u8] = &[];
    if let Some(b'.') = rest.first() {
        (fraction, rest) = rest[1..].split_at(digits(&rest[1..]));
        if fraction.is_empty() {
            return None;
        }
    }
    let exponent = match rest.first() {
        None => 0,
        Some(b'e' | b'E') => std::str::from_utf8(&rest[1..]).ok()?.parse().ok()?,
        Some(_) => return None,
    };
    (!whole.is_empty()).then_some(Parts { negative, whole, fraction, exponent })
}

fn parse_long(text: &[u8]) -> Option<Exact> {
    let parts = parts(text)?;
    let (mut mantissa, mut zeros) = (0i128, 0i64);
    for byte in parts.whole.iter().chain(parts.fraction) {
        if *byte == b'0' {
            zeros += 1;
        } else if mantissa == 0 {
            (mantissa, zeros) = ((byte - b'0') as i128, 0);
        } else {
            mantissa = mantissa.checked_mul(power(zeros + 1)?)?.checked_add((byte - b'0') as i128)?;
            zeros = 0;
        }
    }
    let exponent = parts.exponent.checked_sub(parts.fraction.len() as i64)?.checked_add(zeros)?;
    Some(if mantissa == 0 {
        Exact { mantissa: 0, exponent: 0 }
    } else {
        Exact { mantissa: if parts.negative { -mantissa } else { mantissa }, exponent }
    })
}

/// Whether `text` spells a number, of any length.
pub fn is_number(text: &[u8]) -> bool {
    parts(text).is_some()
}

/// The number as it is spelled with a double's precision; `None` where it is no number or beyond a double's range.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    parts(text)?;
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

impl Exact {
    /// The mantissa at `scale` digits after the point, rounded half away from zero; `None` past an `i128`.
    #[inline]
    pub fn rescale(self, scale: i8) -> Option<i128> {
        let shift = self.exponent.checked_add(scale as i64)?;
        if shift == 0 || self.mantissa == 0 {
            return Some(self.mantissa);
        }
        if shift > 0 {
            return self.mantissa.checked_mul(power(shift)?);
        }
        let Some(divisor) = power(-shift) else { return Some(0) };
        let (quotient, rest) = (self.mantissa / divisor, self.mantissa % divisor);
        let up = rest.unsigned_abs() * 2 >= divisor.unsigned_abs();
        Some(if up { quotient + self.mantissa.signum() } else { quotient })
    }

    /// The value, when it is a whole number of at most 38 digits.
    #[inline]
    pub fn whole(self) -> Option<i128> {
        if self.exponent == 0 {
            return Some(self.mantissa);
        }
        if self.exponent > 0 || self.mantissa == 0 {
            return self.rescale(0);
        }
        let divisor = power(-self.exponent)?;
        (self.mantissa % divisor == 0).then(|| self.mantissa / divisor)
    }

    /// Order by value.
    #[inline]
    pub fn compare(self, other: Exact) -> Ordering {
        if self.exponent < other.exponent {
            return other.compare(self).reverse();
        }
        let shift = self.exponent.saturating_sub(other.exponent);
        match power(shift).and_then(|power| self.mantissa.checked_mul(power)) {
            Some(mantissa) => mantissa.cmp(&other.mantissa),
            None if self.mantissa == 0 => 0.cmp(&other.mantissa),
            None => self.mantissa.cmp(&0),
        }
    }
}

/// One text per value: no exponent and no needless zero up to 40 digits, then `digits e exponent`. `text` is a JSON number.
pub fn canonical(text: &[u8], out: &mut Vec<u8>) {
    if is_canonical(text) {
        return out.extend_from_slice(text);
    }
    let Some(parts) = parts(text) else { return out.extend_from_slice(text) };
    let digits: Vec<u8> = parts.whole.iter().chain(parts.fraction).copied().collect();
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    if leading == digits.len() {
        return out.push(b'0');
    }
    let trailing = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    let Some(exponent) = parts.exponent.checked_sub(parts.fraction.len() as i64) else {
        return out.extend_from_slice(text);
    };
    if parts.negative {
        out.push(b'-');
    }
    write_scaled(&digits[leading..digits.len() - trailing], exponent.saturating_add(trailing as i64), out);
}

/// Whether a number is its own canonical text, as nearly every integer is.
#[inline]
pub fn is_canonical(text: &[u8]) -> bool {
    text.len() <= SHORT && text != b"-0" && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

fn write_scaled(digits: &[u8], exponent: i64, out: &mut Vec<u8>) {
    let count = digits.len() as i64;
    if exponent >= 0 && count.saturating_add(exponent) <= LONGEST_PLAIN {
        out.extend_from_slice(digits);
        out.resize(out.len() + exponent as usize, b'0');
    } else if (-LONGEST_PLAIN..0).contains(&exponent) && -exponent < count {
        let (whole, fraction) = digits.split_at((count + exponent) as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else if (-LONGEST_PLAIN..0).contains(&exponent) {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - count) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        out.extend_from_slice(digits);
        out.push(b'e');
        out.extend_from_slice(exponent.to_string().as_bytes());
    }
}

/// A decimal as a number token with all digits of its scale.
pub fn write_decimal(mantissa: i128, scale: i8, out: &mut Vec<u8>) {
    if mantissa < 0 {
        out.push(b'-');
    }
    let mut buffer = [0u8; LONGEST_INTEGER];
    let digits = digits_of(mantissa.unsigned_abs(), &mut buffer);
    if scale <= 0 {
        out.extend_from_slice(digits);
        if mantissa != 0 {
            out.resize(out.len() + scale.unsigned_abs() as usize, b'0');
        }
        return;
    }
    let scale = scale as usize;
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
    out.push(b'.');
    out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(&digits[whole..]);
}

/// Digits of the largest `u128`.
const LONGEST_INTEGER: usize = 39;

/// The decimal digits of `value`, at the end of `buffer`.
fn digits_of(mut value: u128, buffer: &mut [u8; LONGEST_INTEGER]) -> &[u8] {
    let mut at = buffer.len();
    // Division of 128 bits is slow, and nearly every number is shorter.
    while value > u64::MAX as u128 {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let mut short = value as u64;
    loop {
        at -= 1;
        buffer[at] = b'0' + (short % 10) as u8;
        short /= 10;
        if short == 0 {
            return &buffer[at..];
        }
    }
}

/// A decimal without needless zeros after the point.
pub fn write_trimmed(mut mantissa: i128, mut scale: i8, out: &mut Vec<u8>) {
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    write_decimal(mantissa, scale, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canon(text: &str) -> String {
        let mut out = Vec::new();
        canonical(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_exact_to_38_digits() {
        for (text, mantissa, exponent) in [
            ("0", 0, 0),
            ("-0", 0, 0),
            ("18.5", 185, -1),
            ("1e2", 1, 2),
            ("-1.50E-3", -15, -4),
            ("12345678901234567.89", 1234567890123456789, -2),
            ("99999999999999999999999999999999999999", 99999999999999999999999999999999999999, 0),
            ("0.10000000000000000000000000000000000000000000000000000", 1, -1),
            ("1e400", 1, 400),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Exact { mantissa, exponent }), "{text}");
        }
        for text in ["", "-", ".5", "5.", "1e", "1e+", "abc", "1x", "1 ", "0x1", "1e99999999999999999999", "NaN"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"999999999999999999999999999999999999999"), None, "39 digits");
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        for (text, scale, rounded) in
            [("0.005", 2, 1), ("-0.005", 2, -1), ("0.0049", 2, 0), ("1e-400", 2, 0), ("7", 2, 700), ("149e-1", 0, 15)]
        {
            assert_eq!(parse(text.as_bytes()).unwrap().rescale(scale), Some(rounded), "{text}");
        }
        assert_eq!(parse(b"1e400").unwrap().rescale(2), None);
        assert_eq!(parse(b"160000000000000000000000000000000000000").unwrap().exponent, 37);
    }

    #[test]
    fn order_is_by_value() {
        for (left, right, order) in [
            ("18.5", "18", Ordering::Greater),
            ("1.0", "1", Ordering::Equal),
            ("1e400", "5", Ordering::Greater),
            ("-1e400", "5", Ordering::Less),
            ("1e-400", "0", Ordering::Greater),
            ("0", "1e-400", Ordering::Less),
        ] {
            assert_eq!(
                parse(left.as_bytes()).unwrap().compare(parse(right.as_bytes()).unwrap()),
                order,
                "{left} {right}"
            );
        }
    }

    #[test]
    fn equal_numbers_have_one_text() {
        for (text, wanted) in [
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0e7", "0"),
            ("1e2", "100"),
            ("18.50", "18.5"),
            ("0.0010", "0.001"),
            ("123e-1", "12.3"),
            ("1e400", "1e400"),
            ("10e399", "1e400"),
            ("1e-400", "1e-400"),
            ("-12.5E1", "-125"),
        ] {
            assert_eq!(canon(text), wanted, "{text}");
        }
        assert_eq!(canon(&format!("1{}", "0".repeat(49))), canon("1e49"));
        assert_eq!(canon(&format!("1{}", "0".repeat(30))), canon("1e30"));
    }

    #[test]
    fn decimals_are_written_with_their_scale() {
        let write = |mantissa, scale| {
            let mut out = Vec::new();
            write_decimal(mantissa, scale, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            [write(950, 2), write(-5, 2), write(0, 2), write(7, 0), write(7, -2), write(0, -2), write(-12345, 3)],
            ["9.50", "-0.05", "0.00", "7", "700", "0", "-12.345"]
        );
    }
}
