//! Records out of bytes: what a source of text reads, a block at a time, whether it is packed or not.

pub mod array;
pub mod blocks;
pub mod framing;
pub mod input;
mod long;
pub mod packing;
pub mod reader;
pub mod rows;
pub mod unpacked;

pub use blocks::{Block, Mark, Next, Part};
pub use input::{Input, Plain};
pub use packing::Packing;
pub use reader::{Columns, Reader, TextFormat};
pub use unpacked::Unpacked;
