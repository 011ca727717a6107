//! Topics, frame by frame.

use syncline_engine::log::LogError;

use crate::{Reading, gather::Stop};

/// What one read of a topic takes: some frames, never the whole topic.
const READ_BYTES: usize = 1 << 20;

/// Calls `each` with the body of every frame that is kept and was visible at the start, the oldest first.
pub fn each_frame(reading: &Reading, topic: &str, each: &mut dyn FnMut(&[u8]) -> Result<(), Stop>) -> Result<(), Stop> {
    let end = reading.log.end(topic)?;
    let mut next = 0;
    while next < end {
        let frames = match reading.log.read(topic, next, READ_BYTES) {
            // Retention took it away before this read, or meanwhile.
            Err(LogError::Gone { oldest, .. }) if oldest > next => {
                next = oldest;
                continue;
            }
            frames => frames?,
        };
        let Some(last) = frames.last().map(|frame| frame.next()) else { break };
        for frame in frames.iter().take_while(|frame| frame.base < end) {
            each(&frame.body)?;
        }
        next = last;
    }
    Ok(())
}
