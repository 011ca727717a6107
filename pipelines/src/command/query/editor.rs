//! Lines typed at a terminal, edited, with those that were typed before at the arrow keys.
//!
//! A line takes one line of the terminal; a longer one slides under its prompt. Between lines the terminal is as it was, so that Ctrl-C is a
//! signal there. A crate for this would bring `nix`, whose features build every other crate anew.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that does not say how wide it is.
const WIDTH: usize = 80;

/// What came of a prompt.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    Line(String),
    /// Ctrl-C.
    Dropped,
    /// Ctrl-D on an empty line, or nobody is there any more.
    End,
}

#[derive(Default)]
pub struct Editor {
    /// The oldest first.
    pub past: Vec<String>,
}

/// The terminal, every key by itself; as it was when this goes.
struct Raw<T: AsFd> {
    terminal: T,
    before: Termios,
}

impl<T: AsFd> Raw<T> {
    fn new(terminal: T) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }

    fn byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((rustix::io::retry_on_intr(|| rustix::io::read(&self.terminal, &mut byte))? == 1).then_some(byte[0]))
    }
}

impl<T: AsFd> Drop for Raw<T> {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// What a key does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Letter(char),
    Enter,
    Drop,
    /// Ctrl-D: the letter under the cursor, or the end.
    Delete,
    Rub,
    RubWord,
    RubBefore,
    RubBehind,
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    Clear,
    Other,
}

/// The next key; `None` at the end of the input.
fn key(mut byte: impl FnMut() -> io::Result<Option<u8>>) -> io::Result<Option<Key>> {
    let Some(first) = byte()? else { return Ok(None) };
    Ok(Some(match first {
        b'\r' | b'\n' => Key::Enter,
        0x01 => Key::Home,
        0x03 => Key::Drop,
        0x04 => Key::Delete,
        0x05 => Key::End,
        0x08 | 0x7f => Key::Rub,
        b'\t' => Key::Letter(' '),
        0x0b => Key::RubBehind,
        0x0c => Key::Clear,
        0x15 => Key::RubBefore,
        0x17 => Key::RubWord,
        0x1b => return escaped(byte),
        0..0x20 => Key::Other,
        _ => {
            let mut bytes = vec![first];
            let length = match first {
                0..0xc0 => 1,
                0xc0..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            while bytes.len() < length {
                let Some(next) = byte()? else { return Ok(None) };
                bytes.push(next);
            }
            let text = std::str::from_utf8(&bytes).ok();
            text.and_then(|text| text.chars().next()).map_or(Key::Other, Key::Letter)
        }
    }))
}

/// A key that a terminal sends as several bytes: `ESC [ 3 ~`.
fn escaped(mut byte: impl FnMut() -> io::Result<Option<u8>>) -> io::Result<Option<Key>> {
    let Some(kind) = byte()? else { return Ok(None) };
    if kind != b'[' && kind != b'O' {
        return Ok(Some(Key::Other));
    }
    let mut numbers = vec![];
    loop {
        let Some(next) = byte()? else { return Ok(None) };
        if !(0x40..0x7f).contains(&next) {
            numbers.push(next);
            continue;
        }
        return Ok(Some(match (next, numbers.as_slice()) {
            (b'A', _) => Key::Up,
            (b'B', _) => Key::Down,
            (b'C', _) => Key::Right,
            (b'D', _) => Key::Left,
            (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
            (b'F', _) | (b'~', b"4" | b"8") => Key::End,
            (b'~', b"3") => Key::Delete,
            _ => Key::Other,
        }));
    }
}

/// A line, and where the cursor is in it.
#[derive(Default)]
struct Line {
    letters: Vec<char>,
    at: usize,
}

impl Line {
    fn of(text: &str) -> Line {
        let letters: Vec<char> = text.chars().collect();
        Line { at: letters.len(), letters }
    }

    fn text(&self) -> String {
        self.letters.iter().collect()
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Letter(letter) => {
                self.letters.insert(self.at, letter);
                self.at += 1;
            }
            Key::Rub if self.at > 0 => {
                self.at -= 1;
                self.letters.remove(self.at);
            }
            Key::Delete if self.at < self.letters.len() => drop(self.letters.remove(self.at)),
            Key::RubWord => {
                let blank = |letter: &char| letter.is_whitespace();
                let before = &self.letters[..self.at];
                let word = before.iter().rposition(|letter| !blank(letter)).map_or(0, |last| last + 1);
                let from = before[..word].iter().rposition(blank).map_or(0, |last| last + 1);
                self.letters.drain(from..self.at);
                self.at = from;
            }
            Key::RubBefore => {
                self.letters.drain(..self.at);
                self.at = 0;
            }
            Key::RubBehind => self.letters.truncate(self.at),
            Key::Left => self.at = self.at.saturating_sub(1),
            Key::Right => self.at = (self.at + 1).min(self.letters.len()),
            Key::Home => self.at = 0,
            Key::End => self.at = self.letters.len(),
            _ => {}
        }
    }

    /// As it stands behind a prompt in so many columns.
    fn drawn(&self, prompt: &str, columns: usize) -> String {
        let room = columns.saturating_sub(prompt.len() + 1).max(1);
        let from = self.at.saturating_sub(room);
        let shown: String = self.letters[from..].iter().take(room).collect();
        format!("\r{prompt}{shown}\x1b[K\r\x1b[{}C", prompt.len() + self.at - from)
    }
}

impl Editor {
    /// Asks for a line.
    pub fn read(&mut self, prompt: &str) -> io::Result<Typed> {
        let (input, mut screen) = (io::stdin(), io::stderr());
        let raw = Raw::new(&input)?;
        let (mut line, mut place, mut kept) = (Line::default(), self.past.len(), String::new());
        loop {
            let columns = tcgetwinsize(&input).map_or(WIDTH, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { WIDTH } else { columns };
            screen.write_all(line.drawn(prompt, columns).as_bytes())?;
            screen.flush()?;
            let Some(key) = key(|| raw.byte())? else { return Ok(Typed::End) };
            let typed = match key {
                Key::Enter => Typed::Line(line.text()),
                Key::Drop => Typed::Dropped,
                Key::Delete if line.letters.is_empty() => Typed::End,
                Key::Up | Key::Down => {
                    let next = if key == Key::Up { place.checked_sub(1) } else { Some(place + 1) };
                    let Some(next) = next.filter(|next| *next <= self.past.len()) else { continue };
                    if place == self.past.len() {
                        kept = line.text();
                    }
                    place = next;
                    line = Line::of(self.past.get(place).unwrap_or(&kept));
                    continue;
                }
                Key::Clear => {
                    screen.write_all(b"\x1b[H\x1b[2J")?;
                    continue;
                }
                key => {
                    line.edit(key);
                    continue;
                }
            };
            screen.write_all(b"\r\n")?;
            return Ok(typed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that these bytes make.
    fn line(bytes: &[u8]) -> (String, usize) {
        let (mut line, mut rest) = (Line::default(), bytes.iter().copied());
        while let Some(key) = key(|| Ok(rest.next())).expect("bytes") {
            line.edit(key);
        }
        (line.text(), line.at)
    }

    #[test]
    fn keys_edit_a_line() {
        for (bytes, text, at) in [
            (&b"SELECT 1"[..], "SELECT 1", 8),
            (b"ab\x1b[D\x1b[DX", "Xab", 1),
            (b"ab\x1b[D\x1b[3~c", "ac", 2),
            (b"ab\x7f\x7f\x7fc", "c", 1),
            (b"one two  \x17x", "one x", 5),
            (b"one two\x01\x0bx", "x", 1),
            (b"one two\x1b[D\x15", "o", 0),
            (b"\x1b[15~a\x1bOH\tb\x05c", " bac", 4),
            ("ä€😀\x1b[D\x7f".as_bytes(), "ä😀", 1),
            // Cut off, and no text at all: nothing falls over.
            (b"a\xff\x80b\xe2\x82", "a", 1),
            (b"a\x1b[", "a", 1),
        ] {
            assert_eq!(line(bytes), (text.to_owned(), at), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_slides_under_its_prompt() {
        let mut line = Line::of("0123456789");
        assert_eq!(line.drawn("> ", 8), "\r> 56789\x1b[K\r\x1b[7C");
        line.edit(Key::Home);
        assert_eq!(line.drawn("> ", 8), "\r> 01234\x1b[K\r\x1b[2C");
        assert_eq!(line.drawn("a long prompt> ", 8), "\ra long prompt> 0\x1b[K\r\x1b[15C");
    }
}
