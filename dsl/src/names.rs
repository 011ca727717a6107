//! What a file declares: connections, schemas, pipelines, each name once.

use std::collections::BTreeMap;

use sqlparser::ast::{BinaryOperator, Expr};
use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    catalog::{Catalog, ConnectorFacts},
    duration,
    expression::way_back,
    message::{names as say, shorthand as say_shorthand, values as say_values},
    plan::{EventTime, FieldPlan, Place, Value},
    scope::same_name,
    types, values,
};

/// A `CONNECTION` as far as it could be understood.
#[derive(Debug)]
pub(crate) struct ConnectionFacts<'a> {
    pub name: &'a ast::Ident,
    /// `None` when this version has no such connector, or the connection does not compile.
    pub connector: Option<&'a ConnectorFacts>,
    pub options: Vec<(String, Value)>,
}

impl ConnectionFacts<'_> {
    pub fn plan(&self) -> Option<(String, Place)> {
        let (connector, name) = (self.connector?.name.clone(), self.name.text.clone());
        Some((name.clone(), Place { connector, positional: Vec::new(), named: self.options.clone(), text: name }))
    }
}

/// A `SCHEMA`.
#[derive(Clone, Debug)]
pub(crate) struct SchemaFacts {
    pub name: String,
    pub fields: Vec<FieldPlan>,
    pub reject_unknown: bool,
    pub evolves: bool,
    pub event_time: Option<EventTime>,
    /// Something in it did not compile, and has been said.
    pub broken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    pub connections: Vec<ConnectionFacts<'a>>,
    pub schemas: Vec<SchemaFacts>,
    pub pipelines: Vec<&'a ast::Pipeline>,
    pub values: Vec<&'a ast::Let>,
    pub functions: Vec<&'a ast::Function>,
}

impl<'a> Names<'a> {
    pub fn connection(&self, name: &str) -> Option<&ConnectionFacts<'a>> {
        self.connections.iter().find(|connection| same_name(&connection.name.text, name))
    }

    pub fn schema(&self, name: &str) -> Option<&SchemaFacts> {
        self.schemas.iter().find(|schema| same_name(&schema.name, name))
    }

    pub fn value(&self, name: &str) -> Option<&'a ast::Let> {
        self.values.iter().find(|value| same_name(&value.name.text, name)).copied()
    }

    pub fn function(&self, name: &str) -> Option<&'a ast::Function> {
        self.functions.iter().find(|function| same_name(&function.name.text, name)).copied()
    }

    pub fn pipeline(&self, name: &str) -> Option<&'a ast::Pipeline> {
        self.pipelines.iter().find(|pipeline| same_name(&pipeline.name.text, name)).copied()
    }
}

/// Reads the declarations; of two with one name the first counts.
pub(crate) fn declared<'a>(
    file: &'a ast::File,
    catalog: &'a Catalog,
    source: &str,
    said: &mut Vec<Diagnostic>,
) -> Names<'a> {
    let mut names = Names::default();
    let mut seen: BTreeMap<(&str, String), &ast::Ident> = BTreeMap::new();
    for statement in &file.statements {
        let kind = kind_of(statement);
        let name = statement.name();
        let key = (kind, name.text.to_lowercase());
        if let Some(first) = seen.get(&key) {
            said.push(say::declared_twice(kind, name, first));
            continue;
        }
        seen.insert(key, name);
        match statement {
            ast::Statement::Connection(connection) => names.connections.push(connected(connection, catalog, said)),
            ast::Statement::Schema(schema) => names.schemas.push(contract(schema, source, said)),
            ast::Statement::Pipeline(pipeline) => names.pipelines.push(pipeline),
            ast::Statement::Let(value) => names.values.push(value),
            ast::Statement::Function(function) => {
                said.extend(misnamed(function));
                names.functions.push(function);
            }
            _ => {}
        }
    }
    refuse_circles(&mut names, said);
    names
}

/// Two parameters of one name, or a name that SQL has already.
fn misnamed(function: &ast::Function) -> Option<Diagnostic> {
    let known = crate::planner().function_names();
    if known.iter().any(|known| same_name(known, &function.name.text)) {
        return Some(say_shorthand::known_function(&function.name));
    }
    let names: Vec<&ast::Ident> = function.parameters.iter().map(|parameter| &parameter.name).collect();
    names.iter().enumerate().find_map(|(index, name)| {
        let first = names[..index].iter().find(|earlier| same_name(&earlier.text, &name.text))?;
        Some(say_shorthand::parameter_twice(name, first))
    })
}

/// What stands for its own text has none: it is said, and taken out, so that putting texts in comes to an end.
fn refuse_circles(names: &mut Names, said: &mut Vec<Diagnostic>) {
    let values = names.values.iter().map(|value| (&value.name, value.name.text.clone()));
    let functions = names.functions.iter().map(|function| (&function.name, format!("{}()", function.name.text)));
    let mut circles: Vec<Span> = Vec::new();
    for (name, start) in values.chain(functions) {
        if let Some(way) = way_back(names, &start) {
            said.push(say_shorthand::made_of_itself(name, &way));
            circles.push(name.span);
        }
    }
    names.values.retain(|value| !circles.contains(&value.name.span));
    names.functions.retain(|function| !circles.contains(&function.name.span));
}

fn kind_of(statement: &ast::Statement) -> &'static str {
    match statement {
        ast::Statement::Connection(_) => "connection",
        ast::Statement::Schema(_) => "schema",
        ast::Statement::Pipeline(_) => "pipeline",
        ast::Statement::Test(_) => "test",
        ast::Statement::Sync(_) => "sync",
        ast::Statement::Alert(_) => "alert",
        ast::Statement::Let(_) => "value",
        ast::Statement::Function(_) => "function",
    }
}

fn connected<'a>(
    connection: &'a ast::Connection,
    catalog: &'a Catalog,
    said: &mut Vec<Diagnostic>,
) -> ConnectionFacts<'a> {
    let kind = &connection.kind;
    let connector = catalog.connectors.iter().find(|connector| connector.name.eq_ignore_ascii_case(&kind.text));
    let mut options = Vec::new();
    let before = said.len();
    match connector {
        None => {
            said.push(say::no_connector(kind, catalog));
            // Values are looked at all the same: a secret in the text is one whatever the connector.
            said.extend(connection.options.iter().filter_map(|option| secret_only(&option.value)));
        }
        Some(connector) => {
            for option in &connection.options {
                match values::argument(&connector.arguments, &option.name.text) {
                    Some(facts) => {
                        let given = values::of_argument(&option.value, facts, said);
                        options.extend(given.map(|value| (facts.name.clone(), value)));
                    }
                    None => {
                        let name = &option.name;
                        said.push(say_values::no_such_argument(name.span, &name.text, connector.callee()));
                    }
                }
            }
        }
    }
    ConnectionFacts { name: &connection.name, connector: connector.filter(|_| said.len() == before), options }
}

fn secret_only(value: &ast::Value) -> Option<Diagnostic> {
    values::value(value).err().filter(|wrong| wrong.slug == crate::explain::slug::SECRET_IN_TEXT)
}

fn contract(schema: &ast::Schema, source: &str, said: &mut Vec<Diagnostic>) -> SchemaFacts {
    let before = said.len();
    let mut fields: Vec<FieldPlan> = Vec::new();
    for column in &schema.columns {
        let name = &column.name;
        if let Some(taken) = say::reserved(name.span, &name.text) {
            said.push(taken);
            continue;
        }
        if let Some(first) = schema.columns.iter().find(|other| other.name.text == name.text)
            && first.name.span != name.span
        {
            said.push(say::column_twice(name.span, &name.text, Some(first.name.span)));
            continue;
        }
        match types::declared(&column.data_type.ast) {
            Some(kind) => fields.push(FieldPlan { name: name.text.clone(), kind, not_null: column.not_null }),
            None => said.push(say::no_such_type(column.data_type.span, column.data_type.span.of(source))),
        }
    }
    let event_time = schema.watermark.as_ref().and_then(|watermark| match event_time(watermark, &fields, schema) {
        Ok(time) => time,
        Err(wrong) => {
            said.push(wrong);
            None
        }
    });
    SchemaFacts {
        name: schema.name.text.clone(),
        fields,
        reject_unknown: matches!(schema.extra_fields, None | Some(ast::ExtraFields::Freeze)),
        evolves: schema.extra_fields == Some(ast::ExtraFields::Evolve),
        event_time,
        broken: said.len() > before,
    }
}

/// `WATERMARK FOR column AS column - INTERVAL '…'`. `Ok(None)` when its column is one that did not compile.
fn event_time(
    watermark: &ast::Watermark,
    fields: &[FieldPlan],
    schema: &ast::Schema,
) -> Result<Option<EventTime>, Diagnostic> {
    let column = &watermark.column;
    let Some(field) = fields.iter().find(|field| same_name(&field.name, &column.text)) else {
        if schema.columns.iter().any(|declared| same_name(&declared.name.text, &column.text)) {
            return Ok(None);
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        return Err(say::watermark_column(column, &names));
    };
    if field.kind.0 != "TIMESTAMP" {
        return Err(say::watermark_type(column.span, &field.name, &field.kind.0));
    }
    let delay = delay(&watermark.expr.ast, &field.name, watermark.expr.span)?;
    Ok(Some(EventTime { column: field.name.clone(), delay }))
}

fn delay(expr: &Expr, column: &str, span: Span) -> Result<u64, Diagnostic> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(name) if same_name(&name.value, column));
    match expr {
        expr if is_column(expr) => Ok(0),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
            let text = values::interval(right).ok_or_else(|| say::watermark_form(span, column))?;
            duration::microseconds(&text).map_err(|why| say_values::not_a_duration(span, &why))
        }
        _ => Err(say::watermark_form(span, column)),
    }
}
