//! The way out for rows that fail: beside the values, not instead of them.
//!
//! A strict function leaves NULL in the place of a value that it cannot make, and reports the row here. Whoever evaluates takes the
//! reports of its own evaluation, and only those. The place is per thread, so that a compiled expression holds no state.

use std::cell::RefCell;

use syncline_record::Reason;
pub use syncline_record::RowFailure;

thread_local! {
    static REPORTED: RefCell<Vec<RowFailure>> = const { RefCell::new(Vec::new()) };
}

/// A moment: what is reported later is [`since`] it.
#[derive(Clone, Copy)]
pub struct Mark(usize);

pub fn mark() -> Mark {
    REPORTED.with_borrow(|reported| Mark(reported.len()))
}

pub fn report(row: u32, reason: Reason) {
    REPORTED.with_borrow_mut(|reported| reported.push(RowFailure { row, reason }));
}

/// Takes what was reported since `mark`.
pub fn since(mark: Mark) -> Vec<RowFailure> {
    REPORTED.with_borrow_mut(|reported| if reported.len() > mark.0 { reported.split_off(mark.0) } else { Vec::new() })
}

/// One failure per row, the first, in the order of the rows.
pub fn once_each(mut failures: Vec<RowFailure>) -> Vec<RowFailure> {
    failures.sort_by_key(|failure| failure.row);
    failures.dedup_by_key(|failure| failure.row);
    failures
}
