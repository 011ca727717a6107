//! `TEST`: what goes in, what happens on the way, what is expected.

use super::*;

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
