//! Triggers of a pipeline: the schedule that they say, and what does not go together with one.

use syncline_record::schedule::{Missed, NotASchedule, Schedule, Timing};
use syncline_syntax::{
    Diagnostic, Span,
    ast::{self, Duration, Text, Trigger, TriggerKind},
};

use crate::{
    check::place_of,
    duration,
    message::{schedule as say, values as say_values},
    plan::{JoinPlan, Plan, RestartWhen, StepKind},
    walk::Walk,
};

/// The one schedule of a pipeline. What is wrong with it, and triggers of a later version, are said.
pub(crate) fn schedule(walk: &mut Walk) -> Option<Schedule> {
    let mut found: Option<(Span, Option<Schedule>)> = None;
    for trigger in &walk.pipeline.triggers {
        let Some(read) = read(trigger) else {
            walk.say(say::not_yet(trigger));
            continue;
        };
        if let Some((first, _)) = &found {
            let first = *first;
            walk.say(say::two(trigger.span, first));
            continue;
        }
        let schedule = read.map_err(|wrong| wrong.into_iter().for_each(|one| walk.say(one)));
        found = Some((trigger.span, schedule.ok()));
    }
    found?.1
}

/// `None`: it is no schedule.
fn read(trigger: &Trigger) -> Option<Result<Schedule, Vec<Diagnostic>>> {
    Some(match &trigger.kind {
        TriggerKind::Every { period, time_zone, missed } => {
            let timing = length(period).map(Timing::Every);
            made(timing, period.span, time_zone.as_ref(), *missed)
        }
        TriggerKind::Cron { schedule, time_zone, missed } => {
            made(Ok(Timing::Cron(schedule.text.clone())), schedule.span, time_zone.as_ref(), *missed)
        }
        TriggerKind::Webhook { .. } | TriggerKind::After { .. } => return None,
    })
}

fn length(period: &Duration) -> Result<u64, Diagnostic> {
    duration::microseconds(&period.text).map_err(|why| say_values::not_a_duration(period.span, &why))
}

fn made(
    timing: Result<Timing, Diagnostic>,
    span: Span,
    zone: Option<&Text>,
    missed: Option<ast::Missed>,
) -> Result<Schedule, Vec<Diagnostic>> {
    let missed = match missed {
        None | Some(ast::Missed::RunOnce) => Missed::RunOnce,
        Some(ast::Missed::RunAll) => Missed::RunAll,
        Some(ast::Missed::Skip) => Missed::Skip,
    };
    let time_zone = zone.map(|zone| zone.text.clone());
    // Both are looked at, so that both are said.
    let zone_is_wrong = zone.and_then(|zone| {
        let day = Schedule { timing: Timing::Every(86_400_000_000), time_zone: time_zone.clone(), missed };
        day.calendar().err().map(|_| say::no_zone(zone.span, &zone.text))
    });
    let schedule = timing.and_then(|timing| {
        let mut schedule = Schedule { timing, time_zone: None, missed };
        schedule.calendar().map_err(|why| match why {
            NotASchedule::TooShort => say::too_short(span),
            NotASchedule::Cron(why) => say::not_cron(span, &why),
            NotASchedule::Never | NotASchedule::Zone => say::never(span),
        })?;
        schedule.time_zone = time_zone;
        Ok(schedule)
    });
    match (schedule, zone_is_wrong) {
        (Ok(schedule), None) => Ok(schedule),
        (schedule, zone) => Err(schedule.err().into_iter().chain(zone).collect()),
    }
}

/// What a pipeline with a schedule cannot be beside: each of its runs takes what is there, and ends.
pub(crate) fn check(plan: &Plan, walk: &mut Walk) {
    if plan.schedule.is_none() {
        return;
    }
    let pipeline = walk.pipeline;
    let trigger = pipeline.triggers.first().map_or(pipeline.name.span, |trigger| trigger.span);
    let option = |name: &str| pipeline.options.iter().find(|option| option.name.text.eq_ignore_ascii_case(name));
    if let Some(said) = option("restart").filter(|_| plan.options.restart.when == Some(RestartWhen::Always)) {
        walk.say(say::always(said.value.span, trigger));
    }
    if let Some(said) = option("changelog") {
        walk.say(say::changelog(trigger, said.value.span));
    }
    if plan.sources().iter().any(|source| source.follow) {
        walk.say(say::follow(pipeline.flow.source.follow.unwrap_or(trigger), trigger));
    }
    if !plan.endless() {
        return;
    }
    let mut held = Vec::new();
    plan.each_step(&mut |step| match &step.kind {
        StepKind::Aggregate { window: Some(_), .. } | StepKind::Join(JoinPlan { bound: Some(_), .. }) => {
            held.push(place_of(step));
        }
        _ => {}
    });
    held.into_iter().for_each(|step| walk.say(say::windows(step, trigger)));
}
