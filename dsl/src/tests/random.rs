//! What holds for every text: no panic, the same answer twice, plans that can be stored, expressions that can be read back.

use datafusion::{arrow::datatypes::Field, common::DFSchema};
use proptest::prelude::*;
use syncline_functions::{Planner, sql_type_of};

use super::{samples::SAMPLES, *};
use crate::plan::{Column, FilePlan, StepKind};

/// Files whose plans have every kind of step.
const FILES: [&str; 5] = [SAMPLES[0], super::plans::ARMS, super::plans::OPEN, super::plans::NAMES, ROWS];

/// Shorthands, tables, groups, lists and order.
const ROWS: &str = "
LET least = 10;
FUNCTION net(gross, rate) AS gross / (1 + rate);
SCHEMA order_event EVOLVE (
  id BIGINT NOT NULL, at TIMESTAMP NOT NULL, region STRING, total DECIMAL(12, 2), items JSON,
  WATERMARK FOR at AS at - INTERVAL '30 seconds'
);
PIPELINE per_item AS
FROM file('orders.ndjson') SCHEMA order_event AS o
|> JOIN file('items.ndjson') REFRESH EVERY '5 minutes' AS i ON i.order_id = o.id AND i.price > least
|> WHERE region IN ('eu', 'us') AND o.at > '2026-01-01' AND total BETWEEN 1 AND 100
|> SELECT o.id AS id, UNNEST(items) AS item, net(total, 0.2) AS net, at, region
|> AGGREGATE COUNT(*) AS n, SUM(net) / COUNT(*) AS mean GROUP BY region, upper(CAST(item['sku'] AS STRING)) AS sku
|> ORDER BY n DESC NULLS LAST, sku
|> LIMIT 10
|> INSERT INTO stdout();
PIPELINE all_orders AS
FROM file('a.ndjson')
|> UNION ALL BY NAME (FROM file('b.ndjson') |> SELECT DISTINCT id, total)
|> FORK (|> WHERE id = 1 |> INSERT INTO stdout()), (|> INSERT INTO file('out/'));
TEST counted FOR per_item
  GIVEN INPUT file('orders.ndjson') ROWS '{\"id\": 1, \"at\": \"2026-11-20T10:00:00Z\"}'
  EXPECT OUTPUT ROWS ('eu', 'A', 1, 2.5) EXPECT DROPPED 1 BECAUSE 'unmatched';
";

#[test]
fn the_same_text_gives_the_same_plan_byte_for_byte() {
    for file in FILES {
        let bytes = || serde_json::to_string(&checked(file).plan).expect("a plan is JSON");
        assert_eq!(bytes(), bytes());
    }
}

#[test]
fn a_stored_plan_is_read_back_as_it_was() {
    for file in FILES {
        let plan = checked(file).plan;
        assert!(!plan.pipelines.is_empty());
        let text = serde_json::to_string(&plan).expect("a plan is JSON");
        assert_eq!(serde_json::from_str::<FilePlan>(&text).expect("a plan"), plan);
    }
}

fn scope(columns: &[Column]) -> DFSchema {
    let fields: Vec<Field> =
        columns.iter().map(|column| column.kind.field(&column.name).expect("a type of a plan")).collect();
    DFSchema::from_unqualified_fields(fields.into(), Default::default()).expect("columns")
}

/// Over the columns that a plan lists before a step, the text that it has for each column gives the type that it lists after it.
#[test]
fn expressions_of_a_plan_are_read_back_with_the_types_that_it_lists() {
    let planner = Planner::new();
    let mut read = 0;
    for file in FILES {
        for plan in checked(file).plan.pipelines {
            let mut before: Vec<Column> = Vec::new();
            for step in &plan.flow {
                if let (StepKind::Project { columns, .. }, false) = (&step.kind, before.is_empty()) {
                    let scope = scope(&before);
                    for ((name, sql), column) in columns.iter().zip(&step.columns) {
                        let typed = planner.expr(&planner.parse(sql).expect(sql), &scope).expect(sql);
                        assert_eq!((name, &sql_type_of(typed.field())), (&column.name, &column.kind.0), "{sql}");
                        read += 1;
                    }
                }
                before = step.columns.clone();
            }
        }
    }
    assert!(read > 20, "{read}");
}

/// A place in the text, as a share of its length; and what to do there.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(f64, usize),
    Double(f64, usize),
    Swap(f64, f64),
    Insert(f64, &'static str),
    /// Something inside of something, so many times.
    Nest(f64, (&'static str, &'static str), usize),
}

const WRAPS: [(&str, &str); 14] = [
    ("(", ")"),
    ("[", "]"),
    ("NOT ", ""),
    ("- ", ""),
    ("1 + ", ""),
    ("x.", ""),
    ("net(", ", 1)"),
    ("coalesce(", ", NULL)"),
    ("CAST(", " AS STRING)"),
    ("CASE WHEN ", " THEN 'a' END"),
    ("id IN (", ")"),
    ("item['a']", ""),
    ("|> TEE (", ")"),
    ("|> UNION ALL (FROM file('b.ndjson') ", ")"),
];

/// As hands write, as generators do, and as nobody does.
fn depth() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..6usize, 2 => 20..120usize, 1 => 500..4000usize]
}

const PIECES: [&str; 24] = [
    "|>",
    ";",
    "'",
    "\"",
    "(",
    ")",
    ",",
    ".",
    "*",
    " AS i ",
    " i.",
    "user",
    "_key",
    "__row",
    " SELECT ",
    " DROP id ",
    " RENAME id AS total ",
    " EXTEND 1 AS id ",
    "NULL",
    "CASE WHEN ",
    "é",
    "\u{0}",
    " DEDUP ",
    " SHARD BY id INTO 0 ",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = || 0.0..1.0;
    prop_oneof![
        (place(), 1..12usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place(), 1..60usize).prop_map(|(at, length)| Mutation::Double(at, length)),
        (place(), place()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        (place(), prop::sample::select(PIECES.to_vec())).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (place(), prop::sample::select(WRAPS.to_vec()), depth()).prop_map(|(at, wrap, n)| Mutation::Nest(at, wrap, n)),
    ]
}

fn mutated(text: &str, mutations: &[Mutation]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for mutation in mutations {
        let at = |share: &f64| ((text.len() as f64) * share) as usize;
        match mutation {
            Mutation::Delete(share, length) => {
                let start = at(share);
                text.drain(start..(start + length).min(text.len()));
            }
            Mutation::Double(share, length) => {
                let start = at(share);
                let copy: Vec<char> = text[start..(start + length).min(text.len())].to_vec();
                text.splice(start..start, copy);
            }
            Mutation::Swap(one, other) if !text.is_empty() => {
                let (one, other) = (at(one).min(text.len() - 1), at(other).min(text.len() - 1));
                text.swap(one, other);
            }
            Mutation::Swap(..) => {}
            Mutation::Insert(share, piece) => {
                let start = at(share);
                text.splice(start..start, piece.chars());
            }
            Mutation::Nest(share, (open, close), depth) => {
                let start = word(&text, at(share));
                let end =
                    text[start..].iter().position(|letter| !letter.is_alphanumeric()).map_or(text.len(), |n| start + n);
                text.splice(end..end, close.repeat(*depth).chars());
                text.splice(start..start, open.repeat(*depth).chars());
            }
        }
    }
    text.into_iter().collect()
}

/// Where the word begins that is at this place, or the next one.
fn word(text: &[char], at: usize) -> usize {
    let at = at + text[at..].iter().position(|letter| letter.is_alphanumeric()).unwrap_or(text.len() - at);
    text[..at].iter().rposition(|letter| !letter.is_alphanumeric()).map_or(0, |before| before + 1)
}

/// As many cases as usual, or as `PROPTEST_CASES` asks for.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| ProptestConfig::default().cases);
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(300))]
    #[test]
    fn a_mutated_sample_is_answered_however_deep_it_nests(
        file in 0..SAMPLES.len() + FILES.len(),
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let source = mutated(SAMPLES.iter().chain(&FILES).nth(file).expect("one of them"), &mutations);
        owed(source);
    }
}

/// As a thread of a pool has it; the process's own has four times as much.
const SMALL_STACK: usize = 2 << 20;

/// What a check owes to any text: it comes back, with places inside of the text and a page for each message.
fn owed(source: String) {
    let thread = std::thread::Builder::new().stack_size(SMALL_STACK);
    let check = move || {
        let checked = checked(&source);
        for one in &checked.diagnostics {
            assert!(!one.labels.is_empty() && crate::explain(one.slug).is_some(), "{one:?}");
            for span in one.labels.iter().map(|label| label.span) {
                assert!(source.get(span.start..span.end).is_some(), "{one:?}");
            }
        }
        let shown = said(&checked, &source);
        assert_eq!(shown.is_empty(), checked.diagnostics.is_empty());
        for plan in &checked.plan.pipelines {
            assert!(!plan.to_string().is_empty());
            assert_eq!(plan.digest(), plan.clone().digest());
        }
        let (file, _) = syncline_syntax::parse(&source);
        let wanted = file.statements.iter().filter(|one| matches!(one, syncline_syntax::ast::Statement::Pipeline(_)));
        let lacks = wanted.count() > checked.plan.pipelines.len();
        assert!(!lacks || shown.contains("error: "), "no plan, and no word why: {source}");
    };
    thread.spawn(check).expect("a thread").join().expect("no panic");
}

#[test]
fn deep_nesting_is_answered_on_a_small_stack() {
    let wrap = |open: &str, close: &str, times: usize| open.repeat(times) + "x" + &close.repeat(times);
    let expressions = [
        wrap("(", ")", 100_000),
        wrap("CASE WHEN ", " THEN 1 END", 5_000),
        wrap("f(", ")", 20_000),
        wrap("UNNEST(", ")", 300),
        wrap("a[", "]", 20_000),
        wrap("CAST(", " AS INT)", 5_000),
        "NOT ".repeat(50_000) + "x",
        "- ".repeat(590) + "x",
        "x + ".repeat(50_000) + "x",
        "x.".repeat(50_000) + "x",
        "x".repeat(1_000_000),
    ];
    for expression in expressions {
        owed(format!("PIPELINE p AS FROM file('a') |> EXTEND {expression} AS y |> INSERT INTO stdout();"));
        owed(format!("LET y = {expression};\nPIPELINE p AS FROM file('a') |> WHERE y |> INSERT INTO stdout();"));
    }
    owed(format!("PIPELINE p AS FROM file('a') {} |> INSERT INTO stdout();", wrap("|> TEE (", ")", 20_000)));
    let twice = "FUNCTION f(a) AS a + a;".to_owned();
    owed(format!("{twice} PIPELINE p AS FROM file('a') |> WHERE {} > 1 |> INSERT INTO stdout();", wrap("f(", ")", 60)));
    // Each stands for little, all together for a tree of thousands of levels.
    for (declared, body, last, used) in [
        ("FUNCTION f{}(a) AS ", "CAST(f{}(a) AS BIGINT)", "FUNCTION f280(a) AS a;", "f0(id)"),
        ("LET v{} = ", "coalesce(v{}, 1)", "LET v280 = id;", "v0"),
    ] {
        let one =
            |n: usize| format!("{declared}{};", body.replace("{}", &(n + 1).to_string())).replace("{}", &n.to_string());
        let all: String = (0..280).map(one).collect();
        let source = format!("{all}{last} PIPELINE p AS FROM file('a') |> WHERE {used} > 1 |> INSERT INTO stdout();");
        assert_eq!(slugs(&checked(&source)), ["too-deep"]);
        owed(source);
    }
    for again in [" IS NULL", "::INT", " AT TIME ZONE 'UTC'", " COLLATE b", "::INT IS NOT NULL"] {
        owed(format!("PIPELINE p AS FROM file('a') |> EXTEND x{} AS y |> INSERT INTO stdout();", again.repeat(140)));
    }
}

proptest! {
    #![proptest_config(cases(150))]
    /// Whole words and signs are taken out, doubled and exchanged, and some bytes are anything.
    #[test]
    fn a_file_with_its_words_mixed_up_is_answered(
        file in 0..SAMPLES.len() + FILES.len(),
        edits in prop::collection::vec((0..3usize, 0.0..1.0f64, 0.0..1.0f64), 1..8),
        noise in prop::collection::vec((0.0..1.0f64, any::<char>()), 0..3),
    ) {
        let text = *SAMPLES.iter().chain(&FILES).nth(file).expect("one of them");
        let mut words: Vec<String> = text.split_inclusive([' ', '\n', '(', ')', ',', '.', '\'']).map(str::to_owned).collect();
        for (what, one, other) in edits {
            let at = |share: f64| (share * words.len() as f64) as usize;
            let (one, other) = (at(one), at(other));
            match what {
                0 => drop(words.remove(one)),
                1 => words.insert(other, words[one].clone()),
                _ => words.swap(one, other),
            }
        }
        let mut characters: Vec<char> = words.concat().chars().collect();
        for (place, character) in noise {
            characters.insert((place * characters.len() as f64) as usize, character);
        }
        owed(characters.into_iter().collect());
    }
}
