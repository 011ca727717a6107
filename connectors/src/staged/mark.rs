//! What a checkpoint keeps of a staged sink: the open parts with their lengths, and the closed ones that are to be shown.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_engine::sink::SinkError;
use syncline_record::Micros;

#[derive(Debug, Serialize, Deserialize)]
pub struct Mark {
    pub lanes: Vec<LaneMark>,
    pub show: Vec<Shown>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LaneMark {
    pub lane: Option<u32>,
    pub number: u64,
    pub open: Option<OpenMark>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct OpenMark {
    pub length: u64,
    pub rows: u64,
    pub since: Option<Micros>,
    pub copied: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub name: String,
    /// Never the name of a file that comes later: whoever comes back to this mark looks whether it still lies there.
    pub hidden: String,
    /// The working file, where it is another one.
    pub working: Option<String>,
    /// Length of the visible file that this one replaces.
    pub copied: Option<u64>,
    /// Its own length; earlier versions did not note it.
    #[serde(default)]
    pub length: Option<u64>,
}

impl Mark {
    pub fn read(mark: &Value) -> Result<Self, SinkError> {
        Self::deserialize(mark)
            .map_err(|error| SinkError::Never(format!("the mark of the checkpoint cannot be read: {error}")))
    }
}
