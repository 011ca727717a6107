//! The four pipelines that the language must express.

use syncline_syntax::{parse, render};

pub const QUICK_START: &str = include_str!("samples/quick-start.sync");
pub const KAFKA: &str = include_str!("samples/kafka-to-kafka.sync");
pub const PULL: &str = include_str!("samples/pull-and-webhook.sync");
pub const TWO_WAY: &str = include_str!("samples/two-way.sync");

#[test]
fn every_sample_parses_without_a_word() {
    for source in [QUICK_START, KAFKA, PULL, TWO_WAY] {
        let (_, said) = parse(source);
        assert_eq!(render(&said, "sample.sync", source, false), "");
    }
}
