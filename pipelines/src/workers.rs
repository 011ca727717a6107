//! Workers for questions, as commands name them.

use std::{fs::File, io::Read, sync::OnceLock};

use clap::Args;
use syncline_analytics::{Token, Workers};

use crate::outcome::Failure;

/// What coordinator and workers share. Only the environment has it: a command line is seen by everyone on a machine.
const TOKEN: &str = "SYNCLINE_WORKER_TOKEN";
/// A shorter token can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Who answers questions about the ledger's files.
#[derive(Args, Clone, Debug, Default)]
pub struct WorkersOptions {
    /// Let these workers (`syncline worker`) answer questions about the ledger's files, together
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub workers: Vec<String>,
}

impl WorkersOptions {
    /// `None` when nobody is named.
    pub fn open(&self) -> Result<Option<Workers>, Failure> {
        if self.workers.is_empty() {
            return Ok(None);
        }
        let wrong = |address: String| {
            Failure::usage("no-worker", format!("`{address}` is no worker"))
                .help("name host and port of each: --workers 10.0.0.1:7900,10.0.0.2:7900")
        };
        Workers::new(&self.workers, token()?, &build()?).map(Some).map_err(wrong)
    }
}

/// The token of the environment, if there is one.
pub fn token() -> Result<Option<Token>, Failure> {
    let token = std::env::var(TOKEN).unwrap_or_default();
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    match token.len() {
        0 => Ok(None),
        _ if !plain => {
            Err(Failure::usage("token-unusable", format!("{TOKEN} holds more than printed ASCII characters"))
                .help("openssl rand -hex 32 makes one"))
        }
        1..SHORTEST_TOKEN => {
            Err(Failure::usage("token-short", format!("{TOKEN} has fewer than {SHORTEST_TOKEN} characters"))
                .help("openssl rand -hex 32 makes one"))
        }
        _ => Ok(Some(Token::new(&token))),
    }
}

/// What tells one build from another: plans are understood by the build that made them.
pub fn build() -> Result<String, Failure> {
    static BUILD: OnceLock<Result<String, String>> = OnceLock::new();
    let build = BUILD.get_or_init(|| fingerprint().map_err(|error| error.to_string()));
    build.clone().map_err(|error| {
        Failure::environment("no-program", format!("the file of this program cannot be read: {error}"))
            .help("start it again from where it lies now")
    })
}

/// The version, and a checksum of the program.
fn fingerprint() -> std::io::Result<String> {
    // The file that runs, also when another one has its name meanwhile.
    let mut program = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
    let (mut hash, mut piece) = (xxhash_rust::xxh3::Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match program.read(&mut piece)? {
            0 => return Ok(format!("{} {:032x}", env!("CARGO_PKG_VERSION"), hash.digest128())),
            length => hash.update(&piece[..length]),
        }
    }
}
