//! What a start of a pipeline would do with the state that is there, and what it would refuse: asked before anything is changed, with
//! nothing outside opened.

use syncline_engine::{
    runtime::{
        Ground,
        foresee::{Foreseen, foresee},
        job::JobSpec,
        start::{StartError, StartOptions},
        supervisor::RunError,
    },
    witness::NoWitness,
};
use syncline_functions::Planner;

use crate::{
    bind::{bind, unopened::UnopenedEdges},
    outcome::{Exit, Failure},
    project::Member,
    run_failure::run_failure,
};

/// What a start would make, and what it would meet in `ground`. `options`: what it is allowed to throw away.
pub fn of(
    member: &Member,
    planner: &Planner,
    ground: Option<&Ground>,
    options: &StartOptions,
) -> Result<(JobSpec, Foreseen), Failure> {
    let mut spec = bind(&member.plan, planner, &UnopenedEdges, Box::new(NoWitness))
        .map_err(|error| Failure::of_line(Exit::Usage, "cannot-bind", &error.to_string()))?
        .job;
    let foreseen = match ground {
        Some(ground) => foresee(ground, &mut spec, options).map_err(|error| failure(error, member))?,
        None => Foreseen::default(),
    };
    Ok((spec, foreseen))
}

fn failure(error: StartError, member: &Member) -> Failure {
    run_failure(RunError::Start(error), member.name(), &member.file.name())
}

/// What a start would say, and not begin.
pub fn refusal(foreseen: Foreseen, member: &Member) -> Option<Failure> {
    let Foreseen { losses, moved, .. } = foreseen;
    let pipeline = member.name().to_owned();
    if !moved.is_empty() {
        return Some(failure(StartError::StepsMoved { pipeline, moved }, member));
    }
    (!losses.is_empty()).then(|| failure(StartError::StateWouldBeLost { pipeline, losses }, member))
}
