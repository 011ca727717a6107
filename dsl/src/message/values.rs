//! Options and arguments.

use syncline_record::amount::{NotARate, NotASize};
use syncline_syntax::{
    Diagnostic, Edit, Span,
    ast::{self, Ident, Name},
};

use super::{listed, with_nearest};
use crate::{
    catalog::{ArgumentFacts, Callee},
    duration::NotADuration,
    explain::slug,
};

fn value(title: impl Into<String>) -> Diagnostic {
    Diagnostic::error(slug::OPTION_VALUE, title)
}

pub(crate) fn secret_in_text(span: Span, kind: &str) -> Diagnostic {
    Diagnostic::error(slug::SECRET_IN_TEXT, "this looks like a secret, and a pipeline file is no place for one")
        .at(span, format!("looks like {kind}"))
        .help("store it: syncline secret set service/name, which reads it from the terminal")
        .fix("and name it here", vec![Edit::replace(span, "secret('service/name')")])
}

pub(crate) fn bare_word(name: &Name) -> Diagnostic {
    let text = name.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(".");
    value("text takes quotes")
        .at(name.span, "a word without quotes")
        .fix("quote it", vec![Edit::replace(name.span, format!("'{}'", text.replace('\'', "''")))])
}

pub(crate) fn not_a_value(span: Span) -> Diagnostic {
    value("a plain value belongs here")
        .at(span, "an expression, which nothing evaluates here")
        .help("options take text, numbers, true, false, env('NAME', default) and secret('path')")
}

pub(crate) fn env_form(span: Span) -> Diagnostic {
    value("env takes a name and perhaps a default").at(span, "not of this form").help("env('NAME', 'default')")
}

pub(crate) fn secret_form(span: Span) -> Diagnostic {
    value("secret takes a path").at(span, "not of this form").help("secret('service/name')")
}

fn signature(callee: Callee) -> String {
    let arguments: Vec<String> = callee
        .arguments
        .iter()
        .map(|argument| match (argument.positional, argument.required) {
            (true, true) => argument.name.clone(),
            (true, false) => format!("[{}]", argument.name),
            (false, true) => format!("{} => …", argument.name),
            (false, false) => format!("[{} => …]", argument.name),
        })
        .collect();
    format!("{}({})", callee.name, arguments.join(", "))
}

pub(crate) fn too_many(span: Span, callee: Callee) -> Diagnostic {
    Diagnostic::error(slug::NO_SUCH_OPTION, format!("{} takes no further value", callee.name))
        .at(span, "one too many")
        .help(signature(callee))
}

pub(crate) fn no_such_argument(span: Span, name: &str, callee: Callee) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_OPTION, format!("{} has no argument {name}", callee.name));
    let names = callee.arguments.iter().map(|argument| argument.name.as_str());
    with_nearest(said, span, name, names, "no argument has this name").help(signature(callee))
}

pub(crate) fn argument_twice(second: Span, first: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::OPTION_TWICE, format!("{name} is given twice"))
        .at(second, "again")
        .also(first, "first here")
}

pub(crate) fn missing_argument(span: Span, argument: &ArgumentFacts, callee: Callee) -> Diagnostic {
    let about = if argument.help.is_empty() { String::new() } else { format!(": {}", argument.help) };
    let said = Diagnostic::error(slug::MISSING_ARGUMENT, format!("{} needs its {}", callee.name, argument.name))
        .at(span, format!("no {}{about}", argument.name));
    if callee.example.is_empty() { said.help(signature(callee)) } else { said.help(callee.example) }
}

/// A text where only a secret may stand, whatever the text looks like.
pub(crate) fn secret_wanted(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error(slug::SECRET_IN_TEXT, format!("the {name} stands in the file, where everybody can read it"))
        .at(span, "a text of the file")
        .help("store it: syncline secret set service/name, which reads it from the terminal")
        .fix("and name it here", vec![Edit::replace(span, "secret('service/name')")])
}

/// The calls that an argument takes, as examples of each.
fn calls(facts: &ArgumentFacts) -> String {
    listed(facts.calls.iter().map(|call| call.name.as_str()))
}

pub(crate) fn call_wanted(written: &ast::Value, facts: &ArgumentFacts) -> Diagnostic {
    let named = match &written.kind {
        ast::ValueKind::Name(name) => name.parts.first().map(|part| part.text.as_str()),
        ast::ValueKind::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let known = named.and_then(|name| facts.calls.iter().find(|call| call.name.eq_ignore_ascii_case(name)));
    let said = value(format!("{} takes one of its schemes, with what that needs", facts.name));
    match known {
        Some(call) => said.at(written.span, format!("{} has arguments", call.name)).help(call.example.clone()),
        None => said.at(written.span, "no scheme").help(format!("it takes: {}", calls(facts))),
    }
}

pub(crate) fn no_such_call(name: &Ident, facts: &ArgumentFacts) -> Diagnostic {
    let said = Diagnostic::error(slug::NO_SUCH_FUNCTION, format!("{} has no scheme called {}", facts.name, name.text));
    let names = facts.calls.iter().map(|call| call.name.as_str());
    with_nearest(said, name.span, &name.text, names, "no scheme has this name")
        .help(format!("it takes: {}", calls(facts)))
}

pub(crate) fn wrong_kind(span: Span, name: &str, kind: &str) -> Diagnostic {
    let example = match kind {
        "text" => "text in single quotes: 'like this'",
        "number" => "a number, without quotes",
        "count" => "a whole number, without quotes: 10",
        "boolean" => "true or false",
        "duration" => "a length of time: '1 hour', '200 ms'",
        "size" => "a number of bytes: '25 MB', '512 KiB'",
        "rate" => "a number in a time: '100 per second'",
        "secret" => "secret('service/name'), or a list of two while one replaces the other",
        "choice" => "one of its words, in single quotes",
        _ => "a value",
    };
    value(format!("{name} is a {kind}")).at(span, "something else").help(format!("write {example}"))
}

pub(crate) fn not_a_duration(span: Span, why: &NotADuration) -> Diagnostic {
    let label = match why {
        NotADuration::Calendar(unit) => format!("a {} has no fixed length", unit.trim_end_matches('s')),
        NotADuration::NoSuchUnit(unit) => format!("{unit} is no unit of time"),
        NotADuration::NoUnit => "a number without a unit".to_owned(),
        NotADuration::TooFine => "finer than a microsecond".to_owned(),
        NotADuration::TooLong => "longer than time is counted".to_owned(),
        NotADuration::Shape => "not of this form".to_owned(),
    };
    let said = value("this is no length of time").at(span, label);
    match why {
        NotADuration::Calendar(_) => said.help("write how many days: '30 days', '365 days'"),
        _ => said.help("write a number and a unit: '200 ms', '30 seconds', '5 minutes', '1 hour', '7 days'"),
    }
}

pub(crate) fn not_a_size(span: Span, why: &NotASize) -> Diagnostic {
    let label = match why {
        NotASize::NoSuchUnit(unit) => format!("{unit} is no unit of size"),
        NotASize::NoUnit => "a number without a unit".to_owned(),
        NotASize::TooFine => "not a whole number of bytes".to_owned(),
        NotASize::TooLarge => "larger than anything".to_owned(),
        NotASize::Shape => "not of this form".to_owned(),
    };
    value("this is no size").at(span, label).help("write a number and a unit: '512 KiB', '25 MB', '1.5 GB'")
}

pub(crate) fn not_a_rate(span: Span, why: &NotARate) -> Diagnostic {
    let label = match why {
        NotARate::Nothing => "nothing would ever pass",
        NotARate::Time(_) => "what stands behind `per` is no length of time",
        NotARate::Shape => "not of this form",
    };
    value("this is no rate").at(span, label).help("write a number and a time: '100 per second', '5000 per 2 hours'")
}

pub(crate) fn no_length(span: Span) -> Diagnostic {
    value("this lasts no time at all").at(span, "nothing").help("write a longer one: '1 second', '1 hour'")
}

pub(crate) fn one_of(span: Span, name: &str, seen: &str, words: &[&str]) -> Diagnostic {
    let said = value(format!("{name} has no value '{seen}'"));
    let said = match syncline_syntax::nearest(seen, words.iter().copied()) {
        Some(near) => said
            .at(span, format!("'{near}'?"))
            .fix(format!("write '{near}'"), vec![Edit::replace(span, format!("'{near}'"))]),
        None => said.at(span, "not one of them"),
    };
    said.help(format!("it takes: {}", listed(words.iter().copied())))
}
