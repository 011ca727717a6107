//! `docs/diagnostics-compared.md` is a claim about what this version says: every program of the page is run, and compared to the letter.
//!
//! A section has a program, what a command said of it, the message of another engine, and the address where that was found. What
//! others say now cannot be asked here; that each quote names its source can.

use std::{collections::BTreeMap, fs};

use rusqlite::Connection;

use crate::desk::{Desk, house};

/// What the issue asked for.
const LEAST: usize = 20;
/// One engine would be easy to pick on.
const MOST_OF_ONE_ENGINE: usize = 6;

#[test]
fn what_the_page_shows_is_what_is_said() {
    let page = fs::read_to_string(house().join("docs/diagnostics-compared.md")).expect("the page");
    let faults = faults(&page);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_page_that_shows_something_else_is_told() {
    let section = |said: &str, source: &str| {
        format!(
            "\n## 1. A step is misspelt\n\n```syncline\nPIPELINE p AS\nFROM file('a.ndjson')\n|> SELCT id\n|> INSERT INTO stdout();\n```\n\n\
             ```text\n$ syncline check orders.sync\n{said}\n```\n\n**Other**: the same\n\n```\nno\n```\n\n{source}\n\nOurs is better.\n"
        )
    };
    let lies = fault(&section("error: something else", "Source: <https://example.org/thread>"));
    assert!(lies.as_ref().is_some_and(|fault| fault.contains("`SELCT` is not a step")), "{lies:?}");
    let unfounded = section("error: something else", "Source: a friend");
    assert_eq!(fault(&unfounded).as_deref(), Some("has no source"));
    assert_eq!(faults(&unfounded.repeat(LEAST)).last().map(String::as_str), Some("Other is asked 20 times"));
    assert_eq!(faults("# Nothing yet"), ["only 0 of 20 mistakes"]);
}

/// Everything on the page that is not so.
fn faults(page: &str) -> Vec<String> {
    let mut found = vec![];
    let mut engines: BTreeMap<&str, usize> = BTreeMap::new();
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    if sections.len() < LEAST {
        found.push(format!("only {} of {LEAST} mistakes", sections.len()));
    }
    for section in sections {
        let title = section.lines().next().unwrap_or_default();
        found.extend(fault(section).map(|fault| format!("{title}: {fault}")));
        let engine = section.lines().find_map(|line| line.strip_prefix("**")?.split_once("**: ")).map(|(name, _)| name);
        match engine {
            // VRL is Vector's language.
            Some(engine) => *engines.entry(engine.split(' ').next().unwrap_or(engine)).or_default() += 1,
            None => found.push(format!("{title}: names no engine")),
        }
    }
    let often = engines.into_iter().filter(|(_, times)| *times > MOST_OF_ONE_ENGINE);
    found.extend(often.map(|(engine, times)| format!("{engine} is asked {times} times")));
    found
}

fn fault(section: &str) -> Option<String> {
    let blocks = blocks(section);
    let of = |kind: &str| blocks.iter().find(|(word, _)| *word == kind).map(|(_, text)| text.as_str());
    let (Some(program), Some(shown), Some(quote)) = (of("syncline"), of("text"), of("")) else {
        return Some("lacks its program, what is said of it, or the quote".to_owned());
    };
    if quote.trim().is_empty() {
        return Some("quotes nothing".to_owned());
    }
    let address = section.lines().find_map(|line| line.strip_prefix("Source: <https://")?.strip_suffix('>'));
    if !address.is_some_and(|address| address.contains('/')) {
        return Some("has no source".to_owned());
    }
    let Some((command, shown)) = shown.strip_prefix("$ syncline ").and_then(|text| text.split_once('\n')) else {
        return Some("does not show its command".to_owned());
    };
    let said = said(program, of("json"), of("sql"), command);
    (said != shown).then(|| format!("`{command}` says\n{said}"))
}

/// What a command says of `orders.sync`, without the lines of the log.
fn said(program: &str, records: Option<&str>, tables: Option<&str>, command: &str) -> String {
    let desk = Desk::with(program);
    if let Some(records) = records {
        desk.write("orders.ndjson", records);
    }
    if let Some(tables) = tables {
        let shop = Connection::open(desk.path("shop.db")).expect("a database");
        shop.execute_batch(tables).expect("tables");
    }
    let words: Vec<&str> = command.split(' ').collect();
    let log = |line: &&str| line.starts_with("20") && line.contains("Z INFO ");
    let err = desk.say(&words).err;
    err.lines().filter(|line| !log(line)).map(|line| format!("{line}\n")).collect()
}

/// The fenced blocks of a section: the word behind the fence, and the inside.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found = vec![];
    let mut open: Option<(&str, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((word, String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, block))) => block.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    found
}
