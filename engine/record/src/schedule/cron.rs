//! Cron expressions: five fields, as crontabs have them, or a nickname.
//!
//! What they mean is croner's; what is none is found field by field, so that a message can name the field.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

/// No expression that a person writes is longer.
const LONGEST: usize = 200;

const FIELDS: [(&str, &str); 5] =
    [("minute", "0-59"), ("hour", "0-23"), ("day of the month", "1-31"), ("month", "1-12"), ("day of the week", "0-7")];

const NICKNAMES: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCron {
    /// So many fields, which is not five.
    Fields(usize),
    /// `@midday`
    Nickname(String),
    /// A part that its field does not take.
    Field {
        part: String,
        name: &'static str,
        takes: &'static str,
    },
    TooLong,
}

/// The expression, and whether it means each time that the clock shows it: its minute or its hour has a `*`.
pub(super) fn parse(text: &str) -> Result<(Cron, bool), NotCron> {
    let text = text.trim();
    if text.len() > LONGEST {
        return Err(NotCron::TooLong);
    }
    if text.starts_with('@') {
        let known = NICKNAMES.iter().find(|name| name.eq_ignore_ascii_case(text));
        let name = known.ok_or_else(|| NotCron::Nickname(text.to_owned()))?;
        return Ok((five(name).ok_or_else(|| NotCron::Nickname(text.to_owned()))?, *name == "@hourly"));
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(NotCron::Fields(parts.len()));
    }
    for (index, (part, (name, takes))) in parts.iter().zip(FIELDS).enumerate() {
        let mut alone = ["*"; FIELDS.len()];
        alone[index] = part;
        if !is_list(part) || five(&alone.join(" ")).is_none_or(|cron| !matches_something(&cron)) {
            return Err(NotCron::Field { part: (*part).to_owned(), name, takes });
        }
    }
    let cron = five(&parts.join(" ")).ok_or(NotCron::Fields(parts.len()))?;
    Ok((cron, parts[..2].iter().any(|part| part.contains('*'))))
}

/// No part of it is empty. The parser leaves such parts out, and a field of nothing else would never match.
fn is_list(field: &str) -> bool {
    field.is_ascii() && field.split(',').all(|part| !part.is_empty())
}

fn matches_something(cron: &Cron) -> bool {
    let pattern = &cron.pattern;
    let some = |field: &croner::CronComponent| !field.values().is_empty();
    let days = [&pattern.days, &pattern.days_of_week];
    [&pattern.minutes, &pattern.hours, &pattern.months].into_iter().all(some)
        && days.into_iter().all(|field| some(field) || field.has_modifiers())
}

fn five(text: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text).ok()
}
