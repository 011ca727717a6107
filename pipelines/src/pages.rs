//! What there is to read about a name: the pages of messages about a file, and those of what a command, a run or a request ends with.

use syncline_dsl::{SLUGS, explain};

/// Parts that begin with `## slug`.
const FAILURES: &str = include_str!("../failures.md");

fn failures() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAILURES.split("\n## ").skip(1).filter_map(|part| part.split_once('\n'))
}

/// Every name that has a page, in the order of the alphabet.
pub fn slugs() -> Vec<&'static str> {
    let mut all: Vec<&str> = SLUGS.iter().copied().chain(failures().map(|(slug, _)| slug)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The page of a name, as Markdown.
pub fn page(slug: &str) -> Option<String> {
    if let Some(page) = explain(slug) {
        return Some(page.to_owned());
    }
    let (_, text) = failures().find(|(name, _)| *name == slug)?;
    Some(format!("# {slug}\n\n{}\n", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_page_of_its_own() {
        let names: Vec<&str> = failures().map(|(slug, _)| slug).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(slugs().len(), names.len() + SLUGS.len(), "a name has two pages");
        assert!(names.len() > 80, "{names:?}");
        for slug in slugs() {
            let page = page(slug).unwrap_or_default();
            assert!(page.starts_with(&format!("# {slug}\n\n")) && page.lines().count() > 2, "{page}");
        }
        assert_eq!(page("none"), None);
    }
}
