//! A request's body as records: one JSON object, an array of objects, or lines of objects. Told apart by looking.
//!
//! A record is a slice of the body: the bytes that came are the bytes that are kept. Bad ones among good ones are kept as well,
//! so that they become dead letters that can be looked at; a body without any good one is refused and nothing of it is kept.
//! A JSON array that breaks off or is malformed is one broken text, not a mixture.

use std::{borrow::Cow, ops::Range};

use serde_json::value::RawValue;
use syncline_functions::validate;

mod form;

/// What the content type says about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Whatever it turns out to be.
    Any,
    /// One record per line, without exception.
    Lines,
    /// A form of which a record is made: from verified senders only, since any page in a browser can send one.
    Form,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Records {
    /// Bytes of each record in the body.
    pub spans: Vec<Range<usize>>,
    /// How many of them are not JSON objects.
    pub bad: u64,
}

/// Why nothing was taken. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the body is empty")]
    Empty,
    #[error("the body is no form, though it says so")]
    NoForm,
    #[error("line {line}, column {column}: {detail}")]
    NotJson { line: usize, column: usize, detail: String },
    #[error("line {line}, column {column}: a record is a JSON object, and this is {found}")]
    NotAnObject { line: usize, column: usize, found: &'static str },
}

/// The text with the records: the body itself, or what its form holds.
pub fn text(body: &[u8], shape: Shape) -> Result<Cow<'_, [u8]>, Refusal> {
    match shape {
        Shape::Form => form::record(body).map(Cow::Owned).ok_or(Refusal::NoForm),
        Shape::Any | Shape::Lines => Ok(Cow::Borrowed(body)),
    }
}

/// Splits a text into records.
pub fn split(body: &[u8], shape: Shape) -> Result<Records, Refusal> {
    let whole = trim(body, strip_mark(body)..body.len());
    let Some(first) = body.get(whole.start).filter(|_| !whole.is_empty()) else { return Err(Refusal::Empty) };
    if shape == Shape::Lines {
        return lines(body, whole);
    }
    if *first == b'[' {
        return elements(body, whole);
    }
    if is_record(&body[whole.clone()]) {
        return Ok(Records { spans: vec![whole], bad: 0 });
    }
    if has_record_line(body, whole.clone()) {
        return lines(body, whole);
    }
    Err(refusal(body, whole))
}

/// A byte order mark is not part of any record.
fn strip_mark(body: &[u8]) -> usize {
    if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim(body: &[u8], mut span: Range<usize>) -> Range<usize> {
    while span.start < span.end && is_space(body[span.start]) {
        span.start += 1;
    }
    while span.start < span.end && is_space(body[span.end - 1]) {
        span.end -= 1;
    }
    span
}

fn is_record(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{') && validate(bytes).is_ok()
}

fn each_line(body: &[u8], whole: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = whole.start;
    body[whole].split(|byte| *byte == b'\n').map(move |line| {
        let span = start..start + line.len();
        start = span.end + 1;
        span
    })
}

/// A line that begins at its very start with an object and ends with it: printers that spread one object over lines indent.
fn has_record_line(body: &[u8], whole: Range<usize>) -> bool {
    each_line(body, whole).any(|line| body.get(line.start) == Some(&b'{') && is_record(&body[trim(body, line)]))
}

fn lines(body: &[u8], whole: Range<usize>) -> Result<Records, Refusal> {
    let mut records = Records { spans: vec![], bad: 0 };
    let mut first_bad = None;
    for line in each_line(body, whole) {
        let span = trim(body, line);
        if span.is_empty() {
            continue;
        }
        if !is_record(&body[span.clone()]) {
            records.bad += 1;
            first_bad.get_or_insert_with(|| span.clone());
        }
        records.spans.push(span);
    }
    match first_bad {
        Some(span) if records.bad == records.spans.len() as u64 => Err(refusal(body, span)),
        _ => Ok(records),
    }
}

fn elements(body: &[u8], whole: Range<usize>) -> Result<Records, Refusal> {
    let text = std::str::from_utf8(&body[whole.clone()]).map_err(|_| refusal(body, whole.clone()))?;
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| refusal(body, whole.clone()))?;
    let mut records = Records { spans: Vec::with_capacity(elements.len()), bad: 0 };
    for element in elements {
        // The element is a slice of `text`, which is one of `body`.
        let start = element.get().as_ptr() as usize - body.as_ptr() as usize;
        let span = start..start + element.get().len();
        records.bad += u64::from(!is_record(&body[span.clone()]));
        records.spans.push(span);
    }
    match records.spans.first() {
        Some(first) if records.bad == records.spans.len() as u64 => Err(refusal(body, first.clone())),
        _ => Ok(records),
    }
}

/// Why these bytes are not a record, and where in the body.
fn refusal(body: &[u8], span: Range<usize>) -> Refusal {
    let bytes = &body[span.clone()];
    if let Err(error) = std::str::from_utf8(bytes) {
        let (line, column) = place(body, span.start + error.valid_up_to());
        return Refusal::NotJson { line, column, detail: "this is not UTF-8".to_owned() };
    }
    let (line, column) = place(body, span.start);
    match serde_json::from_slice::<&RawValue>(bytes) {
        Err(error) => {
            let (line, column) = match error.line() {
                1 => (line, column + error.column().saturating_sub(1)),
                further => (line + further - 1, error.column()),
            };
            Refusal::NotJson { line, column: column.max(1), detail: said(&error.to_string()) }
        }
        Ok(_) => match (bytes.first(), validate(bytes)) {
            (Some(b'{'), Err(reason)) => Refusal::NotJson { line, column, detail: reason.detail },
            (first, _) => Refusal::NotAnObject { line, column, found: kind(first.copied()) },
        },
    }
}

/// What is wrong, without the place that the parser appends: ours counts from the start of the body.
fn said(error: &str) -> String {
    error.split(" at line ").next().unwrap_or(error).to_owned()
}

fn kind(first: Option<u8>) -> &'static str {
    match first {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn place(body: &[u8], at: usize) -> (usize, usize) {
    let before = &body[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(body: &[u8], shape: Shape) -> Result<(Vec<String>, u64), String> {
        let records = split(body, shape).map_err(|refusal| refusal.to_string())?;
        let texts = records.spans.into_iter().map(|span| String::from_utf8_lossy(&body[span]).into_owned());
        Ok((texts.collect(), records.bad))
    }

    fn any(body: &str) -> Result<(Vec<String>, u64), String> {
        taken(body.as_bytes(), Shape::Any)
    }

    fn all(records: &[&str], bad: u64) -> Result<(Vec<String>, u64), String> {
        Ok((records.iter().map(|record| record.to_string()).collect(), bad))
    }

    #[test]
    fn one_object_is_one_record_however_it_is_printed() {
        assert_eq!(any(" {\"id\": 9007199254740993} \r\n"), all(&[r#"{"id": 9007199254740993}"#], 0));
        assert_eq!(any("\u{feff}{\n  \"a\": {\n}\n}"), all(&["{\n  \"a\": {\n}\n}"], 0));
    }

    #[test]
    fn elements_of_an_array_are_its_own_bytes() {
        let body = "[ {\"n\" :1.50e3} ,\n{\"s\":\"a,]\\\"}\"},{} ]";
        assert_eq!(any(body), all(&["{\"n\" :1.50e3}", "{\"s\":\"a,]\\\"}\"}", "{}"], 0));
        assert_eq!(any("[]"), all(&[], 0));
        assert_eq!(any("[{\"a\":1}, 7, [], {\"a\":2}]"), all(&["{\"a\":1}", "7", "[]", "{\"a\":2}"], 2));
    }

    #[test]
    fn lines_are_told_apart_by_looking_and_bad_ones_stay_among_the_good() {
        assert_eq!(any("{\"a\":1}\r\n\n  {\"a\":2}\n"), all(&["{\"a\":1}", "{\"a\":2}"], 0));
        assert_eq!(any("{\"a\":\n{\"a\":2}\nnope\n"), all(&["{\"a\":", "{\"a\":2}", "nope"], 2));
        assert_eq!(taken(b"\xff\n{}", Shape::Lines), all(&["\u{fffd}", "{}"], 1));
        assert_eq!(taken(b"[{}]\n{}", Shape::Lines), all(&["[{}]", "{}"], 1));
    }

    #[test]
    fn a_body_without_a_record_is_refused_with_the_place_of_its_first_mistake() {
        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(any(" \n\t"), refused("the body is empty"));
        assert_eq!(any("42"), refused("line 1, column 1: a record is a JSON object, and this is a number"));
        assert_eq!(any("[1, 2]"), refused("line 1, column 2: a record is a JSON object, and this is a number"));
        assert_eq!(any("{\n  \"a\": 1,\n  nope\n}"), refused("line 3, column 3: key must be a string"));
        assert_eq!(any("[{\"a\":1},\n {\"a\":}]"), refused("line 2, column 7: expected value"));
        assert_eq!(any("[{\"a\":1}, {\"a\""), refused("line 1, column 14: EOF while parsing an object"));
        assert_eq!(taken(b"\n{\"a\":\"\xff\"}", Shape::Any), refused("line 2, column 7: this is not UTF-8"));
        assert_eq!(taken(b"\n  nope\nno", Shape::Lines), refused("line 2, column 4: expected ident"));
    }

    #[test]
    fn an_inner_object_of_a_broken_one_is_not_a_line() {
        assert_eq!(any("{\n\"a\":\n  {}\noops\n}").map_err(|text| text.contains("line 4")), Err(true));
    }

    #[test]
    fn nesting_is_bounded_and_never_overflows_the_stack() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(any(&deep).is_err());
        assert_eq!(any(&format!("{{}}\n{deep}")), all(&["{}", &deep], 1));
        assert_eq!(any(&format!("[{deep},{{}}]")), all(&[&deep, "{}"], 1));
    }
}
