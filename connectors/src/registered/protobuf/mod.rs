//! Messages of Protocol Buffers, each as its writer's schema says.
//!
//! A record names its message by the way to it in the file: a record of a topic may be of any of them. Kinds that a column can have are typed;
//! what is nested, repeated or a map is JSON.

mod read;
mod schema;
#[cfg(test)]
mod tests;
mod words;

use arrow::datatypes::{DataType, Field, TimeUnit};
use syncline_functions::json_field;

use self::schema::{FieldOf, Kind, Message, Schema};
use super::datum::Datum;

/// The schema of a writer.
#[derive(Debug)]
pub struct Protobuf {
    schema: Schema,
}

impl Protobuf {
    /// `texts`: files that the last of them imports, and then it itself.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let schema = Schema::parse(texts)?;
        if schema.outer.is_empty() { Err("it has no message".to_owned()) } else { Ok(Self { schema }) }
    }

    /// The way to the message that a record is: numbers of messages, each in the one before.
    pub fn way(record: &[u8]) -> Result<Vec<usize>, String> {
        read::indexes(record).map(|(way, _)| way)
    }

    /// The columns of the message at the end of this way.
    pub fn columns(&self, way: &[usize]) -> Option<Vec<Field>> {
        Some(self.message(way)?.fields.iter().map(column).collect())
    }

    /// A value for each of the columns.
    pub fn read(&self, record: &[u8]) -> Result<Vec<Datum>, String> {
        let (way, bytes) = read::indexes(record)?;
        let message = self.message(&way).ok_or("its schema has no such message")?;
        read::record(&self.schema, message, bytes)
    }

    fn message(&self, way: &[usize]) -> Option<&Message> {
        let (first, inner) = way.split_first()?;
        let outer = self.schema.messages.get(*self.schema.outer.get(*first)?)?;
        inner.iter().try_fold(outer, |message, index| self.schema.messages.get(*message.inner.get(*index)?))
    }
}

fn column(field: &FieldOf) -> Field {
    let name = field.name.as_str();
    let kind = match &field.kind {
        _ if field.repeated => return json_field(name),
        Kind::Wrapped(kind) => kind,
        kind => kind,
    };
    let data_type = match kind {
        Kind::Double => DataType::Float64,
        Kind::Float => DataType::Float32,
        Kind::Int32 | Kind::SInt32 | Kind::SFixed32 => DataType::Int32,
        Kind::Int64 | Kind::SInt64 | Kind::SFixed64 => DataType::Int64,
        Kind::UInt32 | Kind::Fixed32 => DataType::UInt32,
        Kind::UInt64 | Kind::Fixed64 => DataType::UInt64,
        Kind::Bool => DataType::Boolean,
        Kind::Text | Kind::Enum(_) => DataType::Utf8View,
        Kind::Bytes => DataType::Binary,
        Kind::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Message(_) | Kind::Map(..) | Kind::Wrapped(_) => return json_field(name),
    };
    Field::new(name, data_type, true)
}
