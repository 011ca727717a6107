//! What a schema of Avro says: the kinds of its values, with named ones by their number.
//!
//! Source: the specification of Apache Avro 1.12, "Schema Declaration" and "Logical Types". A logical type that does not fit what carries it
//! is ignored, as the specification wants it.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// A value's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// Its digits, and how many of them stand behind the point; of a fixed length, or of any.
    Decimal {
        precision: u8,
        scale: i8,
        size: Option<usize>,
    },
    Date,
    /// A time of day in units of a second.
    Time(Unit),
    /// Units since 1970.
    Instant(Unit),
    /// Sixteen bytes.
    Uuid,
    Enum(Vec<String>),
    List(Box<Kind>),
    /// From texts.
    Map(Box<Kind>),
    Union(Vec<Kind>),
    /// A record, by its number.
    Record(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Milli,
    Micro,
    Nano,
}

/// A schema that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub root: Kind,
    /// The fields of every record that it has.
    pub records: Vec<Vec<(String, Kind)>>,
}

/// Levels of a schema: types in types in types. More are nobody's, and each costs stack.
const DEEPEST: usize = 64;

impl Schema {
    /// `texts`: the schemas that the last of them names, and then it itself.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut reader = Reader::default();
        let mut root = None;
        for text in texts {
            // A schema may be the name of a type alone, with or without quotes around it.
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.trim().to_owned()));
            root = Some(reader.kind(&value, "", 0)?);
        }
        let records = reader.records.into_iter().map(Option::unwrap_or_default).collect();
        root.map(|root| Self { root, records }).ok_or_else(|| "it is empty".to_owned())
    }
}

#[derive(Default)]
struct Reader {
    named: HashMap<String, Kind>,
    /// None: it is being read, and may name itself.
    records: Vec<Option<Vec<(String, Kind)>>>,
}

impl Reader {
    fn kind(&mut self, value: &Value, space: &str, depth: usize) -> Result<Kind, String> {
        if depth > DEEPEST {
            return Err(format!("its types are nested deeper than {DEEPEST} levels"));
        }
        match value {
            Value::String(name) => self.by_name(name, space),
            Value::Array(kinds) => {
                let kinds: Vec<Kind> =
                    kinds.iter().map(|kind| self.kind(kind, space, depth + 1)).collect::<Result<_, _>>()?;
                if kinds.is_empty() { Err("a union has no types".to_owned()) } else { Ok(Kind::Union(kinds)) }
            }
            Value::Object(members) => self.complex(members, space, depth),
            other => Err(format!("{other} is no type")),
        }
    }

    fn by_name(&self, name: &str, space: &str) -> Result<Kind, String> {
        let primitive = match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::Text,
            name => {
                let found = self.named.get(&full(name, space)).or_else(|| self.named.get(name));
                return found.cloned().ok_or_else(|| format!("there is no type {name}"));
            }
        };
        Ok(primitive)
    }

    fn complex(&mut self, members: &Map<String, Value>, space: &str, depth: usize) -> Result<Kind, String> {
        let Some(kind) = members.get("type") else { return Err("a type is not said".to_owned()) };
        let word = kind.as_str().unwrap_or_default();
        match word {
            "record" | "error" => self.record(members, space, depth),
            "enum" => {
                let symbols = members.get("symbols").and_then(Value::as_array);
                let symbols = symbols.ok_or("an enum has no symbols")?;
                let symbols = symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                self.declare(members, space, Kind::Enum(symbols))
            }
            "fixed" => {
                let size = number(members, "size").and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("a fixed has no size")?;
                let kind = logical(members, Kind::Fixed(size));
                self.declare(members, space, kind)
            }
            "array" => {
                let items = members.get("items").ok_or("an array has no items")?;
                Ok(Kind::List(Box::new(self.kind(items, space, depth + 1)?)))
            }
            "map" => {
                let values = members.get("values").ok_or("a map has no values")?;
                Ok(Kind::Map(Box::new(self.kind(values, space, depth + 1)?)))
            }
            _ => Ok(logical(members, self.kind(kind, space, depth + 1)?)),
        }
    }

    fn record(&mut self, members: &Map<String, Value>, space: &str, depth: usize) -> Result<Kind, String> {
        let (name, space) = named(members, space)?;
        let number = self.records.len();
        self.records.push(None);
        self.named.insert(name.clone(), Kind::Record(number));
        let fields = members.get("fields").and_then(Value::as_array).ok_or("a record has no fields")?;
        let mut read: Vec<(String, Kind)> = Vec::with_capacity(fields.len());
        for field in fields {
            let Some(field_name) = field["name"].as_str() else { return Err(format!("a field of {name} has no name")) };
            let kind = match field.get("type") {
                // Some writers put the logical type beside the field's name.
                Some(Value::String(kind)) => {
                    let kind = self.by_name(kind, &space)?;
                    field.as_object().map_or(kind.clone(), |members| logical(members, kind))
                }
                Some(kind) => self.kind(kind, &space, depth + 1)?,
                None => return Err(format!("{name}.{field_name} has no type")),
            };
            if read.iter().any(|(known, _)| known == field_name) {
                return Err(format!("two fields of {name} are called {field_name}"));
            }
            read.push((field_name.to_owned(), kind));
        }
        self.records[number] = Some(read);
        Ok(Kind::Record(number))
    }

    fn declare(&mut self, members: &Map<String, Value>, space: &str, kind: Kind) -> Result<Kind, String> {
        let (name, _) = named(members, space)?;
        self.named.insert(name, kind.clone());
        Ok(kind)
    }
}

/// The full name of a type that is declared, and the namespace within it.
fn named(members: &Map<String, Value>, space: &str) -> Result<(String, String), String> {
    let name = members.get("name").and_then(Value::as_str).ok_or("a type has no name")?;
    let own = members.get("namespace").and_then(Value::as_str).unwrap_or(space);
    let name = full(name, own);
    let space = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
    Ok((name, space))
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

fn number(members: &Map<String, Value>, name: &str) -> Option<u64> {
    members.get(name)?.as_u64()
}

/// The kind that a logical type makes of another; the same, where it makes nothing of it.
fn logical(members: &Map<String, Value>, kind: Kind) -> Kind {
    let Some(word) = members.get("logicalType").and_then(Value::as_str) else { return kind };
    match (word, &kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = number(members, "precision").and_then(|digits| u8::try_from(digits).ok());
            let scale = number(members, "scale").unwrap_or(0);
            let size = if let Kind::Fixed(size) = kind { Some(size) } else { None };
            match (precision, i8::try_from(scale)) {
                (Some(precision), Ok(scale)) if precision > 0 && scale as u8 <= precision => {
                    Kind::Decimal { precision, scale, size }
                }
                _ => kind,
            }
        }
        ("date", Kind::Int) => Kind::Date,
        ("time-millis", Kind::Int) => Kind::Time(Unit::Milli),
        ("time-micros", Kind::Long) => Kind::Time(Unit::Micro),
        ("timestamp-millis" | "local-timestamp-millis", Kind::Long) => Kind::Instant(Unit::Milli),
        ("timestamp-micros" | "local-timestamp-micros", Kind::Long) => Kind::Instant(Unit::Micro),
        ("timestamp-nanos" | "local-timestamp-nanos", Kind::Long) => Kind::Instant(Unit::Nano),
        ("uuid", Kind::Fixed(16)) => Kind::Uuid,
        _ => kind,
    }
}
