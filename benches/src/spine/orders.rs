//! The orders: generated from a seed, the same on every machine.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::Path,
};

use xxhash_rust::xxh3::xxh3_128;

use crate::random::Random;

pub const SEED: u64 = 7;

/// Writes `rows` orders; returns their bytes.
pub fn write(path: &Path, rows: u64) -> u64 {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("the input file"));
    let mut bytes = 0;
    for id in ids().take(rows as usize) {
        let line = order(id);
        bytes += line.len() as u64;
        out.write_all(line.as_bytes()).expect("room for the input");
    }
    out.flush().expect("room for the input");
    bytes
}

/// Which order each line is: a fifth of them repeat one from before, with the same line.
pub fn ids() -> impl Iterator<Item = u64> {
    let (mut random, mut fresh) = (Random(SEED), 0);
    std::iter::from_fn(move || {
        let repeat = fresh > 0 && random.below(5) == 0;
        let id = if repeat { random.below(fresh) } else { fresh };
        fresh += u64::from(!repeat);
        Some(id)
    })
}

/// The line of an order, with its end.
pub fn order(id: u64) -> String {
    let mut random = Random(id ^ 0x5eed);
    let status = ["paid", "open", "paid", "void"][random.below(4) as usize];
    let (customer, amount) = (random.below(1_000_000), random.below(30_000));
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    format!(
        "{{\"id\":\"ord-{id:010}\",\"status\":\"{status}\",\"customer\":\"Customer-{customer:06}@Example.COM\",\
         \"amount\":\"{}.{:02}\",\"currency\":\"EUR\",\"ts\":\"2026-11-20T{hour:02}:{minute:02}:{second:02}Z\",\
         \"region\":\"eu-west-{}\",\"note\":\"some words to fill the line up to its size\"}}\n",
        amount / 100,
        amount % 100,
        random.below(4),
    )
}

/// Rows of all files of a folder and a digest that does not depend on their order.
pub fn digest(folder: &Path) -> (u64, u128) {
    let (mut rows, mut sum) = (0, 0u128);
    for entry in std::fs::read_dir(folder).expect("an output folder").flatten() {
        let path = entry.path();
        if !path.is_file() || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        let mut text = vec![];
        File::open(path).and_then(|mut file| file.read_to_end(&mut text)).expect("a readable output");
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            rows += 1;
            sum = sum.wrapping_add(xxh3_128(line));
        }
    }
    (rows, sum)
}
