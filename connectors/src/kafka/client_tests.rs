//! What a client is told for what a file says.

use serde_json::{Value, json};
use syncline_engine::source::{Cursors, Polled, Source};
use syncline_functions::instant_of;

use super::{ARGUMENTS, client::Settings, source::KafkaSource, start::Start, waiting::Patient};
use crate::{
    records::TextFormat,
    spec::{Args, Arguments, ConnectorError, Surroundings},
};

fn with<T>(named: &[(&str, Value)], made: impl Fn(&Arguments) -> Result<T, ConnectorError>) -> Result<T, String> {
    let named = named.iter().map(|(name, value)| (name.to_string(), value.clone()));
    let named = [("brokers".to_owned(), json!("b:9092"))].into_iter().chain(named).collect();
    let args = Args { positional: vec![json!("orders")], named };
    let arguments = Arguments::of("kafka", ARGUMENTS, &args).map_err(|error| error.to_string())?;
    made(&arguments).map_err(|error| error.to_string())
}

fn said(named: &[(&str, Value)]) -> Result<String, String> {
    let settings = with(named, |arguments| Settings::new(arguments, &Surroundings::folder("/etc/sync")))?;
    let config = settings.with(&[("linger.ms", "5")]);
    let told =
        config.config_map().into_iter().filter(|(name, _)| !["client.id", "reconnect.backoff.max.ms"].contains(name));
    Ok(told.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
}

#[test]
fn how_the_brokers_are_spoken_to_follows_from_what_is_given() {
    assert_eq!(said(&[]).unwrap(), "bootstrap.servers=b:9092 linger.ms=5 security.protocol=plaintext");
    let trusting = said(&[("ca", json!("ca.pem")), ("settings", json!("linger.ms=50, client.rack=eu"))]);
    assert_eq!(
        trusting.unwrap(),
        "bootstrap.servers=b:9092 client.rack=eu linger.ms=50 security.protocol=ssl ssl.ca.location=/etc/sync/ca.pem"
    );
    let known = said(&[("user", json!("me")), ("password", json!("p"))]);
    assert_eq!(
        known.unwrap(),
        "bootstrap.servers=b:9092 linger.ms=5 sasl.mechanism=SCRAM-SHA-512 sasl.password=[sanitized for safety] sasl.username=me \
         security.protocol=sasl_ssl"
    );
}

#[test]
fn what_cannot_be_is_said_before_anybody_is_asked() {
    let wrong = |named: &[(&str, Value)]| said(named).unwrap_err();
    assert_eq!(wrong(&[("user", json!("me"))]), "`user` of `kafka` is given together with `password`; `me` is given");
    assert_eq!(
        wrong(&[("security", json!("sasl_ssl"))]),
        "`security` of `kafka` is given together with `user` and `password`, when it is SASL; `sasl_ssl` is given"
    );
    assert_eq!(
        wrong(&[("settings", json!("acks=1"))]),
        "`settings` of `kafka` is without what exactly once depends on, and what is an argument; `acks` is given"
    );
    assert_eq!(
        wrong(&[("settings", json!("acks"))]),
        "`settings` of `kafka` is `name=value` with commas between; `acks` is given"
    );
    assert_eq!(
        wrong(&[("settings", json!("fetch.wat=1"))]),
        "`settings` of `kafka` is what librdkafka takes (No such configuration property: \"fetch.wat\"); `fetch.wat` is given"
    );
    // A password is never shown.
    assert_eq!(wrong(&[("password", json!(7))]), "`password` of `kafka` is secret; `…` is given");
}

#[test]
fn a_start_is_a_word_a_time_or_offsets() {
    let start = |text: &str| with(&[("start", json!(text))], Start::new);
    assert_eq!(start("Latest"), Ok(Start::Latest));
    assert_eq!(start(""), Ok(Start::Earliest));
    assert_eq!(start("0:1200, 3:9"), Ok(Start::Offsets(vec![(0, 1200), (3, 9)])));
    let time = "2026-11-20T12:00:00Z";
    assert_eq!(start(time), Ok(Start::Time(instant_of(time.as_bytes()).unwrap())));
    for wrong in ["yesterday", "0:-1", "-1:0", "0:1,"] {
        let told = start(wrong);
        assert!(told.as_ref().is_err_and(|told| told.contains("'earliest'")), "{wrong}: {told:?}");
    }
}

#[test]
fn brokers_that_are_not_there_are_waited_for_by_who_reads_on_for_ever() {
    let made = |arguments: &Arguments| {
        let around = Surroundings::folder("/etc/sync");
        let source = KafkaSource::new(arguments, &around, &TextFormat::Json, false)?;
        Patient::new(source, arguments, &around, false)
    };
    let mut source = with(&[("brokers", json!("127.0.0.1:1"))], made).unwrap();
    let cursor = json!({"next": 7, "cluster": null});
    let read: Cursors = ["orders", "orders#2"].map(|name| (name.to_owned(), cursor.clone())).into();
    for (cursors, partitions) in [(read, vec!["orders", "orders#2"]), (Cursors::new(), vec!["orders"])] {
        source.open(&cursors, 0).unwrap();
        let told = "topic orders at 127.0.0.1:1: no broker answers within 3 s: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        assert_eq!(source.trouble().as_deref(), Some(told));
        assert!(matches!(source.poll(0), Ok(Polled::Idle)));
        let found: Vec<String> = source.partitions().iter().map(ToString::to_string).collect();
        assert_eq!(found, partitions);
    }
}
