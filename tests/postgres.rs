//! A PostgreSQL server of other people's, for tests: one for all tests of a process, each with a database of its own.
//!
//! It lies in a temporary folder, listens on a free port of this machine and on a socket, and ends with the process that wanted it,
//! also when that one is killed: its keeper reads a pipe whose other end only that process holds. As PostgreSQL does not run for root,
//! root starts it as another user. Nothing of the product is used here.

#![allow(dead_code, reason = "the tests of the connector and those of the binary each use a part")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A machine that compiles beside it is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server, waits until whoever wanted it is gone, and takes everything away.
const KEEPER: &str = "\"$1\" -D \"$2/data\" -p \"$3\" -k \"$2\" >>\"$2/log\" 2>&1 & server=$!\nread -r _\nkill -QUIT $server\nwait $server\nrm -rf \"$2\"";

/// The user with a password, and that.
pub const GUARDED: (&str, &str) = ("ada", "tr0ub4dor");

pub struct Server {
    folder: PathBuf,
    port: u16,
    keeper: Mutex<Option<Child>>,
}

/// A database of its own.
pub struct Database {
    server: &'static Server,
    name: String,
}

/// The server that the tests of this process share.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// One that a test may kill. It lives as long as the process.
pub fn own() -> &'static Server {
    Box::leak(Box::new(Server::start()))
}

fn programs() -> PathBuf {
    let named = std::env::var_os("SYNCLINE_POSTGRES").map(PathBuf::from);
    named.expect("the folder of PostgreSQL's programs in SYNCLINE_POSTGRES: run ./test, which looks for them")
}

/// A command as a user that PostgreSQL runs for.
fn plain(program: impl AsRef<Path>) -> Command {
    match user() {
        None => Command::new(program.as_ref()),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
            command.arg(program.as_ref());
            command
        }
    }
}

/// None where this is no root.
fn user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let said = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(said.stdout).ok()?.trim().parse().ok()
    };
    let of = |name: &str| Some((id(&["-u", name])?, id(&["-g", name])?));
    (id(&["-u"]) == Some(0)).then(|| of("postgres").or_else(|| of("nobody")).expect("a user other than root"))
}

fn run(command: &mut Command, what: &str) {
    let said = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(said.status.success(), "{what}: {}", String::from_utf8_lossy(&said.stderr));
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("syncline-postgres-").tempdir().expect("a folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its permissions");
        if let Some((user, group)) = user() {
            chown(&folder, Some(user), Some(group)).expect("its owner");
        }
        let mut initdb = plain(programs().join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8", "-D"]);
        run(initdb.arg(folder.join("data")), "initdb");
        certificates(&folder);
        settings(&folder);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let server = Self { folder, port, keeper: Mutex::new(None) };
        server.again();
        let (user, password) = GUARDED;
        server.psql("postgres", &format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'"));
        server
    }

    /// Starts it, in the state that it was left in.
    pub fn again(&self) {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let log = self.log().len();
            let mut keeper = plain("/bin/sh");
            keeper.args(["-c", KEEPER, "keeper"]).arg(programs().join("postgres")).arg(&self.folder);
            keeper.arg(self.port.to_string()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut keeper = keeper.spawn().expect("a keeper");
            if self.ready(log) {
                *self.keeper.lock().expect("no panic") = Some(keeper);
                return;
            }
            // What a killed server left in memory is looked at as a server that still runs.
            let _ = keeper.kill();
            let _ = keeper.wait();
            thread::sleep(Duration::from_millis(100));
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// False when it says in its log, behind what it has said before, that it cannot start.
    fn ready(&self, said: usize) -> bool {
        let started = Instant::now();
        let held = |log: &str| ["FATAL:  pre-existing", "FATAL:  lock file"].iter().any(|words| log.contains(words));
        while started.elapsed() < PATIENCE && !held(&self.log()[said..]) {
            let mut asked = Command::new(programs().join("pg_isready"));
            asked.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if asked.status().is_ok_and(|status| status.success()) {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// `kill -9` of the server's first process; the others end when they see it.
    pub fn kill(&self) {
        if let Some(mut keeper) = self.keeper.lock().expect("no panic").take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
        self.signal("KILL");
    }

    /// A signal to the server's first process.
    pub fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("the server's number");
        let pid = pid.lines().next().expect("a line").to_owned();
        run(Command::new("kill").args(["-s", name, &pid]), "kill");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with `ca.crt`, and the server's socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn database(&'static self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("shop_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: self, name }
    }

    fn psql(&self, database: &str, sql: &str) -> Vec<String> {
        let mut psql = Command::new(programs().join("psql"));
        psql.args([
            "-XAtq",
            "-F",
            "|",
            "-P",
            "null=NULL",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ]);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]).env("PGTZ", "UTC").stdin(Stdio::null());
        let said = psql.output().expect("psql");
        assert!(said.status.success(), "{sql}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect()
    }
}

impl Database {
    pub fn server(&self) -> &'static Server {
        self.server
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.server.port, self.name)
    }

    /// What PostgreSQL's own client shows: a line per row, `|` between values, `NULL` for NULL.
    pub fn sql(&self, sql: &str) -> Vec<String> {
        self.server.psql(&self.name, sql)
    }
}

/// An authority, and a certificate of the server for `localhost` that it signed.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(folder), "openssl");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    openssl(&[&["req", "-x509"], &key[..], &["-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.crt"]].concat());
    openssl(
        &[&["req"], &key[..5], &["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"]].concat(),
    );
    fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
        .expect("a file");
    let sign =
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    openssl(&[&sign[..], &["-extfile", "names", "-out", "server.crt"]].concat());
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600)).expect("its permissions");
    if let Some((user, group)) = user() {
        chown(folder.join("server.key"), Some(user), Some(group)).expect("its owner");
    }
}

/// Small, quick, and with both ways in: only the machine could lose what is not forced to its disk, and it is not killed here.
fn settings(folder: &Path) {
    let place = folder.display();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nshared_buffers = 16MB\nmax_connections = 60\nfsync = off\nssl = on\n\
         ssl_cert_file = '{place}/server.crt'\nssl_key_file = '{place}/server.key'\n"
    );
    let doors = format!(
        "host all {} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n",
        GUARDED.0
    );
    let data = folder.join("data");
    let before = fs::read_to_string(data.join("postgresql.conf")).expect("settings of initdb");
    fs::write(data.join("postgresql.conf"), before + &settings).expect("settings");
    fs::write(data.join("pg_hba.conf"), doors).expect("doors");
}
