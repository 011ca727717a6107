//! Runs the engine's simulation over any number of seeds: `--seeds 10000 [--from N]`, or one of them: `--seed S [--trace]`.

use std::process::ExitCode;

use syncline_engine::simulation::{Outcome, simulate};

/// Seeds between two lines of progress.
const PROGRESS: u64 = 1000;

struct Wanted {
    from: u64,
    seeds: u64,
    trace: bool,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted { from: 0, seeds: 300, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or(format!("{word} needs a number"))?;
            value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"))
        };
        match word.as_str() {
            "--seeds" => wanted.seeds = number()?,
            "--from" => wanted.from = number()?,
            "--seed" => (wanted.from, wanted.seeds) = (number()?, 1),
            "--trace" => wanted.trace = true,
            _ => return Err(format!("there is no option {word}: --seeds N, --from N, --seed S, --trace")),
        }
    }
    Ok(wanted)
}

fn main() -> ExitCode {
    let wanted = match wanted() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let (mut sum, mut failed) = (Outcome::default(), 0u64);
    for seed in wanted.from..wanted.from + wanted.seeds {
        match simulate(seed, None, wanted.trace) {
            Ok(outcome) => sum.add(&outcome),
            Err(failure) => {
                failed += 1;
                eprintln!("{failure}");
            }
        }
        if (seed + 1 - wanted.from).is_multiple_of(PROGRESS) {
            eprintln!("{} seeds, {failed} failed", seed + 1 - wanted.from);
        }
    }
    println!("{} seeds, {failed} failed, {} records, {} epochs", wanted.seeds, sum.records, sum.epochs);
    for (window, deaths) in &sum.windows {
        println!("{deaths:>8} died in the window {}", window.as_str());
    }
    for (place, deaths) in &sum.places {
        println!("{deaths:>8} died in {place}");
    }
    ExitCode::from(u8::from(failed > 0))
}
