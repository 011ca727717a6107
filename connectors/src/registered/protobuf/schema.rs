//! What a .proto file declares: messages with their fields, and enums.
//!
//! Source: "Protocol Buffers Language Specification", proto2 and proto3. Options, services and extensions say nothing of the bytes of a message
//! and are passed over.

use std::collections::HashMap;

use super::words::{Token, tokens};

/// A field's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    UInt32,
    UInt64,
    SInt32,
    SInt64,
    Fixed32,
    Fixed64,
    SFixed32,
    SFixed64,
    Bool,
    Text,
    Bytes,
    /// Both by their numbers.
    Message(usize),
    Enum(usize),
    /// From keys to values.
    Map(Box<Kind>, Box<Kind>),
    /// `google.protobuf.Timestamp`
    Instant,
    /// A message around one value, which can so be absent.
    Wrapped(Box<Kind>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldOf {
    pub number: u32,
    pub name: String,
    pub kind: Kind,
    pub repeated: bool,
    /// It can be absent; else what is absent is the kind's zero.
    pub present: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub fields: Vec<FieldOf>,
    /// Messages that are declared in it, by their numbers.
    pub inner: Vec<usize>,
}

/// Symbols of an enum by their numbers; the first of a number counts.
pub type Symbols = Vec<(i64, String)>;

#[derive(Debug, Default, PartialEq)]
pub struct Schema {
    pub messages: Vec<Message>,
    pub enums: Vec<Symbols>,
    /// The messages of the file itself, outside of others.
    pub outer: Vec<usize>,
}

/// Messages in messages in messages: more are nobody's, and each costs stack.
const DEEPEST: usize = 64;

/// Types that are known without their files.
const KNOWN: [(&str, Kind); 10] = [
    ("google.protobuf.Timestamp", Kind::Instant),
    ("google.protobuf.DoubleValue", Kind::Double),
    ("google.protobuf.FloatValue", Kind::Float),
    ("google.protobuf.Int64Value", Kind::Int64),
    ("google.protobuf.UInt64Value", Kind::UInt64),
    ("google.protobuf.Int32Value", Kind::Int32),
    ("google.protobuf.UInt32Value", Kind::UInt32),
    ("google.protobuf.BoolValue", Kind::Bool),
    ("google.protobuf.StringValue", Kind::Text),
    ("google.protobuf.BytesValue", Kind::Bytes),
];

/// Others, as their files have them.
const COMMON: &str = r#"syntax = "proto3"; package google.protobuf;
message Duration { int64 seconds = 1; int32 nanos = 2; }
message Any { string type_url = 1; bytes value = 2; }
message Empty {}
message FieldMask { repeated string paths = 1; }"#;

/// A field whose type is a name that is looked up when all names are known.
struct Open {
    message: usize,
    field: usize,
    /// The name as it is written, and the scope in which it is.
    name: String,
    scope: String,
    /// It is the value of a map.
    of_map: bool,
}

#[derive(Clone, Copy)]
enum Named {
    Message(usize),
    Enum(usize),
}

#[derive(Default)]
struct Reader {
    tokens: Vec<Token>,
    at: usize,
    proto3: bool,
    schema: Schema,
    named: HashMap<String, Named>,
    open: Vec<Open>,
}

type Read<T> = Result<T, String>;

impl Schema {
    /// `texts`: the files that the last of them imports, and then it itself.
    pub fn parse(texts: &[String]) -> Read<Self> {
        let mut reader = Reader::default();
        for text in std::iter::once(COMMON).chain(texts.iter().map(String::as_str)) {
            (reader.tokens, reader.at, reader.proto3) = (tokens(text)?, 0, false);
            reader.schema.outer.clear();
            reader.file()?;
        }
        reader.resolve()?;
        Ok(reader.schema)
    }
}

impl Reader {
    fn file(&mut self) -> Read<()> {
        let mut package = String::new();
        while let Some(token) = self.next() {
            match token {
                Token::Sign(';') => {}
                Token::Word(word) => match word.as_str() {
                    "syntax" => {
                        self.sign('=')?;
                        self.proto3 = self.text()? == "proto3";
                        self.sign(';')?;
                    }
                    // Of editions the newest rule is that fields can be absent.
                    "edition" => self.skip()?,
                    "package" => {
                        package = self.word()?;
                        self.sign(';')?;
                    }
                    "message" => {
                        let number = self.message(&package, 0)?;
                        self.schema.outer.push(number);
                    }
                    "enum" => self.enumeration(&package)?,
                    _ => self.skip()?,
                },
                other => return Err(format!("{other:?} stands where a declaration belongs")),
            }
        }
        Ok(())
    }

    fn message(&mut self, scope: &str, depth: usize) -> Read<usize> {
        if depth > DEEPEST {
            return Err(format!("its messages are nested deeper than {DEEPEST} levels"));
        }
        let name = full(scope, &self.word()?);
        let number = self.schema.messages.len();
        self.schema.messages.push(Message::default());
        self.named.insert(name.clone(), Named::Message(number));
        self.sign('{')?;
        self.members(number, &name, depth, false)?;
        Ok(number)
    }

    /// Up to the closing bracket. `one_of`: at most one of them is there.
    fn members(&mut self, number: usize, scope: &str, depth: usize, one_of: bool) -> Read<()> {
        loop {
            let word = match self.next() {
                Some(Token::Sign('}')) => return Ok(()),
                Some(Token::Sign(';')) => continue,
                Some(Token::Word(word)) => word,
                other => return Err(format!("{other:?} stands where a field belongs")),
            };
            let is_declaration = matches!(self.tokens.get(self.at), Some(Token::Word(_)))
                && matches!(self.tokens.get(self.at + 1), Some(Token::Sign('{')));
            match word.as_str() {
                "message" if is_declaration => {
                    let inner = self.message(scope, depth + 1)?;
                    self.schema.messages[number].inner.push(inner);
                }
                "enum" if is_declaration => self.enumeration(scope)?,
                "oneof" if is_declaration => {
                    self.word()?;
                    self.sign('{')?;
                    self.members(number, scope, depth, true)?;
                }
                "option" | "reserved" | "extensions" | "extend" => self.skip()?,
                "optional" => self.field(number, scope, None, false, true)?,
                "required" => self.field(number, scope, None, false, true)?,
                "repeated" => self.field(number, scope, None, true, false)?,
                _ => {
                    let present = one_of || !self.proto3;
                    self.field(number, scope, Some(word), false, present)?;
                }
            }
        }
    }

    fn field(&mut self, message: usize, scope: &str, kind: Option<String>, repeated: bool, present: bool) -> Read<()> {
        let word = match kind {
            Some(word) => word,
            None => self.word()?,
        };
        if word == "group" {
            return Err("it has a group".to_owned());
        }
        let mut open = None;
        let kind = if word == "map" {
            self.sign('<')?;
            let key = self.word()?;
            let key = scalar(&key).ok_or_else(|| format!("{key} is no key of a map"))?;
            self.sign(',')?;
            let value = self.word()?;
            self.sign('>')?;
            let kind = scalar(&value).unwrap_or_else(|| {
                open = Some((value, true));
                Kind::Bool
            });
            Kind::Map(Box::new(key), Box::new(kind))
        } else {
            scalar(&word).unwrap_or_else(|| {
                open = Some((word, false));
                Kind::Bool
            })
        };
        let name = self.word()?;
        self.sign('=')?;
        let number = self.word()?;
        let number = number.parse::<u32>().ok().or_else(|| u32::from_str_radix(number.strip_prefix("0x")?, 16).ok());
        let number = number.filter(|number| *number > 0).ok_or_else(|| format!("{name} has no number"))?;
        self.skip()?;
        let fields = &mut self.schema.messages[message].fields;
        if fields.iter().any(|known| known.name == name || known.number == number) {
            return Err(format!("{name} or its number {number} is there twice"));
        }
        if let Some((written, of_map)) = open {
            let field = fields.len();
            self.open.push(Open { message, field, name: written, scope: scope.to_owned(), of_map });
        }
        self.schema.messages[message].fields.push(FieldOf { number, name, kind, repeated, present });
        Ok(())
    }

    fn enumeration(&mut self, scope: &str) -> Read<()> {
        let name = full(scope, &self.word()?);
        self.sign('{')?;
        let mut symbols = Symbols::new();
        loop {
            let word = match self.next() {
                Some(Token::Sign('}')) => break,
                Some(Token::Sign(';')) => continue,
                Some(Token::Word(word)) => word,
                other => return Err(format!("{other:?} stands where a symbol of {name} belongs")),
            };
            if ["option", "reserved"].contains(&word.as_str()) && self.tokens.get(self.at) != Some(&Token::Sign('=')) {
                self.skip()?;
                continue;
            }
            self.sign('=')?;
            let negative = self.tokens.get(self.at) == Some(&Token::Sign('-'));
            self.at += usize::from(negative);
            let number = self.word()?;
            let number: i64 = number
                .parse()
                .or_else(|_| i64::from_str_radix(number.trim_start_matches("0x"), 16))
                .map_err(|_| format!("{word} of {name} has no number"))?;
            self.skip()?;
            symbols.push((if negative { -number } else { number }, word));
        }
        self.named.insert(name, Named::Enum(self.schema.enums.len()));
        self.schema.enums.push(symbols);
        Ok(())
    }

    /// Gives fields the types that their names mean: the nearest scope comes first.
    fn resolve(&mut self) -> Read<()> {
        for open in std::mem::take(&mut self.open) {
            let kind = self.meant(&open.name, &open.scope);
            let kind = kind.ok_or_else(|| format!("there is no type {}", open.name))?;
            let field = &mut self.schema.messages[open.message].fields[open.field];
            // Messages can always be absent.
            field.present |= !open.of_map && !matches!(kind, Kind::Enum(_));
            match (&mut field.kind, open.of_map) {
                (Kind::Map(_, value), true) => **value = kind,
                (own, _) => *own = kind,
            }
        }
        Ok(())
    }

    fn meant(&self, name: &str, scope: &str) -> Option<Kind> {
        if let Some(name) = name.strip_prefix('.') {
            return self.kind_of(name);
        }
        let mut scope = scope;
        loop {
            if let Some(kind) = self.kind_of(&full(scope, name)) {
                return Some(kind);
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }

    fn kind_of(&self, full: &str) -> Option<Kind> {
        if let Some((_, kind)) = KNOWN.iter().find(|(name, _)| *name == full) {
            let wrapped = || Kind::Wrapped(Box::new(kind.clone()));
            return Some(if *kind == Kind::Instant { Kind::Instant } else { wrapped() });
        }
        Some(match self.named.get(full)? {
            Named::Message(number) => Kind::Message(*number),
            Named::Enum(number) => Kind::Enum(*number),
        })
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn word(&mut self) -> Read<String> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            Some(other) => Err(format!("{other:?} stands where a word belongs")),
            None => Err("it ends too early".to_owned()),
        }
    }

    fn text(&mut self) -> Read<String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(text),
            other => Err(format!("{other:?} stands where a text belongs")),
        }
    }

    fn sign(&mut self, sign: char) -> Read<()> {
        match self.next() {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            Some(other) => Err(format!("{other:?} stands where `{sign}` belongs")),
            None => Err("it ends too early".to_owned()),
        }
    }

    /// To the end of a statement: its semicolon, or the bracket that closes its body.
    fn skip(&mut self) -> Read<()> {
        let mut depth = 0usize;
        loop {
            match self.next() {
                Some(Token::Sign('{' | '[')) => depth += 1,
                Some(Token::Sign(']')) => depth = depth.saturating_sub(1),
                Some(Token::Sign('}')) if depth <= 1 => return Ok(()),
                Some(Token::Sign('}')) => depth -= 1,
                Some(Token::Sign(';')) if depth == 0 => return Ok(()),
                Some(_) => {}
                None => return Err("it ends too early".to_owned()),
            }
        }
    }
}

fn full(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn scalar(word: &str) -> Option<Kind> {
    Some(match word {
        "double" => Kind::Double,
        "float" => Kind::Float,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "uint32" => Kind::UInt32,
        "uint64" => Kind::UInt64,
        "sint32" => Kind::SInt32,
        "sint64" => Kind::SInt64,
        "fixed32" => Kind::Fixed32,
        "fixed64" => Kind::Fixed64,
        "sfixed32" => Kind::SFixed32,
        "sfixed64" => Kind::SFixed64,
        "bool" => Kind::Bool,
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        _ => return None,
    })
}
