//! Workers for questions, as commands name them. What they are told beyond this machine is told with TLS, or not at all.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use clap::Args;
use syncline_analytics::{Tls, Token, Workers};

use crate::{outcome::Failure, tls};

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
    /// Speak with workers by TLS: the certificate of the authority that signed theirs (PEM)
    #[arg(long = "workers-ca", value_name = "FILE", env = "SYNCLINE_WORKERS_CA", requires = "workers")]
    pub authority: Option<PathBuf>,
    /// A certificate of this process, for workers that let nobody in without one (PEM)
    #[arg(long = "workers-cert", value_name = "FILE", env = "SYNCLINE_WORKERS_CERT", requires_all = ["authority", "key"])]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long = "workers-key", value_name = "FILE", env = "SYNCLINE_WORKERS_KEY", requires = "certificate")]
    pub key: Option<PathBuf>,
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
        let identity = self.certificate.as_deref().zip(self.key.as_deref());
        let tls = self.authority.as_deref().map(|authority| read("--workers", authority, identity)).transpose()?;
        let clear = tls.is_none();
        let workers = Workers::new(&self.workers, token()?, tls, &build()?).map_err(wrong)?;
        if let Some(worker) = workers.elsewhere().filter(|_| clear) {
            let title = format!("what worker {worker} is told would travel in the clear");
            return Err(Failure::usage("worker-open", title)
                .help("name the authority that signed its certificate: --workers-ca FILE")
                .help("on this machine workers need none: --workers 127.0.0.1:7900"));
        }
        Ok(Some(workers))
    }
}

/// Reads what options of this name gave: `--tls` and `-ca`, `-cert`, `-key`. What cannot be used ends the start.
pub fn read(option: &str, authority: &Path, identity: Option<(&Path, &Path)>) -> Result<Tls, Failure> {
    let roots = tls::authority(option, authority)?;
    let pair = identity.map(|(certificate, key)| tls::pair(option, certificate, key)).transpose()?;
    Tls::new(roots, pair).map_err(|detail| {
        let title = format!("the certificates of {option}-cert and {option}-ca cannot be used");
        Failure::usage("tls-unusable", title).seen(detail).help("the key has to be that of the first certificate")
    })
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
