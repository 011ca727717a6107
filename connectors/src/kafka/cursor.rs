//! Where to go on in a partition, and whether that place is still there.

use serde::{Deserialize, Serialize};

use super::{partitioned::Spread, start::End};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub next: i64,
    /// Of the cluster: another one has other records at the same offsets.
    pub cluster: Option<String>,
    /// With `PARTITIONED BY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// With `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

impl Cursor {
    /// Whether this cluster, where the partition has these ends now, is where the cursor was. What is said of it otherwise.
    pub fn fits(&self, cluster: Option<&str>, oldest: i64, end: i64) -> Result<(), String> {
        if let (Some(then), Some(now)) = (&self.cluster, cluster)
            && then != now
        {
            return Err(format!(
                "was read from cluster {then}, and this is cluster {now}; run with --fresh to read this one from its start"
            ));
        }
        if self.next < oldest {
            let gone = oldest - self.next;
            return Err(format!(
                "records {} to {} ({gone} offsets) were deleted before they were read; make the topic's retention longer, and run with \
                 --fresh to go on without them",
                self.next,
                oldest - 1
            ));
        }
        if self.next > end {
            return Err(format!(
                "ends at offset {end}, and {} comes next: the topic was made anew; run with --fresh to read it from its start",
                self.next
            ));
        }
        Ok(())
    }
}
