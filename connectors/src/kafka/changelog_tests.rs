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
    board::{self, Board},
    changelog::Changelog,
    replica::conformance::{self, Cluster, Extent},
};

use super::KafkaChangelog;
use crate::spec::{Args, Arguments, Surroundings, Task};

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

/// Changelogs in one topic: to make a topic for each takes a broker longer than what is tested.
const TASKS: u32 = 64;

/// A task of its own.
#[derive(Clone)]
struct Tasks {
    topic: String,
    task: Task,
}

impl Tasks {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let topic = format!("changelog.{}.{}", std::process::id(), number / TASKS);
        Self { topic, task: Task { number: number % TASKS, of: TASKS } }
    }
}

impl Tasks {
    fn changelog(&self) -> KafkaChangelog {
        let named = BTreeMap::from([("brokers".to_owned(), json!(brokers()))]);
        let args = Args { positional: vec![json!(self.topic)], named };
        let arguments = Arguments::checked(crate::registry::connector("kafka").expect("ours"), &args).expect("right");
        let around = Surroundings { task: self.task, ..Surroundings::of(PathBuf::new(), Path::new(""), "p") };
        KafkaChangelog::new(&arguments, &around, Arc::new(AtomicBool::new(false))).expect("right")
    }
}

impl Cluster for Tasks {
    fn writer(&self) -> Box<dyn Changelog> {
        Box::new(self.changelog())
    }

    /// Brokers do it when they find the time. Whoever reads gets what it leaves, and what it would take.
    fn compact(&self) -> bool {
        false
    }
}

/// All of it with SYNCLINE_SOAK, which takes minutes: each opening is three clients, and a broker's time.
fn extent() -> Extent {
    if std::env::var_os("SYNCLINE_SOAK").is_some() { Extent::Full } else { Extent::Once }
}

#[test]
fn what_stands_on_a_partition_of_a_compacted_topic_is_a_store() {
    conformance::stores(extent(), Tasks::new);
}

#[test]
fn what_stands_on_a_partition_of_a_compacted_topic_is_a_log() {
    conformance::logs(extent(), Tasks::new);
}

#[test]
fn a_partition_of_a_compacted_topic_is_a_changelog() {
    conformance::histories(extent(), Tasks::new);
}

#[test]
fn a_partition_of_a_compacted_topic_is_a_board() {
    board::conformance::boards(Tasks::new);
}

/// Most pipelines are never asked to take anything in: no topic is made for those.
#[test]
fn a_board_that_nobody_has_written_is_empty_and_no_topic_is_made_by_looking() {
    let topic = format!("board.{}", std::process::id());
    let board = || -> Box<dyn Changelog> {
        let named = BTreeMap::from([("brokers".to_owned(), json!(brokers()))]);
        let args = Args { positional: vec![json!(topic)], named };
        let arguments = Arguments::checked(crate::registry::connector("kafka").expect("ours"), &args).expect("right");
        let task = Task { number: 1, of: 3 };
        let around = Surroundings { task, ..Surroundings::of(PathBuf::new(), Path::new(""), "p") };
        Box::new(KafkaChangelog::board(&arguments, &around, Arc::new(AtomicBool::new(false))).expect("right"))
    };
    let partitions = || {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().expect("a client");
        let all = client.fetch_metadata(None, PATIENCE).expect("metadata");
        all.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len())
    };
    let mut copy = Board::new(board());
    for _ in 0..3 {
        assert_eq!(copy.look().expect("a view").newest(), None);
    }
    assert_eq!(partitions(), 0);
    let mut decide = |view: &board::View| board::conformance::next(view, "'a'");
    let settled = board::settle(&mut || Ok(board()), &mut decide, &mut |_| {});
    assert_eq!(settled.map(|view| view.wanted()), Ok(Some(1)));
    let began = Instant::now();
    while copy.look().expect("a view").wanted().is_none() {
        assert!(began.elapsed() < PATIENCE, "it is never seen");
    }
    // One for the pipeline, however many tasks it has.
    assert_eq!(partitions(), 1);
}

/// A copy that follows asks twice a second, and once made two clients each time, and one more where something was new.
#[test]
fn who_follows_keeps_his_client_and_is_given_each_record_once() {
    const ROUNDS: u8 = 20;
    let tasks = Tasks::new();
    let (mut writer, mut copy) = (tasks.changelog(), tasks.changelog());
    writer.open().unwrap();
    let (mut from, mut given) = (0, vec![]);
    for round in 0..ROUNDS {
        writer.write(&[(vec![round], Some(vec![round]))], &[]).unwrap();
        // What is committed may be shown a little later.
        while copy.look().unwrap().end == from {}
        let end = copy.look().unwrap().end;
        let mut take = |_: u64, key: &[u8], _: Option<&[u8]>| {
            given.extend_from_slice(key);
            Ok(())
        };
        copy.read(from, end, &mut take).unwrap();
        from = end;
    }
    assert_eq!(given, (0..ROUNDS).collect::<Vec<_>>());
    assert_eq!(copy.made.load(Ordering::Relaxed), 1);
}
