//! From CSV records to columns, beside the decoder of JSON and with the same rules for what is bad.
//!
//! Fields are found by the names of their file's header, or by their places. A declared column is converted from the field's text, as
//! from a JSON string; without a schema every field is the JSON string of its text. Nothing is copied but fields with doubled
//! quotes and strings too long to stand in their view.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, StringViewArray},
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    compute::nullif,
    datatypes::Field,
};
use syncline_record::Reason;

use super::{
    Dialect, Header,
    cell::{Cell, Flaw, cells, unescape},
};
use crate::{
    convert::{Manner, convert, documents},
    decode::{Strangers, Unknown, mark, misfit, not_utf8},
    is_json, token, view,
};

/// What records become.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// One per wanted field; a bad record is NULL in all of them.
    pub columns: Vec<ArrayRef>,
    /// The records as JSON objects, where they were asked for.
    pub records: Option<StringViewArray>,
    /// Slugs: `not-csv`, `not-utf8`, `fields`, `header`, `type`, `missing`, `unknown-field`.
    pub bad: Vec<(u32, Reason)>,
    /// Names of columns that no file had before and that are not wanted, with [`Unknown::Tell`].
    pub new_names: Vec<String>,
}

/// Reads the wanted fields of records. One per pipeline and task.
#[derive(Clone, Debug)]
pub struct CsvDecoder {
    fields: Vec<Field>,
    unknown: Unknown,
    /// The fields are those of a schema, in its order; else they are the names that the pipeline reads.
    declared: bool,
    dialect: Dialect,
    whole: bool,
    layout: Option<Layout>,
    cells: Vec<Cell>,
    strangers: Strangers,
}

/// How the records of one file fit the fields.
#[derive(Clone, Debug)]
struct Layout {
    header: Option<Header>,
    /// What the fields of a whole record are called: by the header, or by the schema.
    names: Option<Header>,
    /// Fields of a record.
    width: usize,
    /// A record may have more.
    open: bool,
    /// Where each wanted field is.
    places: Vec<Option<usize>>,
    /// Why no record of this file can be taken.
    refused: Option<Reason>,
}

impl CsvDecoder {
    /// `whole`: records are wanted as JSON objects too.
    pub fn new(fields: &[Field], unknown: Unknown, declared: bool, dialect: Dialect, whole: bool) -> Self {
        let (layout, cells, strangers) = (None, Vec::new(), Strangers::default());
        Self { fields: fields.to_vec(), unknown, declared, dialect, whole, layout, cells, strangers }
    }

    /// Reads the records at `spans`. `header`: the names of their file's columns, in order.
    pub fn decode(&mut self, payload: &Buffer, spans: &[(u32, u32)], header: Option<&Header>) -> Decoded {
        let layout = self.layout(header);
        let bytes = payload.as_slice();
        let all_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
        let mut batch = Gathering::new(self.fields.len(), spans.len(), self.whole);
        let mut bad = Vec::new();
        for (row, (start, end)) in spans.iter().enumerate() {
            let record = &bytes[*start as usize..*end as usize];
            let fits = match all_utf8 || simdutf8::basic::from_utf8(record).is_ok() {
                true => layout.split(record, &self.dialect, &mut self.cells),
                false => Err(not_utf8(record)),
            };
            match fits {
                Ok(()) => self.take(&layout, bytes, *start as usize, record, row, &mut batch),
                Err(reason) => bad.push((row as u32, reason)),
            }
        }
        self.layout = Some(layout);
        let (texts, records) = batch.columns(payload);
        let columns = self.typed(texts, spans.len(), &mut bad);
        Decoded { columns, records, bad, new_names: self.strangers.take() }
    }

    /// Rows of one file come one batch after another: its layout is made once.
    fn layout(&mut self, header: Option<&Header>) -> Layout {
        match self.layout.take() {
            Some(layout) if same(layout.header.as_ref(), header) => layout,
            _ => {
                self.meet_strangers(header);
                Layout::new(&self.fields, self.unknown, self.declared, self.whole, header)
            }
        }
    }

    fn meet_strangers(&mut self, header: Option<&Header>) {
        if self.unknown == Unknown::Tell {
            let names = header.iter().flat_map(|names| names.iter());
            let strange = names.filter(|name| !self.fields.iter().any(|field| field.name().as_str() == &***name));
            strange.for_each(|name| self.strangers.meet(name));
        }
    }

    #[inline(always)]
    fn take(&self, layout: &Layout, base: &[u8], start: usize, record: &[u8], row: usize, batch: &mut Gathering) {
        for (field, place) in layout.places.iter().enumerate() {
            let Some(cell) = place.map(|place| self.cells[place]) else { continue };
            if self.dialect.is_null(record, cell) {
                continue;
            }
            match (self.declared, cell.escaped) {
                (true, false) => batch.slice(field, row, base, start + cell.start as usize, start + cell.end as usize),
                (true, true) => batch.copy(field, row, |out| unescape(cell.of(record), &self.dialect, out)),
                (false, _) => {
                    let text = super::text(record, cell, &self.dialect);
                    batch.string(field, row, &text);
                }
            }
        }
        if let (true, Some(header)) = (self.whole, &layout.names) {
            let object = |out: &mut Vec<u8>| write_object(header, record, &self.cells, &self.dialect, out);
            batch.record(row, object);
        }
    }

    fn typed(&self, texts: Vec<StringViewArray>, rows: usize, bad: &mut Vec<(u32, Reason)>) -> Vec<ArrayRef> {
        let mut is_bad = vec![false; rows];
        bad.iter().for_each(|(row, _)| is_bad[*row as usize] = true);
        let before = bad.len();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(texts.len());
        for (field, texts) in self.fields.iter().zip(texts) {
            let (column, unfit): (ArrayRef, Vec<u32>) = match (is_json(field), self.declared) {
                (true, false) => (Arc::new(texts.clone()), Vec::new()),
                (true, true) => {
                    let (tokens, unfit) = documents(&texts);
                    (Arc::new(tokens), unfit)
                }
                (false, _) => {
                    let converted = convert(&texts, field.data_type(), Manner::Field);
                    (converted.array, converted.bad)
                }
            };
            for row in unfit.into_iter().map(|row| row as usize) {
                mark(row, &mut is_bad, bad, || misfit(field, texts.value(row)));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                for row in (0..rows).filter(|row| column.is_null(*row)) {
                    let detail = || Reason::new("missing", format!("{} is missing or null", field.name()));
                    mark(row, &mut is_bad, bad, detail);
                }
            }
            columns.push(column);
        }
        if bad.len() > before {
            bad.sort_by_key(|(row, _)| *row);
            let mask = BooleanArray::from(is_bad);
            columns = columns.iter().map(|column| nullif(column, &mask).expect("a mask of the same length")).collect();
        }
        columns
    }
}

fn same(one: Option<&Header>, other: Option<&Header>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

impl Layout {
    fn new(fields: &[Field], unknown: Unknown, declared: bool, whole: bool, header: Option<&Header>) -> Self {
        let Some(names) = header else {
            let (width, open) = (fields.len(), unknown == Unknown::Ignore);
            let places = (0..fields.len()).map(Some).collect();
            let names = (declared && whole).then(|| fields.iter().map(|field| field.name().as_str().into()).collect());
            return Self { header: None, names, width, open, places, refused: None };
        };
        let place = |field: &Field| names.iter().rposition(|name| **name == *field.name().as_str());
        let places: Vec<Option<usize>> = fields.iter().map(place).collect();
        let wanted = |name: &str| fields.iter().any(|field| field.name() == name);
        let twice = names.iter().enumerate().find(|(index, name)| {
            names[..*index].contains(name) && (wanted(name) || whole || unknown == Unknown::Reject)
        });
        let stranger = names.iter().find(|name| declared && unknown == Unknown::Reject && !wanted(name));
        let refused = match (twice, stranger) {
            (Some((_, name)), _) => Some(Reason::new("header", format!("two columns are called `{name}`"))),
            (None, Some(name)) => Some(Reason::new("unknown-field", format!("`{name}` is not in the schema"))),
            (None, None) => None,
        };
        Self {
            header: Some(names.clone()),
            names: Some(names.clone()),
            width: names.len(),
            open: false,
            places,
            refused,
        }
    }

    /// The fields of a record, when it has as many as belong there.
    #[inline(always)]
    fn split(&self, record: &[u8], dialect: &Dialect, found: &mut Vec<Cell>) -> Result<(), Reason> {
        cells(record, dialect, found).map_err(|flaw| match flaw {
            Flaw::Unclosed { at } => {
                Reason::new("not-csv", format!("byte {}: the quote that opens here is never closed", at + 1))
            }
            Flaw::Behind { at } => {
                Reason::new("not-csv", format!("byte {}: something follows the closing quote of a field", at + 1))
            }
        })?;
        let count = found.len();
        if count != self.width && !(self.open && count > self.width) {
            let fields = if count == 1 { "field" } else { "fields" };
            return Err(Reason::new("fields", format!("{count} {fields}, where {} belong", self.width)));
        }
        match &self.refused {
            None => Ok(()),
            Some(reason) => Err(reason.clone()),
        }
    }
}

/// A record as a JSON object; None where it is no record with these columns.
pub fn object(header: &Header, record: &[u8], dialect: &Dialect) -> Option<String> {
    let mut found = Vec::new();
    cells(record, dialect, &mut found).ok()?;
    if found.len() != header.len() {
        return None;
    }
    let mut out = Vec::new();
    write_object(header, record, &found, dialect, &mut out);
    String::from_utf8(out).ok()
}

/// Appends the record as a JSON object: every field is a string, or null.
fn write_object(header: &Header, record: &[u8], found: &[Cell], dialect: &Dialect, out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (name, cell)) in header.iter().zip(found).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        token::write_string(name, out);
        out.push(b':');
        match dialect.is_null(record, *cell) {
            true => out.extend_from_slice(b"null"),
            false => token::write_text(&super::text(record, *cell, dialect), out),
        }
    }
    out.push(b'}');
}

/// Views and validity of the columns of a batch, and what they hold that is no slice of the payload.
struct Gathering {
    rows: usize,
    views: Vec<Vec<u128>>,
    valid: Vec<Vec<u8>>,
    /// The views of the records as objects.
    records: Option<Vec<u128>>,
    own: Vec<u8>,
}

/// The buffer behind the payload.
const OWN: u32 = 1;

impl Gathering {
    fn new(fields: usize, rows: usize, whole: bool) -> Self {
        let (views, valid) = (vec![vec![0; rows]; fields], vec![vec![0; rows.div_ceil(8)]; fields]);
        Self { rows, views, valid, records: whole.then(|| vec![0; rows]), own: Vec::new() }
    }

    #[inline(always)]
    fn put(&mut self, field: usize, row: usize, view: u128) {
        self.views[field][row] = view;
        self.valid[field][row / 8] |= 1 << (row % 8);
    }

    #[inline(always)]
    fn slice(&mut self, field: usize, row: usize, base: &[u8], start: usize, end: usize) {
        self.put(field, row, view::make(base, start, end));
    }

    fn copy(&mut self, field: usize, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let view = self.written(write);
        self.put(field, row, view);
    }

    /// The JSON string of a text. A short one without anything to escape stands in its view.
    #[inline(always)]
    fn string(&mut self, field: usize, row: usize, text: &[u8]) {
        match view::short_string(text) {
            Some(view) => self.put(field, row, view),
            None => self.copy(field, row, |out| token::write_text(text, out)),
        }
    }

    fn record(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let view = self.written(write);
        if let Some(records) = &mut self.records {
            records[row] = view;
        }
    }

    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u128 {
        let start = self.own.len();
        write(&mut self.own);
        view::in_buffer(view::make(&self.own, start, self.own.len()), OWN)
    }

    fn columns(self, payload: &Buffer) -> (Vec<StringViewArray>, Option<StringViewArray>) {
        let rows = self.rows;
        let buffers = vec![payload.clone(), Buffer::from_vec(self.own)];
        let columns = self.views.into_iter().zip(self.valid).map(|(views, valid)| {
            let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(valid), 0, rows));
            view::column(views, buffers.clone(), (nulls.null_count() > 0).then_some(nulls))
        });
        let columns = columns.collect();
        // A record that is bad has an empty view: it is shorter than any object.
        let records = self.records.map(|views| {
            let valid: Vec<bool> = views.iter().map(|view| *view != 0).collect();
            view::column(views, buffers, Some(NullBuffer::from(valid)))
        });
        (columns, records)
    }
}
