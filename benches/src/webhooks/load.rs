//! A provider that sends signed deliveries as fast as they are answered, or on a schedule.
//!
//! It knows just enough HTTP to cost little: bodies and signatures are made before, a delivery's id is written into its place.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

pub const PATH: &str = "/in/github";
pub const SECRET: &str = "It's a Secret to Everybody";
/// Kept connections, as a busy provider has them: enough for a sync to serve many.
pub const CONNECTIONS: usize = 128;
/// Different bodies.
const BODIES: usize = 512;
/// The number of the first issue; all have as many digits.
const FIRST: usize = 10_000_000;
const ID: usize = 20;

/// Requests, ready to be sent.
pub struct Load {
    requests: Vec<Vec<u8>>,
    /// Where the id stands in each.
    id: usize,
    body: usize,
    next: AtomicU64,
}

/// What came of it.
pub struct Measured {
    /// Time of each answered request, in order of length.
    times: Vec<Duration>,
    pub took: Duration,
    /// Of the server.
    pub cpu: Duration,
}

impl Measured {
    pub fn requests(&self) -> usize {
        self.times.len()
    }

    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    /// CPU-seconds of the server for one request.
    pub fn each(&self) -> f64 {
        self.cpu.as_secs_f64() / self.times.len().max(1) as f64
    }

    pub fn percentile(&self, percent: f64) -> Duration {
        let at = (self.times.len() as f64 * percent / 100.0).ceil() as usize;
        self.times.get(at.saturating_sub(1).min(self.times.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl Load {
    /// Bodies of about so many bytes.
    pub fn new(bytes: usize) -> Arc<Load> {
        let key: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
        let head = |length: usize, signature: &str| {
            format!(
                "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nUser-Agent: GitHub-Hookshot/bench\r\n\
                 X-GitHub-Event: issues\r\nX-GitHub-Delivery: {:ID$}\r\nX-Hub-Signature-256: sha256={signature}\r\n\
                 Content-Length: {length}\r\n\r\n",
                0
            )
        };
        let mut body = 0;
        let requests = (0..BODIES).map(|number| {
            let known = format!(
                "{{\"action\":\"opened\",\"issue\":{{\"id\":{},\"title\":\"a title\"}},\"text\":\"\"}}",
                FIRST + number
            );
            let filling = "lorem ipsum ".repeat(bytes / 12 + 1);
            let text =
                known.replace("\"text\":\"", &format!("\"text\":\"{}", &filling[..bytes.saturating_sub(known.len())]));
            body = text.len();
            let mut mac = key.clone();
            mac.update(text.as_bytes());
            let tag: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            [head(text.len(), &tag).as_bytes(), text.as_bytes()].concat()
        });
        let requests: Vec<Vec<u8>> = requests.collect();
        let name = b"X-GitHub-Delivery: ";
        let id = requests[0].windows(name.len()).position(|window| window == name).expect("its header") + name.len();
        Arc::new(Load { requests, id, body, next: AtomicU64::new(0) })
    }

    pub fn body(&self) -> usize {
        self.body
    }

    /// Every connection sends its next request when the one before it is answered.
    pub fn full(self: &Arc<Self>, address: SocketAddr, during: Duration) -> Measured {
        self.run(address, during, None)
    }

    /// So many a second, each at its own moment.
    pub fn paced(self: &Arc<Self>, address: SocketAddr, during: Duration, rate: f64) -> Measured {
        self.run(address, during, Some(Duration::from_secs_f64(CONNECTIONS as f64 / rate)))
    }

    fn run(self: &Arc<Self>, address: SocketAddr, during: Duration, every: Option<Duration>) -> Measured {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
        runtime.block_on(async {
            let began = Instant::now();
            let mut connections = JoinSet::new();
            for number in 0..CONNECTIONS {
                // Connections take turns: no two send at the same moment.
                let schedule = every.map(|every| (began + every.mul_f64(number as f64 / CONNECTIONS as f64), every));
                connections.spawn(self.clone().connection(address, began + during, schedule));
            }
            let mut all = Measured { times: vec![], took: Duration::ZERO, cpu: Duration::ZERO };
            while let Some(connection) = connections.join_next().await {
                all.times.extend(connection.expect("every request is taken"));
            }
            all.took = began.elapsed();
            all.times.sort_unstable();
            all
        })
    }

    async fn connection(
        self: Arc<Self>,
        address: SocketAddr,
        until: Instant,
        mut schedule: Option<(Instant, Duration)>,
    ) -> Vec<Duration> {
        let mut stream = TcpStream::connect(address).await.expect("the server takes connections");
        stream.set_nodelay(true).expect("no delay");
        let (mut times, mut request, mut answer) = (vec![], vec![], vec![0; 4096]);
        loop {
            let began = match &mut schedule {
                Some((next, every)) => {
                    let at = *next;
                    *next += *every;
                    tokio::time::sleep_until(at).await;
                    at
                }
                None => Instant::now(),
            };
            if began >= until {
                return times;
            }
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            request.clear();
            request.extend_from_slice(&self.requests[number as usize % BODIES]);
            request[self.id..self.id + ID].copy_from_slice(format!("{number:020}").as_bytes());
            stream.write_all(&request).await.expect("the server reads");
            answered(&mut stream, &mut answer).await;
            times.push(began.elapsed());
        }
    }
}

/// Reads one answer. Every request is genuine, and has to be taken.
async fn answered(stream: &mut TcpStream, answer: &mut [u8]) {
    let mut read = 0;
    loop {
        let more = stream.read(&mut answer[read..]).await.expect("an answer");
        assert!(more > 0, "the server closed the connection");
        read += more;
        let Some(head) = answer[..read].windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head]).expect("headers are text");
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if read >= head + 4 + length.unwrap_or(0) {
            let whole = String::from_utf8_lossy(&answer[..read]);
            assert!(text.starts_with("HTTP/1.1 202"), "{whole}");
            return;
        }
    }
}
