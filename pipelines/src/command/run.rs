//! `syncline run`: runs the pipelines of files and folders as one process, until they end or are stopped.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use clap::Args;
use syncline_dsl::plan::Plan;
use syncline_engine::runtime::start::StartOptions;
use syncline_functions::Planner;
use syncline_record::StepId;

use super::{Common, Format};
use crate::{
    api::Doors,
    boards::Boards,
    compiler::{Compiler, Kept},
    groups::Groups,
    host::{Host, Signals},
    inlets::inlets,
    kept,
    ledger::{self, LedgerOptions, Moving},
    log_lines::{self, LogFormat, LogLevel},
    origin,
    outcome::Outcome,
    pgwire::PostgresDoor,
    project::{self, Project, Scope},
    streams::Streams,
    supervision::{self, Supervision},
    tell,
    workers::WorkersOptions,
    world::World,
};

/// Run the pipelines of files and folders until they end or are stopped
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline run orders.sync                 until SIGTERM or ^C (an http source), or until the files are read
  syncline run pipelines/                  all *.sync files in a folder and below it, as one process
  syncline run orders.sync --once          take what is there, then end
  syncline run orders.sync --fresh         start over: positions, state and outputs' progress are forgotten
  syncline run orders.sync --listen 127.0.0.1:7801
  syncline run hooks.sync --ingest 0.0.0.0:8080    take verified webhooks from other machines
  syncline run orders.sync --postgres 127.0.0.1:5433    let users ask with psql (first: syncline user add ada)
  syncline run orders.sync --ledger s3://shop/ledger    the ledger's files, where other processes read them too
  kill -HUP PID                            read the files again: only what changed is started and stopped")]
pub struct Arguments {
    /// Pipeline files, and folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Take what is there now, then end, also with a source that never ends or a schedule
    #[arg(long)]
    pub once: bool,
    /// Start over: forget positions, state and outputs' progress, and remove files that these pipelines wrote
    #[arg(long)]
    pub fresh: bool,
    /// With --fresh: write rows again into tables that an earlier run inserted them into; they are then there twice
    #[arg(long, requires = "fresh")]
    pub insert_again: bool,
    /// With --fresh: start a reader of a stream over although the log has let rows go that it had read; its output of them is lost
    #[arg(long, requires = "fresh")]
    pub from_kept: bool,
    /// Only this pipeline (may be given more than once)
    #[arg(long = "pipeline", value_name = "NAME")]
    pub pipelines: Vec<String>,
    /// Let the state of this step go, after an edit that cannot keep it (may be given more than once)
    #[arg(long = "drop-state", value_name = "STEP")]
    pub drop_state: Vec<String>,
    /// Where the HTTP server listens; for other machines only with a token (`syncline token create`) and TLS [default: 127.0.0.1:7800
    /// when a pipeline never ends or has a schedule, else nowhere]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    #[command(flatten)]
    pub around: Around,
}

/// What a process that runs pipelines has beside them.
#[derive(Args, Debug)]
pub struct Around {
    /// The certificate for --listen, in PEM, with those between it and its authority; what is said there is then said in TLS
    #[arg(long, value_name = "FILE", requires = "listen", requires = "listen_tls_key")]
    pub listen_tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "listen", requires = "listen_tls_cert")]
    pub listen_tls_key: Option<PathBuf>,
    /// Open --listen to other machines without TLS: a proxy that has it stands before it
    #[arg(long, requires = "listen", conflicts_with = "listen_tls_cert")]
    pub listen_plain: bool,
    /// A second door that takes records under /in/ and nothing else; open to other machines only when every path verifies who sends
    #[arg(long, value_name = "ADDR")]
    pub ingest: Option<SocketAddr>,
    /// Answer PostgreSQL's clients (psql, notebooks, dashboards) here: users only (`syncline user add`), and other machines only with TLS
    #[arg(long, value_name = "ADDR")]
    pub postgres: Option<SocketAddr>,
    /// The certificate for --postgres, in PEM, with those between it and its authority; without it nothing is said in the clear
    #[arg(long, value_name = "FILE", requires = "postgres", requires = "postgres_tls_key")]
    pub postgres_tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "postgres", requires = "postgres_tls_cert")]
    pub postgres_tls_key: Option<PathBuf>,
    /// The most of a pipeline's state that is copied when another text takes its place, so that it can go back
    #[arg(long, value_name = "SIZE", default_value = "64 MB", value_parser = bytes)]
    pub rollback_state: u64,
    #[command(flatten)]
    pub ledger: LedgerOptions,
    #[command(flatten)]
    pub workers: WorkersOptions,
    /// How log lines on stderr look [default: json with -o json, else text]
    #[arg(long, value_name = "FORMAT", env = "SYNCLINE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least that is logged [default: info, or what RUST_LOG says]
    #[arg(long, value_name = "LEVEL", env = "SYNCLINE_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// Where an endless pipeline listens when it is not told.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 7800);

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let Arguments { paths, once, fresh, insert_again, from_kept, pipelines: only, drop_state, listen, around } =
        arguments;
    let scope = Scope { paths, only, may_be_empty: false };
    run_scope(scope, around, common, Terms { once, fresh, insert_again, from_kept, drop_state, listen, stays: false })
}

/// How pipelines are run.
#[derive(Default)]
pub struct Terms {
    pub once: bool,
    pub fresh: bool,
    pub insert_again: bool,
    pub from_kept: bool,
    pub drop_state: Vec<String>,
    pub listen: Option<SocketAddr>,
    /// The process goes on without any pipeline.
    pub stays: bool,
}

/// Runs pipelines as one process, until they end or are stopped.
pub fn run_scope(scope: Scope, around: Around, common: &Common, terms: Terms) -> Outcome {
    let Around { listen_tls_cert, listen_tls_key, listen_plain, ingest, postgres, .. } = around;
    let Around { postgres_tls_cert, postgres_tls_key, rollback_state: keeps, .. } = around;
    let Around { ledger, workers, log_format, log_level, .. } = around;
    let Terms { once, fresh, insert_again, from_kept, drop_state, listen, stays } = terms;
    log_lines::start(log_format, log_level, common.output);
    let signals = Signals::expect()?;
    let output = if log_lines::is_json() { Format::Json } else { common.output };
    let data = project::data_folder(common.data.as_deref(), &scope.paths)?;
    // Who serves the files finishes what was begun with them.
    let served = (stays && data.is_dir()).then(|| World::begin(&data)).transpose()?;
    served.as_ref().map_or(Ok(()), supervision::finish_back)?;
    let (kept, ending) = (Kept::default(), Arc::default());
    let compiler = Compiler::new(&kept, &ending);
    let project = Project::read(&scope, &compiler, output)?;
    compiler.keep();
    let mut world = served.map_or_else(|| World::begin(&data), Ok)?;
    let workers = workers.open()?;
    let place = ledger::settle(&mut world, &ledger)?;
    origin::check_steps(&world, &project.pipelines, &drop_state)?;
    let inlets = inlets(&project, &data)?;
    origin::admit(&world, &project.pipelines)?;
    if fresh && !from_kept {
        let plans: Vec<_> = project.pipelines.iter().map(|member| &member.plan).collect();
        kept::refuse_loss(&world.ground, &plans)?;
    }
    let goes_on = |plan: &Plan| plan.endless() || plan.schedule.is_some();
    let endless = project.pipelines.iter().any(|member| goes_on(&member.plan)) && !once;
    let listen = listen.or_else(|| (endless || stays).then(|| SocketAddr::from(LISTEN)));
    let (news, told) = mpsc::channel();
    let tls = postgres_tls_cert.zip(postgres_tls_key);
    let postgres = postgres.map(|address| PostgresDoor { address, tls });
    let listen_tls = listen_tls_cert.zip(listen_tls_key);
    let scheme = if listen_tls.is_some() { "https" } else { "http" };
    let doors = Doors { listen, listen_tls, listen_plain, ingest, postgres };
    let host = Host::start(&world, (doors, workers), (inlets, stays), (signals, news.clone()))?;
    host.reads(&scope);
    kept::tell_orphans(&world, &project.pipelines.iter().map(|member| member.name().to_owned()).collect());
    // Before anyone is told where: a path whose pipeline is about to start takes records, and is no 404.
    project.pipelines.iter().for_each(|member| host.expect(member));
    tell_addresses(&host, scheme);
    let moving = Moving::start(world.ground.clone(), &place, &ledger)?;
    let bars = output == Format::Table;
    let streams = Streams::new(world.ground.store.clone(), project.streams.clone());
    let planner = Planner::new();
    let (groups, boards) = (Groups::default(), Boards::default());
    let all = Supervision {
        world: &world,
        host: &host,
        planner,
        streams,
        once,
        stays,
        keeps,
        scope,
        output,
        bars,
        groups,
        boards,
        kept,
        ending,
    };
    let drop_state = drop_state.iter().map(StepId::new).collect();
    let options = StartOptions { fresh, drop_state, insert_again, ..StartOptions::default() };
    let outcome = all.run(project, options, (news, told));
    moving.stop();
    host.stop();
    outcome
}

fn bytes(text: &str) -> Result<u64, String> {
    syncline_record::amount::bytes(text)
        .map_err(|_| "a size is a number with a unit, like '64 MB' or '1 GiB'".to_owned())
}

fn tell_addresses(host: &Host, scheme: &str) {
    if let Some(address) = host.address() {
        tell!(address = address.to_string(), "listening on {scheme}://{address}");
    }
    if let Some(address) = host.ingest() {
        tell!(address = address.to_string(), "records are taken on http://{address}/in/");
    }
    if let Some(address) = host.postgres() {
        tell!(address = address.to_string(), "PostgreSQL's clients are answered on {address}");
    }
}
