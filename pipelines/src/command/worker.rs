//! `syncline worker`: works on parts of questions about a ledger that others ask.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use syncline_analytics::{Limits, STACK, Serving, serve};
use syncline_connectors::archive::Missing;
use tokio::signal::unix::{SignalKind, signal};

use super::Common;
use crate::{
    ledger,
    log_lines::{self, LogFormat, LogLevel},
    outcome::{Failure, Outcome},
    tell,
    workers::{self, build, token},
};

/// Work on parts of questions about a ledger that other processes ask
#[derive(Args, Debug)]
#[command(after_help = "\
It reads the files of that ledger and nothing else, and writes nothing. Who asks has to be of the same build.
Beyond this machine it speaks with TLS only, and lets in who shows a certificate of the same authority; with SYNCLINE_WORKER_TOKEN in
its environment, who has that token.

Examples:
  syncline worker --ledger s3://shop/ledger
  syncline worker --ledger s3://shop/ledger --listen 10.0.0.1:7900 --tls-cert one.crt --tls-key one.key --tls-ca ca.crt
  syncline query --ledger s3://shop/ledger --workers 10.0.0.1:7900,10.0.0.2:7900 \\
    --workers-ca ca.crt --workers-cert ada.crt --workers-key ada.key 'SELECT step, fate, count(*) FROM ledger GROUP BY step, fate'")]
pub struct Arguments {
    /// The ledger whose files are read: where `run --ledger` puts them
    #[arg(long, value_name = "URL|DIR", env = "SYNCLINE_LEDGER")]
    pub ledger: String,
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    pub listen: SocketAddr,
    /// Its certificate (PEM), which names the address that it is asked at
    #[arg(long = "tls-cert", value_name = "FILE", requires_all = ["key", "authority"])]
    pub certificate: Option<PathBuf>,
    /// The key of its certificate (PEM)
    #[arg(long = "tls-key", value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// The authority that signed the certificates of workers and of who asks them (PEM)
    #[arg(long = "tls-ca", value_name = "FILE", requires = "certificate")]
    pub authority: Option<PathBuf>,
    /// Memory for all parts of questions together, in MiB
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().memory >> 20)]
    pub memory: usize,
    /// How log lines on stderr look [default: json with -o json, else text]
    #[arg(long, value_name = "FORMAT", env = "SYNCLINE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least that is logged [default: info, or what RUST_LOG says]
    #[arg(long, value_name = "LEVEL", env = "SYNCLINE_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let Arguments { ledger, listen, certificate, key, authority, memory, log_format, log_level } = arguments;
    log_lines::start(log_format, log_level, common.output);
    let token = token()?;
    let identity = certificate.as_deref().zip(key.as_deref());
    let tls = authority.as_deref().map(|authority| workers::read("--tls", authority, identity)).transpose()?;
    if tls.is_none() && !listen.ip().is_loopback() {
        let title = format!("{listen} is open to other machines, and what is said there would travel in the clear");
        return Err(Failure::usage("worker-open", title)
            .help("give it a certificate: --tls-cert FILE --tls-key FILE --tls-ca FILE"));
    }
    let objects = ledger::at(&ledger, Missing::Refuse)?.objects;
    let serving = Serving { objects, token, tls, version: build()?, memory: memory << 20 };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment("no-threads", format!("no threads for the worker: {error}")))?;
    let served = runtime.block_on(async {
        let failed = |error: std::io::Error| Failure::environment("no-signals", error.to_string());
        let (mut term, mut int) =
            (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
        let over = async {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        };
        let listening = |address: SocketAddr| {
            tell!(address = address.to_string(), "works for questions on {address}, with the ledger of {ledger}");
        };
        serve(serving, listen, listening, over).await.map_err(|error| {
            Failure::environment("cannot-listen", format!("cannot listen on {listen}: {error}"))
                .help("give it another address with --listen")
        })
    });
    runtime.shutdown_background();
    served
}
