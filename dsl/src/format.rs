//! FORMAT: what the records of a text are, said behind a source or a target, or by the ending of a name.
//!
//! `FORMAT csv (delimiter = ';')` comes before the name; `data.csv.gz` says CSV by itself. Where the name comes from `env()` only
//! FORMAT can say it: what a file means is decided when it is compiled.

use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    catalog::{ArgumentFacts, ConnectorFacts},
    message::{source as say, values as say_values},
    plan::{CsvPlan, Place, Value},
    values,
};

/// The formats that there are. TSV is CSV with a tab between its fields.
pub(crate) const FORMATS: [&str; 6] = ["json", "csv", "tsv", "raw", "avro", "protobuf"];
/// Those whose records name a schema, which has types of its own.
const REGISTERED: [&str; 2] = ["avro", "protobuf"];
pub(crate) const JSON: &str = "json";
pub(crate) const CSV: &str = "csv";
pub(crate) const RAW: &str = "raw";

/// Endings that say how a file is packed.
const PACKED: [&str; 2] = ["gz", "zst"];

const CSV_OPTIONS: [&str; 6] = ["comment", "delimiter", "escape", "header", "null", "quote"];

/// The format of a place: the name, and how CSV is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Format {
    pub csv: Option<CsvPlan>,
    /// A record is one value, and no document.
    pub raw: bool,
    /// Records name the schemas that they were written with: what in.
    pub registered: Option<&'static str>,
}

impl Format {
    pub fn name(&self) -> String {
        match self {
            Self { raw: true, .. } => RAW,
            Self { registered: Some(format), .. } => format,
            Self { csv: Some(_), .. } => CSV,
            _ => JSON,
        }
        .to_owned()
    }
}

/// What is read from or written to a place. `formats`: those that its connector has there.
pub(crate) fn of_place(
    written: Option<&ast::Format>,
    connector: &ConnectorFacts,
    place: &Place,
    formats: &[String],
    said: &mut Vec<Diagnostic>,
) -> Format {
    // What is called `orders.csv` among topics is a topic of that name, and none of them has a header.
    let of_topic = connector.source.as_ref().is_some_and(|source| source.keys);
    let by_name = by_name(connector, place).filter(|_| !of_topic);
    let Some(written) = written else {
        let csv = by_name.filter(|_| formats.iter().any(|format| format == CSV)).map(dialect);
        return Format { csv, ..Format::default() };
    };
    let name = written.name.text.to_lowercase();
    let known = FORMATS.iter().find(|format| **format == name);
    let able = |format: &str| formats.iter().any(|able| able == format || (format == "tsv" && able == CSV));
    match known {
        None => said.push(say::no_such_format(&written.name, formats)),
        Some(format) if !able(format) => said.push(say::format_not_here(&written.name, connector, formats)),
        Some(format @ (&"json" | &"raw" | &"avro" | &"protobuf")) => {
            for option in &written.options {
                said.push(say::format_option(&option.name, format, &[]));
            }
            let registered = REGISTERED.into_iter().find(|known| known == format);
            return Format { csv: None, raw: *format == RAW, registered };
        }
        Some(format) => {
            let tabs = *format == "tsv" || by_name == Some(b'\t');
            let csv = csv(written, if tabs { b'\t' } else { b',' }, !of_topic, said);
            return Format { csv: Some(csv), ..Format::default() };
        }
    }
    Format::default()
}

/// The delimiter that the ending of a place's name stands for; None where it is no CSV by its name.
fn by_name(connector: &ConnectorFacts, place: &Place) -> Option<u8> {
    let is_path = |facts: &&ArgumentFacts| facts.required && facts.kind == "text";
    let path = connector.arguments.iter().find(is_path)?;
    let named = place.named.iter().find(|(name, _)| *name == path.name).map(|(_, value)| value);
    let Some(Value::Text(path)) = named.or(place.positional.first().filter(|_| path.positional)) else { return None };
    match ending(plain(path)) {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        _ => None,
    }
}

/// What follows the last point of a name, in small letters that are known here; else nothing.
fn ending(name: &str) -> &'static str {
    let last = name.rsplit('/').next().unwrap_or(name);
    let found = last.rsplit_once('.').map_or("", |(_, ending)| ending);
    let known = ["csv", "tsv"].into_iter().chain(PACKED);
    known.into_iter().find(|known| known.eq_ignore_ascii_case(found)).unwrap_or("")
}

/// A path or address without what only says how it is packed, or asked for.
fn plain(path: &str) -> &str {
    let path = match path.contains("://") {
        true => path.split(['?', '#']).next().unwrap_or(path),
        false => path,
    };
    match ending(path) {
        packed if PACKED.contains(&packed) => &path[..path.len() - packed.len() - 1],
        _ => path,
    }
}

/// Whether the name of a place, or its arguments, say that it is an archive: the span of a name is not known here, so only whether.
pub(crate) fn is_packed(connector: &ConnectorFacts, place: &Place) -> bool {
    let argument = |name: &str| {
        let index = connector.arguments.iter().filter(|facts| facts.positional).position(|facts| facts.name == name);
        let named = place.named.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        named.or_else(|| place.positional.get(index?))
    };
    match (argument("compression"), argument("path")) {
        (Some(Value::Text(word)), _) => !word.eq_ignore_ascii_case("none"),
        (None, Some(Value::Text(path))) => PACKED.contains(&ending(path)),
        _ => false,
    }
}

fn dialect(delimiter: u8) -> CsvPlan {
    let nulls = vec![String::new()];
    CsvPlan { delimiter: delimiter as char, quote: Some('"'), escape: None, comment: None, header: true, nulls }
}

/// The dialect that a FORMAT clause describes; every mistake in it is said.
fn csv(written: &ast::Format, delimiter: u8, headers: bool, said: &mut Vec<Diagnostic>) -> CsvPlan {
    let mut plan = CsvPlan { header: headers, ..dialect(delimiter) };
    let mut signs: Vec<(char, Span)> = Vec::new();
    for option in &written.options {
        if let Err(wrong) = set(option, &mut plan, &mut signs) {
            said.push(wrong);
        }
    }
    let header = written.options.iter().find(|option| option.name.text.eq_ignore_ascii_case("header"));
    if let (false, true, Some(option)) = (headers, plan.header, header) {
        said.push(say::no_header(option.value.span));
    }
    for (index, (sign, span)) in signs.iter().enumerate() {
        if let Some((_, first)) = signs[..index].iter().find(|(other, _)| other == sign) {
            said.push(say::sign_twice(*span, *first, *sign));
        }
    }
    plan
}

fn set(option: &ast::Opt, plan: &mut CsvPlan, signs: &mut Vec<(char, Span)>) -> Result<(), Diagnostic> {
    let name = option.name.text.to_lowercase();
    if !CSV_OPTIONS.contains(&name.as_str()) {
        return Err(say::format_option(&option.name, CSV, &CSV_OPTIONS));
    }
    let span = option.value.span;
    let value = values::value(&option.value)?;
    if let Value::Env { .. } | Value::Secret { .. } = value {
        return Err(crate::message::pipelines::read_when_compiled(span, &name));
    }
    match (name.as_str(), value) {
        ("header", Value::Boolean(header)) => plan.header = header,
        ("header", _) => return Err(say_values::wrong_kind(span, &name, "boolean")),
        ("null", value) => plan.nulls = nulls(value).ok_or_else(|| say_values::wrong_kind(span, &name, "text"))?,
        ("quote", Value::Text(text)) if text.is_empty() => plan.quote = None,
        ("quote", Value::Null) => plan.quote = None,
        (_, Value::Text(text)) => {
            let sign = sign(&text).ok_or_else(|| say::not_a_sign(span, &name))?;
            match name.as_str() {
                "delimiter" => plan.delimiter = sign,
                "quote" => plan.quote = Some(sign),
                "escape" => plan.escape = Some(sign),
                _ => plan.comment = Some(sign),
            }
            // A quote that is its own escape is how CSV is written anyway.
            if name == "escape" && plan.quote == Some(sign) {
                plan.escape = None;
            } else {
                signs.push((sign, span));
            }
        }
        _ => return Err(say_values::wrong_kind(span, &name, "text")),
    }
    Ok(())
}

/// One ASCII character that is no line end; a tab has a name, since nobody sees it.
fn sign(text: &str) -> Option<char> {
    if text == "\\t" || text.eq_ignore_ascii_case("tab") {
        return Some('\t');
    }
    let mut characters = text.chars();
    let first = characters.next().filter(|sign| sign.is_ascii() && !matches!(sign, '\n' | '\r' | '\0'))?;
    characters.next().is_none().then_some(first)
}

fn nulls(value: Value) -> Option<Vec<String>> {
    let text = |value: Value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    match value {
        Value::List(values) => values.into_iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}
