//! Questions about a data folder: answered by the process that holds it, or, when none does, by looking into it.

use std::{path::Path, sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use hyper::Method;
use serde_json::json;
use syncline_analytics::{Catalog, Files, Limits, Reading, STACK, Workers};
use syncline_connectors::archive::Missing;
use syncline_engine::{
    checkpoint, ledger::job_prefixes, log::memory::MemoryLog, revision, runtime::Ground, store::memory::MemoryStore,
};

use crate::{
    api::{
        frames::{self, Deframer, Piece},
        query, status,
    },
    command::Common,
    contexts,
    control::{self, Process},
    interrupt, ledger,
    outcome::{Exit, Failure},
    questions,
    render::for_shell,
    world::{Claim, World, data_folder, log_failure, store_failure},
};

/// A read that nobody wants any more ends with its next batch.
const LAST_BATCH: Duration = Duration::from_secs(3);

/// Who answers.
pub enum Answerer {
    /// The process that holds a folder, or a server.
    Process(Process),
    /// This process: nobody else holds the folder.
    Folder(Box<World>, Option<Workers>),
    /// This process, of a ledger alone, wherever the folder is.
    Ledger(Box<Reading>, Option<Workers>),
}

impl Answerer {
    /// The server that a command speaks to, or who holds the folder that it speaks of. Makes no folder.
    pub fn find(common: &Common) -> Result<Answerer, Failure> {
        if let Some(server) = contexts::chosen(common)? {
            return Ok(Answerer::Process(Process::Server(server)));
        }
        let folder = data_folder(common.data.as_deref(), None)?;
        if !folder.is_dir() {
            return Err(Failure::usage("no-data-folder", format!("there is no folder {}", folder.display()))
                .help("run a pipeline first (`syncline run FILE`), or name another folder with --data DIR"));
        }
        match World::claim(&folder) {
            Ok(Claim::Ours(world)) => Ok(Answerer::Folder(world, None)),
            Ok(Claim::Theirs(process, _)) => Ok(Answerer::Process(*process)),
            Err(failure) if failure.slug == "folder-in-use" => Err(failure),
            Err(failure) => Err(read_only(&folder).unwrap_or(failure)),
        }
    }

    /// Answers from the files of a ledger, with nothing else.
    pub fn of_ledger(place: &str, workers: Option<Workers>) -> Result<Answerer, Failure> {
        let ledger::Place { archive, objects, .. } = ledger::at(place, Missing::Refuse)?;
        let (store, log) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLog::new()));
        let reading = Reading { store, log, files: Some(Files { archive, objects }) };
        Ok(Answerer::Ledger(Box::new(reading), workers))
    }

    /// Lets workers answer where this process would.
    pub fn with_workers(self, workers: Option<Workers>) -> Result<Answerer, Failure> {
        match (self, workers) {
            (answerer, None) => Ok(answerer),
            (Self::Folder(world, _), workers) => Ok(Self::Folder(world, workers)),
            (Self::Ledger(reading, _), workers) => Ok(Self::Ledger(reading, workers)),
            (Self::Process(process), Some(_)) => {
                let title = match &process {
                    Process::Folder(folder) => format!("a process holds {}, and answers by itself", folder.display()),
                    Process::Server(_) => format!("{process} answers by itself"),
                };
                Err(Failure::usage("process-answers", title)
                    .help("give that process the workers: syncline run … --workers HOST:PORT,…")
                    .help("or ask the ledger's files alone: syncline query --ledger URL|DIR --workers HOST:PORT,… SQL"))
            }
        }
    }

    pub fn status(&self) -> Result<status::Status, Failure> {
        match self {
            Self::Folder(world, _) => status::read(&*world.ground.store, &*world.ground.log, None),
            Self::Ledger(reading, _) => status::read(&*reading.store, &*reading.log, None),
            Self::Process(process) => {
                let answer = control::call(process, Method::GET, "/v1/status", vec![])?;
                let answer = answer.ok_or_else(|| process.gone())?;
                serde_json::from_slice(&answer.body).map_err(|error| unreadable(error.to_string()))
            }
        }
    }

    /// Asks in SQL; `each` gets the rows batch by batch, an empty one first. `each` says false when it wants no more.
    pub fn query(&self, sql: &str, each: &mut dyn FnMut(&RecordBatch) -> Result<bool, Failure>) -> Result<(), Failure> {
        match self {
            Self::Folder(world, workers) => {
                settle(&world.ground)?;
                let catalog = Catalog::new(reading(world)).with_places(questions::beside(world.folder.path()));
                look(&catalog.with_workers(workers.clone()), sql, each)
            }
            Self::Ledger(reading, workers) => {
                look(&Catalog::new((**reading).clone()).with_workers(workers.clone()), sql, each)
            }
            Self::Process(process) => ask(process, sql, each),
        }
    }

    /// All rows of an answer that is known to be small.
    pub fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
        let mut batches = vec![];
        self.query(sql, &mut |batch| {
            batches.push(batch.clone());
            Ok(true)
        })?;
        Ok(batches)
    }
}

/// A stopped folder is locked and settled before it is looked at, which a disk that takes no writes does not let us do.
fn read_only(folder: &Path) -> Option<Failure> {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).err()?;
    let shown = folder.display();
    let copied = for_shell(&shown.to_string());
    Some(
        Failure::environment(
            "folder-read-only",
            format!("{shown} cannot be written to, and a look at it takes a lock"),
        )
        .help(format!("look at a copy: cp -r {copied} /tmp/copy && chmod -R u+w /tmp/copy, then the same command with --data /tmp/copy")),
    )
}

fn reading(world: &World) -> Reading {
    let files = ledger::files(world.ledger.as_ref());
    Reading { store: world.ground.store.clone(), log: world.ground.log.clone(), files }
}

fn look(
    catalog: &Catalog,
    sql: &str,
    each: &mut dyn FnMut(&RecordBatch) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment("no-threads", format!("no threads for the query: {error}")))?;
    let asked = async {
        // A command has its machine's time: whoever waits can stop it.
        let limits = Limits { time: None, ..Limits::default() };
        let mut rows = catalog.ask(sql, limits).await.map_err(query::failure)?;
        let mut wanted = each(&RecordBatch::new_empty(rows.schema()))?;
        while wanted && let Some(batch) = rows.next().await {
            wanted = each(&batch.map_err(query::failure)?)?;
        }
        Ok(())
    };
    let asked = async {
        tokio::select! {
            answer = asked => answer,
            () = interrupt::pressed() => Err(interrupt::cancelled()),
        }
    };
    // This thread works too, and its stack is what the system gives.
    let answer = stacker::grow(STACK, || runtime.block_on(asked));
    runtime.shutdown_timeout(LAST_BATCH);
    answer
}

/// Shows what every pipeline of the folder has committed, as its start would: until then topics of transactions show nothing. For
/// whoever holds the folder, before any pipeline runs. What cannot be shown of one pipeline does not hide the others: the first
/// failure is returned when all are done, and an answer without it would not be whole.
pub fn settle(ground: &Ground) -> Result<(), Failure> {
    let names = checkpoint::pipelines(&*ground.store, &checkpoint::KNOWN).map_err(store_failure)?;
    let mut first = Ok(());
    for pipeline in names {
        first =
            first.and(settle_one(ground, &pipeline).map_err(|failure| failure.seen(format!("pipeline {pipeline}"))));
    }
    first
}

fn settle_one(ground: &Ground, pipeline: &str) -> Result<(), Failure> {
    if revision::back(&*ground.store, pipeline).map_err(status::read_failure)?.is_some() {
        // Its next start shows what it goes back to.
        return Ok(());
    }
    let found = checkpoint::read_checkpoint(&*ground.store, pipeline).map_err(status::read_failure)?;
    let Some(checkpoint) = found else { return Ok(()) };
    let prefixes = job_prefixes(pipeline);
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    ground.log.recover(&prefixes, &checkpoint.ends).map_err(log_failure)
}

fn ask(
    process: &Process,
    sql: &str,
    each: &mut dyn FnMut(&RecordBatch) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut deframer = Deframer::default();
    let mut state = Asking::Open;
    let question = json!({ "sql": sql }).to_string().into_bytes();
    let accept = Some(frames::CONTENT_TYPE);
    let answered = control::stream(process, Method::POST, "/v1/queries", accept, question, &mut |piece| {
        for piece in deframer.push(&piece).map_err(|error| unreadable(error.to_string()))? {
            match piece {
                Piece::Batch(batch) if !each(&batch)? => state = Asking::Enough,
                Piece::Batch(_) => {}
                Piece::Problem(problem) => return Err(failure(&problem)),
                Piece::End => state = Asking::Ended,
            }
            if state == Asking::Enough {
                // Ends the connection; what is left of the answer is dropped.
                return Err(enough());
            }
        }
        Ok(())
    });
    match (answered, state) {
        (_, Asking::Enough | Asking::Ended) => Ok(()),
        (Ok(None), _) => Err(process.gone()),
        (Ok(Some(_)), Asking::Open) => Err(unreadable("the answer broke off".to_owned())),
        (Err(failure), _) => Err(failure),
    }
}

#[derive(PartialEq)]
enum Asking {
    Open,
    /// Nobody wants more rows.
    Enough,
    Ended,
}

fn enough() -> Failure {
    Failure::failed("enough", "no more rows are wanted")
}

fn failure(problem: &serde_json::Value) -> Failure {
    control::failure(Exit::Failed, problem).unwrap_or_else(|| unreadable(problem.to_string()))
}

pub fn unreadable(detail: String) -> Failure {
    Failure::environment("answer-unreadable", "the answer of the running process cannot be read")
        .seen(detail)
        .help("use the version of syncline that the process has")
}
