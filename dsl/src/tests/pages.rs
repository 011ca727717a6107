//! The pages of the slugs: each shows a program with the mistake, and the same program without.

use syncline_syntax::Severity;

use super::*;
use crate::{SLUGS, explain};

/// The program of a page that `fails` or `works`.
fn program<'p>(page: &'p str, what: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("```sync {what}\n")).expect("a program");
    rest.split_once("\n```").expect("its end").0
}

/// What is said of a program, without notes of other pages: they are no mistakes.
fn mistakes(source: &str, slug: &str) -> Vec<&'static str> {
    let mut checked = checked_of(source);
    checked.diagnostics.retain(|told| told.severity != Severity::Note || told.slug == slug);
    slugs(&checked)
}

#[test]
fn the_failing_program_of_a_page_has_its_mistake_and_no_other() {
    let mut wrong = Vec::new();
    for slug in SLUGS {
        let source = program(explain(slug).expect("a page"), "fails");
        if mistakes(source, slug) != [*slug] {
            let found = slugs(&checked_of(source));
            wrong.push(format!("{slug}: {found:?}\n{}", said(&checked_of(source), source)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What is said of the failing program of every page, to the letter.
const TOLD: &str = include_str!("told.txt");

#[test]
fn the_failing_program_of_a_page_is_told_like_this() {
    let told = |slug: &&str| {
        let source = program(explain(slug).expect("a page"), "fails");
        format!("## {slug}\n\n{}", said(&checked_of(source), source))
    };
    let told: Vec<String> = SLUGS.iter().map(told).collect();
    let told = told.join("\n");
    let (mut now, mut then) = (told.lines(), TOLD.lines());
    for line in 1.. {
        match (now.next(), then.next()) {
            (None, None) => break,
            (now, then) => assert!(now == then, "told.txt:{line} has {then:?}, told is {now:?}; all of it:\n{told}"),
        }
    }
}

#[test]
fn the_repaired_program_of_a_page_has_nothing_to_say() {
    let mut wrong = Vec::new();
    for slug in SLUGS {
        let source = program(explain(slug).expect("a page"), "works");
        if !mistakes(source, slug).is_empty() {
            wrong.push(format!("{slug}:\n{}", said(&checked_of(source), source)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_slug_of_the_parser_has_a_page() {
    let without: Vec<&&str> = syncline_syntax::SLUGS.iter().filter(|slug| explain(slug).is_none()).collect();
    assert_eq!(without, Vec::<&&str>::new());
}

#[test]
fn slugs_are_in_the_order_of_the_alphabet_and_pages_begin_with_theirs() {
    assert!(SLUGS.is_sorted());
    for slug in SLUGS {
        assert!(explain(slug).is_some_and(|page| page.starts_with(&format!("# {slug}\n"))), "{slug}");
    }
    assert_eq!(explain("no-such-slug"), None);
}
