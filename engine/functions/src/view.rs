//! String views made by hand: columns of slices of a payload, without copying it.
//!
//! Layout: Arrow's variable-size binary view (<https://arrow.apache.org/docs/format/Columnar.html>): the length in the low 32
//! bits; up to 12 bytes follow inline; else 4 bytes of prefix, the buffer's number and the offset in it.
//!
//! The unsafe constructors here rest on two facts: every view lies inside its buffer, and its bytes are UTF-8, because a payload
//! is checked before its tokens become views and a token starts and ends at ASCII bytes.

use std::sync::Arc;

use arrow::{
    array::{Array, StringViewArray},
    buffer::{Buffer, NullBuffer, ScalarBuffer},
};

use crate::token;

/// Longest value that is kept in the view itself.
const INLINE: usize = 12;

/// The view of `base[start..end]`, where `base` is buffer 0.
#[inline(always)]
pub fn make(base: &[u8], start: usize, end: usize) -> u128 {
    let length = end - start;
    if length <= INLINE {
        return inline(base, start, length);
    }
    let mut prefix = [0u8; 4];
    prefix.copy_from_slice(&base[start..start + 4]);
    length as u128 | (u32::from_le_bytes(prefix) as u128) << 32 | (start as u128) << 96
}

/// Twelve bytes are read at once where there are so many, and those past the end are masked away.
#[inline(always)]
fn inline(base: &[u8], start: usize, length: usize) -> u128 {
    let mut view = [0u8; 16];
    match base.get(start..start + INLINE) {
        Some(twelve) => view[4..].copy_from_slice(twelve),
        None => view[4..4 + length].copy_from_slice(&base[start..start + length]),
    }
    let kept = u128::MAX >> (8 * (INLINE - length));
    (u128::from_le_bytes(view) & kept) | length as u128
}

/// The view of a JSON string whose text is this, where both fit into the view and nothing has to be escaped.
#[inline(always)]
pub fn short_string(text: &[u8]) -> Option<u128> {
    let length = text.len() + 2;
    if length > INLINE || text.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        return None;
    }
    let mut view = [0u8; 16];
    view[0] = length as u8;
    view[4] = b'"';
    view[5..5 + text.len()].copy_from_slice(text);
    view[5 + text.len()] = b'"';
    Some(u128::from_le_bytes(view))
}

/// A view of buffer 0 as one of another.
#[inline(always)]
pub fn in_buffer(view: u128, buffer: u32) -> u128 {
    if view as u32 as usize > INLINE { view | (buffer as u128) << 64 } else { view }
}

/// A column of views into `buffers`.
pub fn column(views: Vec<u128>, buffers: Vec<Buffer>, nulls: Option<NullBuffer>) -> StringViewArray {
    // SAFETY: callers make views with `make` out of the same buffers, at token boundaries of text that is UTF-8.
    unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), Arc::<[Buffer]>::from(buffers), nulls) }
}

/// The same values under another validity, which may only hide more of them.
pub fn with_nulls(column: &StringViewArray, nulls: Option<NullBuffer>) -> StringViewArray {
    let (views, buffers, _) = column.clone().into_parts();
    // SAFETY: views and buffers are those of an array.
    unsafe { StringViewArray::new_unchecked(views, buffers, nulls) }
}

/// The text of every token: slices of the same buffers, save for strings with escapes, which get a buffer of their own.
pub fn texts(tokens: &StringViewArray) -> StringViewArray {
    let buffers = tokens.data_buffers();
    let mut views: Vec<u128> = Vec::with_capacity(tokens.len());
    let mut unescaped: Vec<u8> = Vec::new();
    for view in tokens.views() {
        let length = *view as u32 as usize;
        if length <= INLINE {
            views.push(inline_text(*view, length).unwrap_or_else(|| own(*view, length, &mut unescaped, buffers.len())));
            continue;
        }
        let (buffer, offset) = ((*view >> 64) as u32, (*view >> 96) as usize);
        let base = buffers[buffer as usize].as_slice();
        views.push(match token::body(&base[offset..offset + length]) {
            None => *view,
            Some(body) if memchr::memchr(b'\\', body).is_none() => {
                in_buffer(make(base, offset + 1, offset + length - 1), buffer)
            }
            Some(body) => append(&token::unescape(body), &mut unescaped, buffers.len()),
        });
    }
    let mut buffers = buffers.to_vec();
    if !unescaped.is_empty() {
        buffers.push(Buffer::from_vec(unescaped));
    }
    column(views, buffers, tokens.nulls().cloned())
}

/// The text of an inline token, unless it has escapes.
#[inline(always)]
fn inline_text(view: u128, length: usize) -> Option<u128> {
    let bytes = view.to_le_bytes();
    if length < 2 || bytes[4] != b'"' || bytes[3 + length] != b'"' {
        return Some(view);
    }
    let mut text = [0u8; 16];
    text[0] = (length - 2) as u8;
    text[4..2 + length].copy_from_slice(&bytes[5..3 + length]);
    (!bytes[5..3 + length].contains(&b'\\')).then(|| u128::from_le_bytes(text))
}

#[cold]
fn own(view: u128, length: usize, unescaped: &mut Vec<u8>, buffer: usize) -> u128 {
    append(&token::unescape(&view.to_le_bytes()[5..3 + length]), unescaped, buffer)
}

fn append(text: &str, unescaped: &mut Vec<u8>, buffer: usize) -> u128 {
    let start = unescaped.len();
    unescaped.extend_from_slice(text.as_bytes());
    in_buffer(make(unescaped, start, start + text.len()), buffer as u32)
}

/// For every token, a part of it (or NULL): slices of the same buffers.
pub fn parts<'a>(
    tokens: &'a StringViewArray,
    mut part: impl FnMut(usize, &'a [u8]) -> Option<&'a [u8]>,
) -> StringViewArray {
    let buffers = tokens.data_buffers();
    let (mut views, mut valid) = (Vec::with_capacity(tokens.len()), Vec::with_capacity(tokens.len()));
    for (row, view) in tokens.views().iter().enumerate() {
        let token = if tokens.is_valid(row) { tokens.value(row).as_bytes() } else { b"" };
        let found = if tokens.is_valid(row) { part(row, token) } else { None };
        valid.push(found.is_some());
        let found = found.unwrap_or(b"");
        views.push(if token.len() <= INLINE || found.len() <= INLINE {
            make(found, 0, found.len())
        } else {
            let (buffer, offset) = ((*view >> 64) as u32, (*view >> 96) as usize);
            let start = offset + (found.as_ptr() as usize - token.as_ptr() as usize);
            in_buffer(make(buffers[buffer as usize].as_slice(), start, start + found.len()), buffer)
        });
    }
    column(views, buffers.to_vec(), Some(NullBuffer::from(valid)))
}
