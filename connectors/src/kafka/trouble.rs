//! What the engine can do about what a client of Kafka says.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
    types::RDKafkaRespErr,
};
use syncline_engine::{sink::SinkError, source::SourceError};

use super::client::{Ears, Seen};

/// How long a question to the brokers may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The same for who reads on for ever: it asks again, and whoever stops it does not wait for long.
pub const SHORT_PATIENCE: Duration = Duration::from_secs(3);
/// A question is asked again after so long: a client says beside its answers that it is refused, and goes on trying.
const SLICE: Duration = Duration::from_secs(2);
/// Events of a client that is a slice old, and more: some come as nothing, so the first nothing is not the end of them.
const EVENTS: usize = 64;
/// Between two questions of which the first failed at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a question had no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Who is there does not let us in: the client's words.
    Refused(String),
    /// Nobody answers within this time; what the client last met.
    Nobody(Duration, Option<String>),
    Error(KafkaError),
}

impl From<KafkaError> for NoAnswer {
    fn from(error: KafkaError) -> Self {
        Self::Error(error)
    }
}

impl NoAnswer {
    pub fn words(&self) -> String {
        match self {
            Self::Refused(reason) => format!("we are not let in: {reason}"),
            Self::Nobody(patience, None) => format!("no broker answers within {} s", patience.as_secs()),
            Self::Nobody(patience, Some(last)) => format!("no broker answers within {} s: {last}", patience.as_secs()),
            Self::Error(error) => words(error),
        }
    }

    pub fn of_source(self, what: String) -> SourceError {
        let detail = self.words();
        match self {
            Self::Refused(_) => SourceError::Unreadable { what, detail },
            Self::Nobody(..) => SourceError::Again { what, detail },
            Self::Error(error) => of_start(what, &error),
        }
    }
}

/// Asks for one topic, or for all.
pub fn metadata(client: &BaseConsumer<Ears>, topic: Option<&str>, patience: Duration) -> Result<Metadata, NoAnswer> {
    let began = Instant::now();
    loop {
        let left = patience.saturating_sub(began.elapsed());
        let error = match client.fetch_metadata(topic, left.min(SLICE)) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        // What it has to say beside its answers, it says now.
        (0..EVENTS).for_each(|_| drop(client.poll(Duration::ZERO)));
        let seen = client.context().seen();
        if let Some(reason) = refusal(&seen) {
            return Err(NoAnswer::Refused(reason));
        }
        if !error.rdkafka_error_code().is_some_and(nobody_answers) {
            return Err(NoAnswer::Error(error));
        }
        if began.elapsed() + PAUSE >= patience {
            return Err(NoAnswer::Nobody(patience, seen.said.as_ref().map(|(_, said)| gist(said))));
        }
        drop(seen);
        thread::sleep(PAUSE);
    }
}

/// Takes what the client of a reader has to say, if anything: records come from their partitions' own queues.
pub fn event(client: &BaseConsumer<Ears>, what: &str) -> Result<(), SourceError> {
    match client.poll(Duration::ZERO) {
        // A client that lost sight of a partition makes it anew, with another queue: to go on would pass over this record.
        Some(Ok(record)) => {
            let place = (record.partition(), record.offset());
            let detail = format!("record {} of partition {} came among the events", place.1, place.0);
            Err(SourceError::Again { what: what.to_owned(), detail })
        }
        Some(Err(KafkaError::PartitionEOF(_))) | None => Ok(()),
        // Brokers that do not answer may answer soon; whoever refuses us, or has no such topic, does not change by itself.
        Some(Err(error)) => match of_start(what.to_owned(), &error) {
            SourceError::Again { .. } => Ok(()),
            refused => Err(refused),
        },
    }
}

pub fn nobody_answers(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve)
}

/// Who is there, and does not let us in. A connection that breaks off while we show who we are is no refusal.
pub fn refusal(seen: &Seen) -> Option<String> {
    use RDKafkaErrorCode as Code;
    let (code, said) = seen.said.as_ref()?;
    let refused = match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => true,
        Code::SSL => said.contains("certificate"),
        _ => false,
    };
    let broke_off = ["transport failure", "Disconnected", "imed out"].iter().any(|words| said.contains(words));
    (refused && !broke_off).then(|| gist(said))
}

/// Without the broker's name before it, and the state of the client behind it.
fn gist(said: &str) -> String {
    let said = match said.split_once(": ") {
        Some((broker, rest)) if broker.contains(['/', ':']) => rest,
        _ => said,
    };
    said.split(" (after ").next().unwrap_or(said).to_owned()
}

/// Something that is asked when a source begins.
pub fn of_start(what: String, error: &KafkaError) -> SourceError {
    of_code(what, error.rdkafka_error_code(), words(error))
}

/// A partition that cannot go on.
pub fn of_partition(what: String, code: RDKafkaRespErr, text: &str) -> SourceError {
    let code = RDKafkaErrorCode::from(code);
    let detail = if text.is_empty() { code.to_string() } else { text.to_owned() };
    of_code(what, Some(code), detail)
}

fn of_code(what: String, code: Option<RDKafkaErrorCode>, detail: String) -> SourceError {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::OffsetOutOfRange | Code::AutoOffsetReset) => {
            let detail = format!(
                "what comes next was deleted before it was read ({detail}); make the topic's retention longer, and run with \
                 --fresh to go on without it"
            );
            SourceError::Changed { what, detail }
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            SourceError::Unreadable { what, detail: "is not there".to_owned() }
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::InvalidTopic,
        )
        | None => SourceError::Unreadable { what, detail },
        Some(_) => SourceError::Again { what, detail },
    }
}

/// What a writer of records meets.
pub fn of_sink(what: &str, error: &KafkaError) -> SinkError {
    use RDKafkaErrorCode as Code;
    let text = format!("{what}: {}", words(error));
    let code = match error {
        KafkaError::Transaction(error) => Some(error.code()),
        error => error.rdkafka_error_code(),
    };
    match code {
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
            SinkError::Never(format!("{what}: another one with this id writes now"))
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::InvalidTopic,
        ) => SinkError::Never(text),
        _ if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => SinkError::Never(text),
        _ => SinkError::Reconnect(text),
    }
}

/// The client's own words, without the name of the call.
pub fn words(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut,
        ) => {
            format!("no broker answers within {} s", PATIENCE.as_secs())
        }
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_told_from_who_finds_nobody() {
        let refused = |code, said: &str| refusal(&Seen { said: Some((code, said.to_owned())), ..Seen::default() });
        let said = "sasl_ssl://127.0.0.1:20001/bootstrap: SASL authentication error: Authentication failed during authentication \
                    due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 312ms in state AUTH_REQ)";
        let told = "SASL authentication error: Authentication failed during authentication due to invalid credentials \
                    with SASL mechanism SCRAM-SHA-512";
        assert_eq!(refused(RDKafkaErrorCode::Authentication, said).as_deref(), Some(told));
        let said = "ssl://b:1/bootstrap: SSL handshake failed: error:0A000086: certificate verify failed";
        let told = "SSL handshake failed: error:0A000086: certificate verify failed";
        assert_eq!(refused(RDKafkaErrorCode::SSL, said).as_deref(), Some(told));
        let cut = "sasl_plaintext://b:1/bootstrap: SASL PLAIN mechanism handshake failed: Local: Broker transport failure: \
                   broker's supported mechanisms: (n/a)";
        assert_eq!(refused(RDKafkaErrorCode::Authentication, cut), None);
        assert_eq!(refused(RDKafkaErrorCode::BrokerTransportFailure, "b:1/bootstrap: Connect failed"), None);
    }

    #[test]
    fn what_a_client_met_is_told_without_its_own_affairs() {
        let said = "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)";
        let nobody = NoAnswer::Nobody(PATIENCE, Some(gist(said)));
        let told = "no broker answers within 10 s: Connect to ipv4#127.0.0.1:9 failed: Connection refused";
        assert_eq!(nobody.words(), told);
        assert_eq!(gist("without a broker"), "without a broker");
    }
}
