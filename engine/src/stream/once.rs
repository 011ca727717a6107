//! What several rows of a batch show is written once.
//!
//! One record may become thousands of rows (`UNNEST`, a `JOIN` with many matches), each of which shows its bytes and its long texts: they are
//! views of one place in memory. In a frame that held them for every row, a record of a megabyte would be gigabytes. So a column of which
//! rows show more than there is goes as a dictionary (`Int32` → `Utf8View`), the bytes of a record are NULL where they are those of the row
//! before, and rows that are heavy all the same go in several frames.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringViewArray, UInt32Array},
    compute::take,
    datatypes::{DataType, Field, FieldRef, Int32Type, Schema},
};
use syncline_record::{Batch, Headers};

/// Texts of a column that are shorter in all are not worth a look.
const WORTH: usize = 256 << 10;
/// What a frame weighs at most, unless one row is heavier: small beside memory, and large beside the head of a frame.
const FRAME: usize = 8 << 20;

/// Only what the rows show, and that once. `true`: it has to be spread out again.
pub(super) fn compact(rows: RecordBatch) -> Result<(RecordBatch, bool), String> {
    let schema = rows.schema();
    let mut shared = false;
    let mut one = |(field, column): (&FieldRef, &ArrayRef)| -> (FieldRef, ArrayRef) {
        let Some(views) = column.as_string_view_opt() else { return (field.clone(), column.clone()) };
        let Some(once) = each_once(views) else { return (field.clone(), Arc::new(views.gc())) };
        shared = true;
        (Arc::new(field.as_ref().clone().with_data_type(once.data_type().clone())), Arc::new(once))
    };
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) =
        schema.fields().iter().zip(rows.columns()).map(&mut one).unzip();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let rows = RecordBatch::try_new(Arc::new(schema), columns).map_err(|error| error.to_string())?;
    Ok((rows, shared))
}

/// The texts of a column, each once, where that is less than half of what its rows show.
fn each_once(views: &StringViewArray) -> Option<DictionaryArray<Int32Type>> {
    let shown: usize = views.views().iter().map(length).sum();
    if shown < WORTH {
        return None;
    }
    let (mut places, mut firsts, mut there) = (HashMap::new(), vec![], 0);
    let mut place = |row: usize| {
        let view = views.views()[row];
        views.is_valid(row).then(|| {
            *places.entry(view).or_insert_with(|| {
                firsts.push(row as u32);
                there += length(&view);
                firsts.len() as i32 - 1
            })
        })
    };
    let keys: Int32Array = (0..views.len()).map(&mut place).collect();
    if there > shown / 2 {
        return None;
    }
    let values = take(views, &UInt32Array::from(firsts), None).ok()?;
    DictionaryArray::try_new(keys, Arc::new(values.as_string_view().gc())).ok()
}

/// Of the text behind a view: its lowest four bytes.
fn length(view: &u128) -> usize {
    *view as u32 as usize
}

/// The inverse of [`compact`]: views of one place again.
pub(super) fn spread(rows: RecordBatch) -> Result<RecordBatch, String> {
    let schema = rows.schema();
    let one = |(field, column): (&FieldRef, &ArrayRef)| -> Result<(FieldRef, ArrayRef), String> {
        let Some(once) = column.as_dictionary_opt::<Int32Type>() else { return Ok((field.clone(), column.clone())) };
        let texts = take(once.values(), once.keys(), None).map_err(|error| error.to_string())?;
        let field = Field::clone(field).with_data_type(DataType::Utf8View);
        Ok((Arc::new(field), texts))
    };
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) =
        schema.fields().iter().zip(rows.columns()).map(one).collect::<Result<_, _>>()?;
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns).map_err(|error| error.to_string())
}

/// Whether the record of a row is that of the row before, by the rows' places in the batch that they came in.
pub(super) fn of_one_record(batch: &Batch, before: usize, row: usize) -> bool {
    batch.origin.texts.is_none() && batch.origin.spans[before] == batch.origin.spans[row]
}

/// The rows, cut where a frame of more of them would be too heavy.
pub fn frames(batch: Batch) -> Vec<Batch> {
    let (mut cuts, mut weight) = (vec![0], 0);
    for (row, own) in weights(&batch).into_iter().enumerate() {
        weight += own;
        if weight > FRAME && row > 0 {
            cuts.push(row);
            weight = own;
        }
    }
    if cuts.len() == 1 {
        return vec![batch];
    }
    cuts.push(batch.len());
    cuts.windows(2).map(|cut| batch.with_rows(batch.rows.slice(cut[0], cut[1] - cut[0]))).collect()
}

/// What each row adds to a frame, about.
fn weights(batch: &Batch) -> Vec<usize> {
    let origin = &*batch.origin;
    let mut weights = vec![0; batch.len()];
    for column in batch.rows.columns() {
        match column.as_string_view_opt() {
            Some(views) => {
                let views = views.views();
                let fresh = |row: usize| row == 0 || views[row - 1] != views[row];
                weights.iter_mut().enumerate().for_each(|(row, weight)| {
                    *weight += if fresh(row) { length(&views[row]) } else { 0 };
                });
            }
            None => {
                let own = column.to_data().get_slice_memory_size().unwrap_or_default() / batch.len().max(1);
                weights.iter_mut().for_each(|weight| *weight += own);
            }
        }
    }
    let ids = batch.row_ids().values();
    for (row, id) in ids.iter().map(|id| *id as usize).enumerate() {
        let key = origin.keys.as_ref().and_then(|keys| keys.get(id)).map_or(0, <[u8]>::len);
        let headers = match &origin.headers {
            Headers::Each(_) => origin.headers.get(id).map_or(0, str::len),
            _ => 0,
        };
        let fresh = origin.texts.is_none() && (row == 0 || !of_one_record(batch, ids[row - 1] as usize, id));
        weights[row] += key + headers + if fresh { origin.bytes_of(id).len() } else { 0 };
    }
    weights
}
