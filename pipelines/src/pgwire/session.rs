//! What a client may say beside questions: settings, transactions, and what drivers send at their start. Nothing of it writes.
//!
//! There is nothing to commit, so a transaction is only remembered: one in which a statement failed takes no more until its end, as
//! PostgreSQL does it and drivers expect it. A setting that would change an answer is refused unless it is what holds already.

use std::{collections::BTreeMap, time::Duration};

use super::refusal::Refusal;

/// How long a question may take, at most and when nobody says less.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Settings that a client keeps here, so that `SHOW` gives them back: what nothing depends on.
const KEPT: usize = 64;
/// The longest value of one.
const VALUE: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transaction {
    #[default]
    None,
    Open,
    Failed,
}

impl Transaction {
    pub fn letter(self) -> u8 {
        match self {
            Self::None => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }
}

/// A statement that is no question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Begin,
    Commit,
    Rollback,
    /// Of a transaction that has nothing to go back to.
    Savepoint(&'static str),
    Set {
        name: String,
        value: Option<String>,
    },
    Show {
        name: String,
    },
    /// Lets prepared statements go: one, or all.
    Deallocate(Option<String>),
    /// All settings are what they were at the start.
    Reset,
    Discard,
    Nothing(&'static str),
}

/// What a command answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    Tag(&'static str),
    /// The same, with something to know.
    Noticed(&'static str, Refusal),
    /// One row: a name and its value.
    Shown(String, String),
    Forget(Option<String>),
    ForgetAll,
}

pub struct Session {
    pub transaction: Transaction,
    now: Settings,
    /// As the connection began: what RESET goes back to.
    begun: Settings,
}

#[derive(Clone)]
struct Settings {
    timeout: Duration,
    kept: BTreeMap<String, String>,
}

/// Settings that a client is told at its start, in PostgreSQL's spelling.
pub const REPORTED: [&str; 11] = [
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
];
/// Settings that are what they are.
const FIXED: [(&str, &str); 14] = [
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("is_superuser", "off"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("bytea_output", "hex"),
    ("transaction_read_only", "on"),
    ("default_transaction_read_only", "on"),
    ("transaction_isolation", "read committed"),
    ("default_transaction_isolation", "read committed"),
    ("max_identifier_length", "63"),
    ("server_version_num", "150014"),
];

impl Session {
    pub fn new(user: &str) -> Self {
        let version = format!("{} (Syncline {})", syncline_analytics::CLIENTS_VERSION, env!("CARGO_PKG_VERSION"));
        let given = [
            ("server_version", version.as_str()),
            ("session_authorization", user),
            ("application_name", ""),
            ("timezone", "UTC"),
            ("search_path", "\"$user\", public"),
        ];
        let settings = given.iter().chain(&FIXED).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = Settings { timeout: LONGEST, kept: settings.collect() };
        Self { transaction: Transaction::None, begun: now.clone(), now }
    }

    /// The start has said what it sets.
    pub fn begin(&mut self) {
        self.begun = self.now.clone();
    }

    pub fn timeout(&self) -> Duration {
        self.now.timeout
    }

    pub fn value(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        if name == "statement_timeout" {
            return Some(shown(self.now.timeout));
        }
        self.now.kept.get(&name).cloned()
    }

    /// What an error does to a transaction.
    pub fn failed(&mut self) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
    }

    /// Whether a statement may be done now.
    pub fn admits(&self, command: Option<&Command>) -> Result<(), Refusal> {
        let ends = matches!(command, Some(Command::Commit | Command::Rollback));
        if self.transaction != Transaction::Failed || ends {
            return Ok(());
        }
        let told = "current transaction is aborted, commands ignored until end of transaction block";
        Err(Refusal::error("25P02", told).hint("end it with ROLLBACK"))
    }

    pub fn perform(&mut self, command: Command) -> Result<Done, Refusal> {
        Ok(match command {
            Command::Begin => {
                self.transaction = Transaction::Open;
                Done::Tag("BEGIN")
            }
            Command::Commit => {
                let failed = std::mem::take(&mut self.transaction) == Transaction::Failed;
                Done::Tag(if failed { "ROLLBACK" } else { "COMMIT" })
            }
            Command::Rollback => {
                self.transaction = Transaction::None;
                Done::Tag("ROLLBACK")
            }
            Command::Savepoint(tag) | Command::Nothing(tag) => Done::Tag(tag),
            Command::Set { name, value } => self.set(&name, value)?,
            Command::Show { name } => {
                let value = self.value(&name).ok_or_else(|| {
                    Refusal::error("42704", format!("there is no setting `{name}`"))
                        .hint("SHOW TABLES lists tables, SHOW statement_timeout shows a setting")
                })?;
                Done::Shown(name, value)
            }
            Command::Deallocate(name) => Done::Forget(name),
            Command::Reset => {
                self.now = self.begun.clone();
                Done::Tag("RESET")
            }
            Command::Discard => {
                self.now = self.begun.clone();
                Done::ForgetAll
            }
        })
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<Done, Refusal> {
        let tag = if value.is_some() { "SET" } else { "RESET" };
        let name = name.to_ascii_lowercase();
        if name == "statement_timeout" && value.is_some() {
            return self.set_timeout(tag, value.as_deref());
        }
        let Some(value) = value else {
            self.reset(&name);
            return Ok(Done::Tag(tag));
        };
        if name.starts_with("datafusion.") {
            return Err(Refusal::error("42501", format!("{name} is set by the process, for everybody")));
        }
        if let Some((_, fixed)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
            return if same(&name, fixed, &value) {
                Ok(Done::Tag(tag))
            } else {
                Err(Refusal::error("22023", format!("{name} is `{fixed}` here and cannot be `{value}`"))
                    .hint("leave it out: it would change what an answer says"))
            };
        }
        let room = self.now.kept.len() < KEPT || self.now.kept.contains_key(&name);
        if !room || name.len() + value.len() > VALUE {
            return Err(Refusal::error("54000", "there is no room for more settings").hint("DISCARD ALL lets them go"));
        }
        self.now.kept.insert(name, value);
        Ok(Done::Tag(tag))
    }

    fn reset(&mut self, name: &str) {
        match self.begun.kept.get(name) {
            _ if name == "statement_timeout" => self.now.timeout = self.begun.timeout,
            Some(value) => _ = self.now.kept.insert(name.to_owned(), value.clone()),
            None => _ = self.now.kept.remove(name),
        }
    }

    fn set_timeout(&mut self, tag: &'static str, value: Option<&str>) -> Result<Done, Refusal> {
        let asked = match value.map(str::trim) {
            None | Some("default" | "DEFAULT") => LONGEST,
            Some(value) => duration(value).ok_or_else(|| {
                Refusal::error("22023", format!("`{value}` is no time")).hint("SET statement_timeout = '5s'")
            })?,
        };
        // 0 is none, which nobody has here.
        let longest = asked.is_zero() || asked > LONGEST;
        self.now.timeout = if longest { LONGEST } else { asked };
        if longest && value.is_some() {
            let told = format!("statement_timeout is {} here, and can only be less", shown(LONGEST));
            return Ok(Done::Noticed(tag, Refusal::notice(told)));
        }
        Ok(Done::Tag(tag))
    }
}

/// Whether a value says what holds already.
fn same(name: &str, fixed: &str, value: &str) -> bool {
    // Some drivers quote what they send, and spell it as they like.
    let plain = |text: &str| text.to_ascii_lowercase().replace(|letter: char| !letter.is_alphanumeric(), "");
    match name {
        "datestyle" => plain(value).starts_with("iso"),
        "client_encoding" => ["utf8", "unicode", "default"].contains(&plain(value).as_str()),
        _ => plain(fixed) == plain(value) || (fixed == "on" && ["true", "1", "yes"].contains(&plain(value).as_str())),
    }
}

/// `5000` milliseconds, `'5s'`, `'1min'`.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let count: u64 = text[..end].parse().ok()?;
    let millis = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(count.saturating_mul(millis)))
}

fn shown(time: Duration) -> String {
    match time.as_millis() {
        millis if millis.is_multiple_of(60_000) => format!("{}min", millis / 60_000),
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

/// The statement as a command; `None` for a question.
pub fn command(sql: &str) -> Option<Command> {
    let bare = without_comments(sql);
    let words: Vec<&str> = bare.split_whitespace().collect();
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    Some(match upper.as_slice() {
        ["BEGIN", ..] | ["START", "TRANSACTION", ..] => Command::Begin,
        ["COMMIT" | "END", ..] => Command::Commit,
        ["ROLLBACK", "TO", ..] | ["ROLLBACK", "WORK" | "TRANSACTION", "TO", ..] => Command::Savepoint("ROLLBACK"),
        ["ROLLBACK" | "ABORT", ..] => Command::Rollback,
        ["SAVEPOINT", _] => Command::Savepoint("SAVEPOINT"),
        ["RELEASE", ..] => Command::Savepoint("RELEASE"),
        ["DISCARD", "ALL"] => Command::Discard,
        ["DISCARD", "PLANS"] => Command::Nothing("DISCARD PLANS"),
        ["DISCARD", "SEQUENCES"] => Command::Nothing("DISCARD SEQUENCES"),
        ["DISCARD", "TEMP" | "TEMPORARY"] => Command::Nothing("DISCARD TEMP"),
        ["DEALLOCATE", "ALL"] | ["DEALLOCATE", "PREPARE", "ALL"] => Command::Deallocate(None),
        ["DEALLOCATE", "PREPARE", _] => Command::Deallocate(words.get(2).map(|name| unquoted(name))),
        ["DEALLOCATE", _] => Command::Deallocate(words.get(1).map(|name| unquoted(name))),
        ["UNLISTEN", ..] => Command::Nothing("UNLISTEN"),
        ["CLOSE", "ALL"] => Command::Nothing("CLOSE CURSOR"),
        ["RESET", "ALL"] => Command::Reset,
        ["RESET", _] => Command::Set { name: unquoted(words[1]), value: None },
        ["SET", "TRANSACTION" | "CONSTRAINTS", ..] | ["SET", "SESSION", "CHARACTERISTICS", ..] => {
            Command::Nothing("SET")
        }
        ["SET", "SESSION" | "LOCAL", rest @ ..] => setting(&words[words.len() - rest.len()..])?,
        ["SET", rest @ ..] => setting(&words[words.len() - rest.len()..])?,
        ["SHOW", "TRANSACTION", "ISOLATION", "LEVEL"] => Command::Show { name: "transaction_isolation".to_owned() },
        ["SHOW", "TIME", "ZONE"] => Command::Show { name: "TimeZone".to_owned() },
        ["SHOW", "TABLES" | "COLUMNS" | "FUNCTIONS" | "ALL" | "VIEWS" | "SCHEMAS" | "CREATE"] => return None,
        ["SHOW", name] if !name.contains('.') => Command::Show { name: unquoted(words[1]) },
        _ => return None,
    })
}

/// `name = value`, `name TO value`, `TIME ZONE value`, `NAMES value`.
fn setting(words: &[&str]) -> Option<Command> {
    let text = words.join(" ");
    let upper = text.to_ascii_uppercase();
    let (name, value) = if upper.starts_with("TIME ZONE ") {
        ("TimeZone", &text["TIME ZONE ".len()..])
    } else if upper.starts_with("NAMES ") {
        ("client_encoding", &text["NAMES ".len()..])
    } else if let Some(at) = upper.find(" TO ").filter(|at| !text[..*at].contains('=')) {
        (&text[..at], &text[at + " TO ".len()..])
    } else {
        text.split_once('=')?
    };
    Some(Command::Set { name: unquoted(name.trim()), value: Some(unquoted(value.trim())) })
}

fn unquoted(text: &str) -> String {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    match (inner('\''), inner('"')) {
        (Some(text), _) => text.replace("''", "'"),
        (_, Some(name)) => name.replace("\"\"", "\""),
        _ => text.to_owned(),
    }
}

/// Without the comments that drivers put before a statement.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql.trim();
    loop {
        let after = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(comment), _) => comment.split_once('\n').map_or("", |(_, after)| after),
            (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, after)| after),
            _ => return rest.trim_end_matches(';').trim_end(),
        };
        rest = after.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(session: &mut Session, sql: &str) -> Result<Done, Refusal> {
        let command = command(sql).unwrap_or_else(|| panic!("{sql} is a command"));
        session.admits(Some(&command))?;
        session.perform(command)
    }

    #[test]
    fn what_drivers_send_is_taken_and_changes_no_answer() {
        let mut session = Session::new("ada");
        for (sql, tag) in [
            ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN"),
            ("/* driver */ SET extra_float_digits = 3", "SET"),
            ("SET client_encoding TO 'UTF-8'", "SET"),
            ("SET NAMES 'utf8'", "SET"),
            ("SET client_encoding = '''utf-8'''", "SET"),
            ("SET DateStyle='ISO'", "SET"),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"),
            ("set time zone 'Europe/Berlin'", "SET"),
            ("SAVEPOINT a", "SAVEPOINT"),
            ("ROLLBACK TO SAVEPOINT a", "ROLLBACK"),
            ("-- done\ncommit;", "COMMIT"),
        ] {
            assert_eq!(done(&mut session, sql), Ok(Done::Tag(tag)), "{sql}");
        }
        for sql in ["SET client_encoding = 'LATIN1'", "SET bytea_output = escape", "SET transaction_read_only = off"] {
            assert_eq!(done(&mut session, sql).unwrap_err().code, "22023", "{sql}");
        }
        assert_eq!(done(&mut session, "SHOW TimeZone"), Ok(Done::Shown("TimeZone".into(), "Europe/Berlin".into())));
        assert_eq!(done(&mut session, "SHOW nothing").unwrap_err().code, "42704");
        for question in ["SHOW TABLES", "SELECT 1", "SHOW COLUMNS FROM runs", "FROM runs", "EXPLAIN SELECT 1", ""] {
            assert_eq!(command(question), None, "{question}");
        }
    }

    /// A pool hands a connection on with `DISCARD ALL`: the next one had the timeout of the one before, and its names.
    #[test]
    fn what_was_set_goes_back_to_what_the_start_said() {
        let mut session = Session::new("ada");
        done(&mut session, "SET application_name = 'notebook'").unwrap();
        session.begin();
        for (sql, back) in [("DISCARD ALL", Done::ForgetAll), ("RESET ALL", Done::Tag("RESET"))] {
            for set in ["SET statement_timeout = '1s'", "SET application_name = 'other'", "SET own.thing = 'x'"] {
                done(&mut session, set).unwrap();
            }
            assert_eq!(done(&mut session, sql), Ok(back));
            assert_eq!(session.timeout(), LONGEST, "{sql}");
            assert_eq!(session.value("application_name").as_deref(), Some("notebook"), "{sql}");
            assert_eq!(session.value("own.thing"), None, "{sql}");
        }
        done(&mut session, "SET application_name = 'other'").unwrap();
        done(&mut session, "SET statement_timeout = '1s'").unwrap();
        for reset in ["RESET application_name", "RESET statement_timeout"] {
            assert_eq!(done(&mut session, reset), Ok(Done::Tag("RESET")));
        }
        assert_eq!(session.value("application_name").as_deref(), Some("notebook"));
        assert_eq!(session.timeout(), LONGEST);
    }

    #[test]
    fn a_timeout_can_only_be_less() {
        let mut session = Session::new("ada");
        for (value, shown, noticed) in
            [("5000", "5s", false), ("'1500ms'", "1500ms", false), ("0", "1min", true), ("'2h'", "1min", true)]
        {
            let set = done(&mut session, &format!("SET statement_timeout TO {value}")).unwrap();
            assert_eq!(
                (matches!(set, Done::Noticed(..)), session.value("statement_timeout")),
                (noticed, Some(shown.to_owned()))
            );
        }
        assert_eq!(done(&mut session, "SET statement_timeout = soon").unwrap_err().code, "22023");
    }

    #[test]
    fn a_transaction_that_failed_takes_nothing_until_its_end() {
        let mut session = Session::new("ada");
        session.failed();
        assert_eq!(session.transaction.letter(), b'I');
        done(&mut session, "BEGIN").unwrap();
        session.failed();
        assert_eq!(session.transaction.letter(), b'E');
        assert_eq!(session.admits(None).unwrap_err().code, "25P02");
        assert_eq!(done(&mut session, "COMMIT"), Ok(Done::Tag("ROLLBACK")));
        assert!(session.admits(None).is_ok());
    }
}
