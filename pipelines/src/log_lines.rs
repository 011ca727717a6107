//! Structured log lines on stderr: what happened, for operators. `RUST_LOG` chooses more or less of them.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use crate::command::Format;

/// Warnings and worse, unless `RUST_LOG` says otherwise. JSON lines when the command's output is JSON.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        Format::Json | Format::Ndjson => builder.json().try_init(),
        _ => builder.compact().try_init(),
    };
}
