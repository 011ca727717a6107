//! A connection from its first byte until it is known who is there: TLS, the start, the proof of a password.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use super::{
    Door,
    conversation::Conversation,
    messages::{Broken, Message, Out, Rest, Start, read_message, read_start},
    refusal::Refusal,
    scram::{Exchange, MECHANISM, Malformed, Verifier},
    session::{REPORTED, Session},
};
use crate::users::{self, Role};

/// Who has not proved himself by then is let go.
const STARTUP: Duration = Duration::from_secs(15);
/// What a wrong password costs, beside the proof itself: a guess each on every connection.
const PENALTY: Duration = Duration::from_millis(500);
/// Messages before the password: none of them is long.
const SHORT: usize = 4 << 10;
/// The version of the protocol, without its minor part.
const MAJOR: i32 = 3;

/// A stream, in the clear or not.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Why a connection ends before anybody is in.
enum End {
    /// A word, and nothing more.
    Told(Refusal),
    Silent,
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone(_) => Self::Silent,
            broken => Self::Told(Refusal::broken(&broken)),
        }
    }
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Silent
    }
}

impl From<Malformed> for End {
    fn from(_: Malformed) -> Self {
        Self::Told(
            Refusal::fatal("08P01", "malformed SCRAM message").hint(format!("use {MECHANISM} without channel binding")),
        )
    }
}

pub async fn serve(stream: TcpStream, from: SocketAddr, door: Arc<Door>, stop: watch::Receiver<bool>) {
    // Answers are small and complete: waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let begun = tokio::time::timeout(STARTUP, async {
        let Some((mut wire, parameters)) = begin(stream, &door).await? else { return Ok(None) };
        match log_in(&mut *wire, &parameters, &door, from).await {
            Ok(session) => Ok(Some((wire, session))),
            Err(End::Told(refusal)) => {
                tell(&mut *wire, &refusal).await;
                Err(End::Silent)
            }
            Err(End::Silent) => Err(End::Silent),
        }
    });
    // Who says nothing is told nothing.
    let Ok(Ok(Some((mut wire, session)))) = begun.await else { return };
    let Some(inside) = door.enter() else {
        let refusal =
            Refusal::fatal("53300", "too many clients are connected").hint("close one of them, or ask again later");
        return tell(&mut *wire, &refusal).await;
    };
    let mut out = Out::default();
    for name in REPORTED {
        out.parameter(name, &session.value(name).unwrap_or_default());
    }
    out.key(inside.pid, &inside.key);
    out.ready(session.transaction.letter());
    if wire.write_all(&out.0).await.is_ok() {
        Conversation::new(wire, session, inside, door, stop).run().await;
    }
}

async fn tell(wire: &mut dyn Wire, refusal: &Refusal) {
    let mut out = Out::default();
    out.refusal(refusal);
    let _ = wire.write_all(&out.0).await;
    let _ = wire.shutdown().await;
}

type Parameters = Vec<(String, String)>;

/// Until the start is told, under TLS where there is any. `None` when it was a request to cancel.
async fn begin(mut stream: TcpStream, door: &Door) -> Result<Option<(Box<dyn Wire>, Parameters)>, End> {
    loop {
        match (read_start(&mut stream).await?, &door.tls) {
            (Start::Tls, Some(tls)) => {
                stream.write_all(b"S").await?;
                // Nothing was read beyond the request, so what comes now is under TLS or nothing.
                let mut wire: Box<dyn Wire> = Box::new(tls.accept(stream).await?);
                return match read_start(&mut wire).await? {
                    Start::Startup { version, parameters } => Ok(Some(greet(wire, version, parameters).await?)),
                    Start::Cancel { pid, key } => {
                        door.cancel(pid, &key);
                        Ok(None)
                    }
                    _ => Err(End::Silent),
                };
            }
            (Start::Tls | Start::Gss, _) => stream.write_all(b"N").await?,
            (Start::Cancel { pid, key }, _) => {
                door.cancel(pid, &key);
                return Ok(None);
            }
            (Start::Startup { .. }, Some(_)) => {
                let refusal =
                    Refusal::fatal("28000", "this server speaks with TLS only").hint("connect with sslmode=require");
                tell(&mut stream, &refusal).await;
                return Err(End::Silent);
            }
            (Start::Startup { version, parameters }, None) => {
                return Ok(Some(greet(Box::new(stream), version, parameters).await?));
            }
        }
    }
}

/// Settles on the version of the protocol and its options.
async fn greet(
    mut wire: Box<dyn Wire>,
    version: i32,
    parameters: Parameters,
) -> Result<(Box<dyn Wire>, Parameters), End> {
    if version >> 16 != MAJOR {
        let told = format!("protocol version {}.{} is not spoken here, 3.0 is", version >> 16, version & 0xffff);
        tell(&mut *wire, &Refusal::fatal("0A000", told)).await;
        return Err(End::Silent);
    }
    let unknown: Vec<&str> =
        parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if version & 0xffff != 0 || !unknown.is_empty() {
        let mut out = Out::default();
        out.negotiate(&unknown);
        wire.write_all(&out.0).await?;
    }
    Ok((wire, parameters))
}

/// Proves who it is, and takes what the start said about the session.
async fn log_in(
    wire: &mut dyn Wire,
    parameters: &[(String, String)],
    door: &Arc<Door>,
    from: SocketAddr,
) -> Result<Session, End> {
    let given = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let name = given("user")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| End::Told(Refusal::fatal("28000", "the start names no user").hint("psql -U NAME")))?;
    if given("replication").is_some_and(|value| !["false", "off", "no", "0"].contains(&value)) {
        return Err(End::Told(Refusal::fatal("0A000", "there is no replication here: it answers questions")));
    }
    let (folder, wanted) = (door.folder.clone(), name.to_owned());
    let found = tokio::task::spawn_blocking(move || users::find(&folder, &wanted)).await;
    let user = match found {
        Ok(Ok(user)) => user,
        Ok(Err(failure)) => {
            tracing::error!(slug = %failure.slug, "nobody can log in: {}", failure.title);
            return Err(End::Told(Refusal::fatal("58000", "users cannot be looked up; the process's log says why")));
        }
        Err(_) => return Err(End::Silent),
    };
    let role = user.as_ref().map(|user| user.role);
    let verifier = user.and_then(|user| user.verifier()).unwrap_or_else(|| Verifier::of_nobody(name, &door.process));
    let proved = prove(wire, verifier).await?;
    let Some(Role::Viewer) = role.filter(|_| proved) else {
        tokio::time::sleep(PENALTY).await;
        tracing::warn!(user = name, %from, "a login was refused");
        return Err(End::Told(
            Refusal::fatal("28P01", format!("password authentication failed for user \"{name}\""))
                .hint("syncline user list shows who is known, syncline user add NAME gives another password"),
        ));
    };
    let mut session = Session::new(name);
    for (name, value) in settings(parameters) {
        if let Err(refusal) = session.perform(super::session::Command::Set { name, value: Some(value) }) {
            return Err(End::Told(Refusal { severity: super::refusal::Severity::Fatal, ..refusal }));
        }
    }
    session.begin();
    Ok(session)
}

async fn prove(wire: &mut dyn Wire, verifier: Verifier) -> Result<bool, End> {
    const SASL: i32 = 10;
    const CONTINUE: i32 = 11;
    const FINAL: i32 = 12;
    let mut out = Out::default();
    out.authentication(SASL, format!("{MECHANISM}\0\0").as_bytes());
    wire.write_all(&out.0).await?;
    let first = password(wire).await?;
    let mut rest = Rest(&first);
    let mechanism = rest.text().ok_or(Malformed)?;
    if mechanism != MECHANISM {
        return Err(Malformed.into());
    }
    let (exchange, answer) = Exchange::begin(verifier, rest.counted().ok_or(Malformed)?)?;
    let mut out = Out::default();
    out.authentication(CONTINUE, answer.as_bytes());
    wire.write_all(&out.0).await?;
    let last = password(wire).await?;
    let Some(proof) = exchange.end(&last)? else { return Ok(false) };
    let mut out = Out::default();
    out.authentication(FINAL, proof.as_bytes());
    out.authentication(0, b"");
    wire.write_all(&out.0).await?;
    Ok(true)
}

async fn password(mut wire: &mut dyn Wire) -> Result<Vec<u8>, End> {
    match read_message(&mut wire, SHORT).await? {
        Message::Password(answer) => Ok(answer),
        Message::Terminate => Err(End::Silent),
        _ => Err(End::Told(Refusal::fatal("08P01", "a proof of the password comes first"))),
    }
}

/// Settings of the start: its own parameters, and those of `options`, as `-c name=value`.
fn settings(parameters: &[(String, String)]) -> Vec<(String, String)> {
    let own = ["user", "database", "options", "replication"];
    let named = parameters.iter().filter(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with("_pq_."));
    let mut all: Vec<(String, String)> = named.cloned().collect();
    let options = parameters.iter().find(|(name, _)| name == "options").map_or("", |(_, value)| value);
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let set = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
            Some("") => words.next(),
            set => set,
        };
        all.extend(set.and_then(|set| set.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::settings;

    #[test]
    fn a_start_sets_what_it_names_and_what_its_options_name() {
        let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = vec![
            given("user", "ada"),
            given("database", "shop"),
            given("application_name", "psql"),
            given("options", "-c statement_timeout=5s --search_path=orders -cgeqo=off -x"),
        ];
        let expected = [
            given("application_name", "psql"),
            given("statement_timeout", "5s"),
            given("search_path", "orders"),
            given("geqo", "off"),
        ];
        assert_eq!(settings(&parameters), expected);
    }
}
