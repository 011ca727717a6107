//! Kafka brokers that tests start: a process each, its data in a folder of its own, ports that it keeps over a restart.
//!
//! A node is broker and controller in one. What a freshly formatted folder holds, `./test` has made once; the rest is settings.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;

use crate::{
    kafka::{
        bus::{Bus, Topic},
        home, java,
    },
    part::{Part, port},
};

/// Of every cluster of these tests: 16 bytes, which are `syncline-tests-1`.
const CLUSTER: &str = "c3luY2xpbmUtdGVzdHMtMQ";
/// Enough for the small topics of tests; a machine of 24 GiB has room for a few of them.
const HEAP: &str = "-Xmx512m";
/// What makes a broker of one test fast and small: internal topics of three partitions, no waiting for more members of a group, sessions
/// of a second where a test asks for them, expired transactions aborted at once, a killed broker forgotten soon (until then it may not
/// come back), a buffer of the cleaner that fits the heap. Records stay for 200 years: many are of 1970, which is past the usual
/// retention, and a broker looks every five minutes, in the middle of some test.
const SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("inter.broker.listener.name", "PLAIN"),
    ("controller.listener.names", "CONTROLLER"),
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.num.partitions", "3"),
    ("transaction.state.log.num.partitions", "3"),
    ("share.coordinator.state.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("log.cleaner.dedupe.buffer.size", "16777216"),
    ("log.cleaner.threads", "1"),
    ("log.retention.ms", "6311520000000"),
    ("num.io.threads", "4"),
    ("num.network.threads", "2"),
    ("background.threads", "2"),
];

const COPIES: [&str; 4] = [
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
    "default.replication.factor",
];
const IN_SYNC: [&str; 3] =
    ["transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr", "min.insync.replicas"];

/// A door of a node: its name, its protocol, where it listens, and where clients are told to come.
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: &'static str,
    pub protocol: &'static str,
    pub port: u16,
    pub told: u16,
}

impl Listener {
    pub fn new(name: &'static str, protocol: &'static str) -> Listener {
        let port = port();
        Listener { name, protocol, port, told: port }
    }

    fn at(&self, port: u16) -> String {
        format!("{}://127.0.0.1:{port}", self.name)
    }
}

/// One node, and what it needs to be started again as it was.
pub struct Node {
    part: Option<Part>,
    folder: TempDir,
    plain: u16,
}

impl Node {
    /// Writes the folder of node `id`; `voters` are the controllers of the cluster, `copies` what a topic has.
    pub fn new(
        id: usize,
        voters: &str,
        controller: u16,
        copies: usize,
        more: &[Listener],
        settings: &[(String, String)],
    ) -> Node {
        let folder = tempfile::tempdir().expect("a folder of the broker");
        let plain = Listener::new("PLAIN", "PLAINTEXT");
        let at = plain.port;
        let controller = Listener { name: "CONTROLLER", protocol: "PLAINTEXT", port: controller, told: controller };
        let doors: Vec<&Listener> = [&plain].into_iter().chain(more).collect();
        let joined = |each: &dyn Fn(&Listener) -> String, doors: &[&Listener]| {
            doors.iter().map(|door| each(door)).collect::<Vec<_>>().join(",")
        };
        let all: Vec<&Listener> = doors.iter().copied().chain([&controller]).collect();
        let mut lines: BTreeMap<String, String> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let own = [
            ("node.id", id.to_string()),
            ("controller.quorum.voters", voters.to_owned()),
            ("listeners", joined(&|door| door.at(door.port), &all)),
            ("advertised.listeners", joined(&|door| door.at(door.told), &doors)),
            ("listener.security.protocol.map", joined(&|door| format!("{}:{}", door.name, door.protocol), &all)),
            ("log.dirs", folder.path().join("data").display().to_string()),
        ];
        lines.extend(own.map(|(name, value)| (name.to_owned(), value)));
        lines.extend(COPIES.map(|name| (name.to_owned(), copies.to_string())));
        // What is acknowledged has a second copy where there are three.
        lines.extend(IN_SYNC.map(|name| (name.to_owned(), copies.div_ceil(2).to_string())));
        lines.extend(settings.iter().cloned());
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(folder.path().join("broker.properties"), text).expect("write the settings");
        format(&folder, id);
        Node { part: None, folder, plain: at }
    }

    /// Where tests come in.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    pub fn begin(&mut self) {
        let mut command = java(&[HEAP], "kafka.Kafka", &["broker.properties"]);
        command.current_dir(self.folder.path());
        self.part = Some(Part::start(command, self.folder.path(), "broker"));
    }

    /// Waits until it answers, and knows of so many brokers.
    pub fn awaits(&mut self, brokers: usize) {
        let bus = Bus::at(self.address());
        self.running().until("the broker answers", || bus.alive() >= brokers);
    }

    fn running(&mut self) -> &mut Part {
        self.part.as_mut().expect("a broker that runs")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.part = None;
    }
}

/// What Kafka's own tool writes into a new folder, without the second that it takes.
fn format(folder: &TempDir, id: usize) {
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder of the data");
    let properties = format!("version=1\nnode.id={id}\ncluster.id={CLUSTER}\ndirectory.id={}\n", directory(id));
    fs::write(data.join("meta.properties"), properties).expect("write who it is");
    fs::copy(home().join("bootstrap.checkpoint"), data.join("bootstrap.checkpoint"))
        .expect("what a new data folder of Kafka holds: ./test makes it, run that");
}

/// A number of 16 bytes in URL-safe base 64, another for each node.
fn directory(id: usize) -> String {
    format!("c3luY2xpbmUtbm9kZS0{}MA", ["w", "x", "y", "z"][id % 4])
}

/// One broker of a test's own, for tests that hurt it.
pub struct Broker {
    pub bus: Bus,
    node: Node,
}

impl Broker {
    pub fn start() -> Broker {
        Broker::with(&[], &[], |_| {})
    }

    /// With more doors and settings, and files in its folder, to which settings are relative.
    pub fn with(more: &[Listener], settings: &[(String, String)], write: impl FnOnce(&Path)) -> Broker {
        let controller = port();
        let mut node = Node::new(1, &format!("1@127.0.0.1:{controller}"), controller, 1, more, settings);
        write(node.folder.path());
        node.begin();
        node.awaits(1);
        Broker { bus: Bus::at(node.address()), node }
    }

    pub fn folder(&self) -> &Path {
        self.node.folder.path()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.node.kill();
    }

    /// Starts it again, at the same place with the same data, and waits until it answers.
    pub fn restart(&mut self) {
        self.node.begin();
        self.node.awaits(1);
    }

    /// `SIGSTOP`: connections stay, and nobody answers.
    pub fn pause(&mut self) {
        self.node.running().signal("STOP");
    }

    pub fn go_on(&mut self) {
        self.node.running().signal("CONT");
    }
}

/// Brokers of a cluster that goes on when one of them is gone.
const BROKERS: usize = 3;
/// Three brokers, three copies of everything, two of which make an acknowledgement.
pub struct Cluster {
    pub bus: Bus,
    nodes: Vec<Node>,
}

impl Cluster {
    pub fn start() -> Cluster {
        let ports: Vec<u16> = (0..BROKERS).map(|_| port()).collect();
        let voters: Vec<String> = (1..).zip(&ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let node = |(id, port): (usize, &u16)| Node::new(id, &voters.join(","), *port, BROKERS, &[], &[]);
        let mut nodes: Vec<Node> = (1..).zip(&ports).map(node).collect();
        nodes.iter_mut().for_each(Node::begin);
        nodes.iter_mut().for_each(|node| node.awaits(BROKERS));
        let brokers: Vec<String> = nodes.iter().map(Node::address).collect();
        Cluster { bus: Bus::at(brokers.join(",")), nodes }
    }

    /// `kill -9` of the broker that leads this partition; which it was.
    pub fn kill_leader(&mut self, topic: &Topic, partition: i32) -> usize {
        let leader = topic.leader(partition).expect("a leader");
        let node = self.nodes.iter().position(|node| node.address() == leader).expect("one of these");
        self.nodes[node].kill();
        node
    }

    pub fn restart(&mut self, node: usize) {
        self.nodes[node].begin();
        self.nodes[node].awaits(BROKERS);
    }
}
