//! The paths that pipelines read, as their files declare them: who may send, how much, and through which door.

use std::{cell::RefCell, net::SocketAddr, path::Path};

use syncline_connectors::{Args, http::HttpPath};
use syncline_dsl::plan::{Place, Plan};

use crate::{
    bind::{BindError, arguments},
    outcome::{Exit, Failure},
    project::Project,
};

/// A path and the pipeline that reads it.
pub struct Inlet {
    pub path: HttpPath,
    pub pipeline: String,
    /// As the file has it.
    written: String,
    args: Args,
}

/// The paths of a process.
#[derive(Default)]
pub struct Inlets(Vec<Inlet>);

impl Inlets {
    pub fn all(&self) -> &[Inlet] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths that a pipeline reads.
    pub fn of(&self, pipeline: &str) -> Vec<HttpPath> {
        self.0.iter().filter(|inlet| inlet.pipeline == pipeline).map(|inlet| inlet.path.clone()).collect()
    }
}

/// The paths that the pipelines of a project read, with their secrets as they are now. `folder`: where secrets are kept.
pub fn inlets(project: &Project, folder: &Path) -> Result<Inlets, Failure> {
    let mut inlets: Vec<Inlet> = vec![];
    let plans = project.pipelines.iter().map(|member| &member.plan);
    let read = plans.flat_map(|plan| plan.sources().into_iter().map(move |source| (plan, &source.place)));
    for (plan, place) in read.filter(|(_, place)| place.connector == "http") {
        let inlet = inlet(plan, place, folder)?;
        let other = inlets.iter().find(|other| other.path.path == inlet.path.path && other.says() != inlet.says());
        if let Some(other) = other {
            return Err(Failure::usage(
                "same-path",
                format!("two sources read /in/{}, and say different things about it", inlet.path.path),
            )
            .seen(format!("{}: {}", other.pipeline, other.written))
            .seen(format!("{}: {}", inlet.pipeline, inlet.written))
            .help("what is sent is taken once, for both: write the same in both, or use two paths"));
        }
        inlets.push(inlet);
    }
    Ok(Inlets(inlets))
}

fn inlet(plan: &Plan, place: &Place, folder: &Path) -> Result<Inlet, Failure> {
    let missing = RefCell::new(None);
    let secrets = |path: &str| {
        crate::secrets::resolve(folder, path).map(|secret| secret.expose().to_owned()).map_err(|failure| {
            let title = failure.title.clone();
            missing.replace(Some(failure));
            title
        })
    };
    let seen = |failure: Failure| failure.seen(format!("pipeline {}: {}", plan.pipeline, place.text));
    let args = arguments(place, &secrets).map_err(|error| match (error, missing.take()) {
        (BindError::Secret { .. }, Some(failure)) => seen(failure),
        (error @ BindError::Env { .. }, _) => {
            seen(Failure::of_line(Exit::Environment, "no-such-variable", &error.to_string()))
        }
        (error, _) => seen(Failure::usage("cannot-bind", error.to_string())),
    })?;
    let path = HttpPath::new(&args).map_err(|error| seen(Failure::usage("cannot-bind", error.to_string())))?;
    Ok(Inlet { path, pipeline: plan.pipeline.clone(), written: place.text.clone(), args })
}

impl Inlet {
    /// Everything but the path, which may be written with other slashes.
    fn says(&self) -> impl PartialEq + '_ {
        self.args.named.iter().filter(|(name, _)| *name != "path").collect::<Vec<_>>()
    }
}

/// Whether a door for records may be opened here: to other machines only when nothing is taken from just anybody.
pub fn may_open(address: SocketAddr, Inlets(inlets): &Inlets) -> Result<(), Failure> {
    if inlets.is_empty() {
        return Err(Failure::usage("nothing-to-ingest", format!("--ingest {address}: no pipeline reads from http(…)"))
            .help("leave --ingest out"));
    }
    let open: Vec<&Inlet> = inlets.iter().filter(|inlet| inlet.path.verify.is_none()).collect();
    if address.ip().is_loopback() || open.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::usage(
        "ingest-not-verified",
        format!("{address} can be reached from other machines, and anybody there could send records"),
    );
    for inlet in open {
        failure = failure
            .seen(format!("/in/{} has no `verify`: {} of pipeline {}", inlet.path.path, inlet.written, inlet.pipeline));
    }
    Err(failure
        .help("say who may send, for example: http('/path', verify => github(secret('github/webhook')))")
        .help(format!("or take records from this machine only: --ingest 127.0.0.1:{}", address.port())))
}
