//! What people ask a running pipeline to take in: written into its text as `history(…) BESIDE`, and compiled with it.
//!
//! So it goes through the steps of the pipeline as they are, and whatever keeps it from that is told like any mistake of a file. The file
//! itself stays as it is; the store knows what was asked (`engine/src/backfill.rs`).

use syncline_dsl::plan::{Beside, Plan};
use syncline_engine::{
    backfill::{self, Backfill, Shared, State, Wish},
    checkpoint, revision,
    store::StateStore,
};
use syncline_record::Micros;
use syncline_syntax::{Diagnostic, Severity, ast, parse};

use crate::{
    api::status::read_failure,
    outcome::Failure,
    project::Member,
    source_file::{SourceFile, errors},
    verbs::Refused,
};

/// What it may take of the time when nobody says another share.
pub const SHARE: u8 = 25;

/// The plan that a pipeline runs by: its own, or the one with what it has to take in now. `anew`: it starts over, and has read nothing.
pub fn plan(store: &dyn StateStore, member: &Member, anew: bool) -> Result<Option<Plan>, Failure> {
    let asked = backfill::read(store, member.name()).map_err(read_failure)?;
    let Some(asked) = asked.filter(|asked| asked.wish == Wish::Read) else { return Ok(None) };
    // By what it has itself: a task that starts over reads it again, whatever others were told.
    let checkpoint = match revision::back(store, member.name()).map_err(read_failure)? {
        // It begins with what that revision had read.
        Some(back) => {
            revision::stood(store, member.name(), back.to).map_err(read_failure)?.map(|stood| stood.checkpoint)
        }
        None => checkpoint::read_checkpoint(store, member.name()).map_err(read_failure)?,
    };
    if !anew && checkpoint.and_then(|checkpoint| checkpoint.history).is_some_and(|note| asked.is_read(&note)) {
        return Ok(None);
    }
    compiled(member, &asked).map(|whole| member.part_of(whole)).map_err(|refused| *refused.failure)
}

/// What the next one of a pipeline is, when this is its last. It begins with the pipeline's next start.
pub fn next(
    member: &Member,
    last: Option<&(Backfill, State)>,
    (from, share): (&str, u8),
    now: Micros,
) -> Result<Backfill, Refused> {
    let name = &member.declared;
    if let Some((last, state)) = last.filter(|(_, state)| !state.is_over()) {
        let title = format!("backfill {} of {name} is {}", last.number, state.as_str());
        let help = format!("wait for it, or end it: syncline backfill cancel {name}");
        return Err(Failure::failed("backfill-open", title).help(help).into());
    }
    let number = last.map_or(1, |(last, _)| last.number + 1);
    let shared = member.plan.options.changelog.as_ref().map(|_| Shared::of(member.readers()));
    let asked = Backfill { number, from: from.to_owned(), share, wish: Wish::Read, asked: now, shared };
    compiled(member, &asked)?;
    Ok(asked)
}

/// The plan of a pipeline with what it would take in.
pub fn with(member: &Member, from: &str, share: u8) -> Result<Plan, Refused> {
    let asked = Backfill { number: 1, from: from.to_owned(), share, wish: Wish::Read, asked: 0, shared: None };
    let whole = compiled(member, &asked)?;
    // A stage that reads no source takes nothing in.
    Ok(member.part_of(whole.clone()).unwrap_or(whole))
}

/// Whether a look at what stands beside the source changes nothing: what an address gives is put into the data folder.
pub fn is_looked_at(plan: &Plan) -> bool {
    plan.backfill().is_some_and(|(arm, _)| arm.source.place.connector != "http_get")
}

/// The slug of a place that may answer later.
pub const AWAY: &str = "input-failed";

/// What is told of a place that cannot be read.
pub fn unreadable(pipeline: &str, from: &str, why: Failure) -> Refused {
    let title = format!("{pipeline} cannot take in {from}: {}", why.title);
    let failure = match &*why.slug {
        AWAY => Failure::environment("backfill-unreadable", title),
        _ => Failure::failed("backfill-unreadable", title),
    };
    // What is said of a run that failed is another matter.
    let edits = if why.slug == "cannot-bind" { why.help } else { vec![] };
    let failure = edits.into_iter().fold(failure, Failure::help);
    failure.help("nothing was asked of the pipeline: mend that, and start the backfill again").into()
}

/// Asks a pipeline that this folder has all of to take something in.
pub fn start(store: &dyn StateStore, member: &Member, from: &str, share: u8, now: Micros) -> Result<Backfill, Refused> {
    let last = backfill::standing(store, member.name()).map_err(read_failure)?;
    let asked = next(member, last.as_ref(), (from, share), now)?;
    backfill::write(store, member.name(), &asked).map_err(read_failure)?;
    Ok(asked)
}

/// The newest one of a pipeline held, let go on, or ended. `None`: it is so already.
pub fn changed(pipeline: &str, newest: Option<(Backfill, State)>, wish: Wish) -> Result<Option<Backfill>, Failure> {
    let Some((asked, state)) = newest else {
        return Err(Failure::failed("no-such-backfill", format!("nothing was asked of {pipeline} to take in"))
            .help(format!("syncline backfill start {pipeline} \"'old/*.parquet'\"")));
    };
    if state.is_over() && (state, wish) != (State::Cancelled, Wish::Cancel) {
        let title = format!("backfill {} of {pipeline} is {}", asked.number, state.as_str());
        return Err(Failure::failed("backfill-over", title).help("start another one"));
    }
    Ok((asked.wish != wish).then_some(Backfill { wish, ..asked }))
}

/// Changes the newest one of a pipeline that this folder has all of. Whether that changes anything.
pub fn change(store: &dyn StateStore, pipeline: &str, wish: Wish) -> Result<bool, Failure> {
    let newest = backfill::standing(store, pipeline).map_err(read_failure)?;
    if newest.as_ref().is_some_and(|(newest, _)| newest.shared.is_some()) {
        let title = format!(
            "{pipeline} has a changelog: what it takes in is asked of all its processes, and this folder has a copy"
        );
        return Err(Failure::failed("nobody-runs", title).help("start it here or anywhere, and ask that process"));
    }
    let Some(changed) = changed(pipeline, newest, wish)? else { return Ok(false) };
    backfill::write(store, pipeline, &changed).map_err(read_failure)?;
    Ok(true)
}

/// What a word of the command wants of one that is there.
pub fn wish(verb: &str) -> Option<Wish> {
    match verb {
        "pause" => Some(Wish::Pause),
        "resume" => Some(Wish::Read),
        "cancel" => Some(Wish::Cancel),
        _ => None,
    }
}

/// The plan of the whole pipeline.
fn compiled(member: &Member, asked: &Backfill) -> Result<Plan, Refused> {
    let wrong = |text: &str, diagnostics: &[Diagnostic]| {
        let title = format!("{} cannot take in {}", &member.declared, asked.from);
        let mut failure = Failure::usage("backfill-wrong", title);
        for one in diagnostics.iter().filter(|one| one.severity == Severity::Error) {
            failure = failure.seen(one.title.clone());
            failure = one.help.iter().fold(failure, |failure, help| failure.help(help.clone()));
        }
        if histories(&member.file.text, &member.declared).is_some_and(|all| !all.is_empty()) {
            failure = failure.help("the file has a history BESIDE of its own: once that is read, it can be taken out, and is over for good");
        }
        if errors(diagnostics) == 0 {
            failure = failure
                .seen("these words do not end where they have to")
                .help("give what would stand in history(…): a path in quotes, a source, or FROM … |> …");
        }
        let shown = |one: &Diagnostic| one.to_json(&member.file.name(), text);
        Refused { failure: Box::new(failure), diagnostics: diagnostics.iter().map(shown).collect() }
    };
    let Some((text, span)) = written_in(&member.file.text, &member.declared, &asked.from) else {
        return Err(wrong(&member.file.text, &[]));
    };
    let file = SourceFile { path: member.file.path.clone(), text };
    // The words may not reach beyond their brackets.
    let whole = histories(&file.text, &member.declared).is_some_and(|all| all.contains(&span));
    let checked = file.compile();
    let plan = checked.plan.pipelines.into_iter().find(|plan| plan.pipeline == member.declared);
    match plan.filter(|_| whole && errors(&checked.diagnostics) == 0) {
        Some(mut plan) => {
            plan.number_backfill(Beside { number: asked.number, share: asked.share });
            Ok(plan)
        }
        None => Err(wrong(&file.text, &checked.diagnostics)),
    }
}

fn flow<'a>(file: &'a ast::File, pipeline: &str) -> Option<&'a ast::Flow> {
    file.statements.iter().find_map(|statement| match statement {
        ast::Statement::Pipeline(it) if it.name.text == pipeline => Some(&it.flow),
        _ => None,
    })
}

/// Where the histories of a pipeline stand that are read beside it.
fn histories(text: &str, pipeline: &str) -> Option<Vec<(usize, usize)>> {
    let (file, _) = parse(text);
    let flow = flow(&file, pipeline)?;
    Some(flow.history.iter().filter(|one| one.beside).map(|one| (one.span.start, one.span.end)).collect())
}

/// The text of a file in which a pipeline takes something in beside its source; and where that stands.
fn written_in(text: &str, pipeline: &str, from: &str) -> Option<(String, (usize, usize))> {
    let (file, _) = parse(text);
    let flow = flow(&file, pipeline)?;
    let at = flow.history.first().map_or(flow.source.span.start, |first| first.span.start);
    let history = format!("history({from})");
    let span = (at, at + history.len());
    Some((format!("{}{history} BESIDE {}", &text[..at], &text[at..]), span))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        command::Format,
        project::{Project, Scope},
    };

    const FILE: &str = "PIPELINE other AS FROM http('/b') |> INSERT INTO stdout();
PIPELINE orders AS
FROM http('/orders') |> SELECT CAST(id AS BIGINT) AS id |> INSERT INTO sqlite('out.db', 'orders');\n";

    fn asked(from: &str) -> Result<Plan, String> {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("old.ndjson"), "{\"id\": 1}\n").unwrap();
        std::fs::write(folder.path().join("a.sync"), FILE).unwrap();
        let scope = Scope { paths: vec![folder.path().join("a.sync")], ..Scope::default() };
        let project = Project::read(&scope, &crate::compiler::Compiler::default(), Format::Table).unwrap();
        let member = project.pipelines.iter().find(|member| member.name() == "orders").unwrap();
        let asked = Backfill { number: 3, from: from.into(), share: 40, wish: Wish::Read, asked: 0, shared: None };
        compiled(member, &asked).map_err(|wrong| format!("{}: {:?}", wrong.failure.title, wrong.failure.detail))
    }

    #[test]
    fn what_is_asked_for_is_read_beside_the_source_of_that_pipeline() {
        for from in ["file('old.ndjson')", "'old.ndjson'", "FROM file('old.ndjson') |> WHERE id > 0"] {
            let plan = asked(from).unwrap();
            let (arm, beside) = plan.backfill().expect("an arm");
            assert_eq!(beside, Beside { number: 3, share: 40 });
            assert_eq!((&*arm.source.place.connector, &*plan.pipeline), ("file", "orders"));
        }
    }

    #[test]
    fn words_that_leave_their_brackets_or_never_end_are_refused() {
        for from in [
            "'old.ndjson') THEN http('/c') |> SELECT id |> INSERT INTO stdout(); PIPELINE more AS FROM file('old.ndjson'",
            "http('/more')",
            "FROM file('old.ndjson') |> DEDUP BY id WITHIN '1 day'",
            "",
        ] {
            let told = asked(from).expect_err(from);
            assert!(told.starts_with("orders cannot take in"), "{told}");
        }
    }
}
