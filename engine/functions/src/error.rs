//! What can be wrong with an expression, as facts. Prose and help are made where diagnostics are.

use datafusion::common::{DataFusionError, SchemaError, Span};

/// A place in SQL text: lines and columns from 1, the end exclusive or inclusive as the parser gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextSpan {
    pub start_line: u64,
    pub start_col: u64,
    pub end_line: u64,
    pub end_col: u64,
}

impl From<Span> for TextSpan {
    fn from(span: Span) -> Self {
        Self {
            start_line: span.start.line,
            start_col: span.start.column,
            end_line: span.end.line,
            end_col: span.end.column,
        }
    }
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    #[error("there is no column {name}")]
    NoSuchColumn { name: String, span: Option<TextSpan> },
    #[error("there is no function {name}")]
    NoSuchFunction { name: String },
    /// `left` and `right` are types as SQL spells them, where two types meet.
    #[error("{message}")]
    TypeMismatch { message: String, left: Option<String>, right: Option<String> },
    /// A function whose answer is not a function of the row.
    #[error("{function} gives another answer on every run")]
    NotRepeatable { function: String },
    /// An aggregate where one row at a time is seen.
    #[error("{function} is computed over many rows")]
    ManyRows { function: String },
    /// A subquery, a window function, …
    #[error("{what} cannot be used here")]
    NotHere { what: String },
    #[error("{message}")]
    Syntax { message: String, span: Option<TextSpan> },
    #[error("{message}")]
    Other { message: String },
}

impl ExprError {
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other { message: message.into() }
    }
}

impl From<DataFusionError> for ExprError {
    fn from(error: DataFusionError) -> Self {
        match root(&error) {
            DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
                SchemaError::FieldNotFound { field, .. } => {
                    let span = field.spans().first().map(TextSpan::from);
                    Self::NoSuchColumn { name: field.flat_name().replace('"', ""), span }
                }
                SchemaError::AmbiguousReference { field } => {
                    Self::other(format!("{} is in more than one input", field.name))
                }
                other => Self::other(short(&other.to_string())),
            },
            root => Self::other(message(root)),
        }
    }
}

/// The innermost error, without the wrappings of context.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, root),
        other => other,
    }
}

/// A library's error as one short line.
pub fn message(error: &DataFusionError) -> String {
    match root(error) {
        DataFusionError::ArrowError(inner, _) => short(&inner.to_string()),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::NotImplemented(text)
        | DataFusionError::Internal(text)
        | DataFusionError::Configuration(text) => short(text),
        other => short(&other.strip_backtrace()),
    }
}

/// What libraries put before the fact itself.
const PREFIXES: [&str; 10] = [
    "Error during planning: ",
    "Execution error: ",
    "Arrow error: ",
    "Arithmetic overflow: ",
    "Cast error: ",
    "Compute error: ",
    "Parser error: ",
    "Invalid argument error: ",
    "This feature is not implemented: ",
    "Schema error: ",
];

/// The first line, without prefixes, beginning in lower case unless it begins with a name in capitals.
fn short(text: &str) -> String {
    let mut line = text.lines().next().unwrap_or_default().trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| line.strip_prefix(prefix)) {
        line = rest.trim();
    }
    let line = line.trim_end_matches('.');
    let mut characters = line.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => line.to_owned(),
    }
}
