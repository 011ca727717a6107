//! Text to tree: the pipeline language's lexer, parser and messages, without a catalog and without a planner.
//!
//! Everything here is a pure function of the text. No text makes it panic, overflow the stack or stop at the first
//! mistake.

pub mod ast;
mod brackets;
mod diagnostic;
mod dialect;
mod lexer;
mod mistake;
mod parser;
mod render;
mod span;
mod words;

pub use diagnostic::{Diagnostic, Edit, Label, Lines, Severity, apply_fix, nearest};
pub use mistake::SLUGS;
pub use parser::parse;
pub use render::render;
pub use span::Span;
pub use words::{STATEMENTS, STEPS};
