//! A flow: its source, and the steps that its rows take.

use super::*;

/// A source, what is joined to it, and the steps in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    pub source: Source,
    /// `history(…) THEN` in front of it.
    pub history: Vec<History>,
    /// `FROM a, b JOIN c …`: everything after the first source.
    pub more: Vec<MoreSource>,
    pub steps: Vec<Step>,
    pub span: Span,
}

/// What happened before the source: `history('orders/*.parquet') THEN`, `history(FROM … |> …) BESIDE`.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    pub flow: Box<Flow>,
    /// `BESIDE`: the source does not wait for it. Otherwise `THEN`.
    pub beside: bool,
    /// The word and its brackets.
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
    /// `KEY (id)`: what the key of a record holds.
    pub key: Option<Columns>,
    /// The span of the word FOLLOW, where it was written.
    pub follow: Option<Span>,
    pub alias: Option<Ident>,
    pub cursor: Option<Ident>,
    /// `REFRESH EVERY '5 minutes'`, of a table that is joined.
    pub refresh: Option<Duration>,
    /// `CACHE '1 minute'`, of what is looked up.
    pub cache: Option<Duration>,
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
    Union(Union),
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
    pub format: Option<Format>,
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

/// `UNION ALL [BY NAME] (FROM …), (FROM …)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Union {
    /// The span of the word DISTINCT, where it was written in place of ALL.
    pub distinct: Option<Span>,
    pub by_name: Option<Span>,
    pub flows: Vec<Flow>,
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
    /// `LOOKUP`: one row of the other side, asked for by its key.
    Lookup,
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
