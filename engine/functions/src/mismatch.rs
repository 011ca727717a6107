//! A type error on its way through DataFusion's error type, with its facts intact.

use std::{error::Error, fmt};

use datafusion::common::{DataFusionError, Result};

use crate::ExprError;

/// The facts of [`ExprError::TypeMismatch`], wrapped so that a planner hook can return them.
#[derive(Debug)]
struct Mismatch(ExprError);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Mismatch {}

/// An error that says which types met.
pub fn mismatch<T>(message: impl Into<String>, left: Option<&str>, right: Option<&str>) -> Result<T> {
    let error = ExprError::TypeMismatch {
        message: message.into(),
        left: left.map(str::to_owned),
        right: right.map(str::to_owned),
    };
    Err(DataFusionError::External(Box::new(Mismatch(error))))
}

/// The facts, where an error carries them.
pub fn facts(error: &DataFusionError) -> Option<ExprError> {
    match error {
        DataFusionError::External(inner) => inner.downcast_ref::<Mismatch>().map(|mismatch| mismatch.0.clone()),
        _ => None,
    }
}
