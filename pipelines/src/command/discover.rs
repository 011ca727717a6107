//! `syncline discover`: writes a SCHEMA from a sample, for who wants types.
//!
//! What is looked at is what a pipeline would read: the place is compiled as the source of one, with the same formats and the same
//! messages. Nothing is stored, and nothing but the sample is read.

mod connections;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value as Json, json};
use syncline_connectors::{SourceRequest, Surroundings, open_source, records::TextFormat};
use syncline_dsl::plan::SourcePlan;
use syncline_engine::source::{Cursors, Polled, Rows};
use syncline_functions::{
    sql_type_of,
    survey::{Survey, Surveyed},
};
use syncline_syntax::ast;

use super::{Common, Format};
use crate::{
    bind::{RAW, arguments, formats},
    compiler::Compiler,
    deploy,
    outcome::{Exit, Failure, Outcome},
    render::print,
    secrets,
    source_file::SourceFile,
    verbs::Refused,
    world::{DATA_FOLDER, data_folder},
};
pub use connections::Named;

/// Records that are looked at when nothing else is said: seconds at most, and rare fields are met.
const ROWS: u64 = 10_000;

/// How long a source that has nothing for now is waited for: an answer over the network takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Write a SCHEMA from a sample of files, of a table, of a topic, or of what an address gives; or list the topics of a CONNECTION
#[derive(Args, Debug)]
#[command(after_help = "\
PLACE is a file, a pattern, an address, or the source of a pipeline with its FORMAT; or a CONNECTION of FILE: all of it, or a part.

Examples:
  syncline discover events.ndjson
  syncline discover 'trips/*.csv.gz' --rows 100000 --name trip
  syncline discover \"file('trips.csv') FORMAT csv (delimiter = ';', null = 'NA')\"
  syncline discover -o json https://example.com/prices.csv
  syncline discover \"sqlite('shop.db', 'orders')\"
  syncline discover bus
  syncline discover bus.orders orders.sync
  syncline discover \"bus.lines FORMAT csv (delimiter = ';')\"")]
pub struct Arguments {
    /// What to look at
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// The pipeline file that declares the CONNECTION, or a folder of them
    #[arg(value_name = "FILE|FOLDER", default_value = ".")]
    pub file: PathBuf,
    /// Records to look at
    #[arg(long, value_name = "N", default_value_t = ROWS, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// The name of the schema [default: from the place]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

pub fn run(given: Arguments, common: &Common) -> Outcome {
    let named = connections::named(&given.place, &given.file)?;
    if let Some(named) = named.as_ref().filter(|named| named.object.is_empty()) {
        return connections::show(named, common);
    }
    let source = compiled(&given.place, named.as_ref(), common.output)?;
    let folder = match &named {
        Some(named) => data_folder(common.data.as_deref(), Some(&named.connection.file.path))?,
        None => common.data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER)),
    };
    let found = look(&source, named.as_ref(), (given.rows, None), &folder)?;
    let name =
        given.name.unwrap_or_else(|| named.as_ref().map_or_else(|| name_of(&source, &given.place), Named::schema));
    match common.output {
        Format::Json | Format::Ndjson => print(&format!("{}\n", found.to_json(&name))),
        Format::Table | Format::Csv => print(&schema(&name, &given.place, &found)),
    }
}

/// What a part of a connection holds, for whoever asks over HTTP: as `-o json` says it, and as a pipeline file has it. `until`: what
/// has been seen by then is all.
pub fn sampled(named: &Named, most: u64, until: Instant, folder: &Path) -> Result<(Json, String), Refused> {
    let place = format!("{}.{}", named.connection.name, named.object);
    let file = written(&place, Some(named));
    // A part is named, and nothing else is said: what a text may do beside that is for whoever writes files.
    if !is_one_source(&file.text) {
        return Err(Failure::usage("no-such-object", format!("`{}` is no part of a connection", named.object))
            .help("name one, with its FORMAT where it needs one: orders, public.orders, lines FORMAT csv")
            .into());
    }
    let checked = deploy::compiled(&file, &Compiler::default(), &place)?;
    let source = checked.plan.pipelines.first().map(|plan| plan.source.clone());
    let source = source.ok_or_else(|| Failure::usage("no-place", format!("{place} is no place to read from")))?;
    let found = look(&source, Some(named), (most, Some(until)), folder)?;
    let name = named.schema();
    Ok((found.to_json(&name), schema(&name, &place, &found)))
}

/// Whether a text says what it reads from and, but for what is around that here, nothing else.
fn is_one_source(text: &str) -> bool {
    let (parsed, wrong) = syncline_syntax::parse(text);
    let mut pipelines = parsed.statements.iter().filter_map(|statement| match statement {
        ast::Statement::Pipeline(one) => Some(one),
        _ => None,
    });
    let (Some(pipeline), None) = (pipelines.next(), pipelines.next()) else { return false };
    let around = |statement: &ast::Statement| match statement {
        ast::Statement::Connection(_) | ast::Statement::Pipeline(_) => true,
        ast::Statement::Schema(schema) => schema.name.text == SCHEMA,
        _ => false,
    };
    wrong.is_empty() && parsed.statements.iter().all(around) && pipeline.flow.steps.len() == 1
}

/// The place as the source of a pipeline.
fn compiled(place: &str, named: Option<&Named>, output: Format) -> Result<SourcePlan, Failure> {
    let checked = written(place, named).compiled(output)?;
    let plan = checked.plan.pipelines.into_iter().next();
    plan.map(|plan| plan.source).ok_or_else(|| Failure::usage("no-place", format!("{place} is no place to read from")))
}

fn written(place: &str, named: Option<&Named>) -> SourceFile {
    let quoted = format!("'{}'", place.replace('\'', "''"));
    let from = match place {
        _ if named.is_some() => of_connection(place).0,
        written if written.contains('(') && written.contains(')') && !Path::new(written).exists() => written.to_owned(),
        url if url.starts_with("http://") || url.starts_with("https://") => format!("http_get({quoted})"),
        path if path.to_ascii_lowercase().ends_with(".parquet") => format!("parquet({quoted})"),
        path if path.to_ascii_lowercase().ends_with(".arrow") => format!("arrow({quoted})"),
        _ => format!("file({quoted})"),
    };
    let path = named.map_or_else(|| PathBuf::from("PLACE"), |named| named.connection.file.folder().join("PLACE"));
    let beside =
        named.map_or_else(String::new, |named| format!("{};\n{}", named.connection.text, of_connection(place).1));
    SourceFile { path, text: format!("{}{beside}", pipeline(&from)) }
}

/// The name of a schema that only says how lines without a header are looked at.
const SCHEMA: &str = "discovered";
/// Lines without a header need a `SCHEMA` to be read by; here they are only looked at.
const SAMPLE: &str = "SCHEMA discovered DISCARD (column_1 STRING);\n";

/// The source of a connection; where it is lines of CSV, with a schema for the compiler.
fn of_connection(place: &str) -> (String, &'static str) {
    let (parsed, _) = syncline_syntax::parse(&pipeline(place));
    let lines = parsed.statements.iter().any(|statement| match statement {
        ast::Statement::Pipeline(one) => {
            let source = &one.flow.source;
            let csv = |format: &ast::Format| ["csv", "tsv"].contains(&format.name.text.to_lowercase().as_str());
            source.schema.is_none() && source.format.as_ref().is_some_and(csv)
        }
        _ => false,
    });
    if lines { (format!("{place} SCHEMA discovered"), SAMPLE) } else { (place.to_owned(), "") }
}

fn pipeline(from: &str) -> String {
    format!("PIPELINE discovered AS\nFROM {from}\n|> INSERT INTO stdout();\n")
}

/// What was found.
struct Found {
    columns: Vec<Surveyed>,
    records: u64,
    /// Records that are none.
    refused: u64,
}

impl Found {
    fn to_json(&self, name: &str) -> Json {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| json!({ "name": column.name, "type": column.sql, "not_null": column.not_null }))
            .collect();
        json!({ "name": name, "records": self.records, "refused": self.refused, "columns": columns })
    }
}

fn look(
    source: &SourcePlan,
    named: Option<&Named>,
    (most, until): (u64, Option<Instant>),
    folder: &Path,
) -> Result<Found, Failure> {
    let secret = |path: &str| match secrets::resolve(folder, path) {
        Ok(secret) => Ok(secret.expose().to_owned()),
        Err(failure) => Err(failure.title),
    };
    if source.format == RAW {
        let columns = source.fields.iter().map(|field| Surveyed {
            name: field.name.clone(),
            sql: field.kind.0.clone(),
            not_null: true,
        });
        return Ok(Found { columns: columns.collect(), records: 0, refused: 0 });
    }
    let args = arguments(&source.place, &secret)
        .map_err(|error| Failure::of_line(Exit::Usage, "cannot-bind", &error.to_string()))?;
    let format = formats::text(source);
    let around = named.map_or_else(Surroundings::default, |named| named.connection.around());
    let request = SourceRequest { format: &format, ..SourceRequest::new(&args, &around) };
    let unreadable = |error: &dyn std::fmt::Display| Failure::environment("source-unreadable", error.to_string());
    let mut input = open_source(&source.place.connector, request).map_err(|error| {
        Failure::usage("cannot-look", error.to_string())
            .help("files, tables, topics, addresses and object stores can be looked at")
    })?;
    input.open(&Cursors::new(), 0).map_err(|error| unreadable(&error))?;
    let mut survey = Looked::default();
    let mut waited = Instant::now();
    let in_time = || until.is_none_or(|until| Instant::now() < until);
    while in_time() && survey.survey.records() + survey.typed_rows < most {
        match input.poll(0).map_err(|error| unreadable(&error))? {
            Polled::Rows(rows) => {
                survey.take(&rows, &format, most);
                waited = Instant::now();
            }
            Polled::Idle if waited.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            Polled::LeftOut(_) | Polled::Streamed(_) => {}
            Polled::Idle | Polled::Ended => break,
        }
    }
    survey.found(&source.place.text)
}

/// A sample as far as it was seen.
#[derive(Default)]
struct Looked {
    survey: Survey,
    refused: u64,
    /// Columns of a source that has types.
    typed: Option<Vec<Surveyed>>,
    typed_rows: u64,
}

impl Looked {
    fn take(&mut self, rows: &Rows, format: &TextFormat, most: u64) {
        self.refused += rows.rejected.len() as u64;
        let deletes = rows.origin.keys.as_ref().map_or(&[][..], |keys| keys.alone());
        if let Some(columns) = &rows.columns {
            // A key without a value shows no field.
            let own = columns.num_rows() - deletes.len();
            if own == 0 {
                return;
            }
            self.typed_rows += own as u64;
            let fields = columns.schema();
            let seen = fields.fields().iter().zip(columns.columns()).map(|(field, column)| Surveyed {
                name: field.name().clone(),
                sql: sql_type_of(field),
                not_null: column.null_count() == deletes.len(),
            });
            self.meet(seen.collect());
            return;
        }
        for row in 0..rows.origin.rows() {
            if self.survey.records() >= most {
                return;
            }
            if deletes.binary_search(&(row as u32)).is_ok() {
                continue;
            }
            let record = rows.origin.bytes_of(row);
            let taken = match (format, &rows.origin.names) {
                (TextFormat::Csv { dialect, .. }, Some(names)) => self.survey.csv(names, &record, dialect),
                (TextFormat::Csv { dialect, .. }, None) => {
                    self.survey.csv(&dialect.numbered(&record), &record, dialect)
                }
                (TextFormat::Json, _) => self.survey.json(&record),
                (TextFormat::Registered(_), _) => false,
            };
            self.refused += u64::from(!taken);
        }
    }

    /// Columns of some rows. Others may have others: a column that is not in all of them is not always there.
    fn meet(&mut self, seen: Vec<Surveyed>) {
        let Some(typed) = &mut self.typed else {
            self.typed = Some(seen);
            return;
        };
        for before in typed.iter_mut() {
            before.not_null &= seen.iter().any(|now| now.name == before.name && now.not_null);
        }
        for now in seen {
            if typed.iter().all(|before| before.name != now.name) {
                typed.push(Surveyed { not_null: false, ..now });
            }
        }
    }

    fn found(self, place: &str) -> Result<Found, Failure> {
        let records = self.survey.records() + self.typed_rows;
        if records == 0 {
            let seen = match self.refused {
                0 => "it has no records".to_owned(),
                refused => format!("{refused} records were looked at, and none can be read"),
            };
            return Err(Failure::failed("nothing-to-see", format!("{place} gives no sample: {seen}"))
                .help("name another place, or its format: \"file('x.txt') FORMAT csv (delimiter = ';')\""));
        }
        let columns = self.typed.unwrap_or_else(|| self.survey.columns());
        Ok(Found { columns, records, refused: self.refused })
    }
}

/// The schema as a pipeline file has it.
fn schema(name: &str, place: &str, found: &Found) -> String {
    let names: Vec<String> = found.columns.iter().map(|column| identifier(&column.name)).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let types = found.columns.iter().filter(|column| column.not_null).map(|column| column.sql.len()).max().unwrap_or(0);
    let lines = names.iter().zip(&found.columns).map(|(name, column)| {
        let null = if column.not_null { " NOT NULL" } else { "" };
        let sql = if column.not_null { format!("{:types$}", column.sql) } else { column.sql.clone() };
        let pad = " ".repeat(wide - name.chars().count());
        format!("  {name}{pad} {sql}{null}")
    });
    let records = if found.records == 1 { "1 record".to_owned() } else { format!("{} records", found.records) };
    let refused = match found.refused {
        0 => String::new(),
        refused => format!("; {refused} more are no records"),
    };
    let place = place.replace(['\n', '\r'], " ");
    let body = lines.collect::<Vec<_>>().join(",\n");
    format!(
        "-- From {records} of {place}{refused}. It holds for these: widen what you know better.\nSCHEMA {} (\n{body}\n);\n",
        identifier(name)
    )
}

/// A name as SQL takes it.
fn identifier(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
        && !name.eq_ignore_ascii_case("watermark");
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// `trips/2026-*.csv.gz` → `trips`, `events.ndjson` → `events`.
fn name_of(source: &SourcePlan, place: &str) -> String {
    use syncline_dsl::plan::Value;
    let path = match source.place.positional.first().or(source.place.named.first().map(|(_, value)| value)) {
        Some(Value::Text(path)) => path.as_str(),
        _ => place,
    };
    word_of(path)
}

/// A word that can be a name, out of the last part of a path that has one.
fn word_of(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let mut parts = path.split('/').rev().filter(|part| !part.is_empty());
    let word = |part: &str| {
        let stem = part.split('.').next().unwrap_or(part);
        let letters: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let word = letters.trim_matches('_').to_lowercase();
        (!stem.contains('*') && word.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(word)
    };
    parts.find_map(word).unwrap_or_else(|| "discovered".to_owned())
}
