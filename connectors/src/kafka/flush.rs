//! Waits until what a producer was given has arrived.
//!
//! The binding's own `flush` looks again after a tenth of a second, however soon everything is there: as long as an epoch may take.

use std::time::{Duration, Instant};

use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, NoCustomPartitioner, Producer, ProducerContext},
};

/// Between two looks; reports are taken meanwhile.
const LOOK: Duration = Duration::from_millis(1);

/// Fails as the binding's does where it takes longer than `limit`.
pub fn flush<C>(producer: &BaseProducer<C>, limit: Duration) -> KafkaResult<()>
where
    C: ProducerContext<NoCustomPartitioner> + 'static,
{
    let began = Instant::now();
    loop {
        match producer.flush(Duration::ZERO) {
            Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) if began.elapsed() < limit => {}
            flushed => return flushed,
        }
        producer.poll(LOOK);
    }
}
