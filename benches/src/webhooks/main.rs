//! Signed webhooks, taken durably and read by a pipeline, beside a bare server that only verifies them, in one run.
//!
//! `cargo run --release -p syncline-benches --bin webhooks [-- SECONDS [BYTES…]]`: each server runs in a process of its own, with
//! two threads for connections. Whoever sends runs in this process, on the same machine: it takes its share of the CPU from both, so
//! the CPU time of a request in the server is told too, where the sender does not count.
//! First as much as goes through over kept connections, then half of that on a schedule, where a delivery's time counts from
//! the moment at which it should have been sent. The pipeline has to have written every delivery before a round counts.

mod bare;
#[path = "../cpu.rs"]
mod cpu;
mod disk;
mod load;
#[path = "../spine/measure.rs"]
// No contestant here is waited for by its costs.
#[allow(dead_code)]
mod measure;
mod product;
#[path = "../program.rs"]
mod program;
mod server;
mod stalls;

use std::{sync::Arc, time::Duration};

use load::{Load, Measured};
use server::Server;
use stalls::Stalls;

/// Bytes of a body: a small event, and the median of GitHub's own 329 examples.
const BYTES: [usize; 2] = [1_000, 8_000];
const SECONDS: u64 = 10;
/// Rounds of each. The best counts, and all are shown.
const ROUNDS: usize = 2;
/// Requests before the clock runs: connections, caches, the first segments of the log.
const WARM: Duration = Duration::from_secs(1);
/// The bound on the rate, and on the slowest hundredth at half load.
const SHARE: f64 = 1.0 / 3.0;
const SLOWEST: Duration = Duration::from_millis(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bare", address] => bare::run(address.parse().expect("an address")),
        ["stalls"] => stalls::run(),
        ["syncline", address, folder] => product::run(address, folder),
        _ => compare(&arguments),
    }
}

fn compare(arguments: &[String]) {
    let mut numbers = arguments.iter().filter_map(|text| text.parse::<u64>().ok());
    let seconds = Duration::from_secs(numbers.next().unwrap_or(SECONDS));
    let mut sizes: Vec<usize> = numbers.map(|bytes| bytes as usize).collect();
    if sizes.is_empty() {
        sizes = BYTES.to_vec();
    }
    let [half, slowest] = disk::sync_times();
    println!("a sync by itself on this disk, now: p50 {half:.1} ms, p99 {slowest:.1} ms");
    let mut stalls = Stalls::watch();
    if stalls.is_none() {
        println!("nobody watches whether the machine itself stands still: `chrt --fifo` is not allowed here");
    }
    for bytes in sizes {
        let load = Load::new(bytes);
        let on = measure::file_system(&std::env::temp_dir());
        println!("bodies of {} bytes, {} connections, {seconds:?} each, on {on}", load.body(), load::CONNECTIONS);
        println!(
            "{:<34} {:>10} {:>12} {:>9} {:>9} {:>9}   machine stood still",
            "", "rate /s", "CPU µs each", "p50 ms", "p99 ms", "max ms"
        );
        let bare = best("bare", &load, seconds, &mut stalls);
        let ours = best("syncline", &load, seconds, &mut stalls);
        let share = ours.full.rate() / bare.full.rate();
        let slowest = ours.half.percentile(99.0);
        let holds = share >= SHARE && slowest < SLOWEST;
        println!(
            "share of the bare rate {share:.2} (bound {SHARE:.2}), p99 at half load {:.1} ms (bound {}): {}",
            slowest.as_secs_f64() * 1e3,
            SLOWEST.as_millis(),
            if holds { "holds" } else { "does NOT hold" }
        );
        println!("share by the servers' CPU time alone {:.2}\n", bare.full.each() / ours.full.each());
    }
}

/// How often the machine stood still, and the longest time.
type Stood = Option<(u64, Duration)>;

struct Round {
    full: Measured,
    half: Measured,
    /// While as much went through as does, and half of it.
    stood: [Stood; 2],
}

fn best(name: &str, load: &Arc<Load>, seconds: Duration, stalls: &mut Option<Stalls>) -> Round {
    let rounds = (0..ROUNDS).map(|_| {
        let round = round(name, load, seconds, stalls);
        print(&format!("{name}, as much as goes through"), &round.full, round.stood[0]);
        print(&format!("{name}, half of it"), &round.half, round.stood[1]);
        round
    });
    rounds.max_by(|one, other| one.full.rate().total_cmp(&other.full.rate())).expect("at least one round")
}

fn round(name: &str, load: &Arc<Load>, seconds: Duration, stalls: &mut Option<Stalls>) -> Round {
    let mut since = || stalls.as_mut().and_then(Stalls::since);
    let server = Server::start(name);
    let warm = load.full(server.address, WARM);
    since();
    let before = server.cpu();
    let mut full = load.full(server.address, seconds);
    full.cpu = server.cpu() - before;
    let stood = since();
    let before = server.cpu();
    let mut half = load.paced(server.address, seconds, full.rate() / 2.0);
    half.cpu = server.cpu() - before;
    let stood = [stood, since()];
    let phases = [&warm, &full, &half];
    server.stop(phases.iter().map(|phase| phase.requests() as u64).sum());
    Round { full, half, stood }
}

fn print(what: &str, measured: &Measured, stood: Stood) {
    let stood =
        stood.map_or(String::new(), |(late, longest)| format!("{late} ×, {:.1} ms", longest.as_secs_f64() * 1e3));
    let ms = |percent| measured.percentile(percent).as_secs_f64() * 1e3;
    println!(
        "{what:<34} {:>10.0} {:>12.1} {:>9.2} {:>9.2} {:>9.1}   {stood}",
        measured.rate(),
        measured.each() * 1e6,
        ms(50.0),
        ms(99.0),
        ms(100.0),
    );
}
