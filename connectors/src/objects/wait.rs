//! Requests run on threads of their own; who asked waits for the answer, or looks whether it has come.

use std::{
    future::Future,
    io,
    sync::{
        OnceLock,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

/// Requests of all pipelines share these threads: they wait for the network, and copy.
const THREADS: usize = 2;

/// A request that is not answered by then never is. The client gives up long before.
const LONGEST: Duration = Duration::from_secs(600);

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> io::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread().worker_threads(THREADS).thread_name("network").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// An answer that is on its way.
pub struct Coming<T>(Receiver<T>);

/// Starts a request.
pub fn start<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> io::Result<Coming<T>> {
    let (sender, receiver) = sync_channel(1);
    runtime()?.spawn(async move {
        let _ = sender.send(request.await);
    });
    Ok(Coming(receiver))
}

/// Starts a request, and waits for its answer.
pub fn wait<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    start(request)?.within(LONGEST)
}

impl<T> Coming<T> {
    /// The answer, if it comes in this time; else [`io::ErrorKind::WouldBlock`].
    pub fn within(&self, time: Duration) -> io::Result<T> {
        self.0.recv_timeout(time).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::ErrorKind::WouldBlock.into(),
            RecvTimeoutError::Disconnected => io::Error::other("the request fell over"),
        })
    }
}
