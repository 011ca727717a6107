//! The product itself: its own command line, in a process of its own.

use std::path::Path;

use crate::{COLUMNS, CONDITION, program};

pub fn run(input: &Path, output: &Path) {
    let job = format!(
        "PIPELINE trips AS
FROM parquet('{}/')
|> WHERE {CONDITION}
|> SELECT {COLUMNS}
|> INSERT INTO parquet('./');
",
        input.display()
    );
    let file = output.join(".job.sync");
    std::fs::write(&file, job).expect("the pipeline file");
    let (file, data) = (file.display().to_string(), output.join(".data").display().to_string());
    program::run(&["run", &file, "--data", &data]);
}
