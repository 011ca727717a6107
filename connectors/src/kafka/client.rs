//! What a client of Kafka is told: whom to ask, who we are, and the settings on which exactly once depends, which nobody may change.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, NoCustomPartitioner, ProducerContext},
};

use serde_json::{Map, Value};

use crate::spec::{Argument, ArgumentKind, Arguments, ConnectorError, Surroundings};

const fn optional(name: &'static str, kind: ArgumentKind, help: &'static str, example: &'static str) -> Argument {
    Argument { name, kind, required: false, positional: false, help, example }
}

/// What a client is told that reads from places that it is given.
const COMMITTED: &[(&str, &str)] = &[
    ("isolation.level", "read_committed"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // What is gone is a stop with a name, never a jump.
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    // The default stalls a fast reader for a second.
    ("fetch.queue.backoff.ms", "10"),
];

/// What `security` can be: Kafka's `security.protocol`, in lower case.
const PROTOCOLS: &[&str] = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
/// What `mechanism` can be: Kafka's `sasl.mechanism`, in lower case.
const MECHANISMS: &[&str] = &["plain", "scram-sha-256", "scram-sha-512"];

/// Whom to ask and who we are: the arguments that a source and a sink share.
pub const ARGUMENTS: [Argument; 7] = [
    Argument {
        name: "brokers",
        kind: ArgumentKind::Text,
        required: true,
        positional: false,
        help: "Brokers to begin with, as Kafka's `bootstrap.servers`.",
        example: "'localhost:9092'",
    },
    optional(
        "security",
        ArgumentKind::Choice(PROTOCOLS),
        "How the brokers are spoken to, as Kafka's `security.protocol`: `plaintext`, if nothing is said; `ssl` with a `ca`; with a `user`, `sasl_ssl`.",
        "'sasl_ssl'",
    ),
    optional(
        "ca",
        ArgumentKind::Text,
        "A file of certificates (PEM) that are trusted, in place of the system's.",
        "'ca.pem'",
    ),
    optional("user", ArgumentKind::Text, "Who we are.", "'syncline'"),
    optional("password", ArgumentKind::Secret, "His password.", "secret('kafka/password')"),
    optional(
        "mechanism",
        ArgumentKind::Choice(MECHANISMS),
        "How the password is shown, as Kafka's `sasl.mechanism`: `scram-sha-512`, if not said.",
        "'plain'",
    ),
    optional(
        "settings",
        ArgumentKind::Text,
        "Settings of librdkafka, `name=value` with commas between. Those on which exactly once depends cannot be set.",
        "'fetch.wait.max.ms=50, client.rack=eu-1'",
    ),
];

/// What exactly once depends on, and what has an argument of its own.
const OURS: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "retries",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "statistics.interval.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Settings of a client, without what only a reader or a writer has.
#[derive(Clone)]
pub struct Settings {
    /// For messages; holds no secret.
    pub brokers: String,
    common: ClientConfig,
    /// What the file says, and what wins over our defaults.
    said: Vec<(String, String)>,
}

impl Settings {
    pub fn new(arguments: &Arguments, around: &Surroundings) -> Result<Self, ConnectorError> {
        let text = |name| Some(arguments.text(name)).filter(|text: &&str| !text.is_empty());
        let (ca, user, password) = (text("ca"), text("user"), arguments.secret("password"));
        let wrong = |argument, wanted: &str, found: &str| ConnectorError::WrongType {
            connector: arguments.of_what().to_owned(),
            argument,
            wanted: wanted.to_owned(),
            found: found.to_owned(),
        };
        let brokers = arguments.text("brokers").to_owned();
        if user.is_some() != password.is_some() {
            return Err(wrong("user", "given together with `password`", user.unwrap_or("…")));
        }
        let security = text("security").unwrap_or(match (user, ca) {
            (Some(_), _) => "sasl_ssl",
            (None, Some(_)) => "ssl",
            (None, None) => "plaintext",
        });
        if security.starts_with("sasl") && user.is_none() {
            return Err(wrong("security", "given together with `user` and `password`, when it is SASL", security));
        }
        let mut common = ClientConfig::new();
        common
            .set("bootstrap.servers", &brokers)
            .set("client.id", "syncline")
            .set("security.protocol", security)
            // A broker that is gone is asked again soon: the default waits up to ten seconds.
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Warning);
        if let (Some(user), Some(password)) = (user, password) {
            let mechanism = text("mechanism").unwrap_or("scram-sha-512").to_uppercase();
            common.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
        }
        if let Some(ca) = ca {
            common.set("ssl.ca.location", around.path(ca).to_string_lossy());
        }
        let mut said = vec![];
        for setting in arguments.text("settings").split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
            let pair = setting.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
            let Some((name, value)) = pair else {
                return Err(wrong("settings", "`name=value` with commas between", setting));
            };
            if OURS.contains(&name) {
                return Err(wrong("settings", "without what exactly once depends on, and what is an argument", name));
            }
            said.push((name.to_owned(), value.to_owned()));
        }
        // The client's own words for what it does not know, before anybody is asked.
        let known = said.iter().cloned().collect::<ClientConfig>().create_native_config();
        if let Err(KafkaError::ClientConfig(_, why, name, _)) = known {
            return Err(wrong("settings", &format!("what librdkafka takes ({})", why.trim()), &name));
        }
        Ok(Self { brokers, common, said })
    }

    /// Kafka's `security.protocol`.
    pub fn security(&self) -> &str {
        self.common.get("security.protocol").unwrap_or_default()
    }

    /// Of a client that reads what is committed, where it is told to; and what else it is told.
    pub fn reading(&self, more: &[(&str, &str)]) -> ClientConfig {
        self.with(&[COMMITTED, more].concat())
    }

    /// With `defaults` for what the file does not say.
    pub fn with(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut all = self.common.clone();
        let said = self.said.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in defaults.iter().copied().chain(said) {
            all.set(name, value);
        }
        all
    }
}

/// A client, let go by a thread of its own: closing one waits for brokers, for ever where there are none (rust-rdkafka #509).
pub struct Held<T: Send + 'static>(Option<T>);

impl<T: Send> Held<T> {
    pub fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl<T: Send> Drop for Held<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Nobody waits for it: a process that ends takes it along.
        let _ = thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client));
    }
}

/// Hears what a client says beside its answers.
#[derive(Default)]
pub struct Ears {
    seen: Mutex<Seen>,
}

/// What a client knows of its brokers, as its statistics say it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of those that it knows, none is connected.
    pub alone: bool,
    /// Partition → where what is committed ends.
    pub ends: BTreeMap<i32, i64>,
    /// The last trouble that it had, in its own words.
    pub said: Option<(RDKafkaErrorCode, String)>,
}

impl Ears {
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client logs: each try to reach a broker that is gone is a line of its own, several a second.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if facility == "FAIL" => tracing::debug!(target: "kafka", facility, "{message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "kafka", facility, "{message}");
        }
        _ => tracing::debug!(target: "kafka", facility, "{message}"),
    }
}

/// Whoever waits for an answer says so; a source says what keeps it.
pub fn told(error: &KafkaError, reason: &str) {
    tracing::debug!(target: "kafka", %error, "{reason}");
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        told(&error, reason);
        // That all brokers are down follows what each of them did.
        let code = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::AllBrokersDown);
        if let Some(code) = code {
            self.seen().said = Some((code, reason.to_owned()));
        }
    }

    // `STATISTICS.md` of librdkafka. Only a few of its many figures are read.
    fn stats_raw(&self, text: &[u8]) {
        let Ok(now) = serde_json::from_slice::<Value>(text) else { return };
        let mut seen = self.seen();
        seen.alone = alone(&now);
        for (_, topic) in members(&now["topics"]) {
            for (_, partition) in members(&topic["partitions"]) {
                let known = partition["partition"].as_i64().zip(partition["ls_offset"].as_i64());
                // Partition -1 is nobody's; an end of -1 is not known yet.
                if let Some((number, end)) = known.filter(|(number, end)| *number >= 0 && *end >= 0) {
                    seen.ends.insert(number as i32, end);
                }
            }
        }
    }
}

impl ConsumerContext for Ears {}

fn members(of: &Value) -> Map<String, Value> {
    of.as_object().cloned().unwrap_or_default()
}

/// Of the brokers that a client's statistics name, none is connected.
pub fn alone(statistics: &Value) -> bool {
    !members(&statistics["brokers"]).iter().any(|(_, broker)| broker["state"] == "UP")
}

/// Tells the producer's thread what became of the records: the first that was not taken.
#[derive(Default)]
pub struct Reports {
    pub refused: Mutex<Option<Refused>>,
}

/// A record that the broker did not take, by the place that the writer gave it.
#[derive(Clone, Debug)]
pub struct Refused {
    pub place: u64,
    pub error: KafkaError,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        told(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        if let Err((error, _)) = result {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.get_or_insert_with(|| Refused { place: place as u64, error: error.clone() });
        }
    }
}
