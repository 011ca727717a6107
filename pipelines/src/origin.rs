//! Where the pipelines of a data folder come from: the file that each was started from last.
//!
//! State, positions and output are kept under a pipeline's name. Two files with one name would work on the same state in turns, so
//! the second one is refused for as long as the first one declares that name.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use syncline_engine::{checkpoint, ledger, store::Changes};
use syncline_record::StepId;

use crate::{
    bind::places,
    outcome::Failure,
    project::Member,
    secrets,
    source_file::SourceFile,
    world::{World, store_failure},
};

/// The key of the file that a pipeline was started from last.
pub fn key(pipeline: &str) -> Vec<u8> {
    [b"f/", pipeline.as_bytes()].concat()
}

/// Lets pipelines in: notes which file each comes from, and refuses those that would get in each other's way.
pub fn admit(world: &World, members: &[Arc<Member>]) -> Result<(), Failure> {
    let changes = check(world, members)?;
    world.ground.store.apply(changes).map_err(store_failure)
}

/// The same, and nothing is noted: what would be.
pub fn check(world: &World, members: &[Arc<Member>]) -> Result<Changes, Failure> {
    let folders: Vec<PathBuf> = members.iter().map(|member| member.file.folder()).collect();
    let places: Vec<_> =
        members.iter().zip(&folders).map(|(member, folder)| (&member.plan, folder.as_path())).collect();
    places::check(&places, &|path| secrets::text(world.folder.path(), path))?;
    let mut changes = Changes::default();
    for member in members {
        let from = told(world, &member.file.path);
        let key = key(member.name());
        let known = world.ground.store.get(&key).map_err(store_failure)?;
        let known = known.and_then(|known| String::from_utf8(known).ok());
        if let Some(first) = known.as_deref().filter(|known| *known != from)
            && declares(&beside(world).join(first), member.name())
        {
            return Err(same_name(member.name(), &beside(world).join(first), &member.file.path));
        }
        if known.as_deref() != Some(&from) {
            changes.put(key, from.into_bytes());
        }
    }
    Ok(changes)
}

/// Refuses names of steps that no pipeline here has or ever had state of.
pub fn check_steps(world: &World, members: &[Arc<Member>], named: &[String]) -> Result<(), Failure> {
    let mut known = BTreeSet::new();
    for plan in members.iter().map(|member| &member.plan) {
        plan.each_step(&mut |step| _ = known.insert(step.id.clone()));
        let outbox = ledger::outbox_topic(&plan.pipeline, &StepId::new(""));
        // A checkpoint that cannot be read is told by the start.
        let checkpoint = checkpoint::read_checkpoint(&*world.ground.store, &plan.pipeline).ok().flatten();
        let Some(checkpoint) = checkpoint else { continue };
        known.extend(checkpoint.states.keys().map(ToString::to_string));
        known.extend(checkpoint.ends.keys().filter_map(|topic| topic.strip_prefix(&outbox).map(str::to_owned)));
    }
    match named.iter().find(|name| !known.contains(*name)) {
        None => Ok(()),
        Some(name) => Err(Failure::usage("no-such-step", format!("there is no step `{name}` to drop the state of"))
            .help(format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", ")))),
    }
}

pub fn same_name(pipeline: &str, first: &Path, second: &Path) -> Failure {
    Failure::usage("same-pipeline", format!("two files declare the pipeline `{pipeline}`"))
        .seen(first.display().to_string())
        .seen(second.display().to_string())
        .help("give one of them another name: state and output are kept under it")
        .help("or give each a data folder of its own with --data DIR; or remove the file that is not used any more")
}

/// The folder that the data folder is in: a project that is moved as a whole keeps what it knows.
fn beside(world: &World) -> PathBuf {
    world.folder.path().parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn told(world: &World, file: &Path) -> String {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    real.strip_prefix(beside(world)).unwrap_or(&real).to_string_lossy().into_owned()
}

/// Whether the file that a pipeline came from declares it still.
pub fn is_declared(world: &World, pipeline: &str) -> bool {
    file_of(world, pipeline).is_some_and(|file| declares(&file, pipeline))
}

/// The file that a pipeline was started from last.
pub fn file_of(world: &World, pipeline: &str) -> Option<PathBuf> {
    let known = world.ground.store.get(&key(pipeline)).ok().flatten();
    known.and_then(|known| String::from_utf8(known).ok()).map(|from| beside(world).join(from))
}

fn declares(file: &Path, pipeline: &str) -> bool {
    let read = SourceFile::read(file).map(|file| file.compile());
    read.is_ok_and(|checked| checked.plan.pipelines.iter().any(|plan| plan.pipeline == pipeline))
}
