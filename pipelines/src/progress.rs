//! Progress bars for runs that end: bytes, rate and time left, on stderr and only for a person. One for each pipeline that runs.

use std::{io::IsTerminal, sync::LazyLock};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use syncline_engine::runtime::supervisor::Look;

/// All bars of the process: they share the last lines of one terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes to stderr beside the bars, not through them.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

pub struct Bar {
    bar: Option<ProgressBar>,
    wanted: bool,
    name: String,
    skipped: u64,
}

impl Bar {
    /// `wanted`: the run ends, and stderr is for people.
    pub fn new(name: &str, wanted: bool) -> Self {
        let wanted = wanted && std::io::stderr().is_terminal();
        Self { bar: None, wanted, name: name.to_owned(), skipped: 0 }
    }

    pub fn show(&mut self, look: &Look) {
        if look.pause.is_some() {
            // Nothing moves until the next start, which begins with a look of its own.
            return;
        }
        self.skipped = look.progress.skipped;
        let Some(total) = look.progress.total.filter(|_| self.wanted) else { return };
        let name = &self.name;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = BARS.add(ProgressBar::new(total));
            let style = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(name.clone());
            // What an earlier run has read counts for the place in the file, not for the rate.
            bar.set_position(look.progress.skipped);
            bar.reset_eta();
            bar
        });
        bar.set_length(total);
        bar.set_position(look.progress.done);
    }

    /// Takes the bar away; returns the bytes that earlier runs had read.
    pub fn finish(&mut self) -> u64 {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            BARS.remove(&bar);
        }
        self.skipped
    }
}
