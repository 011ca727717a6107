//! A schema registry that speaks Confluent's protocol: schemas by their ids, and the newest of a subject.
//!
//! Source: "Schema Registry API Reference" of Confluent Platform, version 1 of its media type.

use std::{fmt, path::PathBuf, time::Duration};

use reqwest::{Certificate, Client as Http, StatusCode, Url};
use serde::{Deserialize, de::DeserializeOwned};
use syncline_engine::source::SourceError;

use crate::{
    objects::wait::start,
    spec::{Argument, ArgumentKind, Arguments, ConnectorError, Surroundings},
    system_words,
};

/// How long an answer may take: who waits for a schema reads nothing else meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer ones are no schemas, and are not kept in memory.
const LONGEST: usize = 4 << 20;
/// Schemas that a schema may name, and those again.
const MOST_REFERENCES: usize = 64;

/// What a source of such records is given beside its brokers.
pub const ARGUMENTS: [Argument; 3] = [
    Argument {
        name: "schema_registry",
        kind: ArgumentKind::Text,
        required: false,
        positional: false,
        help: "The registry of the schemas of `FORMAT avro` and `protobuf`: where Confluent's protocol is spoken.",
        example: "'http://localhost:8081'",
    },
    Argument {
        name: "registry_user",
        kind: ArgumentKind::Text,
        required: false,
        positional: false,
        help: "Who we are there.",
        example: "'syncline'",
    },
    Argument {
        name: "registry_password",
        kind: ArgumentKind::Secret,
        required: false,
        positional: false,
        help: "His password there.",
        example: "secret('registry/password')",
    },
];

#[derive(Clone)]
pub struct Client {
    url: Url,
    who: Option<(String, String)>,
    /// Certificates of who is trusted beside those that the system trusts.
    trusted: Option<PathBuf>,
}

/// The password is shown to nobody.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// A schema as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// `AVRO`, `PROTOBUF`, `JSON`.
    pub kind: String,
    pub text: String,
    /// The schemas that it names, by the names that it has for them, before who names them.
    pub named: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

impl Client {
    pub fn new(arguments: &Arguments, around: &Surroundings) -> Result<Self, ConnectorError> {
        let connector = || arguments.of_what().to_owned();
        let written = arguments.text("schema_registry");
        if written.is_empty() {
            return Err(ConnectorError::MissingArgument { connector: connector(), argument: "schema_registry" });
        }
        let bad = |detail: String| ConnectorError::NotAnAddress { address: written.to_owned(), detail };
        let url = Url::parse(written).map_err(|error| bad(error.to_string()))?;
        if !["http", "https"].contains(&url.scheme()) || url.cannot_be_a_base() {
            return Err(bad("an address of a registry begins with http:// or https://".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConnectorError::WrongType {
                connector: connector(),
                argument: "schema_registry",
                wanted: "without who asks: that is `registry_user` and `registry_password`".to_owned(),
                found: "…".to_owned(),
            });
        }
        let (user, password) = (arguments.text("registry_user"), arguments.secret("registry_password"));
        if user.is_empty() != password.is_none() {
            return Err(ConnectorError::WrongType {
                connector: connector(),
                argument: "registry_user",
                wanted: "given together with `registry_password`".to_owned(),
                found: user.to_owned(),
            });
        }
        let who = password.map(|password| (user.to_owned(), password.to_owned()));
        let trusted = Some(arguments.text("ca")).filter(|ca| !ca.is_empty()).map(|ca| around.path(ca));
        Ok(Self { url, who, trusted })
    }

    /// The registry as messages call it.
    pub fn place(&self) -> String {
        format!("schema registry {}", self.url.as_str().trim_end_matches('/'))
    }

    /// The schema of this id; none: the registry has no such.
    pub fn by_id(&self, id: u32) -> Result<Option<Registered>, SourceError> {
        self.with_named(self.ask(&["schemas", "ids", &id.to_string()])?)
    }

    /// The newest schema of a subject; none: the registry has no such.
    pub fn latest(&self, subject: &str) -> Result<Option<Registered>, SourceError> {
        self.with_named(self.ask(&["subjects", subject, "versions", "latest"])?)
    }

    /// The names of all subjects.
    pub fn subjects(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.ask(&["subjects"])?.unwrap_or_default())
    }

    fn with_named(&self, answer: Option<Answer>) -> Result<Option<Registered>, SourceError> {
        let Some(Answer { schema, schema_type, references }) = answer else { return Ok(None) };
        let mut named: Vec<(String, String)> = vec![];
        self.gather(references, &mut named)?;
        Ok(Some(Registered { kind: schema_type.unwrap_or_else(|| "AVRO".to_owned()), text: schema, named }))
    }

    /// What is named comes before who names it.
    fn gather(&self, references: Vec<Reference>, named: &mut Vec<(String, String)>) -> Result<(), SourceError> {
        for Reference { name, subject, version } in references {
            if named.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if named.len() >= MOST_REFERENCES {
                return Err(self.unreadable(format!("{subject} names more than {MOST_REFERENCES} other schemas")));
            }
            let found: Option<Answer> = self.ask(&["subjects", &subject, "versions", &version.to_string()])?;
            let Some(found) = found else {
                return Err(self.unreadable(format!("it has no version {version} of {subject}, which a schema names")));
            };
            self.gather(found.references, named)?;
            named.push((name, found.schema));
        }
        Ok(())
    }

    fn ask<A: DeserializeOwned + Send + 'static>(&self, path: &[&str]) -> Result<Option<A>, SourceError> {
        let (asked, path) = (self.clone(), path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        let coming = start(async move { asked.get(&path).await }).map_err(|error| self.again(system_words(&error)))?;
        coming.within(PATIENCE * 2).map_err(|_| self.again("it does not answer in time".to_owned()))?
    }

    async fn get<A: DeserializeOwned>(&self, path: &[String]) -> Result<Option<A>, SourceError> {
        let mut url = self.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        let http = Http::builder().connect_timeout(PATIENCE).timeout(PATIENCE);
        let http = self.certificates()?.into_iter().fold(http, |http, one| http.add_root_certificate(one)).build();
        let mut request = http.map_err(|error| self.unreadable(said(&error)))?.get(url);
        if let Some((user, password)) = &self.who {
            request = request.basic_auth(user, Some(password));
        }
        let mut response = request.send().await.map_err(|error| self.again(said(&error)))?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if status.is_success() => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(self.unreadable(format!("it does not let us in ({})", status.as_u16())));
            }
            status => return Err(self.again(format!("it answered {}", status.as_u16()))),
        }
        let mut body = vec![];
        while let Some(bytes) = response.chunk().await.map_err(|error| self.again(said(&error)))? {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST {
                return Err(self.unreadable(format!("its answer has more than {LONGEST} bytes")));
            }
        }
        let answer = serde_json::from_slice(&body);
        answer.map(Some).map_err(|error| self.unreadable(format!("its answer is none of a registry: {error}")))
    }

    fn certificates(&self) -> Result<Vec<Certificate>, SourceError> {
        let Some(path) = &self.trusted else { return Ok(vec![]) };
        let unreadable = |detail: String| SourceError::Unreadable { what: path.display().to_string(), detail };
        let text = std::fs::read(path).map_err(|error| unreadable(system_words(&error)))?;
        Certificate::from_pem_bundle(&text).map_err(|error| unreadable(said(&error)))
    }

    fn again(&self, detail: String) -> SourceError {
        SourceError::Again { what: self.place(), detail }
    }

    pub fn unreadable(&self, detail: String) -> SourceError {
        SourceError::Unreadable { what: self.place(), detail }
    }
}

/// What happened, without the address: its innermost cause.
fn said(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.is_timeout() {
        true => "it does not answer in time".to_owned(),
        false => format!("it cannot be read: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{BufRead, BufReader, Write},
        net::{SocketAddr, TcpListener},
        thread,
    };

    use serde_json::json;

    use super::*;
    use crate::spec::Args;

    /// Gives answers by their paths, to who says the password.
    fn registry(answers: &[(&str, &str)]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: BTreeMap<String, String> =
            answers.iter().map(|(path, body)| (path.to_string(), body.to_string())).collect();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                // `ada:secret`
                let known = lines.iter().any(|line| line.ends_with("Basic YWRhOnNlY3JldA=="));
                let path = lines[0].split(' ').nth(1).unwrap();
                let (status, body) = match answers.get(path) {
                    _ if !known => ("401 Unauthorized", "who?"),
                    Some(body) => ("200 OK", body.as_str()),
                    None => ("404 Not Found", r#"{"error_code":40403}"#),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).unwrap();
            }
        });
        address
    }

    fn client(address: SocketAddr, password: &str) -> Client {
        let named = [
            ("topic", json!("t")),
            ("brokers", json!("b")),
            ("schema_registry", json!(format!("http://{address}/api/"))),
            ("registry_user", json!("ada")),
            ("registry_password", json!(password)),
        ];
        let named = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let args = Args { positional: vec![], named };
        let arguments = Arguments::of("kafka", crate::kafka::ARGUMENTS, &args).unwrap();
        Client::new(&arguments, &Surroundings::default()).unwrap()
    }

    #[test]
    fn a_schema_comes_with_those_that_it_names_and_nobody_else_is_let_in() {
        let address = registry(&[
            (
                "/api/schemas/ids/7",
                r#"{"schema":"outer","references":[{"name":"b.inner","subject":"in/ner","version":2}]}"#,
            ),
            (
                "/api/subjects/in%2Fner/versions/2",
                r#"{"schema":"inner","references":[{"name":"least","subject":"least","version":1}]}"#,
            ),
            ("/api/subjects/least/versions/1", r#"{"schema":"least","schemaType":"AVRO"}"#),
            ("/api/subjects/t-value/versions/latest", r#"{"schema":"x","schemaType":"PROTOBUF","id":3}"#),
            ("/api/schemas/ids/9", "no JSON"),
            ("/api/schemas/ids/10", r#"{"schema":"x","references":[{"name":"n","subject":"gone","version":1}]}"#),
        ]);
        let asked = client(address, "secret");
        let named = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let outer = Registered {
            kind: "AVRO".to_owned(),
            text: "outer".to_owned(),
            named: named(&[("least", "least"), ("b.inner", "inner")]),
        };
        assert_eq!(asked.by_id(7), Ok(Some(outer)));
        assert_eq!(asked.by_id(8), Ok(None));
        assert_eq!(asked.latest("t-value").map(|found| found.map(|found| found.kind)), Ok(Some("PROTOBUF".to_owned())));
        let told = |answer: Result<Option<Registered>, SourceError>| answer.unwrap_err().to_string();
        assert!(told(asked.by_id(9)).contains("its answer is none of a registry"));
        assert!(told(asked.by_id(10)).contains("no version 1 of gone, which a schema names"));
        let stranger = client(address, "guess");
        let refused = told(stranger.by_id(7));
        assert!(refused.contains("it does not let us in (401)") && !refused.contains("guess"), "{refused}");
        assert!(!format!("{stranger:?}").contains("guess"));
    }
}
