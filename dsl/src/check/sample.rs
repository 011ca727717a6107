//! Names that no sampled record has: probably misspelt, and nothing else would ever say so.

use std::collections::BTreeSet;

use serde_json::Value;
use syncline_syntax::Diagnostic;

use crate::{message::source as say, walk::ReadField};

/// A warning for each undeclared field that is in none of `records`. Texts that are no JSON objects are left aside.
pub(crate) fn not_in_sample<'a>(
    fields: &[ReadField],
    records: impl Iterator<Item = &'a str>,
    source: &str,
) -> Vec<Diagnostic> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut count = 0;
    for record in records {
        if let Ok(Value::Object(members)) = serde_json::from_str::<Value>(record) {
            count += 1;
            names.extend(members.into_iter().map(|(name, _)| name));
        }
    }
    if count == 0 {
        return Vec::new();
    }
    let missing = fields.iter().filter(|field| !names.contains(&field.name));
    let quoted = |field: &ReadField| field.span.of(source).starts_with('"');
    missing.map(|field| say::not_in_sample(field.span, &field.name, quoted(field), &names, count)).collect()
}
