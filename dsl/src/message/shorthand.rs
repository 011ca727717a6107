//! LET and FUNCTION.

use syncline_syntax::{Diagnostic, Span, ast};

use crate::explain::slug;

pub(crate) fn made_of_itself(name: &ast::Ident, way: &[String]) -> Diagnostic {
    Diagnostic::error(slug::MADE_OF_ITSELF, format!("{} is made of itself", name.text))
        .at(name.span, way.join(" → "))
        .help("a LET or FUNCTION stands for its text: give the column or value that is meant another name")
}

pub(crate) fn known_function(name: &ast::Ident) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("there is a function {} already", name.text))
        .at(name.span, "SQL has one of this name")
        .help("give yours another name")
}

pub(crate) fn parameter_twice(second: &ast::Ident, first: &ast::Ident) -> Diagnostic {
    Diagnostic::error(slug::DUPLICATE_NAME, format!("two parameters are called {}", second.text))
        .at(second.span, "again")
        .also(first.span, "first here")
        .help("give one of them another name")
}

pub(crate) fn arguments(call: Span, function: &ast::Function) -> Diagnostic {
    let names: Vec<&str> = function.parameters.iter().map(|parameter| parameter.name.text.as_str()).collect();
    let count = match names.len() {
        0 => "no arguments".to_owned(),
        1 => "one argument".to_owned(),
        several => format!("{several} arguments"),
    };
    let name = &function.name;
    Diagnostic::error(slug::EXPRESSION, format!("{} takes {count}", name.text))
        .at(call, "called with others")
        .also(name.span, "declared here")
        .help(format!("{}({})", name.text, names.join(", ")))
}

pub(crate) fn too_large(used: Span, most: usize) -> Diagnostic {
    Diagnostic::error(slug::TOO_DEEP, "what this stands for is too large")
        .at(used, format!("with what else is put in, more than {most} parts"))
        .help("|> EXTEND … AS name computes a part of it once")
}

pub(crate) fn too_deep(whole: Span, most: usize) -> Diagnostic {
    Diagnostic::error(slug::TOO_DEEP, "this is nested too deeply")
        .at(whole, format!("with what its names stand for, more than {most} levels"))
        .help("|> EXTEND … AS name computes a part of it once")
}
