//! The end of a JSON array that is read by its elements: its bracket, and white space behind it.
//!
//! An array without its bracket was cut off, however whole its last element looks; one with something behind it is not the only
//! thing in its text. Either stops the reading when everything before that point was given, as a cut-off archive does.

use std::io::{self, ErrorKind};

use super::{
    blocks::{Block, Mark, Next},
    input::{Input, Piece, Then},
};

/// White space at the end of a text that is looked through for the bracket before it: no editor leaves more.
const LOOKED_BACK: u64 = 4 << 10;

/// Whether the bracket of the array stands before `mark`, with nothing but white space between.
pub fn is_closed_before(input: &mut dyn Input, mark: Mark) -> io::Result<bool> {
    let length = mark.offset.min(LOOKED_BACK);
    if length == 0 {
        return Ok(false);
    }
    let before = input.read(mark.offset - length, length as usize)?.bytes;
    match before.trim_ascii_end().last() {
        Some(b']') => Ok(true),
        Some(_) => Ok(false),
        None => Ok(mark.unended && mark.part.is_none()),
    }
}

/// What stands behind the bracket: white space is taken, up to the end of the text.
pub fn behind(input: &mut dyn Input, mark: Mark, length: usize) -> io::Result<Next> {
    let Piece { bytes, then } = input.read(mark.offset, length)?;
    let space = bytes.len() - bytes.trim_ascii_start().len();
    if space < bytes.len() {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "something follows the JSON array, at byte {}: a file is one array, or one record a line",
                mark.offset + space as u64
            ),
        ));
    }
    match then {
        Then::Broken(error) if bytes.is_empty() => Err(error),
        Then::End if bytes.is_empty() => Ok(Next::Nothing),
        then => {
            let next = Mark { offset: mark.offset + space as u64, line: mark.line, unended: true, part: None };
            let block = Block { next, last: matches!(then, Then::End), closed: true, ..Block::default() };
            Ok(Next::Block(Box::new(block)))
        }
    }
}

pub fn cut_off(bytes: u64) -> io::Error {
    let text = format!("the JSON array is cut off: it ends after {bytes} bytes, without its `]`");
    io::Error::new(ErrorKind::InvalidData, text)
}
