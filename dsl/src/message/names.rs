//! Names: those that mean nothing, and those that mean two things.

use syncline_syntax::{Diagnostic, Edit, Span, ast::Ident};

use super::{listed, with_nearest};
use crate::{
    catalog::Catalog,
    explain::slug,
    scope::{Gone, How, Scope},
};

pub(crate) fn no_such_column(span: Span, name: &str, scope: &Scope) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_COLUMN, format!("there is no column {name} here"));
    let names = || scope.columns.iter().map(|column| column.name());
    if let (Some(select), None) = (scope.closed_by, syncline_syntax::nearest(name, names())) {
        return left_out(span, name, select, scope);
    }
    let said = with_nearest(said, span, name, names(), "no column has this name at this step");
    said.help(format!("columns at this step: {}", listed(scope.visible().map(|column| column.name()))))
}

pub(crate) fn several(span: Span, name: &str, names: &[&str]) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{name} may be {}", names.join(" or ")))
        .at(span, "these differ only by case")
        .help(format!("write it as the column is spelt: {}", names.join(" or ")))
}

pub(crate) fn gone(span: Span, name: &str, gone: &Gone, scope: &Scope) -> Diagnostic {
    match &gone.how {
        How::Dropped => Diagnostic::error(slug::COLUMN_STILL_USED, format!("{name} is used after it was dropped"))
            .at(span, "read here")
            .also(gone.span, "dropped here")
            .help(format!("DROP {name} after the last step that reads it")),
        How::Renamed(to) => Diagnostic::error(slug::COLUMN_STILL_USED, format!("{name} is called {to} here"))
            .at(span, "read by its old name")
            .also(gone.span, "renamed here")
            .fix(format!("write {to}"), vec![Edit::replace(span, to.clone())]),
        How::NotSelected => left_out(span, name, gone.span, scope),
    }
}

fn left_out(span: Span, name: &str, select: Span, scope: &Scope) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_COLUMN, format!("there is no column {name} here"))
        .at(span, "read here")
        .also(select, format!("this SELECT leaves {name} out"))
        .help(format!("columns at this step: {}", listed(scope.visible().map(|column| column.name()))))
        .fix(format!("select {name} too"), vec![Edit::insert(select.end, format!(", {name}"))])
}

pub(crate) fn ended_alias(span: Span, name: &str, select: Span) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_NAME, format!("nothing is called {name} here"))
        .at(span, "read here")
        .also(select, format!("SELECT makes new rows: {name} ends here"))
        .help(format!("write the column without {name}, or name the new rows: |> AS {name}"))
}

pub(crate) fn alias_alone(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{name} is the whole record, not a column"))
        .at(span, "an alias alone")
        .help(format!("write {name}.field, or SELECT * for all of it"))
}

pub(crate) fn no_such_alias(alias: &Ident, known: Option<&str>) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_NAME, format!("nothing is called {} here", alias.text));
    let said = with_nearest(said, alias.span, &alias.text, known.into_iter(), "no alias has this name");
    said.help("an alias holds from AS to the next SELECT")
}

pub(crate) fn no_such<'a>(
    name: &Ident,
    what: &str,
    statement: &str,
    known: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let said = Diagnostic::error(slug::NO_SUCH_NAME, format!("there is no {what} called {}", name.text));
    let said = with_nearest(said, name.span, &name.text, known.iter().copied(), "nothing in this file has this name");
    match known.is_empty() {
        true => said.help(format!("declare it: {statement} {} …", name.text)),
        false => said.help(format!("in this file: {}", listed(known))),
    }
}

pub(crate) fn declared_twice(kind: &str, name: &Ident, first: &Ident) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("there are two of the {kind} {}", name.text))
        .at(name.span, "again")
        .also(first.span, "first here")
        .help("give one of them another name")
}

pub(crate) fn column_twice(span: Span, name: &str, first: Option<Span>) -> Diagnostic {
    let said = Diagnostic::error(slug::DUPLICATE_NAME, format!("two columns would be called {name}")).at(span, "again");
    let said = match first {
        Some(first) => said.also(first, "first here"),
        None => said,
    };
    said.help("give one of them another name, or leave one out")
}

/// Names that begin with two underscores are the engine's own.
pub(crate) fn reserved(span: Span, name: &str) -> Option<Diagnostic> {
    name.starts_with("__").then(|| {
        Diagnostic::error(slug::DUPLICATE_NAME, format!("{name} is a name of Syncline's own"))
            .at(span, "names with two underscores in front are taken")
            .help("give it another name: AS …")
    })
}

pub(crate) fn reserved_field(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("{name} is a name of Syncline's own"))
        .at(span, "names with two underscores in front are taken")
        .help("a field of this name travels along with an open record, but no step can read it")
}

pub(crate) fn no_connector(kind: &Ident, catalog: &Catalog) -> Diagnostic {
    let known: Vec<&str> = catalog.connectors.iter().map(|connector| connector.name.as_str()).collect();
    let near = syncline_syntax::nearest(&kind.text, known.iter().copied());
    let help = format!("this version has: {}", listed(known));
    match near {
        Some(near) => {
            Diagnostic::error(slug::NO_SUCH_CONNECTION, format!("there is no connector called {}", kind.text))
                .at(kind.span, format!("{near}?"))
                .fix(format!("write {near}"), vec![Edit::replace(kind.span, near)])
                .help(help)
        }
        None => Diagnostic::error(slug::NOT_YET, format!("the connector {} is not part of this version", kind.text))
            .at(kind.span, "not there yet")
            .help(help),
    }
}

pub(crate) fn no_such_type(span: Span, text: &str) -> Diagnostic {
    Diagnostic::error(slug::TYPE_MISMATCH, format!("{text} is no type of a field")).at(span, "this type").help(
        "these are: STRING, BIGINT, INT, SMALLINT, TINYINT, DECIMAL(p, s) up to 38 digits, DOUBLE, REAL, BOOLEAN, \
             TIMESTAMP, DATE, BYTES, JSON, and lists of them (BIGINT[])",
    )
}

pub(crate) fn watermark_column(column: &Ident, names: &[&str]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_COLUMN, format!("there is no column {} in this schema", column.text));
    let said = with_nearest(said, column.span, &column.text, names.iter().copied(), "not declared");
    said.help(format!("declared: {}", listed(names.iter().copied())))
}

pub(crate) fn watermark_type(span: Span, column: &str, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::WATERMARK, format!("{column} is {kind}, not a time"))
        .at(span, "a watermark follows a TIMESTAMP")
        .help(format!("declare it as: {column} TIMESTAMP"))
}

pub(crate) fn watermark_form(span: Span, column: &str) -> Diagnostic {
    Diagnostic::error(slug::WATERMARK, "a watermark is its column minus an interval")
        .at(span, "another expression")
        .fix("write how late a record can come", vec![Edit::replace(span, format!("{column} - INTERVAL '30 seconds'"))])
}

/// A name behind the alias of a joined table whose schema does not have it.
pub(crate) fn no_such_joined(span: Span, name: &str, alias: &str, known: &[&str]) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_COLUMN, format!("{alias} has no column {name}"));
    with_nearest(said, span, name, known.iter().copied(), "no column of the table has this name")
        .help(format!("columns of {alias}: {}", listed(known.iter().copied())))
}
