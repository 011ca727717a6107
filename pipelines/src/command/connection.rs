//! `syncline connection test`: goes to the place of a `CONNECTION`, and tells who answers there.
//!
//! It goes the way that a run goes, with the same secrets, and writes nothing.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};
use syncline_connectors::{Surroundings, look, registry};
use syncline_dsl::plan::Place;

use super::Common;
use crate::{
    bind::arguments,
    outcome::{Exit, Failure, Outcome},
    project,
    render::{Renderer, printed, stdout},
    secrets,
    source_file::SourceFile,
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
    let (file, place) = declared(&name, &file)?;
    let folder = data_folder(common.data.as_deref(), Some(&file.path))?;
    let args = arguments(&place, &|path| secrets::text(&folder, path))
        .map_err(|error| Failure::of_line(Exit::Environment, "cannot-bind", &error.to_string()))?;
    let around = Surroundings::folder(file.folder());
    let told = look(&place.connector, &args, &around).ok_or_else(|| {
        Failure::usage("nobody-there", format!("{name} is a connection to {}, where nobody answers", place.connector))
            .help("`syncline check` says whether its options are right")
    })?;
    let told = told.map_err(|detail| {
        Failure::environment("connection-failed", format!("{name}: {detail}"))
            .help(format!("its options are in {}", file.name()))
    })?;
    eprintln!("{name} lets us in");
    show(&told, common)
}

/// The connection of this name, and the file that it is in.
fn declared(name: &str, path: &PathBuf) -> Result<(SourceFile, Place), Failure> {
    let mut known: Vec<String> = vec![];
    for path in project::files(std::slice::from_ref(path))? {
        let file = SourceFile::read(&path)?;
        for (found, place) in file.compile().plan.connections {
            if found.eq_ignore_ascii_case(name) {
                return Ok((file, place));
            }
            known.push(found);
        }
    }
    let failure = Failure::usage("no-such-connection", format!("there is no connection {name} in {}", path.display()));
    Err(match known.is_empty() {
        true => {
            let kinds: Vec<&str> = registry().iter().map(|connector| connector.name).collect();
            failure.help(format!("declare it: CONNECTION {name} TO … WITH (…); kinds: {}", kinds.join(", ")))
        }
        false => failure.help(format!("there are {}", known.join(", "))),
    })
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
