//! A connection, as a thread that waits for each answer uses it.
//!
//! Every call has an end: a server that does not answer counts as gone, and a transaction that we left behind does not hold its locks
//! for ever. The connection ends with the session, and the server takes back what was not committed.

use std::{future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, Row, Statement, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{address::Address, trouble::Fault};
use crate::{
    registry::{Told, connector},
    spec::{Args, Arguments, Surroundings},
};

/// A batch that takes longer meets a lock, or a trigger without an end.
const LONGEST_STATEMENT: Duration = Duration::from_secs(30);
/// A lock that is held longer is looked at as trouble, which `status` shows, and tried again.
const LONGEST_LOCK: Duration = Duration::from_secs(5);
/// The server's own limits come first, so that its reason is told.
const DEADLINE: Duration = Duration::from_secs(40);
/// An open transaction of ours in which nothing happens for so long is one whose process is gone without a word.
const IDLE: Duration = Duration::from_secs(60);

/// Who asks a question waits for as long, and no longer: he is there.
const LONGEST_QUESTION: Duration = Duration::from_secs(60);
/// He may take his time with the rows that he has.
const IDLE_QUESTION: Duration = Duration::from_secs(600);
/// He is soon told that nobody answers.
const CONNECT_QUESTION: Duration = Duration::from_secs(3);

pub struct Session {
    // Before the runtime: the connection is told that it ends.
    client: Client,
    runtime: Runtime,
    deadline: Duration,
}

impl Session {
    pub fn open(address: &Address) -> Result<Self, Fault> {
        Self::with(address, (DEADLINE, DEADLINE), &settings(LONGEST_STATEMENT, IDLE))
    }

    /// For questions: somebody waits for each answer.
    pub fn of_question(address: &Address) -> Result<Self, Fault> {
        let mut address = address.clone();
        address.config.connect_timeout(CONNECT_QUESTION);
        let deadlines = (CONNECT_QUESTION * 2, LONGEST_QUESTION + LONGEST_LOCK);
        Self::with(&address, deadlines, &settings(LONGEST_QUESTION, IDLE_QUESTION))
    }

    /// Ends the statement that this session is in, from another thread, as far as the server can be reached.
    pub fn canceller(&self, address: &Address) -> impl FnOnce() + Send + use<> {
        let (token, trust) = (self.client.cancel_token(), address.trust.clone());
        move || {
            let cancel = move || {
                let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
                // The server's own timeouts end what it does not hear of.
                let cancelled = async {
                    match trust.client() {
                        Ok(None) => drop(token.cancel_query(NoTls).await),
                        Ok(Some(tls)) => drop(token.cancel_query(MakeRustlsConnect::new(tls)).await),
                        Err(_) => {}
                    }
                };
                let _ = runtime.block_on(async { tokio::time::timeout(CONNECT_QUESTION, cancelled).await });
            };
            // Nobody waits for it.
            let _ = std::thread::Builder::new().name("postgres-cancel".to_owned()).spawn(cancel);
        }
    }

    fn with(address: &Address, (connect, deadline): (Duration, Duration), settings: &str) -> Result<Self, Fault> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Fault::Here)?;
        let config = address.config.clone();
        let tls = address.trust.client().map_err(Fault::Trust)?;
        let connected = async {
            match tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    // Its end shows at the next call.
                    tokio::spawn(async move { _ = connection.await });
                    Ok(client)
                }
                Some(tls) => {
                    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
                    tokio::spawn(async move { _ = connection.await });
                    Ok(client)
                }
            }
        };
        let client = within(&runtime, connect, connected)?;
        // What follows is answered at once, or by nobody.
        let session = Self { client, runtime, deadline: connect };
        session.run(settings)?;
        Ok(Self { deadline, ..session })
    }

    /// Statements without an answer.
    pub fn run(&self, sql: &str) -> Result<(), Fault> {
        within(&self.runtime, self.deadline, self.client.batch_execute(sql))
    }

    pub fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Fault> {
        within(&self.runtime, self.deadline, self.client.query(sql, values))
    }

    pub fn query_opt(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    pub fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Fault> {
        within(&self.runtime, self.deadline, self.client.execute(sql, values))
    }

    pub fn query_prepared(&self, statement: &Statement) -> Result<Vec<Row>, Fault> {
        within(&self.runtime, self.deadline, self.client.query(statement, &[]))
    }

    /// Rows as they come, until `each` wants no more. What the server has sent by then is let go, unseen.
    pub fn each(
        &self,
        statement: &Statement,
        values: &[&str],
        mut each: impl FnMut(&Row) -> bool,
    ) -> Result<(), Fault> {
        within(&self.runtime, self.deadline, async {
            let mut rows = pin!(self.client.query_raw(statement, values).await?);
            while let Some(row) = rows.try_next().await? {
                if !each(&row) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// A statement that comes often.
    pub fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        within(&self.runtime, self.deadline, self.client.prepare(sql))
    }

    pub fn execute_prepared(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Fault> {
        within(&self.runtime, self.deadline, self.client.execute(statement, values))
    }

    /// `COPY … FROM STDIN` of these bytes.
    pub fn copy(&self, statement: &Statement, bytes: Bytes) -> Result<u64, Fault> {
        within(&self.runtime, self.deadline, async {
            let mut copying = pin!(self.client.copy_in::<_, Bytes>(statement).await?);
            // When it fails, the reason comes with the end.
            let _ = copying.send(bytes).await;
            copying.as_mut().finish().await
        })
    }
}

fn within<T>(
    runtime: &Runtime,
    deadline: Duration,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
    let answered = runtime.block_on(async { tokio::time::timeout(deadline, call).await });
    Ok(answered.map_err(|_| Fault::Silent)??)
}

/// Texts have one meaning, whatever the server's own settings are, and a commit is on a disk when it returns: the outbox forgets its
/// rows then.
fn settings(statement: Duration, idle: Duration) -> String {
    format!(
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET statement_timeout = {}; SET lock_timeout = {}; \
         SET idle_in_transaction_session_timeout = {}; SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; \
         SET tcp_keepalives_count = 3; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        statement.as_millis(),
        LONGEST_LOCK.as_millis(),
        idle.as_millis()
    )
}

/// A look at a database: who answers, as whom, and whether it would take rows.
pub fn look(args: &Args, around: &Surroundings) -> Result<Told, String> {
    let connector = connector("postgres").map_err(|error| error.to_string())?;
    let mut args = args.clone();
    // A connection leaves the table to those who use it.
    args.named.entry("table".to_owned()).or_insert_with(|| "".into());
    let arguments = Arguments::checked(connector, &args).map_err(|error| error.to_string())?;
    let address = Address::of(&arguments, around).map_err(|error| error.to_string())?;
    let failed = |fault: Fault| super::trouble::trouble(&address.name, "connect", &fault).to_string();
    let session = Session::open(&address).map_err(failed)?;
    let sql = "SELECT current_setting('server_version'), current_user::text, coalesce(current_schema()::text, 'none'), \
               pg_is_in_recovery(), coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()), 'none')";
    let row = session.query_opt(sql, &[]).map_err(failed)?.ok_or("it answers nothing")?;
    let text = |index: usize| row.get::<_, String>(index);
    let takes = if row.get::<_, bool>(3) { "no: it follows another server" } else { "yes" };
    Ok(vec![
        ("place", address.name.clone()),
        ("version", text(0)),
        ("user", text(1)),
        ("schema", text(2)),
        ("takes rows", takes.to_owned()),
        ("tls", text(4)),
    ])
}
