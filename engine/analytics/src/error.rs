//! What can be wrong with a question, in the asker's words.

use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::{
    common::{Column, SchemaError},
    error::DataFusionError,
};

use crate::{
    outside::{Closed, Trouble},
    query::Limits,
    reach,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("there is no table `{name}`")]
    NoSuchTable { name: String, nearest: Option<String>, tables: Vec<String> },
    #[error("there is no column `{name}`")]
    NoSuchColumn { name: String, nearest: Option<String>, columns: Vec<String> },
    /// The text is not one statement of SQL, or its types do not fit.
    #[error("{detail}")]
    Wrong { detail: String },
    #[error("{statement} would write, and a query only reads")]
    Writes { statement: String },
    /// A file, another server, anything outside.
    #[error("{what} would reach outside, and a query only reads the tables that are here")]
    Unreachable { what: String },
    #[error("the query needs more than {} MiB of memory", limit >> 20)]
    TooLarge { limit: usize },
    #[error("the query took longer than {}", spoken(*limit))]
    TooLong { limit: Duration },
    /// What would need more stack than there is, or a thread for minutes.
    #[error("this question has more than {most} {what}")]
    TooDeep { what: &'static str, most: usize },
    /// None of the workers that were named can be asked.
    #[error("no worker answers: {detail}")]
    Workers { detail: String },
    /// A place outside that the question names: nobody answers, or he refuses us.
    #[error("{name}: {detail}")]
    Away { name: String, detail: String },
    /// A value of such a place that the type of its column cannot hold.
    #[error("{detail}")]
    Unfit { detail: String },
    /// A value that a function or an operator has no answer for.
    #[error("{detail}")]
    Value { detail: String, why: Why },
    /// A place that cannot be asked by this asker, or as it is declared.
    #[error("{detail}")]
    Closed { detail: String, help: String, forbidden: bool },
    #[error("{detail}")]
    Failed { detail: String },
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    DividedByZero,
    /// No number of its type.
    OutOfRange,
    /// A text that says no such value.
    Unreadable,
    Other,
}

impl QueryError {
    /// The next step for the asker.
    pub fn help(&self) -> Vec<String> {
        let nearest = |nearest: &Option<String>| nearest.iter().map(|name| format!("did you mean `{name}`?")).collect();
        let mut help: Vec<String> = match self {
            Self::NoSuchTable { nearest: name, .. } | Self::NoSuchColumn { nearest: name, .. } => nearest(name),
            _ => vec![],
        };
        match self {
            Self::NoSuchTable { name, tables, .. } => {
                help.push(format!("tables: {}", tables.join(", ")));
                if name.contains('.') {
                    help.push("SHOW TABLES lists those of connections too".to_owned());
                }
            }
            Self::NoSuchColumn { columns, .. } => help.push(format!("columns: {}", columns.join(", "))),
            Self::Writes { .. } => help.push("use SELECT, EXPLAIN, SHOW TABLES or DESCRIBE".to_owned()),
            Self::Unreachable { .. } => {
                help.push(
                    "a pipeline reads files: FROM file('…'), FROM parquet('…'); SHOW TABLES lists what can be asked"
                        .to_owned(),
                );
            }
            Self::TooLarge { .. } | Self::TooLong { .. } => {
                help.push("ask for less: a WHERE, fewer groups, a LIMIT without ORDER BY".to_owned());
            }
            Self::TooDeep { .. } => {
                help.push("ask it in parts, or put long lists of values into an IN (…)".to_owned());
            }
            Self::Workers { .. } => {
                help.push("start them (`syncline worker`), all of this build; or ask without --workers".to_owned());
            }
            Self::Away { name, .. } => {
                help.push(format!("`syncline connection test {name}` goes there, and tells who answers"));
            }
            Self::Closed { help: next, .. } => help.push(next.clone()),
            Self::Value { why: Why::OutOfRange, .. } => {
                let wider = "take a type that holds it, before: CAST(… AS DECIMAL(38, 0)) or CAST(… AS DOUBLE)";
                help.push(wider.to_owned());
            }
            Self::Wrong { .. } | Self::Unfit { .. } | Self::Value { .. } | Self::Failed { .. } => {}
        }
        help
    }
}

fn spoken(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds} seconds"),
        _ => format!("{} milliseconds", time.as_millis()),
    }
}

/// What can be named.
#[derive(Default)]
pub struct Names {
    pub tables: Vec<String>,
}

/// DataFusion's error as one of ours.
pub fn explained(error: DataFusionError, limits: &Limits, names: &Names) -> QueryError {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match &**schema {
            SchemaError::FieldNotFound { field, valid_fields } => no_column(field, valid_fields),
            other => QueryError::Wrong { detail: other.to_string() },
        },
        DataFusionError::ResourcesExhausted(_) => QueryError::TooLarge { limit: limits.memory },
        DataFusionError::Plan(detail) => no_table(detail, names)
            .or_else(|| no_such_call(detail))
            .unwrap_or_else(|| QueryError::Wrong { detail: detail.clone() }),
        DataFusionError::SQL(detail, _) => QueryError::Wrong { detail: format!("this is not SQL: {detail}") },
        DataFusionError::NotImplemented(detail) => {
            no_limit(detail).unwrap_or_else(|| QueryError::Wrong { detail: detail.clone() })
        }
        DataFusionError::Execution(detail) => QueryError::Failed { detail: detail.clone() },
        DataFusionError::External(error) => match error.downcast_ref::<Trouble>() {
            Some(Trouble::Away { name, detail }) => QueryError::Away { name: name.clone(), detail: detail.clone() },
            Some(Trouble::Unfit { detail }) => QueryError::Unfit { detail: detail.clone() },
            Some(Trouble::Closed(Closed { detail, help, forbidden })) => {
                QueryError::Closed { detail: detail.clone(), help: help.clone(), forbidden: *forbidden }
            }
            None => QueryError::Failed { detail: error.to_string() },
        },
        DataFusionError::ArrowError(error, _) => of_value(error),
        other => {
            let detail = other.strip_backtrace();
            no_such_call(&detail).unwrap_or(QueryError::Failed { detail })
        }
    }
}

fn of_value(error: &ArrowError) -> QueryError {
    let value = |detail: &str, why| QueryError::Value { detail: detail.to_owned(), why };
    match error {
        ArrowError::DivideByZero => value("division by zero", Why::DividedByZero),
        ArrowError::ArithmeticOverflow(detail) => value(detail, Why::OutOfRange),
        ArrowError::CastError(detail) | ArrowError::ParseError(detail) => value(detail, Why::Unreadable),
        ArrowError::ComputeError(detail) => match detail.split_once(" overflow on ") {
            // `Int64Array overflow on abs(-9223372036854775808)`
            Some((_, call)) => value(&format!("{call} is out of range"), Why::OutOfRange),
            None => value(detail, Why::Other),
        },
        other => QueryError::Failed { detail: other.to_string() },
    }
}

fn no_column(field: &Column, valid: &[Column]) -> QueryError {
    let mut columns: Vec<String> = valid.iter().map(|column| column.name.clone()).collect();
    columns.dedup();
    let nearest = nearest(&field.name, &columns);
    QueryError::NoSuchColumn { name: field.name.clone(), nearest, columns }
}

/// DataFusion lists every type that a function takes; which one is given to it says enough.
fn no_such_call(detail: &str) -> Option<QueryError> {
    let name = detail.split_once("Function '")?.1.split('\'').next()?;
    let text = detail.contains("received String") && detail.contains("failed to match any signature");
    text.then(|| QueryError::Wrong {
        detail: format!("{name}() takes neither text nor JSON: CAST(… AS …) says what the value is"),
    })
}

/// DataFusion shows what it made of a limit that is no number.
fn no_limit(detail: &str) -> Option<QueryError> {
    let limit = ["Unsupported LIMIT expression", "Unsupported OFFSET expression"];
    let detail =
        limit.iter().any(|words| detail.starts_with(words)).then_some("LIMIT and OFFSET take a number of rows");
    detail.map(|detail| QueryError::Wrong { detail: detail.to_owned() })
}

/// `table 'syncline.public.runz' not found`
fn no_table(detail: &str, names: &Names) -> Option<QueryError> {
    let name = detail.strip_prefix("table '")?.split('\'').next()?;
    let name = name.strip_prefix("syncline.").unwrap_or(name);
    let name = name.strip_prefix("public.").unwrap_or(name).to_owned();
    if reach::is_path(&name) {
        return Some(QueryError::Unreachable { what: format!("'{name}'") });
    }
    Some(QueryError::NoSuchTable { nearest: nearest(&name, &names.tables), name, tables: names.tables.clone() })
}

/// The name that was most likely meant, if any is near.
fn nearest(asked: &str, names: &[String]) -> Option<String> {
    let asked = asked.to_lowercase();
    let distance = |name: &String| strsim::damerau_levenshtein(&asked, &name.to_lowercase());
    let near = asked.chars().count() / 3 + 1;
    names.iter().map(|name| (distance(name), name)).filter(|(far, _)| *far <= near).min().map(|(_, name)| name.clone())
}
