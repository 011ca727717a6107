//! Tables of a place outside, as a question reads them: what there is, what its columns are, and its rows in batches.
//!
//! Nothing is written there and nothing is kept here. A value that its column's type cannot hold is an error that names its row, never
//! NULL. Calls block, each for a few seconds at most until somebody answers, and end soon after [`Stop::stop`].

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use syncline_record::Micros;

/// Why there are no rows, or no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The place, or the way to it: nobody answers, or does not let us in, or breaks off.
    #[error("{0}")]
    Place(String),
    /// A value that the type of its column cannot hold.
    #[error("{0}")]
    Value(String),
    /// Nobody wants more rows.
    #[error("the question is over")]
    Over,
}

/// A place with tables. Nobody has gone there before the first call.
pub trait Tables: Send + Sync + 'static {
    /// All tables with their columns.
    fn all(&self) -> Result<Vec<Listed>, TableError>;

    /// One of them; a name that is written so wins over one that differs in case. `None`: there is no such table.
    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError>;
}

/// A table as a list of tables names it.
#[derive(Clone)]
pub struct Listed {
    pub name: String,
    pub schema: SchemaRef,
}

/// A table whose columns are known.
pub trait Table: Send + Sync + 'static {
    fn schema(&self) -> SchemaRef;

    /// Whether rows that do not meet the condition may be left out. Those that are given may still not meet it.
    fn takes(&self, condition: &Condition) -> bool;

    /// Gives rows until there are no more, or `give` says false.
    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError>;
}

/// Takes rows of the wanted columns; false: nobody wants more.
pub type Give<'a> = dyn FnMut(RecordBatch) -> bool + 'a;

/// What is wanted of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Places of columns in the schema, in the order in which they are given; there may be none.
    pub columns: Vec<usize>,
    /// All of them hold for every row that counts.
    pub conditions: Vec<Condition>,
    /// More rows are not wanted.
    pub most: Option<usize>,
}

/// What holds for a column of every row that counts. NULL meets none.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub column: usize,
    pub is: Is,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Is {
    OneOf(Vec<Literal>),
    /// Or equal.
    AtLeast(Literal),
    /// Or equal.
    AtMost(Literal),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Integer(i64),
    Text(String),
    Time(Micros),
    /// Since 1970.
    Day(i32),
}

/// Ends a read from another thread.
#[derive(Default)]
pub struct Stop {
    stopped: AtomicBool,
    then: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Stop {
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let then = std::mem::take(&mut *self.then.lock().unwrap_or_else(PoisonError::into_inner));
        then.into_iter().for_each(|then| then());
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Called when it is stopped; at once when it was.
    pub fn then(&self, then: impl FnOnce() + Send + 'static) {
        self.then.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(then));
        if self.is_stopped() {
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_stop_hears_of_it_whenever_he_asks() {
        let (stop, heard) = (Stop::default(), Arc::new(Mutex::new(vec![])));
        let hears = |name: &'static str| {
            let heard = heard.clone();
            move || heard.lock().unwrap().push(name)
        };
        stop.then(hears("before"));
        assert!(heard.lock().unwrap().is_empty());
        stop.stop();
        stop.then(hears("after"));
        stop.stop();
        assert_eq!(*heard.lock().unwrap(), ["before", "after"]);
    }
}
