//! Triggers, and schedules beside what they do not go with.

use syncline_record::schedule::{NotCron, zones};
use syncline_syntax::{
    Diagnostic, Edit, Span,
    ast::{Trigger, TriggerKind},
    nearest,
};

use crate::explain::slug;

/// Triggers that are read and not understood yet.
pub(crate) fn not_yet(trigger: &Trigger) -> Diagnostic {
    let (word, instead) = match &trigger.kind {
        TriggerKind::After { .. } => ("AFTER", "let it read what the other writes: AS STREAM there, FROM here"),
        _ => ("ON WEBHOOK", "FROM http('/path') takes what is posted"),
    };
    Diagnostic::error(slug::NOT_YET, format!("{word} is not part of this version"))
        .at(trigger.span, "not there yet")
        .help(instead)
}

pub(crate) fn two(second: Span, first: Span) -> Diagnostic {
    Diagnostic::error(slug::TWO_SCHEDULES, "a pipeline has one schedule")
        .at(second, "a second one")
        .also(first, "the first")
        .help("say both in one expression: CRON '0 6,18 * * *'")
        .help("or take the second out")
}

pub(crate) fn too_short(span: Span) -> Diagnostic {
    Diagnostic::error(slug::SCHEDULE, "a run each second is the most there can be")
        .at(span, "less than a second")
        .help("leave the trigger out: a pipeline without one runs all the time, if its source never ends")
}

const FIVE: &str = "five fields: minute, hour, day of the month, month, day of the week, as in '0 6 * * 1-5'";

pub(crate) fn not_cron(span: Span, why: &NotCron) -> Diagnostic {
    let label = match why {
        NotCron::Fields(1) => "one field".to_owned(),
        NotCron::Fields(count) => format!("{count} fields"),
        NotCron::Nickname(name) => format!("{name} is none of its names"),
        NotCron::Field { part, name, takes } => format!("`{part}` is no {name}: {takes}"),
        NotCron::TooLong => "longer than any".to_owned(),
    };
    let said = Diagnostic::error(slug::CRON, "this is no cron expression").at(span, label);
    match why {
        NotCron::Nickname(_) => said.help("names: @hourly, @daily, @weekly, @monthly, @yearly"),
        NotCron::Field { .. } => {
            said.help("a field is a number, a range, a list of them, `*`, or one of these by steps: 8-18/2")
        }
        NotCron::Fields(_) | NotCron::TooLong => said.help(FIVE),
    }
}

pub(crate) fn never(span: Span) -> Diagnostic {
    Diagnostic::error(slug::CRON, "this is never due")
        .at(span, "no day of the calendar fits")
        .help("look at its day and its month: there is no 30 February")
}

pub(crate) fn no_zone(span: Span, name: &str) -> Diagnostic {
    let said = Diagnostic::error(slug::TIME_ZONE, format!("there is no time zone {name}"));
    match nearest(name, zones()) {
        Some(zone) => said
            .at(span, format!("{zone}?"))
            .fix(format!("write {zone}"), vec![Edit::replace(span, format!("'{zone}'"))]),
        None => said
            .at(span, "no zone has this name")
            .help("zones have the names of the IANA database: 'UTC', 'Europe/Berlin', 'America/New_York'"),
    }
}

pub(crate) fn always(restart: Span, trigger: Span) -> Diagnostic {
    Diagnostic::error(slug::SCHEDULE, "a pipeline with a schedule does not begin again by itself")
        .at(restart, "after the end of its input")
        .also(trigger, "says when it begins")
        .help("restart = 'on failure' tries a run again that failed")
}

pub(crate) fn changelog(trigger: Span, changelog: Span) -> Diagnostic {
    Diagnostic::error(slug::SCHEDULE, "a schedule is kept by one machine")
        .at(trigger, "what was due is known here only")
        .also(changelog, "another machine could take over")
        .help("leave one of them out")
}

pub(crate) fn follow(follow: Span, trigger: Span) -> Diagnostic {
    Diagnostic::error(slug::SCHEDULE, "a run with a schedule takes what is there, and ends")
        .at(follow, "waits for more")
        .also(trigger, "begins a run")
        .help("leave FOLLOW out: the next run takes what was added")
}

pub(crate) fn windows(step: Span, trigger: Span) -> Diagnostic {
    Diagnostic::warning(slug::SCHEDULE, "the end of each run closes what is open here")
        .at(step, "rows that come in the next run are late for it")
        .also(trigger, "begins a run")
        .help("leave the trigger out: windows go out by themselves when their time has come")
}
