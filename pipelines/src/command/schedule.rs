//! `syncline schedule`: when pipelines are due, and what people may ask of that.

use clap::{Args, Subcommand};
use hyper::Method;

use super::{Common, Format, query};
use crate::{
    api::schedules,
    ask::Answerer,
    control::{self, Process},
    outcome::{Failure, Outcome},
};

/// Look at schedules, hold them, or start a run now
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline schedule list
  syncline schedule pause report      no run starts until it is resumed, across restarts too
  syncline schedule resume report     what was due meanwhile gets no run
  syncline schedule run report        starts a run now, beside its schedule
  syncline schedule list -o json")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// All schedules: the last due time, its outcome, the next one
    List,
    /// Start no run until it is resumed; one that goes comes to its end
    Pause { name: String },
    /// Start runs again from now on
    Resume { name: String },
    /// Start a run now, in the process that runs the pipeline
    Run { name: String },
}

const ALL: &str = "SELECT * FROM schedules ORDER BY pipeline";

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let answerer = Answerer::find(common)?;
    let (name, verb) = match &arguments.what {
        What::List => return query::print(&answerer, ALL, common),
        What::Pause { name } => (name, "pause"),
        What::Resume { name } => (name, "resume"),
        What::Run { name } => (name, "run"),
    };
    match &answerer {
        Answerer::Process(process) => ask(process, name, verb)?,
        Answerer::Ledger(..) => return Err(Failure::failed("no-schedules", "a ledger has no schedules")),
        Answerer::Folder(..) if verb == "run" => {
            return Err(Failure::failed("nobody-runs", "no process runs here, so nothing can be started in it")
                .help(format!("run it now, once: syncline run FILE --once --pipeline {name}")));
        }
        Answerer::Folder(world, _) => {
            schedules::hold(&*world.ground.store, name, verb == "pause", world.ground.clock.now())?;
        }
    }
    if common.output != Format::Table {
        let one = format!("SELECT * FROM schedules WHERE pipeline = '{}'", name.replace('\'', "''"));
        return query::print(&answerer, &one, common);
    }
    eprintln!(
        "{}",
        match verb {
            "pause" => format!("{name} is paused: no run starts until `syncline schedule resume {name}`"),
            "resume" => format!("{name} goes on: what was due while it was paused gets no run"),
            _ => format!("a run of {name} starts; `syncline status` shows it"),
        }
    );
    Ok(())
}

fn ask(process: &Process, name: &str, verb: &str) -> Outcome {
    let path = format!("/v1/schedules/{}/{verb}", escaped(name));
    control::call(process, Method::POST, &path, vec![])?.map(drop).ok_or_else(|| process.gone())
}

/// A name as a part of a path: what is not plain is written as its bytes.
pub fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_through_a_path_whatever_its_letters() {
        assert_eq!(escaped("orders_2.0"), "orders_2.0");
        assert_eq!(escaped("a b/ü"), "a%20b%2F%C3%BC");
    }
}
