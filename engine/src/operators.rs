//! One file per operator; this list is all that the graph knows of them.

pub mod aggregate;
pub mod arms;
pub mod decode;
pub mod dedup;
pub mod dedup_last;
pub mod expect;
pub mod filter;
pub mod group;
pub mod join;
pub mod lanes;
pub mod limit;
pub mod lookup;
pub mod present;
pub mod project;
pub mod sort;
pub mod time_join;
pub mod union;
pub mod unnest;

pub use arms::Arms;
pub use decode::Decode;
pub use dedup::Dedup;
pub use dedup_last::DedupLast;
pub use expect::{Expect, Violation};
pub use filter::Filter;
pub use group::Group;
pub use join::TableJoin;
pub use lanes::Lanes;
pub use limit::Limit;
pub use lookup::LookupJoin;
pub use present::Present;
pub use project::Project;
pub use sort::{Direction, Sort};
pub use time_join::TimeJoin;
pub use union::Union;
pub use unnest::Unnest;

#[cfg(test)]
mod tests;
