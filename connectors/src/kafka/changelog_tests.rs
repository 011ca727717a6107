//! A changelog on a real broker passes the suite that the engine's own passes: it is one, and so is what stands on it a store and a log.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use serde_json::json;
use syncline_engine::{
    changelog::Changelog,
    replica::conformance::{self, Cluster},
};

use super::KafkaChangelog;
use crate::spec::{Args, Arguments, Surroundings};

/// A machine that compiles beside it is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// Starts the broker, waits until whoever wanted it is gone, and takes everything away.
const KEEPER: &str = "cd \"$1\"\njava -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp \"$2/jars/*\" kafka.Kafka broker.properties >broker.log 2>&1 & \
                      broker=$!\nread -r _\nkill -9 $broker\nwait $broker\nrm -rf \"$1\"";

/// The broker of the tests of this process: the one that `KAFKA_BROKERS` names, or one that ends with it.
fn brokers() -> String {
    static STARTED: OnceLock<(String, Option<Child>)> = OnceLock::new();
    STARTED
        .get_or_init(|| match std::env::var("KAFKA_BROKERS") {
            Ok(brokers) if !brokers.is_empty() => (brokers, None),
            _ => started(),
        })
        .0
        .clone()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn started() -> (String, Option<Child>) {
    let home = std::env::var_os("SYNCLINE_KAFKA").map(PathBuf::from).filter(|home| home.join("jars").is_dir());
    let home = home.expect("SYNCLINE_KAFKA names the Kafka of these tests: ./test fetches it, run that");
    let folder = tempfile::tempdir().expect("a folder of the broker").keep();
    let (port, controller) = (free_port(), free_port());
    let data = folder.join("data");
    fs::create_dir(&data).expect("a folder of the data");
    let copies = [
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
    ];
    let few = ["offsets.topic.num.partitions", "transaction.state.log.num.partitions"];
    let settings = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAIN://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners=PLAIN://127.0.0.1:{port}\n\
         listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT\ninter.broker.listener.name=PLAIN\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\nlog.cleaner.dedupe.buffer.size=16777216\n{}{}",
        data.display(),
        copies.map(|name| format!("{name}=1\n")).concat(),
        few.map(|name| format!("{name}=3\n")).concat()
    );
    fs::write(folder.join("broker.properties"), settings).expect("the broker's settings");
    let who = "version=1\nnode.id=1\ncluster.id=c3luY2xpbmUtdGVzdHMtMQ\ndirectory.id=c3luY2xpbmUtbm9kZS0xMA\n";
    fs::write(data.join("meta.properties"), who).expect("who it is");
    fs::copy(home.join("bootstrap.checkpoint"), data.join("bootstrap.checkpoint"))
        .expect("what a new data folder holds");
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).arg(&home).stdin(Stdio::piped());
    let child = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a broker");
    let brokers = format!("127.0.0.1:{port}");
    let began = Instant::now();
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a client");
    while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
        assert!(
            began.elapsed() < PATIENCE,
            "no broker answers: {}",
            fs::read_to_string(folder.join("broker.log")).unwrap_or_default()
        );
    }
    (brokers, Some(child))
}

/// A topic of its own, with one task.
#[derive(Clone)]
struct Tasks {
    topic: String,
}

impl Tasks {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self { topic: format!("changelog.{}.{number}", std::process::id()) }
    }
}

impl Cluster for Tasks {
    fn writer(&self) -> Box<dyn Changelog> {
        let named = BTreeMap::from([("brokers".to_owned(), json!(brokers()))]);
        let args = Args { positional: vec![json!(self.topic)], named };
        let arguments = Arguments::checked(crate::registry::connector("kafka").expect("ours"), &args).expect("right");
        let around = Surroundings::of(PathBuf::new(), Path::new(""), "p");
        Box::new(KafkaChangelog::new(&arguments, &around, Arc::new(AtomicBool::new(false))).expect("right"))
    }

    /// Brokers do it when they find the time. Whoever reads gets what it leaves, and what it would take.
    fn compact(&self) -> bool {
        false
    }
}

#[test]
#[ignore = "minutes of a broker's time for some hundred histories: SYNCLINE_KAFKA=… cargo test -p syncline-connectors changelog -- --ignored"]
fn a_partition_of_a_compacted_topic_is_a_changelog() {
    conformance::all(Tasks::new);
}
