//! The JSON type, the decoder, and expressions whose rows fail alone: what any step may use.
//!
//! Pure and synchronous: nothing here knows a step, a pipeline or a connector, and nothing returns an error for a bad row. A bad
//! row is NULL in the result and is named beside it with its reason.

pub mod base64;
pub mod csv;
pub mod decode;
pub mod groups;
pub mod json;
pub mod key_columns;
pub mod keys;
pub mod planner;
pub mod raw;
pub mod rows;
pub mod survey;
pub mod unnest;
pub mod write;

mod asked;
mod asked_json;
mod audit;
mod carried;
mod casts;
mod convert;
mod error;
mod failures;
mod functions;
mod guard;
mod hooks;
mod instant;
mod limits;
mod mismatch;
mod number;
mod quotient;
mod scan;
mod shown;
mod sqltype;
mod syntax;
mod token;
mod typer;
mod view;

pub use asked::as_in_pipelines;
pub use asked_json::JsonInQuestions;
pub use carried::{arrived, carried};
pub use decode::{Decoded, Decoder, Unknown, record_column, validate};
pub use error::{ExprError, TextSpan};
pub use failures::RowFailure;
pub use groups::{Aggregates, Groups};
pub use instant::{parse as instant_of, write_date, write_instant, write_time};
pub use json::{is_json, json_field};
pub use key_columns::{KeyColumns, can_be_key, key_columns};
pub use keys::{Keys, fingerprints};
pub use limits::bounded;
pub use number::write_decimal;
pub use planner::{Call, Form, Planner, Typed};
pub use raw::{can_be_raw, raw_column};
pub use rows::{Predicate, Projected, Projection, Verdict};
pub use sqltype::{sql_type, sql_type_of};
pub use token::write_string as write_json_string;
pub use unnest::{Unnested, element_field, unnest};
pub use view::texts as json_texts;
pub use write::{JsonWriter, splice, token_of};

#[cfg(test)]
mod tests;
