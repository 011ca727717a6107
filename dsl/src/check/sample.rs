//! Names that no sampled record has: probably misspelt, and nothing else would ever say so.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use syncline_syntax::Diagnostic;

use crate::{
    message::source as say,
    path::{Key, ReadPath},
    walk::ReadField,
};

/// A warning for each undeclared field, and each member of one, that is in none of `records`. Texts that are no JSON objects are
/// left aside.
pub(crate) fn not_in_sample<'a>(
    fields: &[ReadField],
    paths: &[ReadPath],
    records: impl Iterator<Item = &'a str>,
    source: &str,
) -> Vec<Diagnostic> {
    let records = records.filter_map(|record| serde_json::from_str::<Map<String, Value>>(record).ok());
    let records: Vec<Map<String, Value>> = records.collect();
    let names: BTreeSet<&str> = records.iter().flat_map(|record| record.keys().map(String::as_str)).collect();
    if records.is_empty() {
        return Vec::new();
    }
    let missing = fields.iter().filter(|field| !names.contains(field.name.as_str()));
    let quoted = |field: &ReadField| field.span.of(source).starts_with('"');
    let fields = missing.map(|field| say::not_in_sample(field.span, &field.name, quoted(field), &names, records.len()));
    fields.chain(paths.iter().filter_map(|path| no_member(path, &records))).collect()
}

/// Says so when the objects that could have a member are there, and none has it.
fn no_member(path: &ReadPath, records: &[Map<String, Value>]) -> Option<Diagnostic> {
    let (Key::Member(name), before) = path.keys.split_last()? else { return None };
    let mut there: Vec<&Value> = records.iter().filter_map(|record| record.get(&path.field)).collect();
    for key in before {
        there = match key {
            Key::Member(name) => there.into_iter().filter_map(|value| value.get(name)).collect(),
            Key::Element => there.into_iter().filter_map(Value::as_array).flatten().collect(),
        };
    }
    let objects: Vec<&Map<String, Value>> = there.into_iter().filter_map(Value::as_object).collect();
    let names: BTreeSet<&str> = objects.iter().flat_map(|object| object.keys().map(String::as_str)).collect();
    let missing = !objects.is_empty() && !names.contains(name.as_str());
    missing.then(|| say::no_member(path.span, &shown(path, before), name, &names, objects.len()))
}

/// `customer.address`, `items[…]`.
fn shown(path: &ReadPath, keys: &[Key]) -> String {
    let keys = keys.iter().map(|key| match key {
        Key::Member(name) => format!(".{name}"),
        Key::Element => "[…]".to_owned(),
    });
    path.field.clone() + &keys.collect::<String>()
}
