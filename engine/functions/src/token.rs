//! Single JSON tokens: their text, their members, their canonical form.
//!
//! Tokens come out of checked records. One that is not well formed (it cannot come from a record) is never a panic: its text is
//! taken as it stands, and it has no members.

use std::borrow::Cow;

use crate::{number, scan};

/// The bytes between the quotes of a string token, escapes and all.
#[inline(always)]
pub fn body(token: &[u8]) -> Option<&[u8]> {
    match token {
        [b'"', body @ .., b'"'] => Some(body),
        _ => None,
    }
}

/// What a token says as text: a string without quotes and escapes, anything else as it is written.
#[inline]
pub fn text(token: &str) -> Cow<'_, str> {
    match body(token.as_bytes()) {
        None => Cow::Borrowed(token),
        Some(body) if memchr::memchr(b'\\', body).is_none() => Cow::Borrowed(&token[1..token.len() - 1]),
        Some(body) => Cow::Owned(unescape(body)),
    }
}

/// The text of a string's body.
pub fn unescape(body: &[u8]) -> String {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (character, length) = escape(&rest[at..]);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[(at + length).min(rest.len())..];
    }
    out.extend_from_slice(rest);
    String::from_utf8_lossy(&out).into_owned()
}

/// The character that the escape at the start of `s` stands for, and the length of the escape.
fn escape(s: &[u8]) -> (char, usize) {
    let character = match s.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(s),
        Some(other) => *other as char,
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, 2)
}

fn unicode_escape(s: &[u8]) -> (char, usize) {
    let high = scan::hex4(s, 2).unwrap_or(0xfffd);
    if let (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) = (high, scan::hex4(s, 8)) {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// Writes `text` as a JSON string, with the shortest escapes and only those that JSON demands.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write_text(text.as_bytes(), out);
}

/// The same for text that is known to be UTF-8.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut start = 0;
    for (i, byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x8 => b'b',
            0xc => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&text[start..i]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
        }
        start = i + 1;
    }
    out.extend_from_slice(&text[start..]);
}

/// The members of an object token in their order: the name's raw body and the value's token.
pub struct ObjectMembers<'a> {
    s: &'a [u8],
    i: usize,
}

/// The members of `token`; none, when it is no object.
pub fn members(token: &[u8]) -> ObjectMembers<'_> {
    ObjectMembers { s: token, i: if token.first() == Some(&b'{') { 1 } else { token.len() } }
}

impl<'a> Iterator for ObjectMembers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let s = self.s;
        let mut i = scan::skip_space(s, self.i);
        if s.get(i) == Some(&b',') {
            i = scan::skip_space(s, i + 1);
        }
        if s.get(i) != Some(&b'"') {
            self.i = s.len();
            return None;
        }
        let name_end = scan::string_end(s, i + 1).ok()?;
        let colon = scan::skip_space(s, name_end + 1);
        let value = scan::skip_space(s, colon + 1);
        let end = scan::value_end(s, value, 0).ok()?;
        self.i = end;
        Some((&s[i + 1..name_end], &s[value..end]))
    }
}

/// The element tokens of an array token in their order.
pub struct ArrayElements<'a> {
    s: &'a [u8],
    i: usize,
}

/// The elements of `token`; none, when it is no array.
pub fn elements(token: &[u8]) -> ArrayElements<'_> {
    ArrayElements { s: token, i: if token.first() == Some(&b'[') { 1 } else { token.len() } }
}

impl<'a> Iterator for ArrayElements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let mut i = scan::skip_space(self.s, self.i);
        if self.s.get(i) == Some(&b',') {
            i = scan::skip_space(self.s, i + 1);
        }
        let end = scan::value_end(self.s, i, 0).ok()?;
        self.i = end;
        Some(&self.s[i..end])
    }
}

/// Whether a member's raw name is `name`.
pub fn is_named(raw: &[u8], name: &str) -> bool {
    raw == name.as_bytes() || memchr::memchr(b'\\', raw).is_some() && unescape(raw) == name
}

/// The value of an object's member; the last of two equal names.
pub fn member<'a>(token: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(token).filter(|(raw, _)| is_named(raw, name)).last().map(|(_, value)| value)
}

/// An array's element, counted from 0; a negative index counts from the end.
pub fn element(token: &[u8], index: i64) -> Option<&[u8]> {
    if index >= 0 {
        return elements(token).nth(usize::try_from(index).ok()?);
    }
    let all: Vec<&[u8]> = elements(token).collect();
    let back = usize::try_from(index.unsigned_abs()).ok()?;
    all.len().checked_sub(back).map(|at| all[at])
}

/// Whether a token is its own canonical form: a plain integer, a string without escapes, `true`, `false`.
#[inline]
pub fn is_canonical(token: &[u8]) -> bool {
    match token.first() {
        Some(b'"') => memchr::memchr(b'\\', token).is_none(),
        Some(b'{' | b'[') => false,
        Some(b't' | b'f' | b'n') => true,
        _ => number::is_canonical(token),
    }
}

/// Writes the one token that all tokens of the same value share: `1` for `1.0`, members in the order of their names, the last of
/// two equal names, no white space, the shortest escapes.
pub fn canonical(token: &[u8], out: &mut Vec<u8>) {
    match token.first() {
        Some(b'{') => canonical_object(token, out),
        Some(b'[') => {
            out.push(b'[');
            for (index, element) in elements(token).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(element, out);
            }
            out.push(b']');
        }
        Some(b'"') if memchr::memchr(b'\\', token).is_some() => {
            write_string(&unescape(body(token).unwrap_or(token)), out);
        }
        Some(b'-' | b'0'..=b'9') => number::canonical(token, out),
        _ => out.extend_from_slice(token),
    }
}

fn canonical_object(token: &[u8], out: &mut Vec<u8>) {
    let mut sorted: Vec<(Vec<u8>, &[u8])> = Vec::new();
    for (raw, value) in members(token) {
        let mut name = Vec::with_capacity(raw.len());
        write_escaped(unescape(raw).as_bytes(), &mut name);
        sorted.push((name, value));
    }
    // A stable sort keeps equal names in their order, so the last of them is the one before the next name.
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    out.push(b'{');
    let mut first = true;
    for (index, (name, value)) in sorted.iter().enumerate() {
        if sorted.get(index + 1).is_some_and(|(next, _)| next == name) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.push(b'"');
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":");
        canonical(value, out);
    }
    out.push(b'}');
}
