//! The prose of every syntax error, in one place.
//!
//! The tone: the first line is a short fact, the label says what was seen there, the fix is the edit in the reader's
//! own words.

use crate::diagnostic::{Diagnostic, Edit, nearest};
use crate::span::Span;

pub const SYNTAX: &str = "syntax";
pub const MISSPELT: &str = "misspelt-keyword";
pub const UNCLOSED: &str = "unclosed";
pub const SEPARATOR: &str = "missing-separator";
pub const TOO_DEEP: &str = "too-deep";
pub const TWICE: &str = "option-twice";
pub const COMMA: &str = "stray-comma";
pub const QUOTES: &str = "quotes";
pub const ORDER: &str = "starts-with-from";

/// Every slug that this crate gives to a diagnostic.
pub const SLUGS: [&str; 9] = [SYNTAX, MISSPELT, UNCLOSED, SEPARATOR, TOO_DEEP, TWICE, COMMA, QUOTES, ORDER];

/// A word of the source in a message: whole when it is short, on one line.
pub fn shown(text: &str) -> String {
    /// Longer words push the message off the line that it explains.
    const LONGEST: usize = 40;
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("`{}…`", &line[..at]),
        None => format!("`{line}`"),
    }
}

pub fn unclosed_text(opening: Span, end: usize, closing: &str) -> Diagnostic {
    let title = if closing == "\"" { "this name has no closing quote" } else { "this text has no closing quote" };
    Diagnostic::error(UNCLOSED, title)
        .at(opening, "opened here")
        .fix(format!("close it with {closing}"), vec![Edit::insert(end, closing)])
}

/// Lets the fix of an unclosed text that ends at `end`, inside of a bracket, close the bracket too. False when there is none.
pub fn close_behind_text(said: &mut [Diagnostic], begin: usize, end: usize, bracket: &str) -> bool {
    let inside = |one: &&mut Diagnostic| one.slug == UNCLOSED && one.span().start >= begin;
    let text =
        said.iter_mut().rev().filter(inside).find_map(|one| one.fix.as_mut().filter(|(_, edits)| closes(edits, end)));
    let Some((what, edits)) = text else { return false };
    edits[0].text.push_str(closing_of(bracket));
    *what = format!("close it with {}", edits[0].text);
    true
}

/// Whether an edit adds what is missing at the end of a text.
fn closes(edits: &[Edit], end: usize) -> bool {
    matches!(edits, [edit] if edit.span == Span::at(end) && edit.text.starts_with(['\'', '"', '$']))
}

pub fn unclosed_comment(opening: Span) -> Diagnostic {
    Diagnostic::error(UNCLOSED, "this comment never ends")
        .at(opening, "everything from here on is comment")
        .help("end it with */, or use -- for a comment of one line")
}

pub fn unclosed_bracket(opening: Span, bracket: &str, end: usize) -> Diagnostic {
    let closing = closing_of(bracket);
    Diagnostic::error(UNCLOSED, format!("this `{bracket}` has no `{closing}`"))
        .at(opening, "opened here")
        .fix(format!("close it with `{closing}`"), vec![Edit::insert(end, closing)])
}

pub fn closing_of(bracket: &str) -> &'static str {
    match bracket {
        "[" => "]",
        "{" => "}",
        _ => ")",
    }
}

pub fn stray_closing(span: Span, bracket: &str) -> Diagnostic {
    Diagnostic::error(UNCLOSED, format!("nothing opens this `{bracket}`"))
        .at(span, "closes nothing")
        .fix("leave it out", vec![Edit::delete(span)])
}

pub fn wrong_closing(span: Span, bracket: &str, opening: Span, opened: &str) -> Diagnostic {
    let wanted = closing_of(opened);
    Diagnostic::error(UNCLOSED, format!("`{opened}` is closed by `{bracket}`"))
        .at(span, format!("`{wanted}` belongs here"))
        .also(opening, "opened here")
        .fix(format!("close it with `{wanted}`"), vec![Edit::replace(span, wanted)])
}

pub fn curly_quotes(span: Span, inside: Option<&str>) -> Diagnostic {
    let said = Diagnostic::error(QUOTES, "these are the quotes of a word processor").at(span, "not a quote in SQL");
    match inside {
        Some(text) => {
            said.fix("use straight ones", vec![Edit::replace(span, format!("'{}'", text.replace('\'', "''")))])
        }
        None => said.help("text takes straight single quotes: 'like this'"),
    }
}

pub fn double_quotes(span: Span, name: &str, what: &str) -> Diagnostic {
    Diagnostic::error(QUOTES, "text takes single quotes")
        .at(span, format!("double quotes name a column; {what} belongs here"))
        .fix("use single quotes", vec![Edit::replace(span, format!("'{}'", name.replace('\'', "''")))])
}

/// `what` reads on after "here stands …": what belongs there.
pub fn expected(span: Span, seen: &str, what: &str, place: &str) -> Diagnostic {
    let title = format!("{place} needs {what}");
    let label = if seen.is_empty() { "ends here".to_string() } else { format!("this is {}", shown(seen)) };
    Diagnostic::error(SYNTAX, title).at(span, label)
}

/// `wanted`: what might have been meant to follow.
pub fn left_over(span: Span, seen: &str, place: &str, wanted: &[&str]) -> Diagnostic {
    let title = format!("{place} is complete before {}", shown(seen));
    let said = Diagnostic::error(SYNTAX, title).at(span, "does not belong to it");
    if wanted.is_empty() { said } else { said.help(format!("here may follow: {}", wanted.join(", "))) }
}

pub fn misspelt(span: Span, seen: &str, words: &[&str], what: &str) -> Diagnostic {
    let said = Diagnostic::error(MISSPELT, format!("{} is not {what}", shown(seen)));
    match nearest(seen, words.iter().copied()).map(|word| in_the_case_of(seen, word)) {
        Some(word) => said.at(span, format!("{word}?")).fix(format!("write {word}"), vec![Edit::replace(span, word)]),
        None => said.at(span, format!("{what} belongs here")).help(format!("these are: {}", words.join(", "))),
    }
}

pub fn missing_pipe(span: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SEPARATOR, format!("{seen} is a step of its own"))
        .at(span, "no `|>` before it")
        .fix("begin it with `|>`", vec![Edit::insert(span.start, "|> ")])
}

pub fn single_bar(span: Span) -> Diagnostic {
    Diagnostic::error(SEPARATOR, "a step begins with `|>`")
        .at(span, "only `|`")
        .fix("write `|>`", vec![Edit::replace(span, "|>")])
}

pub fn missing_semicolon(end: usize, next: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SEPARATOR, "a statement ends with `;`")
        .at(next, format!("{seen} begins the next one"))
        .fix("end the one before", vec![Edit::insert(end, ";")])
}

pub fn step_without_pipeline(span: Span, semicolon: Option<Span>) -> Diagnostic {
    let said = Diagnostic::error(SEPARATOR, "this step belongs to no pipeline").at(span, "stands alone");
    match semicolon {
        Some(before) => {
            said.also(before, "the pipeline ends here").fix("go on with the pipeline", vec![Edit::delete(before)])
        }
        None => said.help("begin with PIPELINE name AS FROM …"),
    }
}

pub fn too_deep(span: Span, limit: usize) -> Diagnostic {
    Diagnostic::error(TOO_DEEP, format!("brackets go deeper than {limit}"))
        .at(span, "one too many")
        .help("split the expression: |> EXTEND … AS part")
}

pub fn too_long(span: Span) -> Diagnostic {
    Diagnostic::error(TOO_DEEP, "this expression is too long to read safely")
        .at(span, "an expression in one piece")
        .help("split it: |> EXTEND … AS part")
}

pub fn twice(second: Span, first: Span, name: &str) -> Diagnostic {
    Diagnostic::error(TWICE, format!("{name} is given twice")).at(second, "again").also(first, "first here")
}

pub fn extra_comma(span: Span, place: &str) -> Diagnostic {
    Diagnostic::error(COMMA, format!("one comma too many in {place}"))
        .at(span, "nothing stands before it")
        .fix("leave the comma out", vec![Edit::delete(span)])
}

pub fn stray_comma(span: Span, after: &str) -> Diagnostic {
    Diagnostic::error(COMMA, format!("nothing follows this comma in {after}"))
        .at(span, "the list ends here")
        .fix("leave the comma out", vec![Edit::delete(span)])
}

/// Who writes `select` gets `select`.
fn in_the_case_of(seen: &str, word: &str) -> String {
    if seen.chars().any(char::is_uppercase) { word.to_string() } else { word.to_lowercase() }
}

/// `A, B or C`.
pub fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_string(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The words that were left out are the fix.
pub fn insertable(said: Diagnostic, place: usize, words: &str) -> Diagnostic {
    said.fix(format!("add {words}"), vec![Edit::insert(place, format!("{words} "))])
}

/// Whether a word is one of these but for a slip of the hand.
pub fn is_near_any(word: &str, among: &[&str]) -> bool {
    nearest(word, among.iter().copied()).is_some()
}

pub fn is_near(word: &str, other: &str) -> bool {
    is_near_any(word, &[other])
}

pub fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"')
}

pub fn not_a_type(span: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SYNTAX, format!("{} is not a type", shown(seen)))
        .at(span, "a type belongs here")
        .help("types are STRING, BIGINT, INT, DOUBLE, DECIMAL(12, 2), BOOLEAN, TIMESTAMP, DATE, JSON")
}

pub fn not_sql(span: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SYNTAX, format!("SQL has no {}", shown(seen))).at(span, "cannot stand in an expression")
}

/// What `sqlparser` wanted, in this house's words.
pub fn sql(span: Span, seen: &str, wanted: Option<&str>, place: &str) -> Diagnostic {
    let what = match wanted {
        Some("an expression") | None => "an expression".to_string(),
        Some(other) if other.len() <= 2 => format!("`{other}`"),
        Some(other) => other.to_string(),
    };
    match (seen, wanted) {
        ("", _) => Diagnostic::error(SYNTAX, format!("the expression of {place} is not complete"))
            .at(span, format!("{what} is missing")),
        _ => Diagnostic::error(SYNTAX, format!("{} cannot stand here", shown(seen)))
            .at(span, format!("{what} belongs here")),
    }
}

pub fn forgot_as(span: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SYNTAX, format!("a name for a column takes AS: {}", shown(seen)))
        .at(span, "AS or a comma before it")
        .help(format!("a column of its own has a comma before it: {}", shown(&format!(", {seen}"))))
        .fix("add AS", vec![Edit::insert(span.start, "AS ")])
}

pub fn forgot_as_before_from(span: Span) -> Diagnostic {
    Diagnostic::error(SYNTAX, "the flow of a PIPELINE begins with AS FROM")
        .at(span, "AS before it")
        .fix("add AS", vec![Edit::insert(span.start, "AS ")])
}

pub fn option_sign(span: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SYNTAX, "an option takes its value with `=`")
        .at(span, format!("this is {}", shown(seen)))
        .fix("write `=`", vec![Edit::replace(span, "=")])
}

pub fn argument_sign(span: Span) -> Diagnostic {
    Diagnostic::error(SYNTAX, "an argument takes its value with `=>`")
        .at(span, "this is `=`")
        .fix("write `=>`", vec![Edit::replace(span, "=>")])
}

pub fn empty_step(span: Span) -> Diagnostic {
    Diagnostic::error(SYNTAX, "no step follows this `|>`")
        .at(span, "empty")
        .fix("leave it out", vec![Edit::delete(span)])
}

pub fn flows_too_deep(span: Span, limit: usize) -> Diagnostic {
    Diagnostic::error(TOO_DEEP, format!("steps go deeper than {limit}"))
        .at(span, "one too many")
        .help("give the rest a pipeline of its own: AS STREAM name here, FROM name there")
}

pub fn no_statement(span: Span, seen: &str) -> Diagnostic {
    Diagnostic::error(SYNTAX, format!("no statement begins with {}", shown(seen)))
        .at(span, "a statement belongs here")
        .help("statements are CONNECTION, SCHEMA, PIPELINE, TEST, SYNC, ALERT, LET and FUNCTION")
}

pub fn flow_without_name(span: Span, whole: Span, word: &str) -> Diagnostic {
    let said = Diagnostic::error(SYNTAX, "a flow belongs to a pipeline").at(span, "no name yet");
    if word.eq_ignore_ascii_case("FROM") {
        said.fix("name it", vec![Edit::insert(whole.start, "PIPELINE main AS\n")])
    } else {
        said.help("write PIPELINE name AS FROM source |> WHERE … |> SELECT …")
    }
}

/// `fix`: the text of the SELECT, and the same in the order of steps.
pub fn select_first(span: Span, fix: Option<(Span, String)>) -> Diagnostic {
    let said = Diagnostic::error(ORDER, "a pipeline reads from top to bottom: FROM comes first")
        .at(span, "SELECT is a step, behind its source");
    match fix {
        Some((whole, text)) => said.fix("put the steps in order", vec![Edit::replace(whole, text)]),
        None => said.help("write FROM source |> WHERE … |> SELECT …"),
    }
}

/// `rest`: all that would go with it.
pub fn from_inside(span: Span, rest: Option<Span>) -> Diagnostic {
    let said = Diagnostic::error(ORDER, "a pipeline has one FROM, at its start")
        .at(span, "a second one")
        .help("the step before gives the rows of this SELECT");
    match rest {
        Some(rest) => said.fix("leave it out", vec![Edit::delete(rest)]),
        None => said,
    }
}

pub fn no_key(target: Span, end: usize, step: &str, word: &str) -> Diagnostic {
    let what = if word == "KEY" { "which columns make a row the same row" } else { "which rows it replaces" };
    Diagnostic::error(SYNTAX, format!("{step} does not say {what}"))
        .at(Span::at(end), format!("{word} (…) is missing"))
        .also(target, "the target")
        .help(format!("name its columns: {word} (id)"))
}

pub fn no_violation(span: Span) -> Diagnostic {
    Diagnostic::error(SYNTAX, "EXPECT does not say what happens to a row that breaks it")
        .at(span, "ON VIOLATION … is missing")
        .fix("keep such rows as dead letters", vec![Edit::insert(span.start, " ON VIOLATION DEAD LETTER")])
}

pub fn input_row_in_brackets(span: Span) -> Diagnostic {
    Diagnostic::error(SYNTAX, "an input row is a record as it comes in: JSON text")
        .at(span, "a row of values")
        .help("write it as '{\"id\": 1}'")
}

pub fn subquery(span: Span) -> Diagnostic {
    Diagnostic::error(SYNTAX, "an expression sees one row: it has no SELECT inside")
        .at(span, "a query of its own")
        .help("bring the other rows in by a step before: |> JOIN … or |> LOOKUP …")
}
