//! Contexts: names for servers to which commands speak over HTTP, where else they speak to a data folder of this machine.
//!
//! | which one | |
//! |---|---|
//! | `--context NAME` | that one; `local` is the data folder |
//! | `--data DIR`, `SYNCLINE_DATA` | the folder |
//! | `SYNCLINE_CONTEXT` | that one |
//! | `syncline context use NAME` | that one, from then on |
//!
//! They stand in the file `contexts`, which only its owner can read. A token in it is shown nowhere, and goes to nobody in the clear: over
//! plain HTTP only to this machine. What TLS cannot verify is not spoken to.

use std::{
    collections::BTreeMap,
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::{
    command::Common,
    outcome::Failure,
    private_file::PrivateFile,
    secrets::{self, Secret},
};

const CONTEXTS: PrivateFile =
    PrivateFile { file: "contexts", open: "contexts-open", damaged: "contexts-damaged", failed: "contexts-failed" };
/// Where the file is, instead of the usual place.
const FOLDER: &str = "SYNCLINE_CONFIG";
const NAMED: &str = "SYNCLINE_CONTEXT";
/// The data folder, among the names.
pub const LOCAL: &str = "local";

/// A server, as the file has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// `https://sync.example:7800`; what stands behind it stands before every path.
    pub address: String,
    /// Who signs its certificate, in PEM; else whom this system trusts.
    pub ca: Option<PathBuf>,
    pub token: Option<Kept>,
    /// The one that is spoken to when nothing else is said.
    #[serde(default)]
    pub used: bool,
}

/// That a token would go where others listen.
pub fn in_the_clear(address: &Address) -> Failure {
    let title = format!("a token for {} could be read by anybody on the way", address.authority);
    Failure::usage("token-in-the-clear", title).help("give an address with https://")
}

/// Where a token is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Here.
    Text(String),
    File(PathBuf),
    Env(String),
}

/// A server that is spoken to.
pub struct Server {
    pub name: String,
    pub address: Address,
    pub ca: Option<PathBuf>,
    pub token: Option<Secret>,
}

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// As it was given, for the header `Host`.
    pub authority: String,
    /// What stands before every path; empty, or with a slash at its beginning and none at its end.
    pub base: String,
}

impl Address {
    pub fn of(text: &str) -> Result<Address, Failure> {
        // What it says is not told: it may have a password in it.
        let wrong = || {
            Failure::usage("no-address", "this is no address of a server")
                .help("give one without user and password: https://sync.example:7800, or http://127.0.0.1:7800")
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Address { tls, host, port, authority: authority.as_str().to_owned(), base })
    }

    /// Nobody listens between here and there.
    pub fn is_private(&self) -> bool {
        let here = self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.tls || here || self.host.eq_ignore_ascii_case("localhost")
    }
}

impl Context {
    /// Refuses one whose token anybody on the way could read.
    pub fn check(&self) -> Result<Address, Failure> {
        let address = Address::of(&self.address)?;
        if self.token.is_some() && !address.is_private() {
            return Err(in_the_clear(&address));
        }
        Ok(address)
    }

    fn server(&self, name: &str) -> Result<Server, Failure> {
        let address = self.check()?;
        let token = self.token.as_ref().map(|kept| kept.text(name)).transpose()?;
        Ok(Server { name: name.to_owned(), address, ca: self.ca.clone(), token })
    }
}

impl Kept {
    /// The token. From here on no text that goes through [`secrets::hidden`] shows it.
    fn text(&self, name: &str) -> Result<Secret, Failure> {
        let missing = |why: String| {
            Failure::environment("no-token", format!("the token of the context {name} cannot be read: {why}")).help(
                format!("syncline context add {name} URL --token-file FILE, --token-env VARIABLE or --token-stdin"),
            )
        };
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::File(path) => {
                fs::read_to_string(path).map_err(|error| missing(format!("{}: {error}", path.display())))?
            }
            Self::Env(variable) => env::var(variable).map_err(|_| missing(format!("{variable} is not set")))?,
        };
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(missing("what is there is no token".to_owned()));
        }
        secrets::remember(text);
        Ok(Secret::new(text))
    }
}

/// The folder of the file; `None` where there is no home.
fn folder() -> Option<PathBuf> {
    let named = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
    named(FOLDER)
        .or_else(|| Some(named("XDG_CONFIG_HOME").filter(|path| path.is_absolute())?.join("syncline")))
        .or_else(|| Some(named("HOME")?.join(".config/syncline")))
}

fn there() -> Result<PathBuf, Failure> {
    folder().ok_or_else(|| {
        Failure::environment("no-home", "there is no place for contexts: HOME is not set")
            .help(format!("name a folder for them: {FOLDER}=DIR"))
    })
}

/// All of them.
pub fn all() -> Result<BTreeMap<String, Context>, Failure> {
    folder().map_or_else(|| Ok(BTreeMap::new()), |folder| CONTEXTS.read(&folder))
}

/// Adds one, or puts it in the place of the one of its name.
pub fn add(name: &str, context: Context) -> Result<PathBuf, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 63 || name == LOCAL || !name.bytes().all(plain) {
        return Err(Failure::usage(
            "context-name",
            format!("`{}` cannot be the name of a context", name.escape_default()),
        )
        .help(format!("use up to 63 letters, digits, `.`, `_` and `-`; {LOCAL} is the data folder")));
    }
    context.check()?;
    let folder = there()?;
    CONTEXTS.change(&folder, |all: &mut BTreeMap<String, Context>| {
        let used = all.get(name).is_some_and(|before| before.used);
        all.insert(name.to_owned(), Context { used, ..context });
    })?;
    Ok(folder)
}

/// Which one is spoken to when nothing else is said; [`LOCAL`]: none.
pub fn use_from_now(name: &str) -> Result<(), Failure> {
    if name != LOCAL {
        find(name)?;
    }
    CONTEXTS.change(&there()?, |all: &mut BTreeMap<String, Context>| {
        all.iter_mut().for_each(|(known, context)| context.used = known == name);
    })
}

pub fn remove(name: &str) -> Result<(), Failure> {
    find(name)?;
    CONTEXTS.change(&there()?, |all: &mut BTreeMap<String, Context>| drop(all.remove(name)))
}

fn find(name: &str) -> Result<Context, Failure> {
    let mut all = all()?;
    all.remove(name).ok_or_else(|| {
        let failure = Failure::usage("no-such-context", format!("there is no context {name}"));
        let known: Vec<String> = all.into_keys().collect();
        match known.is_empty() {
            true => failure.help(format!("add it: syncline context add {name} https://HOST:PORT --token-stdin")),
            false => failure.help(format!("there are {} and {LOCAL}", known.join(", "))),
        }
    })
}

/// Whom a command speaks to; `None`: a data folder.
pub fn chosen(common: &Common) -> Result<Option<Server>, Failure> {
    let asked = match (&common.context, &common.data) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(_)) => return Ok(None),
        (None, None) => env::var(NAMED).ok().filter(|name| !name.is_empty()),
    };
    match asked {
        Some(name) if name == LOCAL => Ok(None),
        Some(name) => find(&name)?.server(&name).map(Some),
        None => {
            let used = all()?.into_iter().find(|(_, context)| context.used);
            used.map(|(name, context)| context.server(&name)).transpose()
        }
    }
}

/// A path that means the same from everywhere.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::usage("file-unreadable", format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_nothing_that_is_secret() {
        let https = Address::of("https://sync.example/team/a/").unwrap();
        assert_eq!(
            (https.tls, https.host.as_str(), https.port, https.base.as_str()),
            (true, "sync.example", 443, "/team/a")
        );
        let six = Address::of("http://[::1]:7800").unwrap();
        assert_eq!(
            (six.host.as_str(), six.port, six.authority.as_str(), six.base.as_str()),
            ("::1", 7800, "[::1]:7800", "")
        );
        for wrong in ["", "sync.example:7800", "ftp://a", "https://", "https://ada:hunter@a", "https://a/?token=hunter"]
        {
            let failure = Address::of(wrong).unwrap_err();
            assert!(failure.slug == "no-address" && !format!("{failure:?}").contains("hunter"), "{wrong}: {failure:?}");
        }
    }

    #[test]
    fn a_token_goes_to_nobody_in_the_clear() {
        let context =
            |address: &str, token: Option<Kept>| Context { address: address.into(), ca: None, token, used: false };
        let token = || Some(Kept::Text("sl_a_b".into()));
        for (address, token, allowed) in [
            ("https://sync.example", token(), true),
            ("http://127.0.0.1:7800", token(), true),
            ("http://[::1]:7800", token(), true),
            ("http://localhost:7800", token(), true),
            ("http://sync.example", token(), false),
            ("http://127.0.0.1.sync.example", token(), false),
            ("http://10.0.0.1", token(), false),
            ("http://sync.example", None, true),
        ] {
            assert_eq!(context(address, token).check().is_ok(), allowed, "{address}");
        }
    }
}
