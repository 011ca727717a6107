//! From bytes to columns: every record is checked whole, and only the wanted members become columns.
//!
//! A record is taken only when all of it is one JSON object in UTF-8, whatever is read of it. A record that is not, or whose
//! declared members do not fit, is bad: it is NULL in every column and says why; the other records do not notice. JSON columns are
//! views into the payload, so the payload lives as long as they do.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray, new_null_array},
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    compute::{cast, kernels::cmp::not_distinct, nullif},
    datatypes::Field,
};
use hashbrown::{HashMap, HashSet};
use syncline_record::Reason;

use crate::{
    convert::{Converted, Manner, convert},
    is_json,
    scan::{self, Flaw, Members},
    shown,
    sqltype::sql_type_of,
    token, view, write,
};

/// What becomes of a record with a member that is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is left aside.
    Ignore,
    /// The record is bad (`SCHEMA … FREEZE`).
    Reject,
    /// It is left aside, and its name told once (`SCHEMA … EVOLVE`).
    Tell,
}

/// Up to this many wanted members, comparing with each is faster than hashing.
const FEW: usize = 8;

/// Reads the wanted members of records. One per pipeline and task: it learns in which order the members come.
#[derive(Clone, Debug)]
pub struct Decoder {
    fields: Vec<Field>,
    unknown: Unknown,
    names: Names,
    order: Vec<Option<usize>>,
    strangers: Strangers,
}

/// Names of members that are not wanted, where somebody wants to know of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    met: HashSet<Box<str>>,
    new: Vec<String>,
}

/// Records whose names are data have no end of them; more than these are in no schema's history.
const MOST_STRANGERS: usize = 1_000;

impl Strangers {
    pub(crate) fn meet(&mut self, name: &str) {
        if self.met.len() < MOST_STRANGERS && !self.met.contains(name) {
            self.met.insert(name.into());
            self.new.push(name.to_owned());
        }
    }

    /// Those met since this was asked.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new)
    }
}

/// The columns of a batch of records, and the records that are bad, in order of row.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// As many as fields were wanted, each as long as there were records; a bad record is NULL in all of them.
    pub columns: Vec<ArrayRef>,
    /// Slugs: `not-json`, `not-utf8`, `not-an-object`, `too-deep`, `type`, `missing`, `unknown-field`.
    pub bad: Vec<(u32, Reason)>,
    /// Names that no record had before and that are not wanted, with [`Unknown::Tell`].
    pub new_names: Vec<String>,
}

#[derive(Clone, Debug)]
struct Names {
    list: Vec<Box<[u8]>>,
    index: HashMap<Box<[u8]>, usize>,
}

impl Names {
    fn new(fields: &[Field]) -> Self {
        let list: Vec<Box<[u8]>> = fields.iter().map(|field| field.name().as_bytes().into()).collect();
        let index = list.iter().enumerate().map(|(field, name)| (name.clone(), field)).collect();
        Self { list, index }
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<usize> {
        if self.list.len() <= FEW {
            self.list.iter().position(|wanted| **wanted == *name)
        } else {
            self.index.get(name).copied()
        }
    }
}

impl Decoder {
    /// `fields` are the wanted top-level members, matched by their exact names. A JSON column takes the token as it came; any other
    /// type is converted strictly from the token; a member that is absent or `null` is NULL, or makes the record bad where the
    /// field is not nullable.
    pub fn new(fields: &[Field], unknown: Unknown) -> Decoder {
        Decoder {
            fields: fields.to_vec(),
            unknown,
            names: Names::new(fields),
            order: Vec::new(),
            strangers: Strangers::default(),
        }
    }

    /// Reads the records at `spans` (start and end in `payload`).
    pub fn decode(&mut self, payload: &Buffer, spans: &[(u32, u32)]) -> Decoded {
        let bytes = payload.as_slice();
        let all_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
        let mut bad = Vec::new();
        let mut tokens = Tokens::new(self.fields.len(), spans.len());
        for (row, (start, end)) in spans.iter().enumerate() {
            let record = &bytes[*start as usize..*end as usize];
            let read = if all_utf8 || simdutf8::basic::from_utf8(record).is_ok() {
                self.read(bytes, *start as usize, record, row, &mut tokens)
            } else {
                Err(not_utf8(record))
            };
            if let Err(reason) = read {
                tokens.forget(row);
                bad.push((row as u32, reason));
            }
        }
        let tokens = tokens.columns(payload);
        let columns = self.typed(tokens, spans.len(), &mut bad);
        Decoded { columns, bad, new_names: self.strangers.take() }
    }

    #[inline(always)]
    fn read(
        &mut self,
        base: &[u8],
        start: usize,
        record: &[u8],
        row: usize,
        tokens: &mut Tokens,
    ) -> Result<(), Reason> {
        let mut walk = Walk {
            names: &self.names,
            order: &mut self.order,
            reject: self.unknown == Unknown::Reject,
            tell: (self.unknown == Unknown::Tell).then_some(&mut self.strangers),
            stranger: None,
            base,
            start,
            row,
            tokens,
        };
        scan::object(record, &mut walk).map_err(|flaw| explain(record, flaw))?;
        match walk.stranger {
            Some(name) => Err(unknown(&name)),
            None => Ok(()),
        }
    }

    /// The wanted fields of rows that have types already, under the same rules: matched by name, absent is NULL, and a value that
    /// the declared type cannot hold exactly makes the row bad.
    pub fn take(&mut self, columns: &RecordBatch) -> Decoded {
        let rows = columns.num_rows();
        let (mut is_bad, mut bad) = (vec![false; rows], vec![]);
        let given = columns.schema();
        let stranger = given.fields().iter().find(|given| self.names.find(given.name().as_bytes()).is_none());
        if let Some(name) = stranger.filter(|_| self.unknown == Unknown::Reject).map(|field| field.name()) {
            (0..rows).for_each(|row| mark(row, &mut is_bad, &mut bad, || unknown(name)));
        }
        if self.unknown == Unknown::Tell {
            let strangers = given.fields().iter().filter(|given| self.names.find(given.name().as_bytes()).is_none());
            strangers.for_each(|field| self.strangers.meet(field.name()));
        }
        let mut taken: Vec<ArrayRef> = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let made = match given.column_with_name(field.name()) {
                None => Converted { array: new_null_array(field.data_type(), rows), bad: vec![] },
                Some((index, given)) => retyped(columns.column(index), given, field),
            };
            for row in made.bad {
                let detail = || unfit(columns, field, row as usize);
                mark(row as usize, &mut is_bad, &mut bad, detail);
            }
            if !field.is_nullable() {
                for row in (0..rows).filter(|row| made.array.is_null(*row)) {
                    mark(row, &mut is_bad, &mut bad, || missing(field));
                }
            }
            taken.push(made.array);
        }
        if !bad.is_empty() {
            bad.sort_by_key(|(row, _)| *row);
            let mask = BooleanArray::from(is_bad);
            taken = taken.iter().map(|column| nullif(column, &mask).expect("a mask of the same length")).collect();
        }
        Decoded { columns: taken, bad, new_names: self.strangers.take() }
    }

    fn typed(&self, tokens: Vec<StringViewArray>, rows: usize, bad: &mut Vec<(u32, Reason)>) -> Vec<ArrayRef> {
        let mut is_bad = vec![false; rows];
        bad.iter().for_each(|(row, _)| is_bad[*row as usize] = true);
        let before = bad.len();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(tokens.len());
        for (field, tokens) in self.fields.iter().zip(tokens) {
            if !field.is_nullable() && tokens.null_count() > 0 {
                for row in (0..tokens.len()).filter(|row| tokens.is_null(*row)) {
                    mark(row, &mut is_bad, bad, || missing(field));
                }
            }
            if is_json(field) {
                columns.push(Arc::new(tokens));
                continue;
            }
            let converted = convert(&tokens, field.data_type(), Manner::Declared);
            for row in &converted.bad {
                let row = *row as usize;
                mark(row, &mut is_bad, bad, || misfit(field, tokens.value(row)));
            }
            columns.push(converted.array);
        }
        if bad.len() > before {
            bad.sort_by_key(|(row, _)| *row);
            let mask = BooleanArray::from(is_bad);
            columns = columns.iter().map(|column| nullif(column, &mask).expect("a mask of the same length")).collect();
        }
        columns
    }
}

/// A column as the schema declares it.
fn retyped(column: &ArrayRef, given: &Field, declared: &Field) -> Converted {
    if is_json(given) && !is_json(declared) {
        return convert(column.as_string_view(), declared.data_type(), Manner::Declared);
    }
    if is_json(declared) && !is_json(given) {
        return Converted { array: tokens_of(column, given), bad: vec![] };
    }
    if column.data_type() == declared.data_type() {
        return Converted { array: column.clone(), bad: vec![] };
    }
    // What comes back as it was has lost nothing.
    let there = cast(column, declared.data_type());
    let back = there.as_ref().ok().and_then(|there| cast(there, column.data_type()).ok());
    let same = back.and_then(|back| not_distinct(&back, column).ok());
    match (there, same) {
        (Ok(array), Some(same)) => {
            Converted { array, bad: (0..same.len() as u32).filter(|row| !same.value(*row as usize)).collect() }
        }
        _ => {
            let bad = (0..column.len() as u32).filter(|row| column.is_valid(*row as usize)).collect();
            Converted { array: new_null_array(declared.data_type(), column.len()), bad }
        }
    }
}

/// The JSON token of each value.
fn tokens_of(column: &ArrayRef, field: &Field) -> ArrayRef {
    let mut token = Vec::new();
    let tokens = (0..column.len()).map(|row| {
        token.clear();
        write::token_of(column, field, row, &mut token);
        column.is_valid(row).then(|| String::from_utf8_lossy(&token).into_owned())
    });
    Arc::new(tokens.collect::<StringViewArray>())
}

/// Why a value of a typed column is none of the declared type.
fn unfit(columns: &RecordBatch, declared: &Field, row: usize) -> Reason {
    let Some((index, given)) = columns.schema().column_with_name(declared.name()).map(|(i, field)| (i, field.clone()))
    else {
        return missing(declared);
    };
    let mut token = Vec::new();
    write::token_of(columns.column(index), &given, row, &mut token);
    misfit(declared, &String::from_utf8_lossy(&token))
}

fn unknown(name: &str) -> Reason {
    Reason::new("unknown-field", format!("`{name}` is not in the schema"))
}

fn missing(field: &Field) -> Reason {
    Reason::new("missing", format!("{} is missing or null", field.name()))
}

/// The first thing that is wrong with a row is the reason.
pub(crate) fn mark(row: usize, is_bad: &mut [bool], bad: &mut Vec<(u32, Reason)>, reason: impl FnOnce() -> Reason) {
    if !is_bad[row] {
        is_bad[row] = true;
        bad.push((row as u32, reason()));
    }
}

pub(crate) fn misfit(field: &Field, token: &str) -> Reason {
    let wanted = sql_type_of(field);
    Reason::new("type", format!("{}: {} is not a {wanted}", field.name(), shown::value(token)))
}

pub(crate) fn not_utf8(record: &[u8]) -> Reason {
    let at = std::str::from_utf8(record).map_or_else(|error| error.valid_up_to(), str::len);
    Reason::new("not-utf8", format!("byte {} is not UTF-8", at + 1))
}

/// The reason for a record that is not one JSON object.
fn explain(record: &[u8], flaw: Flaw) -> Reason {
    match flaw {
        Flaw::TooDeep => Reason::new("too-deep", format!("nested deeper than {} levels", scan::DEEPEST)),
        // The scanner stops at the first byte that is no `{`; when the whole is JSON, it is another kind of value.
        Flaw::Syntax { wanted: "an object", .. } => match scan::check(record) {
            Ok(()) => {
                let text = String::from_utf8_lossy(record.trim_ascii());
                Reason::new("not-an-object", format!("{} is not an object", shown::value(&text)))
            }
            Err(flaw @ Flaw::Syntax { wanted: "a value", .. }) => syntax(record, flaw),
            Err(flaw) => explain(record, flaw),
        },
        flaw => syntax(record, flaw),
    }
}

fn syntax(record: &[u8], flaw: Flaw) -> Reason {
    let Flaw::Syntax { at, wanted } = flaw else { return explain(record, flaw) };
    let seen = match record.get(at) {
        None => "the end".to_owned(),
        Some(_) => {
            let rest = String::from_utf8_lossy(&record[at..record.len().min(at + 4)]);
            format!("{:?}", rest.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER))
        }
    };
    Reason::new("not-json", format!("byte {}: expected {wanted}, found {seen}", at + 1))
}

/// Checks that `bytes` are one JSON text of any kind, in UTF-8.
pub fn validate(bytes: &[u8]) -> Result<(), Reason> {
    if simdutf8::basic::from_utf8(bytes).is_err() {
        return Err(not_utf8(bytes));
    }
    scan::check(bytes).map_err(|flaw| match flaw {
        Flaw::TooDeep => explain(bytes, flaw),
        flaw => syntax(bytes, flaw),
    })
}

/// Whole records as JSON tokens, without copying them. Only for records known to be good.
pub fn record_column(payload: &Buffer, spans: &[(u32, u32)]) -> StringViewArray {
    let bytes = payload.as_slice();
    let views = spans.iter().map(|(start, end)| view::make(bytes, *start as usize, *end as usize)).collect();
    view::column(views, vec![payload.clone()], None)
}

/// The tokens found so far: a view and a bit per field and row.
struct Tokens {
    rows: usize,
    views: Vec<Vec<u128>>,
    valid: Vec<Vec<u8>>,
}

impl Tokens {
    fn new(fields: usize, rows: usize) -> Self {
        Self { rows, views: vec![vec![0; rows]; fields], valid: vec![vec![0; rows.div_ceil(8)]; fields] }
    }

    fn forget(&mut self, row: usize) {
        for (views, valid) in self.views.iter_mut().zip(&mut self.valid) {
            views[row] = 0;
            valid[row / 8] &= !(1 << (row % 8));
        }
    }

    fn columns(self, payload: &Buffer) -> Vec<StringViewArray> {
        let rows = self.rows;
        let columns = self.views.into_iter().zip(self.valid);
        columns
            .map(|(views, valid)| {
                let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(valid), 0, rows));
                view::column(views, vec![payload.clone()], (nulls.null_count() > 0).then_some(nulls))
            })
            .collect()
    }
}

/// The walk over one record.
struct Walk<'a> {
    names: &'a Names,
    order: &'a mut Vec<Option<usize>>,
    reject: bool,
    tell: Option<&'a mut Strangers>,
    stranger: Option<String>,
    base: &'a [u8],
    start: usize,
    row: usize,
    tokens: &'a mut Tokens,
}

impl Members for Walk<'_> {
    #[inline(always)]
    fn expected(&self, position: usize) -> Option<(usize, &[u8])> {
        let field = (*self.order.get(position)?)?;
        Some((field, &self.names.list[field]))
    }

    #[inline(always)]
    fn meet(&mut self, position: usize, name: &[u8]) -> Option<usize> {
        let field = self.names.find(name);
        if field.is_none() && (self.reject || self.tell.is_some() || memchr::memchr(b'\\', name).is_some()) {
            return self.meet_rare(name);
        }
        if self.order.len() <= position {
            self.order.resize(position + 1, None);
        }
        self.order[position] = field;
        field
    }

    #[inline(always)]
    fn take(&mut self, field: usize, start: usize, end: usize) {
        let (start, end) = (self.start + start, self.start + end);
        let bit = 1 << (self.row % 8);
        let valid = &mut self.tokens.valid[field][self.row / 8];
        if self.base[start] == b'n' {
            *valid &= !bit;
            self.tokens.views[field][self.row] = 0;
        } else {
            *valid |= bit;
            self.tokens.views[field][self.row] = view::make(self.base, start, end);
        }
    }
}

impl Walk<'_> {
    /// A name with escapes, or one that nobody wants where that matters.
    #[cold]
    fn meet_rare(&mut self, name: &[u8]) -> Option<usize> {
        let name = token::unescape(name);
        let field = self.names.find(name.as_bytes());
        if let (None, Some(strangers)) = (field, self.tell.as_deref_mut()) {
            strangers.meet(&name);
        }
        if field.is_none() && self.reject && self.stranger.is_none() {
            self.stranger = Some(name);
        }
        field
    }
}
