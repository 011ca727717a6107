//! `syncline init`: a first project that runs, with its test.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::Common;
use crate::{
    outcome::{Failure, Outcome},
    render::for_shell,
};

/// Write a first pipeline, its test and a sample
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline init                here
  syncline init shop           in the folder shop

A file that is there already is left as it is.")]
pub struct Arguments {
    /// The folder of the project
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// What is written, in order.
const FILES: [(&str, &str); 4] = [
    ("orders.sync", include_str!("init/orders.sync")),
    ("history.sync", include_str!("init/history.sync")),
    ("orders.ndjson", include_str!("init/orders.ndjson")),
    (".gitignore", include_str!("init/gitignore")),
];

pub fn run(arguments: Arguments, _: &Common) -> Outcome {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    for (name, text) in FILES {
        let path = folder.join(name);
        match new_file(&path, text) {
            Ok(()) => eprintln!("wrote {}", path.display()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                eprintln!("left {} as it is", path.display());
            }
            Err(error) => return Err(failed("write", &path)(error)),
        }
    }
    let place = |name: &str| match folder == Path::new(".") {
        true => name.to_owned(),
        false => for_shell(&folder.join(name).display().to_string()),
    };
    eprintln!("\nnext:");
    eprintln!("  syncline test {:<24} runs the tests beside the pipeline", place("orders.sync"));
    eprintln!("  syncline run {:<25} takes the sample, and ends", place("history.sync"));
    eprintln!("  syncline run {:<25} takes orders over HTTP, until it is stopped", place("orders.sync"));
    eprintln!(
        "  curl -H 'content-type: application/x-ndjson' --data-binary @{} http://127.0.0.1:7800/in/orders",
        place("orders.ndjson")
    );
    eprintln!("  syncline status");
    Ok(())
}

fn new_file(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::environment("cannot-write", format!("{operation} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_time_changes_nothing() {
        let root = tempfile::TempDir::new().unwrap();
        let folder = root.path().join("new/shop");
        run(Arguments { folder: folder.clone() }, &Common::default()).unwrap();
        for (name, text) in FILES {
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text);
        }
        fs::write(folder.join("orders.sync"), "mine").unwrap();
        fs::remove_file(folder.join("orders.ndjson")).unwrap();
        run(Arguments { folder: folder.clone() }, &Common::default()).unwrap();
        assert_eq!(fs::read_to_string(folder.join("orders.sync")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(folder.join("orders.ndjson")).unwrap(), FILES[2].1);
    }
}
