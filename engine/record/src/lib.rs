//! The vocabulary: what a record, a change, a position and a fate are.
//!
//! Every room speaks in these words. Nothing here waits, reads a clock or knows a connector.

pub mod amount;
pub mod batch;
pub mod books;
pub mod change;
pub mod duration;
pub mod fate;
pub mod keys;
pub mod names;
pub mod place;
pub mod schedule;
pub mod time;

pub use batch::{Batch, Headers, Instants, Keys, Origin};
pub use books::{Books, StepBooks};
pub use change::Op;
pub use fate::{DeadLetter, Fate, Reason, RowFailure};
pub use names::{Epoch, Generation, StepId};
pub use place::{Partition, Place};
pub use time::Micros;
