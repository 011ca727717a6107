//! A network that can be slow, narrow, cut, or silent: toxiproxy between clients and their broker.
//!
//! The broker tells clients to come through the proxy (`advertised.listeners`): whoever enters there stays there. The harness itself
//! has a door of its own, and sees what is true at the broker.

use std::{
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    kafka::{
        beside,
        broker::{Broker, Listener},
        bus::{Bus, Isolation},
        values,
    },
    part::{Part, port},
    web::Client,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// What comes from the broker comes so much later.
    Slow(Duration),
    /// So many kilobytes a second, each way.
    Narrow(u32),
    /// Connections are closed, and none is taken.
    Cut,
    /// Connections stay, and nothing comes through: neither side hears of the other.
    Silent,
}

pub struct Network {
    pub broker: Broker,
    /// The broker as clients reach it.
    pub bus: Bus,
    api: SocketAddr,
    _proxy: Part,
    _folder: TempDir,
}

impl Network {
    pub fn start() -> Network {
        let named = std::env::var_os("SYNCLINE_TOXIPROXY");
        let program = named.expect("SYNCLINE_TOXIPROXY names the proxy of these tests: ./test builds it, run that");
        let folder = tempfile::tempdir().expect("a folder of the proxy");
        let mut door = Listener::new("WEATHER", "PLAINTEXT");
        door.told = port();
        let api = SocketAddr::from(([127, 0, 0, 1], port()));
        let mut command = Command::new(program);
        command.args(["-host", "127.0.0.1", "-port", &api.port().to_string()]);
        let mut proxy = Part::start(command, folder.path(), "toxiproxy");
        proxy.until("the proxy listens", || TcpStream::connect(api).is_ok());
        let told = format!("127.0.0.1:{}", door.told);
        let network = Network {
            broker: Broker::with(&[door.clone()], &[], |_| {}),
            bus: Bus::at(told.clone()),
            api,
            _proxy: proxy,
            _folder: folder,
        };
        let upstream = format!("127.0.0.1:{}", door.port);
        network.post("/proxies", &format!(r#"{{"name":"kafka","listen":"{told}","upstream":"{upstream}"}}"#));
        network
    }

    /// From now on, also for connections that are there.
    pub fn is(&self, weather: Weather) {
        // The proxy runs again, and no toxic is left.
        self.post("/reset", "");
        match weather {
            Weather::Fair => {}
            Weather::Slow(by) => self.toxic("latency", "downstream", &format!(r#""latency":{}"#, by.as_millis())),
            Weather::Narrow(rate) => self.both("bandwidth", &format!(r#""rate":{rate}"#)),
            Weather::Cut => self.post("/proxies/kafka", r#"{"enabled":false}"#),
            // Zero: until the toxic is taken away.
            Weather::Silent => self.both("timeout", r#""timeout":0"#),
        }
    }

    fn both(&self, kind: &str, attributes: &str) {
        self.toxic(kind, "upstream", attributes);
        self.toxic(kind, "downstream", attributes);
    }

    fn toxic(&self, kind: &str, stream: &str, attributes: &str) {
        let body = format!(
            r#"{{"name":"{kind} {stream}","type":"{kind}","stream":"{stream}","attributes":{{{attributes}}}}}"#
        );
        self.post("/proxies/kafka/toxics", &body);
    }

    fn post(&self, path: &str, body: &str) {
        let answer = Client::to(self.api).post(path, &[("Content-Type", "application/json")], body.as_bytes());
        assert!(answer.status < 300, "{path} {body}: {answer:?}");
    }
}

#[test]
fn the_network_before_a_broker_has_weather() {
    let network = Network::start();
    let topic = network.broker.bus.topic("weather", 1);
    let beyond = network.bus.existing(&topic.name);
    let kept = || values(&topic.read(Isolation::Committed));
    beyond.kcat(&[], "k=fair\n");
    assert_eq!(values(&beyond.read(Isolation::Committed)), ["fair"]);
    network.is(Weather::Slow(Duration::from_millis(300)));
    let started = Instant::now();
    assert_eq!(network.bus.alive(), 1);
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    network.is(Weather::Cut);
    assert_eq!(network.bus.alive(), 0);
    let waiting = beside(&beyond, "cut");
    assert_eq!(kept(), ["fair"]);
    network.is(Weather::Narrow(1));
    let started = Instant::now();
    waiting.join().expect("taken");
    beyond.kcat(&[], &format!("k={}\n", "x".repeat(2_000)));
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    network.is(Weather::Silent);
    let waiting = beside(&beyond, "silent");
    std::thread::sleep(Duration::from_secs(1));
    assert!(!waiting.is_finished());
    assert_eq!(kept().len(), 3);
    network.is(Weather::Fair);
    waiting.join().expect("taken");
    assert_eq!(kept()[3], "silent");
}
