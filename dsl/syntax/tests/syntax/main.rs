//! The language's syntax, as who uses the crate sees it.

mod any_text;
mod expressions;
mod mistakes;
mod samples;
mod values;
