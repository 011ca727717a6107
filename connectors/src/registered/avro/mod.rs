//! Records of Apache Avro, each as its writer's schema says.
//!
//! A record is read by itself, and only whole: what ends too early, goes on behind its end, or asks for more than it has bytes for is no record,
//! and the others do not notice. Kinds that a column can have are typed; what is nested is JSON.

mod read;
mod schema;
#[cfg(test)]
mod tests;

use arrow::datatypes::{DataType, Field, TimeUnit};
use syncline_functions::json_field;

use self::schema::{Kind, Schema, Unit};
use super::datum::Datum;

/// What a schema without fields is called as a column.
const VALUE: &str = "value";

/// The schema of a writer.
#[derive(Debug)]
pub struct Avro {
    schema: Schema,
}

impl Avro {
    /// `texts`: schemas that the last of them names, and then it itself.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        Ok(Self { schema: Schema::parse(texts)? })
    }

    /// The columns of its records.
    pub fn fields(&self) -> Vec<Field> {
        self.members().iter().map(|(name, kind)| column(name, kind)).collect()
    }

    /// A value for each of the columns.
    pub fn read(&self, record: &[u8]) -> Result<Vec<Datum>, String> {
        read::record(&self.schema, &self.members(), record)
    }

    fn members(&self) -> Vec<(&str, &Kind)> {
        match &self.schema.root {
            Kind::Record(number) => {
                self.schema.records[*number].iter().map(|(name, kind)| (name.as_str(), kind)).collect()
            }
            kind => vec![(VALUE, kind)],
        }
    }
}

fn column(name: &str, kind: &Kind) -> Field {
    let kind = match kind {
        Kind::Union(kinds) => match kinds.iter().filter(|kind| **kind != Kind::Null).collect::<Vec<_>>().as_slice() {
            [kind] => kind,
            _ => return json_field(name),
        },
        kind => kind,
    };
    let data_type = match kind {
        Kind::Boolean => DataType::Boolean,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Bytes | Kind::Fixed(_) => DataType::Binary,
        Kind::Text | Kind::Enum(_) | Kind::Uuid => DataType::Utf8View,
        Kind::Decimal { precision: precision @ ..=38, scale, .. } => DataType::Decimal128(*precision, *scale),
        Kind::Date => DataType::Date32,
        Kind::Time(Unit::Milli | Unit::Micro) => DataType::Time64(TimeUnit::Microsecond),
        Kind::Instant(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => return json_field(name),
    };
    Field::new(name, data_type, true)
}
