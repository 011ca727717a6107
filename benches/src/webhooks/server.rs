//! A contestant in a process of its own: its start, its costs, and whether all that it took came out.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{cpu, load, product};

/// How long a server may take to answer, and its pipeline to write what it has taken.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Of a server that keeps what it takes.
    folder: Option<PathBuf>,
}

impl Server {
    pub fn start(name: &str) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([name, &address.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let folder = (name != "bare").then(|| {
            let name = format!("syncline-webhooks-{}-{}", std::process::id(), address.port());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).expect("a temporary folder");
            command.arg(&folder);
            folder
        });
        let child = command.env("SYNCLINE_SECRET_HOOKS", load::SECRET).spawn().expect("a server starts");
        until(|| TcpStream::connect(address).is_ok(), "the server answers");
        Server { child, address, folder }
    }

    /// CPU time of the process so far, as the kernel counts it, in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        cpu::of(self.child.id())
    }

    /// Ends it, once each of so many deliveries has come out as one row.
    pub fn stop(mut self, deliveries: u64) {
        if let Some(folder) = &self.folder {
            let out = folder.join(product::OUT);
            until(|| lines(&out) >= deliveries, "every delivery comes out");
            assert_eq!(lines(&out), deliveries, "every delivery comes out once");
        }
        self.child.kill().and_then(|()| self.child.wait()).expect("the server ends");
        if let Some(folder) = &self.folder {
            std::fs::remove_dir_all(folder).expect("its folder goes away");
        }
    }
}

fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "within {PATIENCE:?}, {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lines of all parts of a folder, those that still grow too.
fn lines(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let parts = entries.filter(|path| path.to_string_lossy().contains(".ndjson"));
    let ends = |text: Vec<u8>| text.iter().filter(|byte| **byte == b'\n').count() as u64;
    parts.filter_map(|path| std::fs::read(path).ok()).map(ends).sum()
}
