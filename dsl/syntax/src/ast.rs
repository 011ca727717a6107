//! The tree of a pipeline file: what was written, where, and nothing about what it means.
//!
//! Every node carries its span in the file. Names keep their case and are not resolved; durations, counts and option
//! values keep their text. Expressions are `sqlparser`'s trees (PostgreSQL's dialect), made from the text of their span.
//! What did not parse is `Broken`, so that who reads on knows that something stood there and does not report its
//! consequences; the parser has said what is wrong with it.

#![expect(
    clippy::large_enum_variant,
    reason = "a file has hundreds of nodes, not millions: boxes would only be in the reader's way"
)]

mod flow;
mod test;

pub use flow::*;
pub use test::*;

use crate::span::Span;

/// A name as written. `quoted` when it stood in double quotes, which are not part of `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ident {
    pub text: String,
    pub span: Span,
    pub quoted: bool,
}

/// One or more names with dots between them: `bus.orders`, `dw.public.issues`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub parts: Vec<Ident>,
    pub span: Span,
}

/// A text literal, without its quotes. The span has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    pub span: Span,
}

/// A length of time as written: `'1 hour'` or `INTERVAL '1 hour'` have the text `1 hour`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duration {
    pub text: String,
    pub span: Span,
}

/// A whole number that counts something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub value: u64,
    pub span: Span,
}

/// An SQL expression. `text` is the source at `span`; `ast` is normalised: `user`, `i.user['login']` and
/// `user.login` are names and field access, not the function USER.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlExpr {
    pub ast: sqlparser::ast::Expr,
    pub span: Span,
    pub text: String,
}

/// Names in brackets: `KEY (a, b)`. The span has the brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    pub names: Vec<Ident>,
    pub span: Span,
}

/// `name = value` in `WITH (…)` and `FORMAT f (…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Opt {
    pub name: Ident,
    pub value: Value,
    pub span: Span,
}

/// The value of an option or of an argument of a source, sink or option function.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub kind: ValueKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    Text(String),
    /// As written, a minus included.
    Number(String),
    Boolean(bool),
    Null,
    /// A bare word: `compression = zstd`.
    Name(Name),
    /// `env('X', 'default')`, `secret('path')`, `backoff(initial => '1 second')`.
    Call(Call),
    /// `['a', 'b']` or `ARRAY['a', 'b']`.
    List(Vec<Value>),
    /// Any other SQL: `INTERVAL '1 hour'`, `TIMESTAMP '…'`, `2 * 60`.
    Sql(SqlExpr),
}

/// `name(value, name => value)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub name: Ident,
    pub args: Vec<Arg>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arg {
    pub name: Option<Ident>,
    pub value: Value,
    pub span: Span,
}

/// A whole file, in the order of its statements. A statement whose name could not be read is left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct File {
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Connection(Connection),
    Schema(Schema),
    Pipeline(Pipeline),
    Test(Test),
    Sync(Sync),
    Alert(Alert),
    Let(Let),
    Function(Function),
}

/// `CONNECTION name TO kind [WITH (…)]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub name: Ident,
    pub kind: Ident,
    pub options: Vec<Opt>,
    pub span: Span,
}

/// `SCHEMA name [FREEZE | EVOLVE | DISCARD] (column …, WATERMARK FOR column AS expr)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub name: Ident,
    /// None when not written; what that means is the resolver's to say.
    pub extra_fields: Option<ExtraFields>,
    pub columns: Vec<SchemaColumn>,
    pub watermark: Option<Watermark>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraFields {
    Freeze,
    Evolve,
    Discard,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SchemaColumn {
    pub name: Ident,
    pub data_type: ColumnType,
    pub not_null: bool,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnType {
    pub ast: sqlparser::ast::DataType,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Watermark {
    pub column: Ident,
    pub expr: SqlExpr,
    pub span: Span,
}

/// `PIPELINE name {trigger} [WITH (…)] AS FROM … |> …`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    pub name: Ident,
    pub triggers: Vec<Trigger>,
    pub options: Vec<Opt>,
    pub flow: Flow,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    pub kind: TriggerKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TriggerKind {
    Every { period: Duration, time_zone: Option<Text>, missed: Option<Missed> },
    Cron { schedule: Text, time_zone: Option<Text>, missed: Option<Missed> },
    Webhook { names: Vec<Ident> },
    After { pipeline: Ident },
}

/// What happens with runs whose time passed while nothing was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    RunOnce,
    RunAll,
    Skip,
}

/// `SYNC name …`: recognised, its body kept as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Sync {
    pub name: Ident,
    pub body: Unread,
    pub span: Span,
}

/// `ALERT name WHEN expr NOTIFY call`.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub name: Ident,
    pub when: SqlExpr,
    pub notify: Vec<Call>,
    pub span: Span,
}

/// `LET name = expr`.
#[derive(Debug, Clone, PartialEq)]
pub struct Let {
    pub name: Ident,
    pub value: SqlExpr,
    pub span: Span,
}

/// `FUNCTION name(a TYPE, b) [RETURNS TYPE] AS expr`.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub name: Ident,
    pub parameters: Vec<Parameter>,
    pub returns: Option<ColumnType>,
    pub body: SqlExpr,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: Ident,
    pub data_type: Option<ColumnType>,
    pub span: Span,
}

impl Statement {
    pub fn name(&self) -> &Ident {
        match self {
            Statement::Connection(s) => &s.name,
            Statement::Schema(s) => &s.name,
            Statement::Pipeline(s) => &s.name,
            Statement::Test(s) => &s.name,
            Statement::Sync(s) => &s.name,
            Statement::Alert(s) => &s.name,
            Statement::Let(s) => &s.name,
            Statement::Function(s) => &s.name,
        }
    }

    pub fn span(&self) -> Span {
        match self {
            Statement::Connection(s) => s.span,
            Statement::Schema(s) => s.span,
            Statement::Pipeline(s) => s.span,
            Statement::Test(s) => s.span,
            Statement::Sync(s) => s.span,
            Statement::Alert(s) => s.span,
            Statement::Let(s) => s.span,
            Statement::Function(s) => s.span,
        }
    }
}
