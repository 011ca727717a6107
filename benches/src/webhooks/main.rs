//! Signed webhooks, taken durably and read by a pipeline, beside a bare server that only verifies them, in one run.
//!
//! `cargo run --release -p syncline-benches --bin webhooks [-- SECONDS [BYTES…]]`: each server runs in a process of its own, with
//! two threads for connections. Whoever sends runs in this process, on the same machine: its share of the CPU is in both figures.
//! First as much as goes through over kept connections, then half of that on a schedule, where a delivery's time counts from
//! the moment at which it should have been sent.

mod bare;
mod load;
mod product;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use load::{Load, Measured};

/// Bytes of a body: a small event, and the median of GitHub's own 329 examples.
const BYTES: [usize; 2] = [1_000, 8_000];
const SECONDS: u64 = 10;
/// Rounds of each, of which the best counts.
const ROUNDS: usize = 2;
/// The bound on the rate, and on the slowest hundredth at half load.
const SHARE: f64 = 1.0 / 3.0;
const SLOWEST: Duration = Duration::from_millis(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bare", address] => bare::run(address.parse().expect("an address")),
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
    for bytes in sizes {
        let load = Load::new(bytes);
        println!("bodies of {} bytes, {} connections, {seconds:?} each", load.body(), load::CONNECTIONS);
        println!("{:<34} {:>10} {:>12} {:>9} {:>9} {:>9}", "", "rate /s", "CPU µs each", "p50 ms", "p99 ms", "max ms");
        let bare = best("bare", &load, seconds);
        let ours = best("syncline", &load, seconds);
        let share = ours.full.rate() / bare.full.rate();
        let slowest = ours.half.percentile(99.0);
        let holds = share >= SHARE && slowest < SLOWEST;
        println!(
            "share of the bare rate {share:.2} (bound {SHARE:.2}), p99 at half load {:.1} ms (bound {}): {}",
            slowest.as_secs_f64() * 1e3,
            SLOWEST.as_millis(),
            if holds { "holds" } else { "does NOT hold" }
        );
    }
}

struct Result {
    full: Measured,
    half: Measured,
}

fn best(name: &str, load: &Arc<Load>, seconds: Duration) -> Result {
    let mut best: Option<Result> = None;
    for _ in 0..ROUNDS {
        let result = round(name, load, seconds);
        if best.as_ref().is_none_or(|best| best.full.rate() < result.full.rate()) {
            best = Some(result);
        }
    }
    let best = best.expect("at least one round");
    print(&format!("{name}, as much as goes through"), &best.full);
    print(&format!("{name}, half of it"), &best.half);
    best
}

fn round(name: &str, load: &Arc<Load>, seconds: Duration) -> Result {
    let server = Server::start(name);
    // Warm: connections, caches, the first segments of the log.
    load.full(server.address, Duration::from_secs(1));
    let before = server.cpu();
    let mut full = load.full(server.address, seconds);
    full.cpu = server.cpu() - before;
    let before = server.cpu();
    let mut half = load.paced(server.address, seconds, full.rate() / 2.0);
    half.cpu = server.cpu() - before;
    server.stop();
    Result { full, half }
}

fn print(what: &str, measured: &Measured) {
    let ms = |percent| measured.percentile(percent).as_secs_f64() * 1e3;
    println!(
        "{what:<34} {:>10.0} {:>12.1} {:>9.2} {:>9.2} {:>9.1}",
        measured.rate(),
        measured.cpu.as_secs_f64() * 1e6 / measured.requests() as f64,
        ms(50.0),
        ms(99.0),
        ms(100.0),
    );
    assert_eq!(measured.refused, 0, "{what}: every request is genuine, and has to be taken");
}

/// A contestant in a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
    folder: std::path::PathBuf,
}

impl Server {
    fn start(name: &str) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let folder = std::env::temp_dir().join(format!("syncline-webhooks-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([name, &address.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        if name != "bare" {
            command.arg(&folder);
        }
        let child = command.env("SYNCLINE_SECRET_HOOKS", load::SECRET).spawn().expect("a server starts");
        let server = Server { child, address, folder };
        let limit = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < limit, "{name} does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// CPU time of the process so far, as the kernel counts it, in hundredths of a second.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn stop(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the server ends");
        std::fs::remove_dir_all(&self.folder).expect("its folder goes away");
    }
}
