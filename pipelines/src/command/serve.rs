//! `syncline serve`: the daemon. Runs the pipelines of a folder, and stays to take new ones.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{
    Common,
    run::{Around, Terms, run_scope},
};
use crate::{
    outcome::{Failure, Outcome},
    project::Scope,
};

/// Run the pipelines of a folder, and stay to take new ones and to be asked
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline serve                           all *.sync files of this folder and below it, until SIGTERM or ^C
  syncline serve pipelines/ --listen 127.0.0.1:7801
  syncline pipeline list                   what runs; pause, resume, stop, restart, delete NAME
  syncline apply orders.sync               give it another text of a pipeline, by what the text means for its state
  kill -HUP PID                            read the files again: only what changed is started and stopped

The files of the folder say what runs, whoever wrote them: an editor, or `PUT /v1/pipelines/NAME`.")]
pub struct Arguments {
    /// The folder of the pipeline files
    #[arg(default_value = ".", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Where the HTTP server listens [default: 127.0.0.1:7800]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    #[command(flatten)]
    pub around: Around,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let Arguments { folder, listen, around } = arguments;
    if !folder.is_dir() {
        return Err(Failure::usage("no-such-folder", format!("{} is no folder", folder.display()))
            .help("`syncline init DIR` makes one with a first pipeline; `syncline run FILE` runs a file"));
    }
    let scope = Scope { paths: vec![folder], only: vec![], may_be_empty: true };
    run_scope(scope, around, common, Terms { listen, stays: true, ..Terms::default() })
}
