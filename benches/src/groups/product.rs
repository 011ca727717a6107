//! The product's own step, as a pipeline calls it; and the whole program.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{array::RecordBatch, buffer::Buffer};
use datafusion::common::DFSchema;
use syncline_engine::{
    operator::{Operator, Output},
    operators::aggregate::{Recipe, Whole, Window, Windows},
};
use syncline_functions::{Aggregates, Planner, Projection};
use syncline_record::{Batch, Headers, Origin, Partition, StepId, time::NO_WATERMARK};

use crate::rows::{BATCH, Load, MINUTE, batches, digest, schema};

/// Rows of an epoch, as the engine bounds them.
const EPOCH: usize = 200_000;

/// What `bind` makes of `AGGREGATE SUM(n) AS total, COUNT(*) AS events GROUP BY tumble(t, INTERVAL '1 minute') AS minute, k`.
fn operator(load: Load) -> Box<dyn Operator> {
    let planner = Planner::new();
    let schema = schema();
    let scope = DFSchema::try_from(schema.as_ref().clone()).expect("columns with different names");
    let typed = |sql: &str| planner.expr(&planner.parse(sql).expect("SQL"), &scope).expect("a column");
    let call = |sql: &str| planner.aggregate(&planner.parse(sql).expect("SQL"), &scope).expect("an aggregate");
    let calls = vec![("total".to_owned(), call("sum(n)")), ("events".to_owned(), call("count(*)"))];
    let mut taken = vec![("k".to_owned(), typed("k"))];
    if load != Load::Whole {
        taken.insert(0, ("t".to_owned(), typed("t")));
    }
    taken.extend(Aggregates::taken(&calls));
    let recipe = Recipe {
        taken: Projection::new(&planner, taken, &schema).expect("columns"),
        aggregates: Aggregates::new(vec![typed("k").field().clone()], &calls).expect("calls"),
    };
    match load {
        Load::Whole => Box::new(Whole::new(recipe)),
        Load::InOrder | Load::Disorder => Box::new(Windows::new(recipe, Window::tumble(MINUTE), ("minute", 0), true)),
    }
}

pub fn step(load: Load, rounds: usize) -> String {
    let mut operator = operator(load);
    let origin = origin();
    let batches = batches(load);
    let (mut open, mut epoch, mut stored) = (0, 0, 0);
    for _ in 0..rounds {
        for rows in &batches {
            let mut out = Output::new(StepId::new("aggregate"), false);
            let batch = Batch { origin: origin.clone(), rows: rows.clone(), watermark: 0 };
            operator.push(batch, &mut out).expect("the operator goes on");
            open += BATCH;
            if open >= EPOCH {
                (open, epoch) = (0, epoch + 1);
                operator.advance(NO_WATERMARK, &mut out).expect("the operator goes on");
                let delta = operator.close(epoch, out.step()).expect("an epoch that closes");
                stored += delta.appended.iter().map(|(_, body)| body.len()).sum::<usize>();
            }
        }
    }
    let mut out = Output::new(StepId::new("aggregate"), false);
    operator.finish(&mut out).expect("the operator goes on");
    assert!(stored > 0, "epochs hand over what they added");
    let answers: Vec<RecordBatch> = out.put_out().iter().map(|batch| batch.rows.clone()).collect();
    digest(answers.iter(), load)
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        names: None,
        partition: Partition::new("bench", 0),
        payload: Buffer::from_vec(Vec::<u8>::new()),
        spans: vec![],
        texts: None,
        offsets: (1..=BATCH as u64).collect(),
        bytes: None,
        times: vec![0; BATCH],
        ingested_at: 0.into(),
        headers: Headers::Absent,
        keys: None,
    })
}

const JOB: &str = "
PIPELINE groups AS
FROM arrow('../rows.arrow')
|> AGGREGATE SUM(n) AS total, COUNT(*) AS events GROUP BY tumble(t, INTERVAL '1 minute') AS minute, k
|> INSERT INTO file('answers.csv') FORMAT csv;
";

/// Where a run of the program has its files: what it wrote belongs to its data folder, so both are new each time.
fn place(folder: &Path) -> PathBuf {
    folder.join("run")
}

/// Reads `rows.arrow` of a folder.
pub fn program(folder: &Path) -> String {
    let place = place(folder);
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).expect("a folder");
    let (file, data) = (place.join("groups.sync"), place.join("data"));
    std::fs::write(&file, JOB).expect("the pipeline file");
    let (file, data) = (file.display().to_string(), data.display().to_string());
    crate::program::run(&["run", &file, "--data", &data]);
    String::new()
}

/// Rows that the answers of the program speak of: the last column.
pub fn counted(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(place(folder).join("answers.csv")).expect("answers");
    text.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.parse::<u64>().ok()).sum()
}
