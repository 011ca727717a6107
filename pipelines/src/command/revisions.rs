//! `syncline revisions`: with which texts a pipeline has begun, and to which of them it can go back.

use clap::Args;

use super::{Common, query};
use crate::{ask::Answerer, outcome::Outcome};

/// Show with which texts a pipeline has begun, and what is kept of their states
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline revisions orders
  syncline revisions orders -o json                    with their texts
  syncline query \"SELECT text FROM revisions WHERE pipeline = 'orders' AND revision = 3\" -o csv")]
pub struct Arguments {
    pub name: String,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let columns = match common.output {
        super::Format::Table => "revision, began, by, back_to, kept_keys, kept_bytes",
        _ => "*",
    };
    let name = arguments.name.replace('\'', "''");
    let sql = format!("SELECT {columns} FROM revisions WHERE pipeline = '{name}' ORDER BY revision");
    query::print(&Answerer::find(common)?, &sql, common)
}
