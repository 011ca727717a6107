//! `syncline explain`: what a diagnostic means, with an example and its repair.

use std::io::Write;

use clap::Args;
use serde_json::json;
use syncline_dsl::{SLUGS, explain};

use super::{Common, Format};
use crate::{
    outcome::{Failure, Outcome},
    render::{printed, stdout},
};

/// Explain a diagnostic
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline explain                  all of them
  syncline explain endless-state")]
pub struct Arguments {
    /// Its name, as it stands behind `more:` after the messages; without one, all names
    #[arg(value_name = "SLUG")]
    pub slug: Option<String>,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let as_json = matches!(common.output, Format::Json | Format::Ndjson);
    let text = match &arguments.slug {
        None if as_json => format!("{}\n", json!(SLUGS)),
        None => SLUGS.iter().map(|slug| format!("{slug}\n")).collect(),
        Some(slug) => {
            let page = explain(&slug.to_lowercase()).ok_or_else(|| no_such(slug))?;
            if as_json { format!("{}\n", json!({"slug": slug, "page": page})) } else { page.to_owned() }
        }
    };
    let mut out = stdout();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn no_such(slug: &str) -> Failure {
    let failure = Failure::usage("no-such-slug", format!("there is no diagnostic `{slug}`"));
    let near = SLUGS.iter().map(|known| (strsim::damerau_levenshtein(slug, known), *known)).min();
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
