//! `syncline explain`: what a diagnostic means, with an example and its repair; and what a run or a command ended with.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{Common, Format};
use crate::{
    outcome::{Failure, Outcome},
    pages::{page, slugs},
    render::{printed, stdout},
};

/// Explain a diagnostic, or what a run ended with
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline explain                  all of them
  syncline explain endless-state
  syncline explain input-changed")]
pub struct Arguments {
    /// Its name, as it stands behind `more:` after the messages, or in the log; without one, all names
    #[arg(value_name = "SLUG")]
    pub slug: Option<String>,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let as_json = matches!(common.output, Format::Json | Format::Ndjson);
    let text = match &arguments.slug {
        None if as_json => format!("{}\n", json!(slugs())),
        None => slugs().iter().map(|slug| format!("{slug}\n")).collect(),
        Some(slug) => {
            let page = page(&slug.to_lowercase()).ok_or_else(|| no_such(slug))?;
            if as_json { format!("{}\n", json!({"slug": slug, "page": page})) } else { page }
        }
    };
    let mut out = stdout();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn no_such(slug: &str) -> Failure {
    let failure = Failure::usage("no-such-slug", format!("there is no diagnostic `{slug}`"));
    let near = slugs().into_iter().map(|known| (strsim::damerau_levenshtein(slug, known), known)).min();
    match near.filter(|(far, _)| *far <= slug.len() / 3 + 1) {
        Some((_, nearest)) => failure.help(format!("did you mean `{nearest}`?")),
        None => failure.help("`syncline explain` lists them all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        assert_eq!(no_such("endles-state").help, ["did you mean `endless-state`?"]);
        assert_eq!(no_such("x").help, ["`syncline explain` lists them all"]);
    }
}
