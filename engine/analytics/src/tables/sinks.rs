//! What outbox sinks did not take, as far as it is decided.
//!
//! A sink says what it refuses before it commits, so it may say it twice: a frame takes back what earlier frames said about its
//! own rows and later ones, and what is said about rows that the sink has not committed yet is not said at all. To know this
//! without holding all frames, a first pass reads where each attempt began, and a second one the rows.

use syncline_engine::{
    archive::rows::holds,
    checkpoint,
    ledger::{SinkFrame, sink_topic},
};
use syncline_record::StepId;

use super::frames::each_frame;
use crate::{Reading, gather::Stop};

/// Steps of a pipeline that have told anything, with their topics.
fn topics(reading: &Reading, pipeline: &str) -> Result<Vec<(StepId, String)>, Stop> {
    let prefix = sink_topic(pipeline, &StepId::new(""));
    let topics = reading.log.topics(&prefix)?;
    Ok(topics.into_iter().map(|topic| (StepId::new(&topic[prefix.len()..]), topic)).collect())
}

/// Calls `each` with every step and frame; of a frame, only what holds is left.
pub fn each_settled(
    reading: &Reading,
    pipeline: &str,
    each: &mut dyn FnMut(&StepId, SinkFrame) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let delivered = checkpoint::delivered(&*reading.store, pipeline)?;
    for (step, topic) in topics(reading, pipeline)? {
        let Some(decided) = delivered.get(&step).map(|delivered| delivered.next) else { continue };
        let mut bases = vec![];
        each_frame(reading, &topic, &mut |body| {
            bases.push(parse(&topic, body)?.base);
            Ok(())
        })?;
        let mut holds = holds(&bases, decided).into_iter();
        each_frame(reading, &topic, &mut |body| {
            // Frames that came since the first pass are of rows that were not decided then.
            let Some(below) = holds.next() else { return Ok(()) };
            let mut frame = parse(&topic, body)?;
            frame.dead.retain(|(offset, _)| *offset < below);
            frame.stale.retain(|(offset, ..)| *offset < below);
            each(&step, frame)
        })?;
    }
    Ok(())
}

fn parse(topic: &str, body: &[u8]) -> Result<SinkFrame, Stop> {
    serde_json::from_slice(body).map_err(|error| Stop::Damaged { what: topic.to_owned(), detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_takes_back_and_what_is_not_committed_does_not_count() {
        assert_eq!(holds(&[0, 10, 5, 20], 25), [5, 5, 20, 25]);
        assert_eq!(holds(&[0, 10], 7), [7, 7]);
        assert_eq!(holds(&[], 7), [0u64; 0]);
    }
}
