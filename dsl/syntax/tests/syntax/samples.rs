//! The four pipelines that the language must express.

use syncline_syntax::{parse, render};

pub const QUICK_START: &str = include_str!("samples/quick-start.sync");
pub const KAFKA: &str = include_str!("samples/kafka-to-kafka.sync");
pub const PULL: &str = include_str!("samples/pull-and-webhook.sync");
pub const TWO_WAY: &str = include_str!("samples/two-way.sync");

/// The tree without its places and without `sqlparser`'s trees, whose text stands beside them.
fn tree(source: &str) -> String {
    let (file, said) = parse(source);
    assert_eq!(render(&said, "sample.sync", source, false), "");
    let mut kept = String::new();
    let mut leaving_out = None;
    for line in format!("{file:#?}").lines() {
        let indent = line.len() - line.trim_start().len();
        let field = line.trim_start().split(':').next().unwrap_or("");
        let left_out = matches!(field, "span" | "keyword" | "on_violation_span" | "ast" | "quoted");
        match leaving_out {
            Some(outer) if indent > outer => continue,
            Some(_) => {
                leaving_out = None;
                if line.trim_start().starts_with(['}', ')', ']']) {
                    continue;
                }
            }
            None => {}
        }
        if left_out {
            leaving_out = (!line.ends_with(',')).then_some(indent);
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[test]
fn quick_start_parses_to_its_tree() {
    insta::assert_snapshot!(tree(QUICK_START));
}

#[test]
fn kafka_to_kafka_parses_to_its_tree() {
    insta::assert_snapshot!(tree(KAFKA));
}

#[test]
fn pull_and_webhook_parses_to_its_tree() {
    insta::assert_snapshot!(tree(PULL));
}

#[test]
fn two_way_parses_to_its_tree() {
    insta::assert_snapshot!(tree(TWO_WAY));
}
