//! Waits until what a producer was given has arrived.
//!
//! The binding's own `flush` looks again after a tenth of a second, however soon everything is there: half as long as an epoch. Its `poll`
//! spins where it has less than a millisecond left. And each flush of the client wakes all its threads, so it is not asked at each look.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, NoCustomPartitioner, Producer, ProducerContext},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// Between two times that the client is asked.
const ASK: Duration = Duration::from_millis(10);

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
        let asked = Instant::now();
        while producer.in_flight_count() > 0 && asked.elapsed() < ASK {
            pause(producer);
        }
    }
}

/// Lets the client work for a moment.
pub fn pause<C>(producer: &BaseProducer<C>)
where
    C: ProducerContext<NoCustomPartitioner> + 'static,
{
    thread::sleep(LOOK);
    producer.poll(Duration::ZERO);
}
