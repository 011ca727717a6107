//! Ctrl-C in a shell ends the question that is being answered, and not the shell. Other commands end with it, as everywhere.

use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::outcome::Failure;

/// This process is a shell.
static SHELL: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C ends questions, and nothing else, whenever it comes.
pub fn ends_questions() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::environment("no-signals", error.to_string());
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Whoever listens first takes it from the system, for as long as the process lives.
    drop(runtime.block_on(async { signal(SignalKind::interrupt()) }).map_err(failed)?);
    SHELL.store(true, Ordering::Relaxed);
    Ok(())
}

/// Comes when somebody presses Ctrl-C from now on, where that ends questions.
pub async fn pressed() {
    if !SHELL.load(Ordering::Relaxed) {
        return pending().await;
    }
    match signal(SignalKind::interrupt()) {
        Ok(mut presses) => drop(presses.recv().await),
        Err(_) => pending().await,
    }
}

/// What an answer that was ended so is.
pub fn cancelled() -> Failure {
    Failure::failed("query-cancelled", "the question was cancelled")
}
