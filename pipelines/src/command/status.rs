//! `syncline status`: how every pipeline of a data folder is, and its books.

mod facts;

use std::io::{self, Write};

use clap::Args;
use syncline_engine::{
    checkpoint::HistoryNote,
    clock::{Clock, SystemClock},
    intake::{Intake, Line},
};
use syncline_record::Fate;

use super::{Common, Format};
use crate::{
    api::{
        facts::{self as told, instant_text},
        status::{PipelineStatus, ScheduleStatus, Status},
    },
    ask::Answerer,
    control::Process,
    outcome::Outcome,
    render::{printed, stdout},
};

/// Show pipelines, their last run and their books
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline status
  syncline status -o json
  syncline status --data /var/lib/syncline")]
pub struct Arguments {}

pub fn run(_: Arguments, common: &Common) -> Outcome {
    let answerer = Answerer::find(common)?;
    let status = answerer.status()?;
    // A person should see whom he looks at.
    let place = match answerer {
        Answerer::Process(process @ Process::Server(_)) => Some(process.to_string()),
        _ => None,
    };
    let mut out = stdout();
    printed(write(&status, place.as_deref(), common.output, &mut out).and_then(|()| out.flush()))
}

fn write(status: &Status, place: Option<&str>, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", told::of(status)),
        Format::Ndjson => {
            status.pipelines.iter().try_for_each(|pipeline| writeln!(out, "{}", told::of_pipeline(pipeline)))
        }
        Format::Csv => facts::csv(&status.pipelines, out),
        Format::Table => {
            match (status.process, place) {
                (Some(process), Some(place)) => writeln!(out, "process {process} of {place}")?,
                (Some(process), None) => writeln!(out, "process {process} holds this folder")?,
                (None, _) => writeln!(out, "no process runs here")?,
            }
            if status.pipelines.is_empty() {
                writeln!(out, "no pipeline has run yet")?;
            }
            status.pipelines.iter().try_for_each(|pipeline| people(pipeline, out))?;
            status.paths.iter().try_for_each(|path| taken(path, out))
        }
    }
}

/// What a path took, and why it refused what it did not take.
fn taken(path: &Intake, out: &mut impl Write) -> io::Result<()> {
    let senders = path.verify.as_ref().map_or("anybody may send".to_owned(), |scheme| format!("verified by {scheme}"));
    writeln!(out, "\n/{} · {senders}", path.topic)?;
    let width = path.lines.iter().map(|line| line.times.requests.to_string().len()).max().unwrap_or(1);
    for line in &path.lines {
        let Line { outcome, reason, times } = line;
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let what = format!("{}{why}", outcome.as_str());
        writeln!(out, "  {:>width$} {what:<22} last {}", times.requests, instant_text(times.last))?;
    }
    Ok(())
}

fn people(pipeline: &PipelineStatus, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{} · {} · run {} · epoch {}",
        pipeline.pipeline,
        attempted(pipeline),
        pipeline.run,
        pipeline.epoch
    )?;
    if let Some(reason) = &pipeline.reason {
        writeln!(out, "  reason           {reason}")?;
    }
    for (name, instant) in [
        ("started", pipeline.started),
        ("ended", pipeline.ended),
        ("last checkpoint", pipeline.last_checkpoint),
        ("watermark", pipeline.watermark),
        ("next start", pipeline.next_start),
    ] {
        if let Some(instant) = instant {
            writeln!(out, "  {name:<16} {}", instant_text(instant))?;
        }
    }
    if pipeline.restarts > 0 {
        writeln!(out, "  {:<16} {} since this process began", "restarts", pipeline.restarts)?;
    }
    if let Some(history) = &pipeline.history {
        let name = if history.number == 0 { "history".to_owned() } else { format!("backfill {}", history.number) };
        writeln!(out, "  {name:<16} {}", past(history))?;
    }
    if let Some(schedule) = &pipeline.schedule {
        times(schedule, out)?;
    }
    if let Some(lag) = pipeline.lag {
        writeln!(out, "  {:<16} {lag} records", "lag")?;
    }
    writeln!(out, "  {:<16} {} bytes", "state", pipeline.state_bytes)?;
    for (step, why) in &pipeline.trouble {
        writeln!(out, "  {:<16} {step} is being tried again: {why}", "trouble")?;
    }
    for (step, why) in &pipeline.waits {
        writeln!(out, "  {:<16} {step}: {why}", "waits")?;
    }
    books(pipeline, out)?;
    writeln!(out, "  {}", if pipeline.balanced { "the books balance" } else { "the books do NOT balance" })
}

/// `42 % · 1200 rows, 3 dead · 310 rows/s · 12 s left`, or when it was over.
fn past(history: &HistoryNote) -> String {
    let mut all = vec![];
    let part = history.total.map(|total| (history.done, total)).or(history.records.map(|all| (history.rows, all)));
    match (history.ended, part.filter(|(_, total)| *total > 0)) {
        (Some(_), _) if history.is_catching_up() => all.push("read; the source catches up".to_owned()),
        (Some(ended), _) => all.push(format!("read by {}", instant_text(ended))),
        (None, Some((done, total))) => all.push(format!("{} %", done * 100 / total)),
        (None, None) => all.push("being read".to_owned()),
    }
    let dead = if history.dead > 0 { format!(", {} dead", history.dead) } else { String::new() };
    all.push(format!("{} rows{dead}", history.rows));
    if history.starts > 1 {
        all.push(format!("{} starts", history.starts));
    }
    all.extend(history.rows_per_second().map(|rate| format!("{rate} rows/s")));
    let now = SystemClock::default().now();
    all.extend(history.seconds_left(now).map(|left| format!("{left} s left")));
    all.join(" · ")
}

/// When it is due, and what became of it last.
fn times(schedule: &ScheduleStatus, out: &mut impl Write) -> io::Result<()> {
    let ScheduleStatus { kind, expression, time_zone, missed, .. } = schedule;
    let expression = if kind == "cron" { format!("'{expression}'") } else { expression.clone() };
    let lost = match schedule.missed_runs {
        0 => String::new(),
        count => format!(" · {count} missed"),
    };
    writeln!(out, "  {:<16} {kind} {expression} · {time_zone} · if missed {missed}{lost}", "schedule")?;
    if let Some(due) = schedule.last_due {
        let outcome = schedule.last_outcome.as_ref().map(|outcome| format!(": {outcome}")).unwrap_or_default();
        writeln!(out, "  {:<16} {}{outcome}", "last due", instant_text(due))?;
    }
    match schedule.next_due {
        _ if schedule.paused => writeln!(out, "  {:<16} paused", "next due"),
        Some(due) => writeln!(out, "  {:<16} {}", "next due", instant_text(due)),
        None => Ok(()),
    }
}

fn attempted(pipeline: &PipelineStatus) -> String {
    match (pipeline.state.as_str(), pipeline.attempt) {
        ("interrupted", _) => {
            "interrupted: its process ended without a word; `run` goes on from the last checkpoint".into()
        }
        (state, attempt) if attempt > 1 => format!("{state} (attempt {attempt})"),
        (state, _) => state.to_owned(),
    }
}

/// The page of every step; fates that no row had are left out.
fn books(pipeline: &PipelineStatus, out: &mut impl Write) -> io::Result<()> {
    let seen = |fate: &Fate| pipeline.steps.iter().any(|step| step.page.fate(*fate) > 0);
    let fates: Vec<Fate> = Fate::ALL.into_iter().filter(seen).collect();
    let warns = pipeline.steps.iter().any(|step| step.warned > 0);
    let mut lines = vec![{
        let mut head = vec!["step".to_owned(), "in".to_owned()];
        head.extend(fates.iter().map(|fate| fate.as_str().to_owned()));
        head.extend(warns.then(|| "warned".to_owned()));
        head.extend(["waiting", "out"].map(str::to_owned));
        head
    }];
    for step in &pipeline.steps {
        let mut line = vec![step.step.clone(), step.page.rows_in.to_string()];
        line.extend(fates.iter().map(|fate| step.page.fate(*fate).to_string()));
        line.extend(warns.then(|| step.warned.to_string()));
        line.extend([step.page.waiting.to_string(), step.page.rows_out.to_string()]);
        if !step.balanced {
            line.push("does NOT balance".to_owned());
        }
        lines.push(line);
    }
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().enumerate().map(|(column, cell)| match (column, widths.get(column)) {
            (0, Some(width)) => format!("{cell:<width$}"),
            (_, Some(width)) => format!("{cell:>width$}"),
            (_, None) => cell.clone(),
        });
        writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use syncline_engine::{
        checkpoint::Course,
        intake::{Outcome, Times},
    };
    use syncline_record::StepBooks;

    use super::*;
    use crate::api::status::{ScheduleStatus, StepStatus};

    fn step(name: &str, rows_in: u64, out: u64, waiting: u64, fates: &[(Fate, u64)]) -> StepStatus {
        let mut page = StepBooks { rows_in, rows_out: out, waiting, ..StepBooks::default() };
        fates.iter().for_each(|(fate, rows)| page.count(*fate, *rows));
        StepStatus {
            step: name.into(),
            page,
            null_keys: 0,
            late_windows: 0,
            warned: 0,
            balanced: page.balance(),
            state: None,
        }
    }

    fn status() -> Status {
        let schedule = ScheduleStatus {
            kind: "cron".into(),
            expression: "0 2 * * *".into(),
            time_zone: "Europe/Berlin".into(),
            missed: "run once".into(),
            paused: false,
            last_due: Some(1_795_168_800_000_000),
            last_started: Some(1_795_168_800_500_000),
            last_outcome: Some("ended".into()),
            next_due: Some(1_795_255_200_000_000),
            missed_runs: 3,
        };
        let pipeline = PipelineStatus {
            pipeline: "orders".into(),
            state: "running".into(),
            run: 2,
            attempt: 3,
            epoch: 41,
            started: Some(1_795_168_800_000_000),
            ended: None,
            last_checkpoint: Some(1_795_168_800_500_000),
            reason: None,
            restarts: 2,
            next_start: None,
            rows_in: 10,
            lag: Some(7),
            waiting: 2,
            state_bytes: 4096,
            watermark: None,
            history: Some(HistoryNote {
                number: 0,
                began: 1_795_168_800_000_000,
                ended: None,
                rows: 30,
                dead: 1,
                done: 250,
                total: Some(1_000),
                starts: 2,
                spent: 10_000_000,
                course: Course::of([(8_000_000, 800), (10_000_000, 750)]),
                ..HistoryNote::default()
            }),
            balanced: false,
            schedule: Some(schedule),
            trouble: BTreeMap::from([("upsert".into(), "database is locked".into())]),
            waits: BTreeMap::from([("stream".into(), "1000001 rows wait for totals, which reads them".into())]),
            steps: vec![
                step("source", 10, 9, 0, &[(Fate::Passed, 9), (Fate::Dead, 1)]),
                step("dedup", 9, 6, 0, &[(Fate::Passed, 6), (Fate::Duplicate, 3)]),
                step("upsert", 6, 3, 2, &[(Fate::Passed, 3)]),
            ],
        };
        let line = |outcome, reason: &str, requests| Line {
            outcome,
            reason: reason.into(),
            times: Times { requests, last: 1_795_168_800_000_000 },
        };
        let lines = vec![line(Outcome::Accepted, "", 329), line(Outcome::Refused, "mismatch", 7)];
        let path = Intake { topic: "in/github".into(), verify: Some("github".into()), lines };
        Status { process: Some(77), pipelines: vec![pipeline], paths: vec![path] }
    }

    fn text(format: Format) -> String {
        let mut out = vec![];
        write(&status(), None, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_see_the_state_the_trouble_and_the_books() {
        let expected = "\
process 77 holds this folder

orders · running (attempt 3) · run 2 · epoch 41
  started          2026-11-20T10:00:00Z
  last checkpoint  2026-11-20T10:00:00.5Z
  restarts         2 since this process began
  history          25 % · 30 rows, 1 dead · 2 starts · 3 rows/s · 26 s left
  schedule         cron '0 2 * * *' · Europe/Berlin · if missed run once · 3 missed
  last due         2026-11-20T10:00:00Z: ended
  next due         2026-11-21T10:00:00Z
  lag              7 records
  state            4096 bytes
  trouble          upsert is being tried again: database is locked
  waits            stream: 1000001 rows wait for totals, which reads them
  step    in  passed  duplicate  dead  waiting  out
  source  10       9          0     1        0    9
  dedup    9       6          3     0        0    6
  upsert   6       3          0     0        2    3  does NOT balance
  the books do NOT balance

/in/github · verified by github
  329 accepted               last 2026-11-20T10:00:00Z
    7 refused: mismatch      last 2026-11-20T10:00:00Z
";
        assert_eq!(text(Format::Table), expected);
    }

    #[test]
    fn programs_read_instants_and_fates_by_their_names() {
        let all: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
        let pipeline: serde_json::Value = serde_json::from_str(&text(Format::Ndjson)).unwrap();
        assert_eq!((&all["process"], &all["pipelines"][0]), (&serde_json::json!(77), &pipeline));
        let instants = ["started", "ended", "last_checkpoint", "watermark"].map(|name| pipeline[name].as_str());
        assert_eq!(instants, [Some("2026-11-20T10:00:00Z"), None, Some("2026-11-20T10:00:00.5Z"), None]);
        let history = serde_json::json!({
            "number": 0, "began": "2026-11-20T10:00:00Z", "ended": null, "rows": 30, "dead": 1, "starts": 2, "done": 250, "total": 1000,
            "bytes": 0, "busy": 0, "spent": 10_000_000, "noted": "1970-01-01T00:00:00Z"
        });
        assert_eq!(pipeline["history"], history);
        let dedup = serde_json::json!({
            "step": "dedup", "rows_in": 9, "rows_out": 6, "waiting": 0, "null_keys": 0, "late_windows": 0, "warned": 0, "balanced": true,
            "fates": {
                "passed": 6, "absorbed": 0, "filtered": 0, "duplicate": 3, "stale": 0, "late": 0, "dead": 0, "parked": 0, "held": 0
            }
        });
        assert_eq!(pipeline["steps"][1], dedup);
        assert_eq!(all["paths"][0]["lines"][1]["last"], "2026-11-20T10:00:00Z");
    }

    #[test]
    fn a_csv_has_the_plain_facts_of_a_pipeline() {
        let expected = "\
pipeline,state,run,attempt,epoch,started,ended,last_checkpoint,reason,restarts,next_start,rows_in,lag,waiting,state_bytes,watermark,balanced
orders,running,2,3,41,2026-11-20T10:00:00Z,,2026-11-20T10:00:00.5Z,,2,,10,7,2,4096,,false
";
        assert_eq!(text(Format::Csv), expected);
    }
}
