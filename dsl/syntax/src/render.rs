//! Diagnostics as text for a terminal, in the order of their places: the fact, the lines it is about, the edit.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Edit, Severity, clamp};

/// Blocks that are printed; who has more mistakes than this in one file is helped by the first ones, and each costs a
/// walk over the source.
const MOST_SHOWN: usize = 100;

/// One block for each diagnostic, with an empty line between them; ends with a newline unless there is nothing to say.
pub fn render(diagnostics: &[Diagnostic], file: &str, source: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Unicode);
    let mut ordered: Vec<&Diagnostic> = diagnostics.iter().collect();
    ordered.sort_by_key(|diagnostic| diagnostic.span());
    let mut blocks: Vec<String> = ordered
        .iter()
        .take(MOST_SHOWN)
        .map(|diagnostic| trimmed(&renderer.render(&groups(diagnostic, file, source))) + "\n")
        .collect();
    if ordered.len() > MOST_SHOWN {
        blocks.push(format!("… and {} more\n", ordered.len() - MOST_SHOWN));
    }
    blocks.join("\n")
}

/// The renderer pads some lines; padding is noise in a log and in a test.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn groups<'a>(diagnostic: &'a Diagnostic, file: &'a str, source: &'a str) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.title.as_str());
    let mut groups = vec![match diagnostic.labels.is_empty() {
        true => Group::with_title(title),
        false => title.element(snippet(diagnostic, file, source)),
    }];
    for help in &diagnostic.help {
        groups.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
    }
    if let Some((what, edits)) = &diagnostic.fix {
        groups.push(Level::HELP.secondary_title(what.as_str()).element(patched(edits, source)));
    }
    groups
}

fn snippet<'a>(
    diagnostic: &'a Diagnostic,
    file: &'a str,
    source: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let annotations = diagnostic.labels.iter().map(|label| {
        let span = clamp(label.span, source);
        let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
        kind.span(span.start..span.end).label(label.text.as_str())
    });
    Snippet::source(source).path(file).annotations(annotations)
}

fn patched<'a>(edits: &'a [Edit], source: &'a str) -> Snippet<'a, Patch<'a>> {
    let patches = edits.iter().map(|edit| {
        let span = clamp(edit.span, source);
        Patch::new(span.start..span.end, edit.text.as_str())
    });
    Snippet::source(source).patches(patches)
}
