//! The JSON type: how a column says that it holds JSON tokens.
//!
//! A JSON column is `Utf8View`; every value is one JSON token exactly as it came (`"ada"` with its quotes, `9.50`, `{"a": 1}`).
//! The views point into the payload. A missing member and `null` are both NULL, so the token `null` is never in a column.
//! The tag is Arrow's canonical extension type `arrow.json`
//! (<https://arrow.apache.org/docs/format/CanonicalExtensions.html#json>).

use arrow::datatypes::{DataType, Field};

const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
const ARROW_JSON: &str = "arrow.json";

/// A nullable JSON column called `name`.
pub fn json_field(name: &str) -> Field {
    let tag = [(EXTENSION_NAME.to_owned(), ARROW_JSON.to_owned()), (EXTENSION_METADATA.to_owned(), String::new())];
    Field::new(name, DataType::Utf8View, true).with_metadata(tag.into())
}

/// Whether the column holds JSON tokens.
pub fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == ARROW_JSON)
}
