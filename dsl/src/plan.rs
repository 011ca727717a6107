//! The Plan: what a pipeline file means, as a value.
//!
//! It can be printed, compared, stored and read back. `pipelines/bind` builds a graph from it; nothing that runs reads the file
//! again. Expressions are SQL text over the columns of the batch before their step, without aliases or qualifiers, and every step
//! lists the columns that it leaves. Values may still hold `env()` and `secret()`: they are resolved when the plan is bound, and a
//! plan never contains what they resolve to.

mod beside;
mod intakes;
mod options;
mod partitions;
mod stages;
mod walk;

use serde::{Deserialize, Serialize};

pub use beside::{Expectation, ExpectationKind, TestInput, TestPlan};
pub use options::{CHECKPOINT_EVERY, Options, Restart, RestartWhen, Waits};
pub use syncline_record::schedule::Schedule;

/// Grows when the meaning of a stored plan changes.
pub const PLAN_FORMAT: u32 = 1;

/// Everything one file declares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilePlan {
    pub pipelines: Vec<Plan>,
    pub tests: Vec<TestPlan>,
    /// Connections by name: a place without the argument that an object of it fills.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<(String, Place)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    pub pipeline: String,
    pub options: Options,
    /// When a run of it begins; `None`: it runs until its sources end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    pub source: SourcePlan,
    pub flow: Vec<Step>,
}

/// An argument or option value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Text(String),
    Number(String),
    Boolean(bool),
    Null,
    Env {
        name: String,
        default: Option<Box<Value>>,
    },
    Secret {
        path: String,
    },
    /// `backoff(initial => '1 second')`
    Call {
        function: String,
        positional: Vec<Value>,
        named: Vec<(String, Value)>,
    },
    List(Vec<Value>),
}

/// A connector and what it is given, e.g. `sqlite('shop.db', 'orders')`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub connector: String,
    pub positional: Vec<Value>,
    pub named: Vec<(String, Value)>,
    /// As the user wrote it, for messages and for `EXPECT OUTPUT`.
    pub text: String,
}

impl Place {
    /// In place of a connector: the rows go to, or come from, pipelines of the same project. Arguments: `name`, `writer`.
    pub const STREAM: &'static str = "stream";

    /// The name of the stream, and the pipeline that writes it.
    pub fn stream(&self) -> Option<(&str, &str)> {
        let text = |name: &str| match self.named.iter().find(|(known, _)| known == name) {
            Some((_, Value::Text(text))) => Some(text.as_str()),
            _ => None,
        };
        if self.connector == Self::STREAM { text("name").zip(text("writer")) } else { None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourcePlan {
    pub place: Place,
    /// Goes on after the end of what is there (`FOLLOW`).
    pub follow: bool,
    /// True when it never ends.
    pub endless: bool,
    /// `json`, `csv`, `raw`.
    pub format: String,
    /// How CSV is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvPlan>,
    /// The fields are all those of a `SCHEMA`, in its order; else those that some step reads.
    #[serde(default)]
    pub declared: bool,
    /// The source says its own columns: `fields` are those that some step reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typed: bool,
    /// What the decoder takes out of each record.
    pub fields: Vec<FieldPlan>,
    /// Fields that the keys of records hold (`KEY`): a record without a value deletes the row of its key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// A record with a field outside `fields` is dead (`SCHEMA … FREEZE`).
    pub reject_unknown: bool,
    /// A field outside `fields` is kept, and said once (`SCHEMA … EVOLVE`).
    #[serde(default)]
    pub evolves: bool,
    /// The whole record travels along as `__record` (a flow that writes what it was not told the names of).
    pub whole_record: bool,
    /// Metadata columns that are read somewhere: `_key _topic _partition _offset _timestamp _headers _source _ingested_at`.
    pub metadata: Vec<String>,
    pub event_time: Option<EventTime>,
    /// Columns whose bytes are the key of each record, by which it has its partition (`PARTITIONED BY`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitioned_by: Vec<String>,
    /// Another pipeline writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Box<StreamPlan>>,
    /// An earlier stage of the same pipeline writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<Box<HopPlan>>,
}

/// Rows that an earlier stage of a pipeline gives to the tasks of this one, by their key. They are what they were in front of the step
/// that the hop was put in front of, hidden columns too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopPlan {
    /// The stage that writes them.
    pub writer: Plan,
    /// Its step.
    pub step: String,
    /// They come from a derived arm of a `SHARD`.
    pub derived: bool,
}

impl HopPlan {
    /// The step that writes them: it has the columns in front of the hop.
    pub fn end(&self) -> Option<&Step> {
        let mut end = None;
        self.writer.each_step(&mut |step| {
            if step.id == self.step {
                end = Some(step);
            }
        });
        end
    }
}

/// Rows that another pipeline of the project writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPlan {
    pub writer: String,
    /// Rows may say that something was deleted.
    pub changes: bool,
}

/// A dialect of CSV. Every sign is one ASCII character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvPlan {
    pub delimiter: char,
    /// None: a quote is a character like others.
    pub quote: Option<char>,
    /// None: a quote between quotes is written twice.
    pub escape: Option<char>,
    pub comment: Option<char>,
    pub header: bool,
    /// Unquoted fields that are NULL. The first is how NULL is written.
    pub nulls: Vec<String>,
}

/// `WATERMARK FOR column AS column - delay`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTime {
    pub column: String,
    /// Microseconds.
    pub delay: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldPlan {
    pub name: String,
    pub kind: TypePlan,
    pub not_null: bool,
}

/// A column type as the plan prints it: SQL's words (`BIGINT`, `DECIMAL(12, 2)`, `TIMESTAMP`, `STRING`, `JSON`, …). See `types.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypePlan(pub String);

/// A column as a step leaves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: TypePlan,
    /// In `*`, and written by a sink. Metadata and carried columns are not.
    pub visible: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Stable id: kind, or path (`dedup`, `dedup_2`, `tee/insert`, `people/upsert`, an `EXPECT`'s name).
    pub id: String,
    /// Bytes in the file.
    pub span: (usize, usize),
    pub kind: StepKind,
    /// Columns after it.
    pub columns: Vec<Column>,
    /// Set when the record is open (no schema, no SELECT yet): how the visible columns differ from the original record.
    pub open: Option<Open>,
}

/// What an open record has become since it was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Members of the original that are gone.
    pub dropped: Vec<String>,
    /// Columns that were set, added or renamed: they replace the member of that name, or are added at the end, in this order.
    pub set: Vec<String>,
}

// A plan has a dozen of them: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Where {
        predicate: String,
        /// A row that is filtered here still clears its group (`REPLACE`): see `Group`.
        groups: bool,
        /// What is asked of a delete that has only its key: the parts that read nothing else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of_deletes: Option<String>,
    },
    /// `SELECT`, `EXTEND`, `SET`, `DROP`, `RENAME`: every visible or carried column after it, in order.
    Project {
        word: String,
        columns: Vec<(String, String)>,
    },
    Dedup {
        /// SQL of the key; empty: the content of the open record.
        by: Vec<String>,
        /// The key is the content of the row, of which NULL is a part as any value is.
        #[serde(default)]
        content: bool,
        /// Microseconds.
        within: Option<u64>,
        keep: Keep,
        order_by: Option<String>,
    },
    /// `AGGREGATE … GROUP BY …`
    Aggregate {
        /// Columns of what comes out, in order, and the SQL of each; empty for the window.
        keys: Vec<(String, String)>,
        window: Option<WindowPlan>,
        /// Calls of aggregates, with the names of the columns of their answers.
        calls: Vec<(String, String)>,
        /// What is computed from keys and answers; empty: they are what comes out.
        columns: Vec<(String, String)>,
    },
    /// `SHARD BY … INTO n`
    Lanes {
        by: Vec<String>,
        lanes: u32,
    },
    /// `SHARD BY … INTO (PRIMARY …, DERIVED …)`
    Arms {
        by: Vec<String>,
        /// The primary's `DELETE WHEN`, over the columns before this step.
        delete_when: Option<String>,
        arms: Vec<Arm>,
    },
    Expect {
        predicate: String,
        name: String,
        violation: Violation,
        /// A row that is dropped here still clears its group (`REPLACE`): see `Group`.
        #[serde(default)]
        groups: bool,
        /// Nothing is expected of deletes: they have only their keys.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        passes_deletes: bool,
    },
    Tee {
        flow: Vec<Step>,
    },
    /// Every row goes through every flow.
    Fork {
        flows: Vec<Vec<Step>>,
    },
    /// Rows of other sources come in here.
    Union {
        arms: Vec<UnionArm>,
    },
    Join(JoinPlan),
    /// One row for each element, in front of the list that has the `UNNEST`.
    Unnest {
        /// The hidden column of the elements, and the SQL of the array. Shorter arrays are padded with NULL.
        arrays: Vec<(String, String)>,
        /// A row without elements still clears its group (`REPLACE`): see `Group`.
        groups: bool,
    },
    /// `ORDER BY`: rows wait for the end of the source.
    Sort {
        keys: Vec<SortKey>,
        /// As many as a `LIMIT` behind it takes, `OFFSET` included.
        most: Option<u64>,
    },
    Limit {
        count: u64,
        offset: u64,
    },
    /// Put in by the compiler before a step that could drop rows, for a `REPLACE … PER` further on.
    Group {
        per: Vec<String>,
    },
    Sink(SinkPlan),
    /// Put in by the compiler at the end of a stage: rows go to the task of the next stage that has their key.
    Hop {
        topic: String,
        /// SQL of the key; empty: all rows go to one task.
        by: Vec<String>,
        /// In front of the names of the columns, as `by` has them.
        alias: Option<String>,
    },
}

/// A window of time as a key of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowPlan {
    /// SQL of the time.
    pub time: String,
    pub kind: WindowKind,
    /// The time is the record's own, so that watermarks close the window. Else only the end of the source does.
    pub by_record_time: bool,
}

/// Lengths in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    Tumble { size: u64 },
    Hop { slide: u64, size: u64 },
    Session { gap: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    First,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    Drop,
    DeadLetter,
    Warn,
    Fail,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SortKey {
    pub sql: String,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    pub name: String,
    pub primary: bool,
    /// Some step of the arm reads `_id`.
    pub ids: bool,
    pub flow: Vec<Step>,
}

/// One more source of a `UNION`, and the way of its rows to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnionArm {
    /// Which way into the pipeline it is, counted from 0, the `FROM`.
    pub intake: usize,
    pub source: SourcePlan,
    /// It is read to its end before the first row of the `FROM` (`history(…) THEN`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
    /// It ends, and is read beside the `FROM` until then (`history(…) BESIDE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    pub flow: Vec<Step>,
    /// The columns of the union with the SQL that makes each.
    pub columns: Vec<(String, String)>,
}

/// How a source is read that fills in what happened before while the pipeline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Which backfill of the pipeline it is, so that the same place can be read again; 0: the one of its file.
    pub number: u64,
    /// How much of the time it may take while there are other rows, in hundredths.
    pub share: u8,
}

/// A table that is read whole, and again from time to time; with a bound, a second source whose rows come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinPlan {
    /// Which way into the pipeline it is, counted from 0, the `FROM`.
    pub intake: usize,
    pub table: SourcePlan,
    /// Its columns are called `alias.column`.
    pub alias: String,
    /// A row without a match goes on with NULLs (`LEFT`); else it is filtered.
    pub left: bool,
    /// What must be equal: SQL over the columns before the step, and over those of the table.
    pub keys: Vec<(String, String)>,
    /// What else must be true, over both.
    pub residual: Option<String>,
    /// Columns of the table that are read here or later.
    pub columns: Vec<String>,
    /// Microseconds between two readings; of a `LOOKUP`, how old an answer may be.
    pub refresh: Option<u64>,
    /// Of a `LOOKUP`: the columns of the table that `keys` ask for, by their own names. A row then takes one row at most.
    #[serde(default)]
    pub lookup: Option<Vec<String>>,
    /// A row that is filtered here still clears its group (`REPLACE`): see `Group`.
    pub groups: bool,
    /// How far apart two rows may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Box<BoundPlan>>,
}

/// `its - own` lies between `least` and `most`, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPlan {
    /// The columns of the times, as SQL.
    pub own: String,
    pub its: String,
    /// Microseconds.
    pub least: i64,
    pub most: i64,
    /// How long `own` is before the record's time.
    pub behind: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkPlan {
    pub place: Place,
    pub write: WritePlan,
    /// The columns it writes, in order; empty when it writes open records (`Step::open` is set).
    pub columns: Vec<String>,
    /// It writes CSV, so; else what its connector writes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvPlan>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WritePlan {
    Insert {
        key: Vec<String>,
    },
    Upsert {
        key: Vec<String>,
        sequence: Option<String>,
        /// SQL; `None` in the arms of a `SHARD`, where the primary's is evaluated at the `SHARD`.
        delete_when: Option<String>,
        ignore_nulls: bool,
        orphans_deleted: bool,
    },
    Replace {
        per: Vec<String>,
        sequence: Option<String>,
    },
}
