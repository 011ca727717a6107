//! The JSON grammar (RFC 8259), walked once, byte by byte, by hand.
//!
//! Everything that enters the system passes here, so it is the hot path: strings are skipped 16 bytes at a time, a scalar is
//! checked where it stands, and nothing is allocated. A lone surrogate (`"\ud800"`) is refused, because no text can hold it.
//! Bytes above 0x7f are taken as they are: whether they are UTF-8 is checked apart, for a whole batch at once.

/// Deepest nesting of objects and arrays, the record itself included: far above any sane record, far below any stack.
pub const DEEPEST: usize = 1000;

/// Where and how a text leaves the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// At byte `at`, `wanted` did not come.
    Syntax { at: usize, wanted: &'static str },
    /// The nesting goes past [`DEEPEST`].
    TooDeep,
}

type Scanned<T> = Result<T, Flaw>;

fn missing<T>(at: usize, wanted: &'static str) -> Scanned<T> {
    Err(Flaw::Syntax { at, wanted })
}

/// The first byte at or after `i` that is not white space.
#[inline(always)]
pub fn skip_space(s: &[u8], mut i: usize) -> usize {
    while i < s.len() && matches!(s[i], b' ' | b'\n' | b'\t' | b'\r') {
        i += 1;
    }
    i
}

/// Index of the closing quote; `i` is just after the opening one.
#[inline(always)]
pub fn string_end(s: &[u8], mut i: usize) -> Scanned<usize> {
    loop {
        i = special(s, i);
        match s.get(i) {
            Some(b'"') => return Ok(i),
            Some(b'\\') => i = escape_end(s, i)?,
            Some(_) => return missing(i, "an escaped control character"),
            None => return missing(i, "a closing quote"),
        }
    }
}

/// The first quote, backslash or control character at or after `i`, or the end.
#[inline(always)]
fn special(s: &[u8], mut i: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::*;
        const LANES: usize = 16;
        while i + LANES <= s.len() {
            // SAFETY: SSE2 belongs to every x86_64, and the 16 bytes read are inside `s`.
            let mask = unsafe {
                let bytes = _mm_loadu_si128(s.as_ptr().add(i).cast());
                let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
                let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
                let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
                _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
            };
            if mask != 0 {
                return i + mask.trailing_zeros() as usize;
            }
            i += LANES;
        }
    }
    while i < s.len() && s[i] != b'"' && s[i] != b'\\' && s[i] >= 0x20 {
        i += 1;
    }
    i
}

/// The byte after the escape whose backslash is at `i`; a pair of surrogates counts as one escape.
fn escape_end(s: &[u8], i: usize) -> Scanned<usize> {
    match s.get(i + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(i + 2),
        Some(b'u') => match hex4(s, i + 2) {
            Some(0xd800..=0xdbff) if s.get(i + 6..i + 8) == Some(b"\\u") => match hex4(s, i + 8) {
                Some(0xdc00..=0xdfff) => Ok(i + 12),
                _ => missing(i, "the second half of a surrogate pair"),
            },
            Some(0xd800..=0xdfff) => missing(i, "a pair of surrogates"),
            Some(_) => Ok(i + 6),
            None => missing(i, "four hexadecimal digits"),
        },
        _ => missing(i, "an escape that JSON has"),
    }
}

/// The value of the four hexadecimal digits at `i`.
pub fn hex4(s: &[u8], i: usize) -> Option<u32> {
    s.get(i..i + 4)?.iter().try_fold(0, |value, byte| Some(value << 4 | (*byte as char).to_digit(16)?))
}

/// The byte after the number that starts at `i`.
#[inline(always)]
fn number_end(s: &[u8], mut i: usize) -> Scanned<usize> {
    #[inline(always)]
    fn digits(s: &[u8], mut i: usize) -> Scanned<usize> {
        let start = i;
        while i < s.len() && s[i].is_ascii_digit() {
            i += 1;
        }
        if i == start { missing(i, "a digit") } else { Ok(i) }
    }
    if s[i] == b'-' {
        i += 1;
    }
    i = if s.get(i) == Some(&b'0') { i + 1 } else { digits(s, i)? };
    if s.get(i) == Some(&b'.') {
        i = digits(s, i + 1)?;
    }
    if let Some(b'e' | b'E') = s.get(i) {
        i += 1;
        if let Some(b'+' | b'-') = s.get(i) {
            i += 1;
        }
        i = digits(s, i)?;
    }
    Ok(i)
}

#[inline(always)]
fn scalar_end(s: &[u8], i: usize) -> Scanned<usize> {
    let word = |word: &'static str| {
        if s[i..].starts_with(word.as_bytes()) { Ok(i + word.len()) } else { missing(i, word) }
    };
    match s.get(i) {
        Some(b'"') => Ok(string_end(s, i + 1)? + 1),
        Some(b'-' | b'0'..=b'9') => number_end(s, i),
        Some(b't') => word("true"),
        Some(b'f') => word("false"),
        Some(b'n') => word("null"),
        _ => missing(i, "a value"),
    }
}

/// The byte after the value that starts at `i`, which lies inside `above` objects and arrays.
#[inline(always)]
pub fn value_end(s: &[u8], i: usize, above: usize) -> Scanned<usize> {
    match s.get(i) {
        Some(b'{' | b'[') => nested_end(s, i, above),
        _ => scalar_end(s, i),
    }
}

/// From the opening quote of a member's name to the first byte of its value.
#[inline(always)]
fn name_end(s: &[u8], i: usize) -> Scanned<usize> {
    if s.get(i) != Some(&b'"') {
        return missing(i, "a name in quotes");
    }
    colon_end(s, string_end(s, i + 1)? + 1)
}

#[inline(always)]
fn colon_end(s: &[u8], i: usize) -> Scanned<usize> {
    let i = skip_space(s, i);
    if s.get(i) == Some(&b':') { Ok(skip_space(s, i + 1)) } else { missing(i, "a colon") }
}

/// The open objects and arrays, one bit each: no recursion, no allocation.
struct Open {
    objects: [u64; DEEPEST.div_ceil(64)],
    depth: usize,
    most: usize,
}

impl Open {
    #[inline(always)]
    fn push(&mut self, object: bool) -> Scanned<()> {
        if self.depth == self.most {
            return Err(Flaw::TooDeep);
        }
        let (word, bit) = (self.depth / 64, 1u64 << (self.depth % 64));
        self.objects[word] = if object { self.objects[word] | bit } else { self.objects[word] & !bit };
        self.depth += 1;
        Ok(())
    }

    #[inline(always)]
    fn in_object(&self) -> bool {
        let top = self.depth - 1;
        self.objects[top / 64] >> (top % 64) & 1 == 1
    }
}

fn nested_end(s: &[u8], mut i: usize, above: usize) -> Scanned<usize> {
    let mut open = Open { objects: [0; _], depth: 0, most: DEEPEST.saturating_sub(above) };
    loop {
        // A value starts at `i`.
        match s.get(i) {
            Some(b'{') => {
                open.push(true)?;
                i = skip_space(s, i + 1);
                if s.get(i) != Some(&b'}') {
                    i = name_end(s, i)?;
                    continue;
                }
            }
            Some(b'[') => {
                open.push(false)?;
                i = skip_space(s, i + 1);
                if s.get(i) != Some(&b']') {
                    continue;
                }
            }
            _ => i = scalar_end(s, i)?,
        }
        // A value has ended, or the innermost object or array is about to.
        loop {
            i = skip_space(s, i);
            let object = open.in_object();
            match s.get(i) {
                Some(b',') if object => {
                    i = name_end(s, skip_space(s, i + 1))?;
                    break;
                }
                Some(b',') => {
                    i = skip_space(s, i + 1);
                    break;
                }
                Some(b'}') if object => i += 1,
                Some(b']') if !object => i += 1,
                _ => return missing(i, if object { "a comma or `}`" } else { "a comma or `]`" }),
            }
            open.depth -= 1;
            if open.depth == 0 {
                return Ok(i);
            }
        }
    }
}

/// Checks that `s` is one JSON text of any kind.
pub fn check(s: &[u8]) -> Scanned<()> {
    let end = skip_space(s, value_end(s, skip_space(s, 0), 0)?);
    if end == s.len() { Ok(()) } else { missing(end, "the end") }
}

/// What a walk over an object calls for each of its members.
pub trait Members {
    /// The name expected as the `position`-th of the object (as raw bytes without quotes), and its field.
    fn expected(&self, position: usize) -> Option<(usize, &[u8])>;
    /// The field of this name (raw, between the quotes), seen as the `position`-th.
    fn meet(&mut self, position: usize, name: &[u8]) -> Option<usize>;
    /// The token of a field is `s[start..end]`.
    fn take(&mut self, field: usize, start: usize, end: usize);
}

/// Walks the one object that `s` must be, and checks all of it.
#[inline(always)]
pub fn object(s: &[u8], members: &mut impl Members) -> Scanned<()> {
    let mut i = skip_space(s, 0);
    if s.get(i) != Some(&b'{') {
        return missing(i, "an object");
    }
    i = skip_space(s, i + 1);
    if s.get(i) == Some(&b'}') {
        i += 1;
    } else {
        let mut position = 0;
        loop {
            if s.get(i) != Some(&b'"') {
                return missing(i, "a name in quotes");
            }
            let start = i + 1;
            let expected = members
                .expected(position)
                .filter(|(_, name)| s.get(start + name.len()) == Some(&b'"') && &s[start..start + name.len()] == *name);
            let field = match expected {
                Some((field, name)) => {
                    i = start + name.len();
                    Some(field)
                }
                None => {
                    i = string_end(s, start)?;
                    members.meet(position, &s[start..i])
                }
            };
            i = colon_end(s, i + 1)?;
            let value = i;
            i = value_end(s, i, 1)?;
            if let Some(field) = field {
                members.take(field, value, i);
            }
            i = skip_space(s, i);
            match s.get(i) {
                Some(b',') => i = skip_space(s, i + 1),
                Some(b'}') => {
                    i += 1;
                    break;
                }
                _ => return missing(i, "a comma or `}`"),
            }
            position += 1;
        }
    }
    i = skip_space(s, i);
    if i == s.len() { Ok(()) } else { missing(i, "the end of the record") }
}
