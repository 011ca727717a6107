//! What the engine can do about what the server says.

use std::{error::Error, io};

use syncline_engine::sink::SinkError;
use syncline_record::Reason;
use tokio_postgres::error::SqlState;

/// Why a call did not come to its end.
#[derive(Debug)]
pub enum Fault {
    /// The server, or the way to it.
    Said(tokio_postgres::Error),
    /// Nothing was heard in time.
    Silent,
    /// This machine.
    Here(io::Error),
    /// What TLS should prove cannot be tried.
    Trust(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Said(error)
    }
}

impl Fault {
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Said(error) => error.code(),
            _ => None,
        }
    }

    /// In the server's words, with its hint; never with a value of a row, which its details may have.
    pub fn words(&self) -> String {
        match self {
            Self::Silent => "it does not answer".to_owned(),
            Self::Here(error) => crate::system_words(error),
            Self::Trust(detail) => detail.clone(),
            Self::Said(error) => match error.as_db_error() {
                Some(said) => match said.hint() {
                    Some(hint) => format!("{} ({hint})", said.message()),
                    None => said.message().to_owned(),
                },
                None => chain(error),
            },
        }
    }

    /// The row's own fault: the table refuses it, and takes others.
    pub fn of_row(&self) -> Option<Reason> {
        let Self::Said(error) = self else { return None };
        let said = error.as_db_error()?;
        // Data that is no value of its type, constraints, views' conditions, what a trigger raises, and what is too large for an index.
        let own = matches!(class(said.code()), "22" | "23" | "44")
            || [SqlState::RAISE_EXCEPTION, SqlState::PROGRAM_LIMIT_EXCEEDED].contains(said.code());
        if !own {
            return None;
        }
        let detail = said.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        Some(Reason::new("constraint", format!("{}{detail}", said.message())))
    }

    /// One statement met a key twice: in parts it will not.
    pub fn is_twice_in_one(&self) -> bool {
        self.code() == Some(&SqlState::CARDINALITY_VIOLATION)
    }
}

/// `operation` reads after "cannot".
pub fn trouble(place: &str, operation: &str, fault: &Fault) -> SinkError {
    let text = format!("{place}: cannot {operation}: {}", fault.words());
    let Some(code) = fault.code() else {
        return match fault {
            Fault::Trust(_) => SinkError::Never(text),
            Fault::Said(error) if is_untrusted(error) => SinkError::Never(text + UNTRUSTED),
            Fault::Said(error) if is_ours(error) => SinkError::Never(text),
            _ => SinkError::Reconnect(text),
        };
    };
    match (class(code), code) {
        // Connections, resources, an operator at work, an error of a disk, a transaction that met another.
        ("08" | "57", _) => SinkError::Reconnect(text),
        ("53" | "58" | "40" | "55", _) => SinkError::Again(text),
        // A server that follows another one takes no rows until it leads.
        ("25", code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => SinkError::Again(text),
        ("25", _) => SinkError::Reconnect(text),
        ("28", _) => {
            SinkError::Never(text + "; look at the user and the password of the connection, and at pg_hba.conf")
        }
        _ => SinkError::Never(text),
    }
}

const UNTRUSTED: &str = "; name the file of the authority that signed the server's certificate: sslrootcert => 'ca.pem', \
                         or take less proof: sslmode => 'verify-ca' without the name, 'require' without any";

/// The first two signs, which say what kind of trouble it is.
fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
}

/// What we lack, or the server: the same call never gets further.
fn is_ours(error: &tokio_postgres::Error) -> bool {
    let text = chain(error);
    OURS.iter().any(|words| text.contains(words))
}

/// The client does not tell them apart but by its words.
const OURS: [&str; 3] = ["invalid configuration", "authentication error", "server does not support TLS"];

/// The server's certificate did not prove what was asked.
fn is_untrusted(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or(error.downcast_ref());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        source = error.source();
    }
    false
}

/// All that is known, each thing once.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
