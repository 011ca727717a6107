//! Log lines on stderr: one per event, for people as text, for machines as JSON.
//!
//! An event is told once, where it is handled, and never per record. What a command has to say to whoever started it (where it
//! listens, how a run ended) is an event too ([`tell!`](crate::tell)): as text it is a plain line, whatever the level. No line
//! shows a secret, and none breaks: what came from outside cannot write a line of its own.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use clap::ValueEnum;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use crate::{command::Format, progress, secrets};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The target of what is told to whoever started the command.
pub const TOLD: &str = "syncline::told";

/// Says something to whoever started the command: a plain line, or an event with these fields where lines are JSON.
#[macro_export]
macro_rules! tell {
    ($($event:tt)+) => { tracing::info!(target: "syncline::told", $($event)+) };
}

static JSON: AtomicBool = AtomicBool::new(false);

/// True when every line of stderr is JSON.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Begins to write lines. `output` decides the format, and `RUST_LOG` the level, where nobody else has.
pub fn start(format: Option<LogFormat>, level: Option<LogLevel>, output: Format) {
    let json = match format {
        Some(format) => format == LogFormat::Json,
        None => matches!(output, Format::Json | Format::Ndjson),
    };
    JSON.store(json, Ordering::Relaxed);
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level, json)).with_writer(Lines);
    // A second start in one process (tests) keeps the first.
    let _ = match json {
        true => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_ansi(false)
            .try_init(),
        false => builder.with_ansi(colour).event_format(Text).try_init(),
    };
    std::panic::set_hook(Box::new(panicked));
}

/// Our own events at the level, those of libraries at `warn` at most.
fn filter(level: Option<LogLevel>, json: bool) -> EnvFilter {
    let mut filter = match (level, EnvFilter::try_from_default_env()) {
        (None, Ok(filter)) => filter,
        (level, _) => {
            let level = level.unwrap_or(LogLevel::Info);
            let others = if level == LogLevel::Error { "error" } else { "warn" };
            EnvFilter::new(format!("{others},syncline={}", format!("{level:?}").to_lowercase()))
        }
    };
    if !json && let Ok(told) = format!("{TOLD}=info").parse() {
        filter = filter.add_directive(told);
    }
    filter
}

/// A panic is a line like others; the thread's name says whose task it was.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let said = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let trace = std::backtrace::Backtrace::capture();
    let backtrace = (trace.status() == std::backtrace::BacktraceStatus::Captured).then(|| trace.to_string());
    metrics::counter!("syncline_panics_total").increment(1);
    tracing::error!(thread = thread.name(), place, backtrace, "panic: {}", said.unwrap_or("without a word"));
}

/// `2026-11-20T10:00:00.123456Z WARN  orders/upsert: database is locked; trying again in 92 ms tries=2`
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        if event.metadata().target() == TOLD {
            return writeln!(to, "{}", parts.message);
        }
        SystemTime.format_time(&mut to)?;
        let level = *event.metadata().level();
        let (on, off) = match to.has_ansi_escapes() {
            true => (colour(level), "\x1b[0m"),
            false => ("", ""),
        };
        write!(to, " {on}{level:<5}{off} ")?;
        match (&parts.pipeline, &parts.step) {
            (Some(pipeline), Some(step)) => write!(to, "{pipeline}/{step}: ")?,
            (Some(one), None) | (None, Some(one)) => write!(to, "{one}: ")?,
            (None, None) => {}
        }
        writeln!(to, "{}{}", parts.message, parts.others)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        _ => "\x1b[2m",
    }
}

/// The fields of an event.
#[derive(Default)]
struct Parts {
    message: String,
    pipeline: Option<String>,
    step: Option<String>,
    others: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = on_one_line(value);
        match field.name() {
            "message" => self.message = value,
            "pipeline" => self.pipeline = Some(value),
            "step" => self.step = Some(value),
            name if value.is_empty() || value.contains([' ', '"', '=']) => {
                self.others.push_str(&format!(" {name}={value:?}"));
            }
            name => self.others.push_str(&format!(" {name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Without line ends and other signs that a terminal would act upon.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line
}

/// Where lines go.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

/// Takes an event's line in one piece.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let shown = secrets::hidden(&text);
        // Whoever read the lines may be gone. That is no reason to stop, and there is nobody to tell it to.
        let _ = progress::aside(|| io::stderr().write_all(shown.as_bytes()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// What is written while `f` runs.
    fn written(f: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(Some(LogLevel::Warn), false))
            .with_writer(move || to.clone())
            .with_ansi(false)
            .event_format(Text)
            .finish();
        tracing::subscriber::with_default(subscriber, f);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_names_its_pipeline_and_step_and_cannot_be_broken_by_what_it_shows() {
        let text = written(|| {
            tracing::warn!(
                pipeline = "orders",
                step = "upsert",
                tries = 2,
                why = "a b",
                "locked\n2026 ERROR a forged line"
            );
            tracing::info!("not at this level");
        });
        let rest = text.split_once(' ').unwrap().1;
        assert_eq!(rest, "WARN  orders/upsert: locked\\n2026 ERROR a forged line tries=2 why=\"a b\"\n");
    }

    #[test]
    fn what_is_told_is_a_plain_line_at_every_level() {
        assert_eq!(written(|| crate::tell!(rows = 7, "orders: ended run {}", 3)), "orders: ended run 3\n");
    }
}
