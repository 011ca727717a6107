//! Contestants that do the same work, each in a process of its own.

use std::path::{Path, PathBuf};

use crate::measure::{Cost, child};

const ROUNDS: usize = 3;

/// What this process was started for.
pub enum Asked {
    /// `<program> <name> <input> <output>`
    Contestant { name: String, input: PathBuf, output: PathBuf },
    /// `<program> [ROWS]`
    All { rows: Option<u64> },
}

pub fn asked() -> Asked {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    match (first, arguments.next(), arguments.next()) {
        (Some(name), Some(input), Some(output)) => {
            Asked::Contestant { name, input: input.into(), output: output.into() }
        }
        (first, ..) => Asked::All { rows: first.and_then(|rows| rows.parse().ok()) },
    }
}

/// The round that needed the least processor time, and what was found in the output of each.
pub fn best<D>(name: &str, input: &Path, output: &Path, digest: impl Fn(&Path) -> D) -> (Cost, Vec<D>) {
    let mut rounds = vec![];
    for _ in 0..ROUNDS {
        let _ = std::fs::remove_dir_all(output);
        std::fs::create_dir_all(output).expect("an output folder");
        let cost = child(&[name, &input.to_string_lossy(), &output.to_string_lossy()]);
        rounds.push((cost, digest(output)));
    }
    let (costs, digests): (Vec<_>, _) = rounds.into_iter().unzip();
    (costs.into_iter().min_by_key(|cost| cost.cpu).expect("at least one round"), digests)
}
