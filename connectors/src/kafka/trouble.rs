//! What the engine can do about what a client of Kafka says.

use std::time::Duration;

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use syncline_engine::{sink::SinkError, source::SourceError};

/// How long a question to the brokers may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

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
