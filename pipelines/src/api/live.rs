//! What the process knows beside the store: which pipelines it runs, how they do at this moment, what their sinks wait for.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use syncline_engine::runtime::supervisor::Look;
use syncline_record::Micros;

use crate::secrets::hidden;

/// Where a pipeline of this process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Declared; its task does not run yet.
    #[default]
    Starting,
    Running,
    /// It failed, and waits for its next start.
    Restarting,
    /// Its input was at its end; it looks again after a pause (`restart = 'always'`).
    Resting,
    /// Between two runs of its schedule.
    Scheduled,
    /// Another process works on it; this one would take over.
    Standby,
    /// Told to stop; sinks may still be getting what is committed.
    Stopping,
    Stopped,
    /// Nobody runs it until it is resumed.
    Paused,
    Ended,
    Failed,
}

/// One pipeline as its task last told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePipeline {
    pub state: Activity,
    /// Step of a source or sink → why it is being tried again.
    pub trouble: BTreeMap<String, String>,
    /// Step that writes a stream → the reader that it waits for.
    #[serde(default)]
    pub waits: BTreeMap<String, String>,
    pub epoch: u64,
    /// Rows that the source gave since the run began.
    pub rows: u64,
    pub bytes_done: u64,
    pub bytes_total: Option<u64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Starts of its task after the first one in this process.
    pub restarts: u64,
    /// When its task starts again.
    pub next_start: Option<Micros>,
    /// When the source last had nothing more to give; at first, when the pipeline was declared.
    pub source_caught_up: Micros,
    /// Bytes of the source that are not read yet, where it knows how many there are.
    pub source_bytes_left: Option<u64>,
    /// Records of it that are not read yet, likewise.
    #[serde(default)]
    pub source_records_left: Option<u64>,
    /// Step of an outbox sink → when it last had everything.
    pub sinks_caught_up: BTreeMap<String, Micros>,
}

/// All pipelines of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pipelines: BTreeMap<String, LivePipeline>,
    /// The process stays, whether it has a pipeline or not.
    pub stays: bool,
}

impl Live {
    /// Declares a pipeline: the process is not ready before it runs.
    pub fn starting(&mut self, pipeline: &str, now: Micros) {
        let known = LivePipeline { source_caught_up: now, ..LivePipeline::default() };
        self.pipelines.insert(pipeline.to_owned(), known);
    }

    pub fn running(&mut self, pipeline: &str) {
        self.pipeline(pipeline).state = Activity::Running;
    }

    /// What the supervisor's watcher saw at `now`. A pipeline that is looked at runs, unless it waits for its next start.
    pub fn look(&mut self, pipeline: &str, look: &Look, now: Micros) {
        let known = self.pipeline(pipeline);
        known.restarts = look.restarts;
        if let Some(pause) = &look.pause {
            known.state = if pause.reason.is_some() { Activity::Restarting } else { Activity::Resting };
            known.reason = pause.reason.as_deref().map(|reason| hidden(reason).into_owned());
            known.next_start = Some(now + pause.length.as_micros() as Micros);
            known.trouble.clear();
            return;
        }
        if look.standby {
            known.state = Activity::Standby;
            (known.reason, known.next_start) = (None, None);
        } else if [Activity::Starting, Activity::Restarting, Activity::Resting, Activity::Scheduled, Activity::Standby]
            .contains(&known.state)
        {
            known.state = Activity::Running;
            (known.reason, known.next_start) = (None, None);
        }
        known.trouble = look.trouble.iter().map(|(step, why)| (step.to_string(), hidden(why).into_owned())).collect();
        known.waits = look.waits.iter().map(|(step, why)| (step.to_string(), why.clone())).collect();
        let ago = |behind: Duration| now - behind.as_micros() as Micros;
        known.source_caught_up = ago(look.source_behind);
        known.source_bytes_left = look.progress.total.map(|total| total.saturating_sub(look.progress.done));
        known.source_records_left = look.records_left;
        known.sinks_caught_up =
            look.sinks_behind.iter().map(|(step, behind)| (step.to_string(), ago(*behind))).collect();
        known.epoch = look.epoch;
        known.rows = look.rows;
        known.bytes_done = look.progress.done;
        known.bytes_total = look.progress.total;
    }

    /// It waits for its next due time. `reason`: why its last run failed.
    pub fn scheduled(&mut self, pipeline: &str, next: Option<Micros>, reason: Option<&str>) {
        let known = self.pipeline(pipeline);
        if known.state != Activity::Stopping {
            known.state = Activity::Scheduled;
        }
        known.next_start = next;
        known.reason = reason.map(|reason| hidden(reason).into_owned());
    }

    pub fn stopping(&mut self, pipeline: &str) {
        self.pipeline(pipeline).state = Activity::Stopping;
    }

    /// Its task is over: `Stopped`, `Ended`, or `Failed` with the reason.
    pub fn over(&mut self, pipeline: &str, state: Activity, reason: Option<String>) {
        let known = self.pipeline(pipeline);
        known.state = state;
        known.reason = reason.map(|reason| hidden(&reason).into_owned());
        known.next_start = None;
        known.trouble.clear();
        known.waits.clear();
    }

    /// It is no pipeline of this process any more.
    pub fn gone(&mut self, pipeline: &str) {
        self.pipelines.remove(pipeline);
    }

    pub fn get(&self, pipeline: &str) -> Option<&LivePipeline> {
        self.pipelines.get(pipeline)
    }

    pub fn pipelines(&self) -> impl Iterator<Item = (&str, &LivePipeline)> {
        self.pipelines.iter().map(|(name, known)| (name.as_str(), known))
    }

    /// Why the process is not ready, one line each; empty when every pipeline does its work.
    pub fn obstacles(&self) -> Vec<String> {
        if self.pipelines.is_empty() && !self.stays {
            return vec!["no pipeline has started".to_owned()];
        }
        self.pipelines().flat_map(|(name, known)| known.obstacles(name)).collect()
    }

    fn pipeline(&mut self, name: &str) -> &mut LivePipeline {
        self.pipelines.entry(name.to_owned()).or_default()
    }
}

impl LivePipeline {
    fn obstacles(&self, name: &str) -> Vec<String> {
        let why = || self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        match self.state {
            Activity::Paused => vec![],
            Activity::Running | Activity::Ended | Activity::Resting | Activity::Standby => {
                self.trouble.iter().map(|(step, why)| format!("{name}: {step} is being tried again: {why}")).collect()
            }
            Activity::Scheduled => match self.reason {
                Some(_) => vec![format!("the last run of {name} failed{}", why())],
                None => vec![],
            },
            Activity::Restarting => vec![format!("{name} failed and will be started again{}", why())],
            Activity::Starting => vec![format!("{name} is starting")],
            Activity::Stopping => vec![format!("{name} is stopping")],
            Activity::Stopped => vec![format!("{name} has stopped")],
            Activity::Failed => vec![format!("{name} has failed{}", why())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncline_engine::{runtime::supervisor::Pause, source::Progress};
    use syncline_record::StepId;

    #[test]
    fn a_process_is_ready_when_every_pipeline_runs_without_trouble() {
        let mut live = Live::default();
        assert_eq!(live.obstacles(), ["no pipeline has started"]);
        live.starting("orders", 0);
        live.starting("people", 0);
        assert_eq!(live.obstacles(), ["orders is starting", "people is starting"]);
        let mut look = Look { progress: Progress::default(), rows: 3, epoch: 1, ..Look::default() };
        live.look("orders", &look, 0);
        live.over("people", Activity::Ended, None);
        assert_eq!(live.obstacles(), [""; 0]);
        look.trouble.push((StepId::new("upsert"), "database is locked".into()));
        live.look("orders", &look, 0);
        live.over("people", Activity::Failed, Some("disk full".into()));
        assert_eq!(
            live.obstacles(),
            ["orders: upsert is being tried again: database is locked", "people has failed: disk full"]
        );
    }

    #[test]
    fn between_two_starts_a_pipeline_says_why_and_when() {
        let mut live = Live::default();
        let pause = |reason: Option<&str>| {
            let pause = Pause { reason: reason.map(str::to_owned), length: Duration::from_secs(2) };
            Look { restarts: 3, pause: Some(pause), ..Look::default() }
        };
        live.look("orders", &pause(Some("disk full")), 1_000_000);
        assert_eq!(live.obstacles(), ["orders failed and will be started again: disk full"]);
        let known = live.get("orders").unwrap();
        assert_eq!((known.state, known.restarts, known.next_start), (Activity::Restarting, 3, Some(3_000_000)));
        live.look("orders", &Look { restarts: 3, ..Look::default() }, 4_000_000);
        let known = live.get("orders").unwrap();
        assert_eq!((known.state, known.restarts, known.next_start), (Activity::Running, 3, None));
        live.scheduled("orders", Some(7_000_000), None);
        let known = live.get("orders").unwrap();
        assert_eq!((known.state, known.next_start, live.obstacles()), (Activity::Scheduled, Some(7_000_000), vec![]));
        live.scheduled("orders", None, Some("disk full"));
        assert_eq!(live.obstacles(), ["the last run of orders failed: disk full"]);
        live.look("orders", &Look::default(), 8_000_000);
        assert_eq!(live.get("orders").map(|known| (known.state, &known.reason)), Some((Activity::Running, &None)));
        live.look("orders", &pause(None), 0);
        assert_eq!((live.get("orders").unwrap().state, live.obstacles()), (Activity::Resting, vec![]));
    }
}
