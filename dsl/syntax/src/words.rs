//! The words of the language, in one place: what can begin a statement or a step.

/// Words that begin a statement.
pub const STATEMENTS: [&str; 8] = ["CONNECTION", "SCHEMA", "PIPELINE", "TEST", "SYNC", "ALERT", "LET", "FUNCTION"];

/// First words of steps.
pub const STEPS: [&str; 27] = [
    "WHERE",
    "SELECT",
    "EXTEND",
    "SET",
    "DROP",
    "RENAME",
    "AS",
    "DEDUP",
    "SHARD",
    "EXPECT",
    "TEE",
    "FORK",
    "INSERT",
    "UPSERT",
    "REPLACE",
    "AGGREGATE",
    "JOIN",
    "LEFT",
    "RIGHT",
    "FULL",
    "INNER",
    "CROSS",
    "UNION",
    "ORDER",
    "LIMIT",
    "LOOKUP",
    "MATCH",
];
