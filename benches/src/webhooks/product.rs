//! The product itself, by its own command line: verifies, keeps each delivery once, answers when it is durable, and has a
//! pipeline read and write what came in.

use std::path::Path;

use crate::program;

/// Where the rows come out, in the folder.
pub const OUT: &str = "out";

const JOB: &str = "
PIPELINE hooks AS
FROM http('/github', verify => github(secret('hooks')))
|> SELECT _headers['x-github-delivery'] AS delivery, action, CAST(issue['id'] AS BIGINT) AS issue
|> INSERT INTO file('out/');
";

/// Runs until it is killed.
pub fn run(address: &str, folder: &str) {
    let file = Path::new(folder).join("hooks.sync");
    std::fs::write(&file, JOB).expect("the pipeline file");
    program::run(&["run", &file.to_string_lossy(), "--listen", address]);
}
