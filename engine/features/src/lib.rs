//! No code: one set of third-party features for every crate of the workspace.
//!
//! Cargo picks the features of a dependency from the packages that it is asked to build, so that `cargo test -p` of one crate and
//! a build of the whole would compile DataFusion twice. Every crate depends on this one, which names the union.
