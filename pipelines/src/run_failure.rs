//! What a failed run means to a person, and the next step: in one place, for terminal, JSON and HTTP alike.

use syncline_engine::{
    checkpoint::ReadError,
    operator::Halt,
    runtime::{
        delivery::DeliveryError,
        job::JobError,
        start::{Loss, Moved, Repeat, StartError},
        supervisor::RunError,
    },
    segment::SegmentError,
    sink::SinkError,
    source::SourceError,
};

use crate::{
    backfill::AWAY,
    outcome::{Exit, Failure},
    world::{log_failure, store_failure},
};

pub fn run_failure(error: RunError, pipeline: &str, file: &str) -> Failure {
    let failure = match error {
        RunError::Build(detail) => Failure::of_line(Exit::Usage, "cannot-bind", &detail),
        RunError::Start(error) => start_failure(error, file),
        RunError::Job(error) => job_failure(error),
        RunError::Delivery(error) => delivery_failure(error),
        RunError::Panicked { .. } => Failure::failed("task-fell", error.to_string())
            .help("this is a defect of syncline; run the same command again: it goes on from the last checkpoint"),
        RunError::NoThread { .. } => Failure::environment("no-threads", error.to_string())
            .help("allow this process more threads, then run the same command again"),
        RunError::Hangs { .. } => hanging(error.to_string()),
    };
    failure.seen(format!("pipeline {pipeline} of {file}"))
}

/// The slug of what only another process mends.
pub const HANGS: &str = "sink-hangs";

pub fn hanging(title: String) -> Failure {
    Failure::environment(HANGS, title)
        .help("run the same command again: it goes on from the last checkpoint, nothing committed is lost")
}

fn start_failure(error: StartError, file: &str) -> Failure {
    match error {
        StartError::Read(error) => read_failure(error),
        StartError::Store(error) => store_failure(error),
        StartError::Log(error) => log_failure(error),
        StartError::Segment(error) => segment_failure(error),
        StartError::Source(error) => source_failure(error),
        StartError::Sink { step, error } => sink_failure(step.as_str(), error),
        StartError::StateWouldBeLost { losses, .. } => lost(&losses, file),
        StartError::StepsMoved { moved, .. } => moved_steps(&moved, file),
        StartError::RowsWouldRepeat { repeats, .. } => repeated(&repeats, file),
        error @ StartError::GoesBack { .. } => Failure::environment("goes-back", error.to_string())
            .help("`syncline serve` of its folder puts the text in its place, and goes on")
            .help(format!("or start over: syncline run {file} --fresh")),
        error @ StartError::WentOn { .. } => Failure::environment("went-on", error.to_string())
            .help("nothing was undone; look at what runs now, and ask again where it runs: syncline rollback NAME"),
    }
}

fn lost(losses: &[Loss], file: &str) -> Failure {
    let mut failure = Failure::usage("state-would-be-lost", "this edit cannot keep the state of a step");
    for Loss { step, keys, changed, undelivered } in losses {
        if *undelivered > 0 && *changed {
            failure = failure.seen(format!("{step}: {undelivered} rows wait for the place that it wrote to before"));
            continue;
        }
        if *undelivered > 0 {
            failure = failure.seen(format!("{step}: {undelivered} rows wait for it in its outbox; the step is gone"));
            continue;
        }
        if let Some(behind) = step.as_str().strip_suffix("/repartition") {
            failure = failure.seen(format!("{behind}: its tasks have {keys} rows, and it would not go on behind them"));
            continue;
        }
        let why = if *changed { "its definition is not the one that it was made with" } else { "the step is gone" };
        failure = failure.seen(format!("{step}: {keys} keys; {why}"));
    }
    failure = failure.help(
        "undo that part of the edit (a LET or FUNCTION that the step uses is one too), and the state is used as it is",
    );
    if losses.iter().any(|loss| loss.changed && loss.undelivered > 0) {
        // Rows that nobody has yet are not state that one can do without.
        return failure.help("run it once that way, so that they get where they belong; then edit it");
    }
    let drops: Vec<String> = losses.iter().map(|loss| format!("--drop-state {}", loss.step)).collect();
    failure
        .help(format!("or let it go: syncline run {file} {}", drops.join(" ")))
        .help(format!("or start over: syncline run {file} --fresh"))
}

fn moved_steps(moved: &[Moved], file: &str) -> Failure {
    let mut failure = Failure::usage(
        "steps-moved",
        "this edit puts a step where another one stood, and would give it that one's state and rows",
    );
    for Moved { from, to } in moved {
        failure = failure.seen(format!("what was {from} is {to} now"));
    }
    failure
        .help("leave branches in the order in which they were, and put new ones behind them")
        .help("the place of one that is taken out can stay empty: TEE (|> WHERE false |> INSERT INTO …)")
        .help(format!("or start over: syncline run {file} --fresh"))
}

fn repeated(repeats: &[Repeat], file: &str) -> Failure {
    let mut failure = Failure::usage("rows-would-repeat", "starting over would insert rows that are there already");
    for Repeat { step, target, rows } in repeats {
        failure = failure.seen(format!("{step}: {target} holds {rows} rows that earlier runs inserted"));
    }
    failure
        .help("replace rows instead of adding them: UPSERT INTO … KEY (…)")
        .help("or empty the table first; rows of others that are in it are yours to keep")
        .help(format!("or let the rows be there twice: syncline run {file} --fresh --insert-again"))
}

fn job_failure(error: JobError) -> Failure {
    let title = error.to_string();
    match error {
        JobError::Halt(Halt::Violation { .. }) => Failure::failed("expectation-failed", title)
            .help("the row is in the input at that place; nothing after the last checkpoint was written"),
        JobError::Halt(Halt::Broken { .. }) => Failure::failed("step-broken", title),
        JobError::Source(error) => source_failure(error),
        JobError::Sink { step, error } => sink_failure(step.as_str(), error),
        JobError::Unread { .. } => Failure::failed("stream-not-read", title)
            .help("run the pipeline that reads them too; or take it out of the file, and nobody waits for it"),
        JobError::Log(error) => log_failure(error),
        JobError::Store(error) => store_failure(error),
        JobError::Read(error) => read_failure(error),
        JobError::Segment(error) => segment_failure(error),
        JobError::Commit(_) | JobError::Lost { .. } => {
            Failure::environment("lost-ownership", title).help("another process works on this pipeline now")
        }
        JobError::Unbalanced { .. } => Failure::failed("books-unbalanced", title)
            .help("this is a defect of syncline; nothing of the open epoch was committed"),
    }
}

fn delivery_failure(error: DeliveryError) -> Failure {
    let title = error.to_string();
    match error {
        DeliveryError::Sink { step, error } => sink_failure(step.as_str(), error),
        DeliveryError::Log(error) => log_failure(error),
        DeliveryError::Store(error) => store_failure(error),
        DeliveryError::Read(error) => read_failure(error),
        DeliveryError::Damaged { .. } => damaged(title),
        DeliveryError::Fallen { .. } => Failure::failed("sink-fell", title)
            .help("this is a defect of syncline; run the same command again: it goes on from the last checkpoint"),
    }
}

fn read_failure(error: ReadError) -> Failure {
    let title = error.to_string();
    match error {
        ReadError::Store(error) => store_failure(error),
        ReadError::Newer { .. } => Failure::environment("newer-format", title)
            .help("use the version of syncline that wrote it, or a newer one"),
        ReadError::Damaged { .. } => damaged(title),
    }
}

fn segment_failure(error: SegmentError) -> Failure {
    let title = error.to_string();
    match error {
        SegmentError::Store(error) => store_failure(error),
        SegmentError::Damaged { .. } => damaged(title),
        SegmentError::Format { .. } => Failure::environment("newer-format", title)
            .help("use the version of syncline that wrote it, or a newer one"),
    }
}

fn damaged(title: String) -> Failure {
    Failure::environment("state-damaged", title)
        .help("nothing was changed; put a copy of the data folder back, or start over with `syncline run FILE --fresh`")
}

fn source_failure(error: SourceError) -> Failure {
    let title = error.to_string();
    match error {
        SourceError::Unreadable { .. } => {
            Failure::environment("input-unreadable", title).help("make it readable, then run the same command again")
        }
        SourceError::Changed { .. } => Failure::environment("input-changed", title)
            .help("put the input back, or start over with `syncline run FILE --fresh`"),
        SourceError::Misplaced { .. } => Failure::environment("input-misplaced", title)
            .help("let its producers make keys and choose partitions as PARTITIONED BY says; a topic that was filled otherwise is filled anew")
            .help("or take PARTITIONED BY out of the file: keyed steps then ask nothing of the keys of records"),
        SourceError::Again { .. } => Failure::environment(AWAY, title)
            .help("run the same command again: it goes on from the last checkpoint"),
        SourceError::Log(error) => log_failure(error),
    }
}

fn sink_failure(step: &str, error: SinkError) -> Failure {
    let title = format!("{step}: {error}");
    match error {
        SinkError::Foreign(_) => Failure::environment("not-our-target", title)
            .help("nothing was written or removed; decide whose rows these are, then run the same command again"),
        SinkError::Closed(_) => Failure::environment("output-closed", title)
            .help("run the same command again, with a reader or with room for what it prints"),
        SinkError::Hangs(_) => hanging(title),
        _ => Failure::environment("sink-failed", title).help(
            "mend it, then run the same command again: it goes on from the last checkpoint, nothing committed is lost",
        ),
    }
}
