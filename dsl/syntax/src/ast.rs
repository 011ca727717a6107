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

/// A source, what is joined to it, and the steps in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    pub source: Source,
    /// `FROM a, b JOIN c …`: everything after the first source.
    pub more: Vec<MoreSource>,
    pub steps: Vec<Step>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MoreSource {
    Comma(Source),
    Join(Join),
}

/// The steps in brackets of TEE, FORK and of an arm.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowTail {
    pub steps: Vec<Step>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub kind: SourceKind,
    pub format: Option<Format>,
    pub schema: Option<Ident>,
    /// The span of the word FOLLOW, where it was written.
    pub follow: Option<Span>,
    pub alias: Option<Ident>,
    pub cursor: Option<Ident>,
    pub partitioned_by: Option<Columns>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// `bus.orders`, `dw.public.issues`: at least two names.
    Object(Name),
    /// `http('/orders')`, `file('events/*.ndjson')`.
    Call(Call),
    /// One name: a stream of another pipeline.
    Stream(Ident),
    Broken,
}

/// `FORMAT json`, `FORMAT csv (header = true)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    pub name: Ident,
    pub options: Vec<Opt>,
    pub span: Span,
}

/// One `|>` step. The span begins at its first word; `keyword` covers `DEDUP`, `INSERT INTO`, `ORDER BY`, ….
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub kind: StepKind,
    pub keyword: Span,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    Where(SqlExpr),
    Select(Select),
    Extend(Vec<Item>),
    Set(Vec<Assignment>),
    Drop(Vec<Ident>),
    Rename(Vec<Rename>),
    As(Ident),
    Dedup(Dedup),
    Shard(Shard),
    Expect(Expect),
    Tee(FlowTail),
    Fork(Vec<FlowTail>),
    Insert(Insert),
    Upsert(Upsert),
    Replace(Replace),
    /// `AS STREAM name`.
    Stream(Ident),
    Aggregate(Aggregate),
    Join(Join),
    OrderBy(Vec<OrderItem>),
    Limit {
        count: SqlExpr,
        offset: Option<SqlExpr>,
    },
    /// `UNION …`: what follows the word, unread.
    Union(Unread),
    /// `LOOKUP …`: what follows the word, unread.
    Lookup(Unread),
    /// `MATCH …`: what follows the word, unread.
    Match(Unread),
    /// A step that did not parse; the parser has said why.
    Broken,
}

/// Text that this version recognises and does not read further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// The span of the word DISTINCT, where it was written.
    pub distinct: Option<Span>,
    pub items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `expr [AS name]`.
    Expr(NamedExpr),
    /// `*`, `i.*`, `* EXCLUDE (a, b)`.
    Wildcard(Wildcard),
}

#[derive(Debug, Clone, PartialEq)]
pub struct NamedExpr {
    pub expr: SqlExpr,
    pub name: Option<Ident>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Wildcard {
    pub qualifier: Option<Ident>,
    pub except: Vec<Ident>,
    pub span: Span,
}

/// `column = expr` of SET.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    pub column: Ident,
    pub expr: SqlExpr,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rename {
    pub from: Ident,
    pub to: Ident,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Dedup {
    /// Empty when there is no BY: the content is the key.
    pub by: Vec<SqlExpr>,
    pub within: Option<Duration>,
    pub keep: Option<Keep>,
    /// The strategy of USING; without brackets it has no arguments.
    pub using: Option<Call>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    pub which: KeepWhich,
    pub by: Option<SqlExpr>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepWhich {
    First,
    Last,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    pub by: Vec<SqlExpr>,
    pub into: ShardInto,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ShardInto {
    Lanes(Count),
    Arms(Vec<Arm>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    pub role: ArmRole,
    pub name: Ident,
    pub flow: FlowTail,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArmRole {
    Primary,
    Derived,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    pub condition: SqlExpr,
    pub name: Option<Ident>,
    pub on_violation: OnViolation,
    /// Of `ON VIOLATION …`.
    pub on_violation_span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnViolation {
    Drop,
    DeadLetter,
    Warn,
    Fail,
}

/// Where rows go: `bus.orders`, `sqlite('shop.db', 'orders')`. A single name is an `Object` of one part.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Object(Name),
    Call(Call),
}

impl Target {
    pub fn span(&self) -> Span {
        match self {
            Target::Object(name) => name.span,
            Target::Call(call) => call.span,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    pub target: Target,
    pub key: Option<Columns>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Upsert {
    pub target: Target,
    pub key: Columns,
    pub sequence_by: Option<SqlExpr>,
    pub delete_when: Option<SqlExpr>,
    /// The span of IGNORE NULLS, where it was written.
    pub ignore_nulls: Option<Span>,
    pub on_orphan: Option<(OnOrphan, Span)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOrphan {
    Keep,
    Delete,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Replace {
    pub target: Target,
    pub per: Columns,
    pub sequence_by: Option<SqlExpr>,
}

/// `AGGREGATE items GROUP BY items`.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    pub items: Vec<NamedExpr>,
    pub group_by: Vec<NamedExpr>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    pub kind: JoinKind,
    pub source: Source,
    pub on: Option<JoinOn>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Cross,
}

#[derive(Debug, Clone, PartialEq)]
pub enum JoinOn {
    On(SqlExpr),
    Using(Columns),
}

#[derive(Debug, Clone, PartialEq)]
pub struct OrderItem {
    pub expr: SqlExpr,
    /// None when neither ASC nor DESC was written.
    pub descending: Option<bool>,
    /// None when NULLS FIRST and NULLS LAST were not written.
    pub nulls_first: Option<bool>,
    pub span: Span,
}

/// `TEST name FOR pipeline GIVEN … EXPECT …`.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    pub name: Ident,
    pub pipeline: Ident,
    /// `CLOCK AT expr`.
    pub clock: Option<SqlExpr>,
    pub inputs: Vec<TestInput>,
    /// `CHECKPOINT EVERY k ROWS`.
    pub checkpoint_every: Option<Count>,
    /// `AFTER CRASH AT CHECKPOINT n`.
    pub crash_at: Option<Count>,
    pub expectations: Vec<Expectation>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TestInput {
    /// None: the pipeline's only source.
    pub source: Option<Target>,
    pub rows: InputRows,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InputRows {
    /// One record each, as it would come in: JSON text.
    Rows(Vec<Text>),
    File(Text),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    Output {
        /// None: the main flow's last sink.
        target: Option<Target>,
        rows: OutputRows,
        span: Span,
    },
    Dropped {
        counts: Vec<Dropped>,
        span: Span,
    },
    DeadLetters {
        count: Count,
        span: Span,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum OutputRows {
    Rows(Vec<Row>),
    File(Text),
}

/// `(1, 'ada', 9.50)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub values: Vec<SqlExpr>,
    pub span: Span,
}

/// `1 BECAUSE 'duplicate'`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    pub count: Count,
    pub because: Option<Text>,
    pub span: Span,
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
