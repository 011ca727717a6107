//! The ids of pairs: made of the left row's id and of the place of the right row, whichever of them came first.
//!
//! A number would depend on the order in which two sources came; a place is the same when the same records are read again.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use syncline_record::{Batch, StepId, keys::derived_id};

/// The column of right rows that holds their places; it ends at the join.
const PARTNER: &str = "__partner";

/// The columns of the right side with that of their places.
pub fn placed(right: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = right.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(PARTNER, DataType::Utf8View, true)));
    Arc::new(Schema::new(fields))
}

/// The place of each row.
pub fn places(batch: &Batch) -> ArrayRef {
    let origin = &batch.origin;
    let place = |row: &u32| Some(format!("{}@{}", origin.partition, origin.offsets[*row as usize]));
    Arc::new(batch.row_ids().values().iter().map(place).collect::<StringViewArray>())
}

/// The ids of pairs; a row without a partner keeps its own.
pub fn ids(before: &ArrayRef, partners: &ArrayRef, step: &StepId) -> ArrayRef {
    let id = |(id, partner): (Option<&str>, Option<&str>)| match partner {
        None => id.map(str::to_owned),
        Some(partner) => id.map(|id| derived_id(id.as_bytes(), &format!("{step} {partner}"), 0)),
    };
    Arc::new(before.as_string_view().iter().zip(partners.as_string_view()).map(id).collect::<StringViewArray>())
}
