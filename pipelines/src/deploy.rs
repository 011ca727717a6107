//! Pipelines that are written through a running process: their files, checked before they are touched.
//!
//! The files of the folder say what is declared, whoever wrote them. A text is compiled, put beside the other files as if it stood there,
//! and compared with the state that is there; only then its file is exchanged, by rename: a crash leaves the old text or the new one.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use syncline_connectors::retried;
use syncline_dsl::Checked;
use syncline_engine::{
    backfill, checkpoint, events, firing, letters,
    log::Ends,
    paused, revision,
    runtime::{Ground, start::StartOptions},
    store::Changes,
};
use syncline_record::StepId;

use crate::{
    api::status::read_failure,
    compiler::Compiler,
    inlets::inlets,
    origin,
    outcome::Failure,
    plans::{self, Around, DroppedLine, Proposed},
    project::{Change, Member, Project, declared},
    source_file::{SourceFile, catalog, errors, words},
    supervision::Supervision,
    verbs::{Put, Refused},
    world::{log_failure, store_failure},
};

/// The longest text that is taken: a thousand times a long file.
pub const LONGEST_TEXT: usize = 4 << 20;

/// How often a plan is made anew because what it is compared with changed meanwhile.
const LOOKS: usize = 3;

/// A text that may take the place of what stands in its file.
pub struct Written {
    path: PathBuf,
    text: String,
    /// Of what it declares.
    pub digests: Vec<(String, String)>,
}

impl Written {
    /// The same text stands there.
    pub fn is_there(&self) -> bool {
        fs::read(&self.path).is_ok_and(|there| there == self.text.as_bytes())
    }

    /// Durable when it returns; a reader sees the old text or this one.
    pub fn write(&self) -> Result<(), Failure> {
        write(&self.path, &self.text)
    }
}

/// Puts a text in the place of a file, all at once and durably.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that whoever reads the folder meanwhile does not take it for a pipeline.
    let next = path.with_file_name(format!(".{name}.tmp"));
    let written = || {
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        sync_folder(path)
    };
    written().map_err(failed("written", path))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| {
        Failure::environment("file-not-written", format!("{} cannot be {verb}: {}", path.display(), words(&error)))
            .help("check the folder's disk and permissions, then ask again")
    }
}

/// The one folder whose files this process serves.
pub fn folder(all: &Supervision<'_>) -> Result<PathBuf, Failure> {
    match all.scope.paths.as_slice() {
        [folder] if all.stays && all.scope.only.is_empty() => Ok(folder.clone()),
        _ => Err(Failure::failed("files-not-served", "this process runs the files that it was given, and writes none")
            .help("start it with `syncline serve FOLDER`; or edit the file, and send it SIGHUP")),
    }
}

/// The file that a pipeline of this name is written to.
fn path(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(plain) {
        return Err(Failure::usage("no-file-name", format!("`{name}` is no name for a file"))
            .help("a pipeline that is written this way has a name of letters, digits, `_` and `-`, up to 100"));
    }
    Ok(folder.join(format!("{name}.sync")))
}

/// The text of the file that declares a pipeline, as it is now. Where the file is gone and nobody has told, what was read of it.
pub fn text_of(member: &Member) -> Result<Vec<u8>, Failure> {
    Ok(bytes_of(&member.file.path)?.unwrap_or_else(|| member.file.text.clone().into_bytes()))
}

/// The text whose place one of this pipeline would take: that of its file, or of a file that nobody has read yet.
pub fn there(all: &Supervision<'_>, name: &str, member: Option<&Member>) -> Result<Option<Vec<u8>>, Failure> {
    match member {
        Some(member) => text_of(member).map(Some),
        None => bytes_of(&path(&folder(all)?, name)?),
    }
}

fn bytes_of(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::environment(
            "file-unreadable",
            format!("{} cannot be read: {}", path.display(), words(&error)),
        )
        .help("check the folder's disk and permissions, then ask again")),
    }
}

/// Whether a text can take the place of what stands in its file, so that what runs goes on from the state that is there.
pub fn check(all: &Supervision<'_>, compiler: &Compiler, name: &str, put: &Put) -> Result<Written, Refused> {
    let (written, proposed) = proposed(all, compiler, name, put)?;
    if put.plan.as_ref().is_some_and(|plan| *plan != proposed.id) {
        return Err(plans::stale().into());
    }
    proposed.refusal.map_or(Ok(written), |refusal| Err(refusal.into()))
}

/// What a text would do, which declares a pipeline of that name. What it is compared with is the same before and behind the look.
pub fn proposed(
    all: &Supervision<'_>,
    compiler: &Compiler,
    name: &str,
    put: &Put,
) -> Result<(Written, Proposed), Refused> {
    let folder = folder(all)?;
    let path = path(&folder, name)?;
    let file = SourceFile { path: path.clone(), text: put.text.clone() };
    compiled(&file, compiler, name)?;
    let names: Vec<String> = declared(&file).into_iter().map(|(name, _)| name).collect();
    if !names.iter().any(|declared| declared == name) {
        return Err(Failure::usage("another-name", format!("the text declares no pipeline {name}"))
            .help(format!("it declares {}: write it under that name", names.join(", ")))
            .into());
    }
    for name in &names {
        let back = revision::back(&*all.world.ground.store, name).map_err(read_failure)?;
        // The text of that revision is the one that it waits for.
        if let Some(back) = back.filter(|back| back.text != put.text) {
            let title = format!("{name} goes back to its revision {}, and has not begun there yet", back.to);
            return Err(Failure::failed("goes-back", title)
                .help("wait until it has; one that is paused has to be resumed")
                .help(format!(
                    "one that was deleted comes back with the text of that revision: syncline revisions {name}"
                ))
                .into());
        }
    }
    let change = Change { path: &path, text: Some(&put.text) };
    let project = Project::as_if(&all.scope, change, compiler, all.output)?;
    all.host.may_declare(&inlets(&project, all.world.folder.path())?)?;
    origin::check(all.world, &project.pipelines)?;
    let mine: Vec<Arc<Member>> =
        project.pipelines.into_iter().filter(|member| names.contains(&member.declared)).collect();
    origin::check_steps(all.world, &mine, &put.drop_state)?;
    let ground = &all.world.ground;
    let (planner, catalog, now) = (&all.planner, &catalog(), ground.clock.now());
    let around = Around { planner, catalog, compiler, ground: Some(ground), most: all.keeps, now };
    let drop_state: Vec<StepId> = put.drop_state.iter().map(StepId::new).collect();
    let options = StartOptions { drop_state, ..StartOptions::default() };
    let tasks: Vec<&str> = mine.iter().map(|member| member.name()).collect();
    // A text that has taken its place since counts, also before it has begun.
    let compared = || {
        let there = fs::read_to_string(&path).ok();
        Ok::<_, Failure>((plans::id((&put.text, there.as_deref()), &tasks, ground)?, there))
    };
    let mut before = compared()?;
    for _ in 0..LOOKS {
        let (mut pipelines, mut refusal) = (vec![], None);
        for member in &mine {
            let (planned, refused) = plans::of(member, &around, &options)?;
            pipelines.push(planned);
            refusal = refusal.or(refused);
        }
        let behind = compared()?;
        if behind == before {
            let dropped = dropped(behind.1.as_deref().unwrap_or_default(), &names, ground)?;
            let refusal = refusal.or_else(|| would_go(&dropped, &put.drop_pipelines));
            let digests = mine.iter().map(|member| (member.name().to_owned(), member.digest())).collect();
            let proposed = Proposed { id: before.0, pipelines, dropped, refusal };
            return Ok((Written { path, text: put.text.clone(), digests }, proposed));
        }
        before = behind;
    }
    Err(plans::stale().into())
}

/// Pipelines of the text that is there which one with these names takes away.
fn dropped(there: &str, names: &[String], ground: &Ground) -> Result<Vec<DroppedLine>, Failure> {
    let gone = names_of(there).into_iter().filter(|name| !names.contains(name));
    gone.map(|name| DroppedLine::of(name, ground)).collect()
}

/// What stops without a word for it would be missed.
fn would_go(dropped: &[DroppedLine], allowed: &[String]) -> Option<Failure> {
    let gone = dropped.iter().map(|one| one.pipeline.as_str());
    let gone: Vec<&str> = gone.filter(|name| !allowed.iter().any(|one| one == name)).collect();
    let first = gone.first()?;
    let title = format!("the text declares {} no more, and its file does", gone.join(", "));
    let how = format!("syncline apply FILE --drop-pipeline {first}; over HTTP, \"drop_pipelines\": [\"{first}\"]");
    let failure = Failure::failed("pipeline-would-go", title).help("keep it in the text: a file is written as a whole");
    Some(failure.help(format!("or let it stop, with its state kept: {how}")))
}

/// The pipelines that a text declares, as far as it can be read.
pub fn names_of(text: &str) -> Vec<String> {
    let file = SourceFile { path: PathBuf::from("the text"), text: text.to_owned() };
    declared(&file).into_iter().map(|(name, _)| name).collect()
}

/// The first pipeline that a text declares: its file has that name.
pub fn name_of(text: &str) -> Result<String, Refused> {
    if let Some(name) = names_of(text).into_iter().next() {
        return Ok(name);
    }
    let file = SourceFile { path: PathBuf::from("the text"), text: text.to_owned() };
    compiled(&file, &Compiler::default(), "a pipeline").map(drop)?;
    Err(Failure::usage("no-pipeline", "the text declares no pipeline").into())
}

/// Compiles a text that came from elsewhere; what is wrong with it is for whoever sent it.
pub fn compiled(file: &SourceFile, compiler: &Compiler, name: &str) -> Result<Arc<Checked>, Refused> {
    if file.text.len() > LONGEST_TEXT {
        return Err(Failure::usage("text-too-long", format!("a text has at most {LONGEST_TEXT} bytes")).into());
    }
    let checked = compiler.compile(file)?;
    let mistakes = errors(&checked.diagnostics);
    if mistakes == 0 {
        return Ok(checked);
    }
    let what = if mistakes == 1 { "an error".to_owned() } else { format!("{mistakes} errors") };
    let shown = syncline_syntax::render(&checked.diagnostics, &file.name(), &file.text, false);
    let mut failure = Failure::usage("file-wrong", format!("the text of {name} has {what}; nothing was changed"));
    failure.detail = shown.lines().map(str::to_owned).collect();
    let diagnostics = checked.diagnostics.iter().map(|found| found.to_json(&file.name(), &file.text)).collect();
    Err(Refused { failure: Box::new(failure), diagnostics })
}

/// Whether the file of a pipeline can be taken away: one that others stand in, or that others need, stays.
pub fn may_remove(all: &Supervision<'_>, compiler: &Compiler, folder: &Path, member: &Member) -> Result<(), Failure> {
    let path = &member.file.path;
    let others: Vec<String> =
        declared(&member.file).into_iter().map(|(name, _)| name).filter(|name| *name != member.declared).collect();
    if !others.is_empty() {
        return Err(Failure::failed(
            "file-of-several",
            format!("{} declares {} too", path.display(), others.join(", ")),
        )
        .help("write that file without this pipeline: it is one text")
        .help(format!("syncline apply FILE --drop-pipeline {}", member.declared)));
    }
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if !real(path).starts_with(real(folder)) {
        return Err(Failure::failed("files-not-served", format!("{} lies elsewhere", path.display()))
            .help("remove it there, and send this process SIGHUP"));
    }
    Project::as_if(&all.scope, Change { path, text: None }, compiler, all.output).map(drop)
}

/// Takes a file away, durably.
pub fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).and_then(|()| sync_folder(path)).map_err(failed("removed", path))
}

/// Whether anything is kept of a pipeline.
pub fn is_known(ground: &Ground, name: &str) -> Result<bool, Failure> {
    Ok(ground.store.get(&checkpoint::checkpoint_key(name)).map_err(store_failure)?.is_some())
}

/// Whether all that is known of a pipeline lies in this folder.
pub fn may_forget(member: &Member) -> Result<(), Failure> {
    match &member.plan.options.changelog {
        None => Ok(()),
        Some(_) => Err(Failure::failed(
            "state-elsewhere",
            format!("the state of {} lies in its changelog, and other machines may go on with it", member.declared),
        )
        .help("delete it without its state; then delete its topics where they lie")),
    }
}

/// All that is known of a pipeline which does not run goes, in one step. What it wrote outside stays.
pub fn forget(ground: &Ground, name: &str) -> Result<(), Failure> {
    let mut changes = Changes::default();
    let (keys, prefixes) = checkpoint::keys_of(name);
    // Who signs its outputs and its ledger stays: another pipeline of this name here is another life of the same one.
    let keys = keys.into_iter().filter(|key| *key != checkpoint::owner_key(name));
    keys.for_each(|key| changes.remove(key));
    changes.remove(origin::key(name));
    changes.remove(backfill::key(name));
    let (_, revisions) = revision::keys_of(name);
    revision::forget_decided(&*ground.store, name, &mut changes).map_err(store_failure)?;
    firing::keys_of(name).into_iter().for_each(|key| changes.remove(key));
    changes.remove(paused::key(name));
    for prefix in prefixes.into_iter().chain(revisions).chain([letters::prefix(name)]) {
        let mut remove = |key: &[u8], _: &[u8]| {
            changes.remove(key);
            true
        };
        ground.store.scan(&prefix, &mut remove).map_err(store_failure)?;
    }
    // The last event stays, so that numbers go on: whoever follows events from a cursor misses none of a next life.
    let mut events = vec![];
    let mut met = |key: &[u8], _: &[u8]| {
        events.push(key.to_vec());
        true
    };
    ground.store.scan(&events::prefix(name), &mut met).map_err(store_failure)?;
    events.pop();
    events.into_iter().for_each(|key| changes.remove(key));
    ground.store.apply(changes).and_then(|()| ground.store.flush()).map_err(store_failure)?;
    let again = retried::topic(name);
    let end = ground.log.end(&again).map_err(log_failure)?;
    if end > 0 {
        ground.log.begin(&again, end).map_err(log_failure)?;
    }
    // No checkpoint names them any more: a crash before this leaves bytes that the next start cuts off.
    let topics = format!("pipeline/{name}/");
    ground.log.recover(&[&topics], &Ends::new()).map_err(log_failure)
}

#[cfg(test)]
mod tests {
    use syncline_engine::{
        clock::{SeededRng, SystemClock},
        log::memory::MemoryLog,
        revision::{Allowed, Back},
        store::{StateStore, memory::MemoryStore},
    };

    use super::*;

    #[test]
    fn a_name_becomes_a_file_of_the_folder_and_no_other() {
        let folder = Path::new("pipelines");
        assert_eq!(path(folder, "orders_2").unwrap(), Path::new("pipelines/orders_2.sync"));
        for name in ["", "../orders", "a/b", ".hidden", "a b", &"x".repeat(101)] {
            assert_eq!(path(folder, name).unwrap_err().slug, "no-file-name", "{name}");
        }
    }

    #[test]
    fn nothing_is_left_of_a_pipeline_that_is_forgotten_but_who_signs_its_outputs() {
        let store = Arc::new(MemoryStore::new());
        let ground = Ground {
            store: store.clone(),
            log: Arc::new(MemoryLog::new()),
            clock: Arc::new(SystemClock::default()),
            rng: Arc::new(SeededRng::from_seed(7)),
        };
        for name in ["orders", "orders2"] {
            checkpoint::owner_id(&*store, name, &*ground.rng).unwrap();
            paused::pause(&*store, name, 7).unwrap();
            firing::put_hold(&*store, name, true, 7).unwrap();
            let mark = letters::Mark { standing: letters::Standing::Discarded, time: 7, who: "ada".to_owned() };
            letters::put(&*store, name, "1", Some(&mark)).unwrap();
            let allowed = Allowed { digest: "d".to_owned(), steps: vec![StepId::new("dedup")] };
            revision::allow(&*store, name, &allowed).unwrap();
            revision::decide(&*store, &Back { pipeline: name.to_owned(), to: 1, text: String::new(), fence: None })
                .unwrap();
        }
        let keys = || {
            let mut keys = vec![];
            let mut each = |key: &[u8], _: &[u8]| {
                keys.push(String::from_utf8_lossy(key).replace('\0', " "));
                true
            };
            store.scan(b"", &mut each).unwrap();
            keys
        };
        let before = keys();
        forget(&ground, "orders").unwrap();
        let others: Vec<String> =
            before.into_iter().filter(|key| key.contains("orders2") || key == "o/orders").collect();
        assert_eq!(keys(), others);
    }

    #[test]
    fn a_text_takes_the_place_of_another_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.sync");
        for text in ["one", "another that is longer", ""] {
            let written = Written { path: path.clone(), text: text.to_owned(), digests: vec![] };
            assert!(!written.is_there());
            written.write().unwrap();
            assert!(written.is_there());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
