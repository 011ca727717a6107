//! The least that the job can be: read, parse the fields, one hash set, write. Nothing is kept, nothing is checked twice.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    customer: Cow<'a, str>,
    #[serde(borrow)]
    amount: Cow<'a, str>,
    #[serde(borrow)]
    ts: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
}

#[derive(Serialize)]
struct Reshaped<'a> {
    id: &'a str,
    customer: String,
    cents: u64,
    day: &'a str,
    region: &'a str,
}

pub fn run(input: &Path, output: &Path) {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(input).expect("the input"));
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(output.join("part.ndjson")).expect("the output"));
    let mut seen: HashSet<u128> = HashSet::new();
    let mut line = vec![];
    while reader.read_until(b'\n', &mut line).expect("a line") > 0 {
        let order: Order<'_> = serde_json::from_slice(&line).expect("an order");
        let cents = cents(&order.amount);
        if order.status == "paid" && cents >= 1000 && seen.insert(xxhash_rust::xxh3::xxh3_128(order.id.as_bytes())) {
            let reshaped = Reshaped {
                id: &order.id,
                customer: order.customer.to_lowercase(),
                cents,
                day: &order.ts[..10],
                region: &order.region,
            };
            serde_json::to_writer(&mut writer, &reshaped).expect("room for the output");
            writer.write_all(b"\n").expect("room for the output");
        }
        line.clear();
    }
    writer.flush().expect("room for the output");
}

fn cents(amount: &str) -> u64 {
    let (whole, fraction) = amount.split_once('.').expect("an amount with a fraction");
    whole.parse::<u64>().expect("digits") * 100 + fraction.parse::<u64>().expect("digits")
}
