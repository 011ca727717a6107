//! Text to tree: the pipeline language's lexer, parser and messages, without a catalog and without a planner.
//!
//! Everything here is a pure function of the text. No text makes it panic, overflow the stack or stop at the first
//! mistake.

pub mod ast;
mod span;

pub use span::Span;
