//! The connections that pipeline files declare: which there are, who answers at their places, and what they lead to.
//!
//! Whoever asks, a command or a program over HTTP, goes the way that a run goes, with the same secrets, and writes nothing.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use syncline_connectors::{Args, Surroundings, list, listing::Listed, look, registry};
use syncline_dsl::plan::{Place, Value};
use syncline_syntax::ast;

use crate::{
    bind::arguments,
    outcome::{Exit, Failure},
    secrets,
    source_file::SourceFile,
};

/// What stands where a password would.
const HIDDEN: &str = "[secret]";
/// Options whose texts are shown to nobody, wherever these words stand in their names: a file may say what belongs into a secret.
const SENSITIVE: [&str; 5] = ["password", "secret", "token", "credential", "account_key"];

/// A `CONNECTION` of a file.
pub struct Connection {
    /// As it was declared.
    pub name: String,
    pub file: SourceFile,
    /// Its statement, as the file has it.
    pub text: String,
    pub place: Place,
}

/// All of these files, in order. One that does not compile is a failure where its name is asked for, and else left out.
pub fn all(files: &[PathBuf]) -> Result<Vec<Connection>, Failure> {
    Ok(read(files, None)?.into_iter().flatten().collect())
}

/// The one of this name; `None` where the files declare none.
pub fn find(name: &str, files: &[PathBuf]) -> Result<Option<Connection>, Failure> {
    read(files, Some(name))?.into_iter().next().transpose()
}

fn read(files: &[PathBuf], wanted: Option<&str>) -> Result<Vec<Result<Connection, Failure>>, Failure> {
    let mut found = vec![];
    for path in files {
        let file = SourceFile::read(path)?;
        let (parsed, _) = syncline_syntax::parse(&file.text);
        for statement in &parsed.statements {
            let ast::Statement::Connection(declared) = statement else { continue };
            let name = &declared.name.text;
            if wanted.is_some_and(|wanted| !name.eq_ignore_ascii_case(wanted)) {
                continue;
            }
            let text = declared.span.of(&file.text).to_owned();
            let alone = SourceFile { path: path.clone(), text: format!("{text};\n") };
            let place = alone.compile().plan.connections.into_iter().next().map(|(_, place)| place);
            found.push(match (place, wanted) {
                (Some(place), _) => Ok(Connection {
                    name: name.clone(),
                    file: SourceFile { path: path.clone(), text: file.text.clone() },
                    text,
                    place,
                }),
                (None, None) => continue,
                (None, Some(_)) => {
                    Err(Failure::usage("file-wrong", format!("{name} of {} does not compile", file.name()))
                        .help(format!("syncline check {}", file.name())))
                }
            });
        }
    }
    Ok(found)
}

/// That files declare no connection of this name.
pub fn no_such(name: &str, files: &[PathBuf], place: &str) -> Failure {
    let failure = Failure::usage("no-such-connection", format!("there is no connection {name} in {place}"));
    let known: Vec<String> = all(files).unwrap_or_default().into_iter().map(|one| one.name).collect();
    if !known.is_empty() {
        return failure.help(format!("there are {}", known.join(", ")));
    }
    let kinds: Vec<&str> = registry().iter().map(|connector| connector.name).collect();
    failure.help(format!("declare it: CONNECTION {name} TO … WITH (…); kinds: {}", kinds.join(", ")))
}

impl Connection {
    /// Goes to its place, and tells who answers there. `folder`: the data folder, with its secrets.
    pub fn test(&self, folder: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
        let Self { name, place, .. } = self;
        let told = look(&place.connector, &self.args(folder)?, &self.around()).ok_or_else(|| {
            let title = format!("{name} is a connection to {}, where nobody answers", place.connector);
            Failure::usage("nobody-there", title).help("`syncline check` says whether its options are right")
        })?;
        told.map_err(|detail| {
            Failure::environment("connection-failed", format!("{name}: {detail}"))
                .help(format!("its options are in {}", self.file.name()))
        })
    }

    /// What it leads to.
    pub fn list(&self, folder: &Path) -> Result<Vec<Listed>, Failure> {
        let Self { name, place, .. } = self;
        let listed = list(&place.connector, &self.args(folder)?, &self.around()).ok_or_else(|| {
            let title = format!("what a connection to {} leads to cannot be listed", place.connector);
            Failure::usage("cannot-look", title).help(format!("name a part of it: syncline discover {name}.…"))
        })?;
        listed.map_err(|detail| {
            Failure::environment("connection-failed", format!("{name}: {detail}")).help(format!(
                "its options are in {}; `syncline connection test {name}` says who answers",
                self.file.name()
            ))
        })
    }

    /// What it is given, with what it names elsewhere.
    pub fn args(&self, folder: &Path) -> Result<Args, Failure> {
        arguments(&self.place, &|path| secrets::text(folder, path))
            .map_err(|error| Failure::of_line(Exit::Environment, "cannot-bind", &error.to_string()))
    }

    /// What its file's folder has.
    pub fn around(&self) -> Surroundings {
        Surroundings::folder(self.file.folder())
    }

    /// Its options as they may be shown: of what comes from elsewhere only from where.
    pub fn options(&self) -> Map<String, Json> {
        self.place.named.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()
    }
}

fn shown(name: &str, value: &Value) -> Json {
    let lower = name.to_ascii_lowercase();
    match value {
        Value::Text(_) if SENSITIVE.iter().any(|word| lower.contains(word)) => HIDDEN.into(),
        Value::Text(text) => without_password(text).into(),
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        Value::Boolean(truth) => (*truth).into(),
        Value::Null => Json::Null,
        // Neither its value nor its default, which may be as secret.
        Value::Env { name, .. } => json!({ "env": name }),
        Value::Secret { path } => json!({ "secret": path }),
        Value::List(values) => values.iter().map(|value| shown(name, value)).collect(),
        Value::Call { function, positional, named } => {
            let mut call = Map::new();
            call.insert("function".into(), function.as_str().into());
            call.insert("positional".into(), positional.iter().map(|value| shown(name, value)).collect());
            call.extend(named.iter().map(|(name, value)| (name.clone(), shown(name, value))));
            Json::Object(call)
        }
    }
}

/// An address without what lets somebody in: `user:password@` before its host, and what is asked for behind it. Words as
/// `host=… password=…` are shown up to the first that is to be hidden.
fn without_password(text: &str) -> String {
    let text = secrets::hidden(text);
    let lower = text.to_ascii_lowercase();
    if let Some((scheme, rest)) = text.split_once("://") {
        let (rest, asked) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
        // A password may have a slash in it that nobody has escaped, so the last `@` counts.
        let shown = match rest.rsplit_once('@') {
            None => rest.to_owned(),
            Some((who, place)) => match who.split_once(':') {
                Some((user, _)) => format!("{user}:{HIDDEN}@{place}"),
                None => format!("{who}@{place}"),
            },
        };
        return format!("{scheme}://{shown}{asked}");
    }
    match SENSITIVE.iter().filter_map(|word| lower.find(word)).min() {
        Some(at) if text.contains('=') => format!("{}{HIDDEN}", &text[..at]),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_shown_without_what_lets_somebody_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.sync");
        let text = "CONNECTION shop TO postgres WITH (url = 'postgres://ada:pw/1@db:5432/shop?sslpassword=pw2');
CONNECTION bus TO kafka WITH (brokers = env('BUS', 'pw3'), user = 'ada', password = secret('bus/password'));\n";
        std::fs::write(&file, text).unwrap();
        let found = all(std::slice::from_ref(&file)).unwrap();
        let options: Vec<Json> = found.iter().map(|one| one.options().into()).collect();
        assert_eq!(
            options,
            [
                json!({ "url": "postgres://ada:[secret]@db:5432/shop?…" }),
                json!({ "brokers": { "env": "BUS" }, "user": "ada", "password": { "secret": "bus/password" } }),
            ]
        );
        let named = [("Password", "pw"), ("sasl_token", "pw")];
        for (name, text) in named {
            assert_eq!(shown(name, &Value::Text(text.into())), json!(HIDDEN), "{name}");
        }
        assert_eq!(without_password("host=db user=ada password=pw"), "host=db user=ada [secret]");
        assert_eq!(without_password("localhost:9092"), "localhost:9092");
    }

    #[test]
    fn a_connection_is_found_whatever_else_its_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sync");
        std::fs::write(
            &file,
            "CONNECTION Bus TO kafka WITH (brokers = 'b:1');\nPIPELINE broken AS FROM nothing |> NOPE;\n",
        )
        .unwrap();
        let files = [file];
        assert_eq!(find("bus", &files).unwrap().map(|found| found.name), Some("Bus".to_owned()));
        assert!(find("shop", &files).unwrap().is_none());
        assert_eq!(no_such("shop", &files, "x").help, ["there are Bus"]);
    }
}
