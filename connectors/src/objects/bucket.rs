//! A bucket, and how one gets in.

use std::{io, sync::Arc, time::Duration};

use object_store::{
    ClientOptions, Error, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, path::Path,
};
use syncline_engine::{sink::SinkError, source::SourceError};

use super::STORE;
use crate::spec::{Args, Arguments, ConnectorError};

/// The stores that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    S3,
    Gs,
    Az,
}

const KINDS: [(Kind, &str, &str); 3] =
    [(Kind::S3, "s3", "s3://"), (Kind::Gs, "gs", "gs://"), (Kind::Az, "az", "az://")];

impl Kind {
    pub fn of(address: &str) -> Option<Self> {
        KINDS.iter().find(|kind| address.starts_with(kind.2)).map(|kind| kind.0)
    }

    fn word(self) -> &'static str {
        KINDS[self as usize].1
    }

    fn scheme(self) -> &'static str {
        KINDS[self as usize].2
    }
}

/// Longest silence of a server before it counts as away.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Bucket {
    pub store: Arc<dyn ObjectStore>,
    /// `s3://bucket/`
    pub address: String,
}

impl Bucket {
    /// The bucket of an address, and what follows it: a key, a prefix, a pattern. Nothing is asked yet.
    pub fn of(address: &str, arguments: &Arguments) -> Result<(Self, String), ConnectorError> {
        let wrong =
            |detail: &str| ConnectorError::NotAnAddress { address: address.to_owned(), detail: detail.to_owned() };
        let kind = Kind::of(address).ok_or_else(|| wrong("it begins with none of s3://, gs://, az://"))?;
        let rest = &address[kind.scheme().len()..];
        let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(wrong("it names no bucket"));
        }
        let call = match arguments.value(STORE.name) {
            None => None,
            Some(call) => {
                let (callable, args) = Arguments::of_call(STORE.name, super::CALLS, call)?;
                if callable.name != kind.word() {
                    return Err(wrong(&format!("it is no address of `{}`", callable.name)));
                }
                Some((callable, args))
            }
        };
        let none = Args::default();
        let options = match &call {
            Some((callable, args)) => Arguments::of(callable.name, callable.arguments, args)?,
            None => Arguments::of(kind.word(), &[], &none)?,
        };
        let store = open(kind, name, &options).map_err(|error| wrong(&error.to_string()))?;
        Ok((Self { store, address: format!("{}{name}/", kind.scheme()) }, key.to_owned()))
    }

    /// What messages call an object.
    pub fn place(&self, key: &str) -> String {
        format!("{}{key}", self.address)
    }

    /// The name of an object as its store has it: nothing in it is escaped.
    pub fn path(key: &str) -> Result<Path, Error> {
        Ok(Path::parse(key)?)
    }
}

fn open(kind: Kind, name: &str, options: &Arguments) -> Result<Arc<dyn ObjectStore>, Error> {
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let endpoint = Some(options.text("endpoint")).filter(|endpoint| !endpoint.is_empty());
    // As the store's own tools say it, where the address is in the environment too.
    let allowed = || std::env::var("AWS_ALLOW_HTTP").is_ok_and(|allowed| allowed == "true");
    let plain = endpoint.map_or_else(allowed, |endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new().with_allow_http(plain).with_connect_timeout(PATIENCE).with_timeout(PATIENCE * 10);
    let given = |name: &str| options.secret(name).map(str::to_owned);
    Ok(match kind {
        Kind::S3 => {
            let mut builder =
                AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry).with_client_options(client);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            match options.text("region") {
                "" => {}
                region => builder = builder.with_region(region),
            }
            builder = match given("access_key") {
                Some(key) => builder.with_access_key_id(key),
                None => builder,
            };
            builder = match given("secret_key") {
                Some(key) => builder.with_secret_access_key(key),
                None => builder,
            };
            builder = match given("session_token") {
                Some(token) => builder.with_token(token),
                None => builder,
            };
            Arc::new(builder.build()?)
        }
        Kind::Gs => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(name)
                .with_retry(retry)
                .with_client_options(client);
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(endpoint);
            }
            if let Some(key) = given("service_account") {
                builder = builder.with_service_account_key(key);
            }
            Arc::new(builder.build()?)
        }
        Kind::Az => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(name)
                .with_retry(retry)
                .with_client_options(client);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint.to_owned()).with_allow_http(plain);
            }
            match options.text("account") {
                "" => {}
                account => builder = builder.with_account(account),
            }
            if let Some(key) = given("key") {
                builder = builder.with_access_key(key);
            }
            Arc::new(builder.build()?)
        }
    })
}

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It may pass.
    Again,
    Never,
}

pub fn remedy(error: &Error) -> Remedy {
    match error {
        Error::Generic { .. } => match status(&error.to_string()) {
            // Too many at once; and what a server cannot do now.
            Some(408 | 429 | 500..) | None => Remedy::Again,
            Some(_) => Remedy::Never,
        },
        Error::JoinError { .. } => Remedy::Again,
        _ => Remedy::Never,
    }
}

/// How the client tells which status a server answered.
const STATUS: &str = "status code: ";

fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once(STATUS)?;
    rest.get(..3)?.parse().ok()
}

/// The word for it in the document of the answer.
fn code(text: &str) -> Option<&str> {
    text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code)
}

/// What happened, without the request and the document of the answer: both repeat who asked, and for what.
pub fn words(error: &Error) -> String {
    let text = error.to_string();
    match error {
        Error::NotFound { .. } => missing(&text),
        Error::PermissionDenied { .. } => KEYS.to_owned(),
        Error::Unauthenticated { .. } => "the store wants keys, and has got none that it knows".to_owned(),
        Error::Precondition { .. } => "it was replaced meanwhile".to_owned(),
        Error::Generic { .. } => match (status(&text), code(&text)) {
            (Some(401 | 403), _) => KEYS.to_owned(),
            (Some(404), _) => missing(&text),
            (Some(status), Some(code)) => format!("the store answered {status} ({code})"),
            (Some(status), None) => format!("the store answered {status}"),
            (None, _) => format!("the store does not answer: {}", behind_request(&text)),
        },
        _ => shortened(text),
    }
}

const KEYS: &str = "the store does not let these keys in";

fn missing(text: &str) -> String {
    match code(text) {
        Some("NoSuchBucket") => "there is no such bucket".to_owned(),
        Some("NoSuchKey") => "there is no such object".to_owned(),
        // Servers there are that look for the key first, and find none.
        Some(code) if code == "InvalidAccessKeyId" || code.ends_with("UserNotFound") => KEYS.to_owned(),
        _ => "there is no such object, or no such bucket".to_owned(),
    }
}

/// `Generic S3 error: Error performing PUT http://… in 1ms - HTTP error: …`: what follows the request.
fn behind_request(text: &str) -> String {
    shortened(text.split_once(" - ").map_or(text, |(_, rest)| rest).to_owned())
}

fn shortened(text: String) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub fn sink_error(operation: &str, place: &str, error: &Error) -> SinkError {
    let text = format!("cannot {operation} {place}: {}", words(error));
    match remedy(error) {
        Remedy::Again => SinkError::Again(text),
        Remedy::Never => SinkError::Never(text),
    }
}

pub fn source_error(place: &str, error: &Error) -> SourceError {
    let (what, detail) = (place.to_owned(), words(error));
    match remedy(error) {
        Remedy::Again => SourceError::Again { what, detail },
        Remedy::Never => SourceError::Unreadable { what, detail },
    }
}

/// For whoever reads bytes: the kind says what can be done.
pub fn io_error(error: &Error) -> io::Error {
    let kind = match (error, remedy(error)) {
        (Error::Precondition { .. } | Error::NotFound { .. }, _) => io::ErrorKind::NotFound,
        (_, Remedy::Again) => io::ErrorKind::ConnectionAborted,
        (_, Remedy::Never) => io::ErrorKind::PermissionDenied,
    };
    io::Error::new(kind, words(error))
}
