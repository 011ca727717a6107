//! A real Apache Kafka for the tests, and eyes that are not Syncline's.
//!
//! Tests share one broker per run, each with topics of its own ([`shared`]); who kills a broker starts its own ([`Broker`]).
//! `KAFKA_BROKERS` names another one to share. Nothing that is started here outlives the run.

mod broker;
mod bus;
mod foreign;
mod member;
mod network;
mod record;
mod registry;
mod security;
mod wire;

use std::{path::PathBuf, process::Command, sync::OnceLock, thread::JoinHandle, time::Duration};

pub use broker::{Broker, Cluster};
pub use bus::{Bus, FENCED, Isolation, Topic};
pub use member::Leader;
pub use network::{Network, Weather};
pub use record::Record;
pub use registry::Registry;
pub use security::{Guarded, PASSWORD, USER};

/// Kafka's jars, and what a new data folder holds.
fn home() -> PathBuf {
    let named = std::env::var_os("SYNCLINE_KAFKA").map(PathBuf::from);
    let home = named.filter(|home| home.join("jars").is_dir());
    home.expect("SYNCLINE_KAFKA names the Kafka of these tests: ./test fetches it, run that")
}

/// A program of Kafka's own, with what makes one that lives for seconds start quickly.
fn java(options: &[&str], class: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]).args(options).arg("-cp");
    command.arg(home().join("jars/*")).arg(class).args(arguments);
    command
}

/// The broker that all tests of this run share.
pub fn shared() -> Bus {
    // Never let go, as statics are not: the guard of the part ends it after the last test.
    static SHARED: OnceLock<(Bus, Option<Broker>)> = OnceLock::new();
    let start = || match std::env::var("KAFKA_BROKERS") {
        Ok(brokers) if !brokers.is_empty() => (Bus::at(brokers), None),
        _ => {
            let broker = Broker::start();
            (broker.bus.clone(), Some(broker))
        }
    };
    SHARED.get_or_init(start).0.clone()
}

/// Longer than a test holds a transaction open.
const TRANSACTION: Duration = Duration::from_secs(60);

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::text).collect()
}

#[test]
fn records_come_back_with_all_that_they_had() {
    let topic = shared().topic("records", 3);
    let time = 1_795_000_000_000;
    let sent = [
        Record::new("a", "1").time(time).header("kind", "x").header("empty", ""),
        Record { key: Some(b"deleted".to_vec()), time: time + 1, ..Record::default() },
        Record { value: Some("no key, ünïcode".into()), time: time - 5, ..Record::default() },
        Record::new("b", "in another").partition(2).time(time),
    ];
    topic.produce(&sent);
    let mut expected = sent.to_vec();
    for (record, offset) in expected.iter_mut().zip([0, 1, 2, 0]) {
        record.offset = offset;
    }
    assert_eq!(topic.read(Isolation::Committed), expected);
    let mut console = topic.console_read(Isolation::Committed);
    console.sort_by_key(|record| (record.partition, record.offset));
    assert_eq!(console, expected);
    assert_eq!(topic.ends(Isolation::Committed), [3, 0, 1]);
}

#[test]
fn others_write_what_others_read() {
    let topic = shared().topic("foreign", 2);
    topic.kcat(&["-p", "1", "-H", "by=kcat"], "a=1\nb=2\n");
    topic.console_produce(&["--property", "parse.headers=true"], "by:console\tc=3\n");
    let mut read: Vec<String> = topic
        .read(Isolation::Committed)
        .iter()
        .map(|record| format!("{}={} {:?}", record.key_text(), record.text(), record.headers))
        .collect();
    read.sort();
    assert_eq!(read, [r#"a=1 [("by", "kcat")]"#, r#"b=2 [("by", "kcat")]"#, r#"c=3 [("by", "console")]"#]);
}

#[test]
fn what_is_not_committed_is_seen_only_by_who_asks_for_it() {
    let bus = shared();
    let topic = bus.topic("transactions", 1);
    let mut writer = bus.transactions(&topic.name, TRANSACTION);
    writer.produce(&topic, &[Record::new("k", "committed")]).expect("taken");
    writer.commit().expect("committed");
    writer.produce(&topic, &[Record::new("k", "aborted")]).expect("taken");
    writer.abort().expect("aborted");
    writer.produce(&topic, &[Record::new("k", "open")]).expect("taken");
    topic.produce(&[Record::new("k", "behind the open one")]);
    let all = ["committed", "aborted", "open", "behind the open one"];
    assert_eq!(values(&topic.read(Isolation::Uncommitted)), all);
    assert_eq!(values(&topic.read(Isolation::Committed)), ["committed"]);
    // Who takes the id over aborts what was left open, and the last one is not heard any more.
    let mut next = bus.transactions(&topic.name, TRANSACTION);
    assert_eq!(values(&topic.read(Isolation::Committed)), ["committed", "behind the open one"]);
    assert_eq!(values(&topic.console_read(Isolation::Committed)), ["committed", "behind the open one"]);
    assert_eq!(writer.commit(), Err(FENCED));
    next.produce(&topic, &[Record::new("k", "by the next")]).expect("taken");
    next.commit().expect("committed");
    assert_eq!(values(&topic.read(Isolation::Committed)), ["committed", "behind the open one", "by the next"]);
    assert_eq!(values(&topic.read(Isolation::Uncommitted)).len(), 5);
}

#[test]
fn a_topic_is_made_grown_shortened_and_deleted_as_asked() {
    let bus = shared();
    let topic = bus.topic_with("settings", 2, &[("cleanup.policy", "compact,delete"), ("max.message.bytes", "4096")]);
    let settings = topic.settings();
    assert_eq!((&*settings["cleanup.policy"], &*settings["max.message.bytes"]), ("compact,delete", "4096"));
    topic.produce(&[Record::new("a", "1"), Record::new("b", "2"), Record::new("c", "3").partition(1)]);
    bus.existing(&topic.name).grow(3);
    topic.forget_before(0, 1);
    assert_eq!(topic.ends(Isolation::Uncommitted), [2, 1, 0]);
    assert_eq!(values(&topic.read(Isolation::Uncommitted)), ["2", "3"]);
    assert!(bus.topics().contains(&topic.name));
    topic.delete();
    assert!(!bus.topics().contains(&topic.name));
}

#[test]
fn a_broker_that_is_killed_still_has_what_it_acknowledged() {
    let mut broker = Broker::start();
    let topic = broker.bus.topic("kept", 1);
    topic.produce(&[Record::new("k", "before")]);
    let mut writer = broker.bus.transactions("kept", TRANSACTION);
    writer.produce(&topic, &[Record::new("k", "in a transaction")]).expect("taken");
    broker.kill();
    assert_eq!(broker.bus.alive(), 0);
    let waiting = beside(&topic, "while it was away");
    broker.restart();
    writer.commit().expect("the transaction outlives the broker");
    waiting.join().expect("taken");
    let mut read = values(&topic.read(Isolation::Committed));
    read.sort();
    assert_eq!(read, ["before", "in a transaction", "while it was away"]);
    broker.pause();
    let late = beside(&topic, "while it was stopped");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!late.is_finished(), "nobody acknowledges");
    broker.go_on();
    late.join().expect("taken");
    assert_eq!(topic.read(Isolation::Committed).len(), 4);
}

fn beside(topic: &Topic, value: &str) -> JoinHandle<()> {
    let (topic, record) = (topic.clone(), Record::new("k", value));
    std::thread::spawn(move || topic.produce(&[record]))
}

#[test]
fn two_of_three_brokers_go_on() {
    let mut cluster = Cluster::start();
    let topic = cluster.bus.topic("three", 2);
    let mut writer = cluster.bus.transactions("three", TRANSACTION);
    writer.produce(&topic, &[Record::new("k", "before")]).expect("taken");
    let gone = cluster.kill_leader(&topic, 0);
    topic.produce(&[Record::new("k", "with two")]);
    writer.commit().expect("the others know the transaction");
    topic.kcat(&["-p", "0"], "k=by kcat\n");
    assert_eq!(values(&topic.read(Isolation::Committed)), ["before", "with two", "by kcat"]);
    cluster.restart(gone);
    assert_eq!(cluster.bus.alive(), 3);
}

#[test]
fn what_a_group_has_committed_is_known() {
    let bus = shared();
    let topic = bus.topic("group", 2);
    topic.produce(&[Record::new("a", "1"), Record::new("b", "2")]);
    assert_eq!(bus.committed(&topic.name, &topic), [None, None]);
    topic.read_as_group(&topic.name, 2);
    assert_eq!(bus.committed(&topic.name, &topic)[0], Some(2));
}
