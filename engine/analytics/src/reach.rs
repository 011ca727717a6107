//! What a question would reach beyond the tables that are here: files, other servers, the machine.
//!
//! None of it exists in this SQL, so none of it can be reached; this only finds the words for whoever expected it.

use std::ops::ControlFlow;

use datafusion::sql::{
    parser::Statement,
    sqlparser::ast::{Expr, ObjectName, TableFactor, Visit, Visitor},
};

/// Beginnings of functions that read files or ask other servers in PostgreSQL, DuckDB and DataFusion's own shell.
const OUTSIDE: [&str; 21] = [
    "read_",
    "scan_",
    "pg_read_",
    "pg_ls_",
    "pg_stat_file",
    "pg_sleep",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_logical_",
    "lo_",
    "dblink",
    "postgres_",
    "sqlite_",
    "mysql_",
    "iceberg_",
    "delta_",
    "parquet_",
    "http_",
    "glob",
    "url",
];
/// Functions that are called after what they scan.
const SCANS: &str = "_scan";
/// Ends of names that are files.
const FILES: [&str; 12] =
    [".parquet", ".csv", ".tsv", ".json", ".ndjson", ".jsonl", ".arrow", ".feather", ".avro", ".db", ".gz", ".zst"];

/// The first function of a statement that would reach outside.
pub fn beyond(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Statement(statement) => match statement.visit(&mut Reach) {
            ControlFlow::Break(what) => Some(what),
            ControlFlow::Continue(()) => None,
        },
        Statement::Explain(explain) => beyond(&explain.statement),
        _ => None,
    }
}

/// Whether the name of a table is that of a file or an address.
pub fn is_path(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.contains("://") || lower.starts_with(['/', '.', '~']) || FILES.iter().any(|end| lower.ends_with(end))
}

struct Reach;

impl Visitor for Reach {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        match expr {
            Expr::Function(function) => found(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<String> {
        match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => found(name),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn found(name: &ObjectName) -> ControlFlow<String> {
    let last = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_ascii_lowercase());
    match last {
        Some(name) if OUTSIDE.iter().any(|start| name.starts_with(start)) || name.ends_with(SCANS) => {
            ControlFlow::Break(format!("{name}()"))
        }
        _ => ControlFlow::Continue(()),
    }
}
