//! `syncline run`: runs the pipelines of a file until they end or are stopped.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use clap::Args;
use syncline_connectors::Surroundings;
use syncline_dsl::plan::{Plan, RestartWhen};
use syncline_engine::{
    checkpoint,
    runtime::{
        restart::{Restart, When},
        start::StartOptions,
        supervisor::{self, Ending, Look, RunError},
    },
};
use syncline_functions::Planner;
use syncline_record::{Fate, StepId};

use super::{Common, Format};
use crate::{
    api::Activity,
    bind::{RealEdges, bind, ingest_topic},
    host::Host,
    outcome::{Exit, Failure, Outcome},
    progress::Bar,
    run_failure::run_failure,
    source_file::SourceFile,
    witness,
    world::{World, data_folder},
};

/// Run the pipelines of a file until they end or are stopped
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline run orders.sync                 until SIGTERM or ^C (an http source), or until the files are read
  syncline run orders.sync --once          take what is there, then end
  syncline run orders.sync --fresh         start over: positions, state and outputs' progress are forgotten
  syncline run orders.sync --listen 127.0.0.1:7801")]
pub struct Arguments {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Take what is there, then end, also with a source that never ends
    #[arg(long)]
    pub once: bool,
    /// Start over: forget positions, state and outputs' progress, and remove files that these pipelines wrote
    #[arg(long)]
    pub fresh: bool,
    /// Only this pipeline (may be given more than once)
    #[arg(long = "pipeline", value_name = "NAME")]
    pub pipelines: Vec<String>,
    /// Let the state of this step go, after an edit that cannot keep it (may be given more than once)
    #[arg(long = "drop-state", value_name = "STEP")]
    pub drop_state: Vec<String>,
    /// Where the HTTP server listens [default: 127.0.0.1:7800 when a pipeline never ends, else nowhere]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

/// Where an endless pipeline listens when it is not told.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 7800);

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    crate::log_lines::start(common.output);
    let file = SourceFile::read(&arguments.file)?;
    let checked = file.compiled(common.output)?;
    let plans = chosen(checked.plan.pipelines, &arguments.pipelines, &file)?;
    let data = data_folder(common.data.as_deref(), Some(&arguments.file))?;
    let world = World::open(&data)?;
    let endless = plans.iter().any(|plan| plan.source.endless) && !arguments.once;
    let listen = arguments.listen.or_else(|| endless.then(|| SocketAddr::from(LISTEN)));
    let paths = plans.iter().filter_map(ingest_path).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let host = Host::start(&world, &plans, paths, listen, stop.clone())?;
    if let Some(address) = host.address() {
        eprintln!("listening on http://{address}");
    }
    let around = Around { world: &world, file: &file, arguments: &arguments, common, host: &host, stop: &stop };
    let outcome = all(&plans, &around);
    host.stop();
    outcome
}

/// What every pipeline of the process shares.
struct Around<'a> {
    world: &'a World,
    file: &'a SourceFile,
    arguments: &'a Arguments,
    common: &'a Common,
    host: &'a Host,
    stop: &'a Arc<AtomicBool>,
}

fn chosen(plans: Vec<Plan>, names: &[String], file: &SourceFile) -> Result<Vec<Plan>, Failure> {
    let there: Vec<String> = plans.iter().map(|plan| plan.pipeline.clone()).collect();
    for name in names {
        if !there.contains(name) {
            return Err(Failure::usage("no-such-pipeline", format!("{} has no pipeline `{name}`", file.name()))
                .help(format!("it has {}", there.join(", "))));
        }
    }
    let plans: Vec<Plan> =
        plans.into_iter().filter(|plan| names.is_empty() || names.contains(&plan.pipeline)).collect();
    match plans.is_empty() {
        true => Err(Failure::usage("no-pipeline", format!("{} declares no pipeline", file.name()))),
        false => Ok(plans),
    }
}

/// The path of an `http` source and the pipeline that reads it.
fn ingest_path(plan: &Plan) -> Option<(String, String)> {
    if plan.source.place.connector != "http" {
        return None;
    }
    let place = &plan.source.place;
    let named = place.named.iter().find(|(name, _)| name == "path").map(|(_, value)| value);
    match place.positional.first().or(named) {
        Some(syncline_dsl::plan::Value::Text(path)) => Some((ingest_topic(path), plan.pipeline.clone())),
        _ => None,
    }
}

/// Runs all pipelines, each on its own thread; the first failure is the command's, the others are told too.
fn all(plans: &[Plan], around: &Around<'_>) -> Outcome {
    let planner = Planner::new();
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let planner = &planner;
        let threads: Vec<_> =
            plans.iter().map(|plan| scope.spawn(move || one(plan, planner, plans.len() == 1, around))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(Failure::failed("panic", "a pipeline's thread ended by a panic: this is a defect of syncline"))
                })
            })
            .collect()
    });
    let mut failures = outcomes.into_iter().filter_map(Result::err);
    let Some(first) = failures.next() else { return Ok(()) };
    for other in failures {
        eprintln!("{}", other.to_text());
    }
    Err(first)
}

fn one(plan: &Plan, planner: &Planner, alone: bool, around: &Around<'_>) -> Outcome {
    let ground = &around.world.ground;
    let secrets = |path: &str| {
        crate::secrets::resolve(around.world.folder.path(), path)
            .map(|secret| secret.expose().to_owned())
            .map_err(|failure| failure.title)
    };
    let edges = RealEdges {
        around: Surroundings { folder: around.file.folder() },
        secrets: &secrets,
        log: ground.log.clone(),
        store: ground.store.clone(),
        once: around.arguments.once,
    };
    let mut build = || {
        bind(plan, planner, &edges, witness::open(around.world.folder.path(), &plan.pipeline))
            .map_err(|error| error.to_string())
    };
    let options = StartOptions {
        fresh: around.arguments.fresh,
        drop_state: around.arguments.drop_state.iter().map(StepId::new).collect(),
    };
    let bounded = !plan.source.endless || around.arguments.once;
    let mut bar = Bar::new(&plan.pipeline, bounded && alone && around.common.output == Format::Table);
    let mut watch = |look: &Look| {
        bar.show(look);
        around.host.look(&plan.pipeline, look);
    };
    let result =
        supervisor::run(ground, &mut build, &options, restart(plan, around.arguments.once), around.stop, &mut watch);
    let skipped = bar.finish();
    let (activity, reason) = match &result {
        Ok(Ending::Ended) => (Activity::Ended, None),
        Ok(Ending::Stopped) => (Activity::Stopped, None),
        Err(error) => (Activity::Failed, Some(error.to_string())),
    };
    around.host.over(&plan.pipeline, activity, reason);
    match result {
        Ok(ending) => {
            summary(plan, ending, skipped, around);
            Ok(())
        }
        Err(error) => Err(failure(error, plan, around)),
    }
}

/// The pause before the first restart, when the pipeline does not name one.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// When this pipeline starts again. What never ends is kept running unless its file says otherwise; a batch is started by whoever
/// waits for its end, so its failure is told at once.
fn restart(plan: &Plan, once: bool) -> Restart {
    let said = &plan.options.restart;
    let asked = said.delay.is_some() || said.most.is_some();
    let when = match said.when {
        _ if once => When::Never,
        Some(RestartWhen::Never) => When::Never,
        Some(RestartWhen::OnFailure) => When::OnFailure,
        Some(RestartWhen::Always) => When::Always,
        None if plan.source.endless || asked => When::OnFailure,
        None => When::Never,
    };
    Restart { when, delay: said.delay.map_or(RESTART_DELAY, Duration::from_micros), most: said.most }
}

fn failure(error: RunError, plan: &Plan, around: &Around<'_>) -> Failure {
    let failure = run_failure(error, &plan.pipeline, &around.file.name());
    if failure.exit == Exit::Failed {
        // Other pipelines of the file go on: one failing pipeline never stops another.
        tracing::error!(pipeline = plan.pipeline, "{}", failure.title);
    }
    failure
}

/// One line per pipeline on stderr: what went in, what became of it.
fn summary(plan: &Plan, ending: Ending, skipped: u64, around: &Around<'_>) {
    let ground = &around.world.ground;
    let Ok(Some(run)) = checkpoint::last_run(&*ground.store, &plan.pipeline) else { return };
    let delivered = checkpoint::delivered(&*ground.store, &plan.pipeline).unwrap_or_default();
    let books = run.books(&delivered);
    let rows = books.steps.get(&StepId::new(syncline_engine::graph::SOURCE)).map_or(0, |page| page.rows_in);
    let mut fates = vec![];
    for fate in Fate::ALL.into_iter().filter(|fate| ![Fate::Passed, Fate::Absorbed].contains(fate)) {
        let count: u64 = books.steps.values().map(|page| page.fate(fate)).sum();
        if count > 0 {
            fates.push(format!("{count} {}", fate.as_str()));
        }
    }
    let waiting: u64 = books.steps.values().map(|page| page.waiting).sum();
    if waiting > 0 {
        fates.push(format!("{waiting} waiting"));
    }
    let how = match ending {
        Ending::Ended => "ended",
        Ending::Stopped => "stopped",
    };
    let before = match (skipped, rows) {
        (0, _) => String::new(),
        (_, 0) => format!("; nothing new: {skipped} bytes were read by earlier runs (--fresh starts over)"),
        _ => format!("; only what is new: {skipped} bytes were read by earlier runs (--fresh starts over)"),
    };
    let balance = if books.unbalanced().is_none() { "books balance" } else { "books do NOT balance" };
    let fates = if fates.is_empty() { String::new() } else { format!(" · {}", fates.join(" · ")) };
    eprintln!("{}: {how} run {} · {rows} rows in{fates} · {balance}{before}", plan.pipeline, run.run);
}
