//! `syncline connection test`: goes to the place of a `CONNECTION`, and tells who answers there.
//!
//! It goes the way that a run goes, with the same secrets, and writes nothing.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};

use super::Common;
use crate::{
    connections,
    outcome::{Failure, Outcome},
    project,
    render::{Renderer, printed, stdout},
    world::data_folder,
};

/// Test connections
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline connection test shop
  syncline connection test shop orders.sync -o json")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Go to the place of a CONNECTION, and tell who answers there
    Test {
        #[arg(value_name = "NAME")]
        name: String,
        /// The pipeline file that declares it, or a folder of them
        #[arg(value_name = "FILE|FOLDER", default_value = ".")]
        file: PathBuf,
    },
}

pub fn run(given: Arguments, common: &Common) -> Outcome {
    let What::Test { name, file } = given.what;
    let files = project::files(std::slice::from_ref(&file))?;
    let found = connections::find(&name, &files)?;
    let found = found.ok_or_else(|| connections::no_such(&name, &files, &file.display().to_string()))?;
    let told = found.test(&data_folder(common.data.as_deref(), Some(&found.file.path))?)?;
    eprintln!("{name} lets us in");
    show(&told, common)
}

fn show(told: &[(&'static str, String)], common: &Common) -> Outcome {
    let columns = ["what", "value"].map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(columns.to_vec()));
    let what = StringArray::from_iter_values(told.iter().map(|(what, _)| what));
    let values = StringArray::from_iter_values(told.iter().map(|(_, value)| value));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(what), Arc::new(values)])
        .map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, schema, stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}
