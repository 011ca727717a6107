//! Where a database is, and how one gets in: its address, a password, what TLS has to prove.
//!
//! The address is a URL as libpq takes it. A password goes to another machine only through TLS, unless the pipeline file says
//! otherwise, and whatever is said of an address leaves the password out.

use std::{net::IpAddr, str::FromStr, time::Duration};

use tokio_postgres::config::{Config, Host, SslMode};

use super::tls::{Mode, Trust};
use crate::spec::{Arguments, ConnectorError, Surroundings};

/// How long a server may take to let us in, and how long the network may swallow what we send before the connection counts as gone.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// What is ours among the parameters of a URL; the client's own ones do not know all of these words.
const SSLMODE: &str = "sslmode";
const SSLROOTCERT: &str = "sslrootcert";

#[derive(Clone)]
pub struct Address {
    pub config: Config,
    pub trust: Trust,
    /// `database shop at db.example.org`
    pub name: String,
}

impl Address {
    pub fn of(arguments: &Arguments, around: &Surroundings) -> Result<Self, ConnectorError> {
        let url = arguments.text("url");
        let wrong = |detail: String| ConnectorError::NotAnAddress { address: without_password(url), detail };
        let (url, said) = split(url).map_err(wrong)?;
        let mut config = Config::from_str(&url).map_err(|_| wrong(NOT_A_URL.to_owned()))?;
        let mode = match arguments.text(SSLMODE) {
            "" => said.mode,
            word => Mode::of(word),
        };
        if let Some(password) = arguments.secret("password") {
            config.password(password);
        }
        let mode = mode.unwrap_or(if is_here(&config) { Mode::Disable } else { Mode::VerifyFull });
        let told = arguments.value("plain_password").and_then(|value| value.as_bool()).unwrap_or(false);
        if mode == Mode::Disable && config.get_password().is_some() && !is_here(&config) && !told {
            return Err(wrong(PLAIN.to_owned()));
        }
        let roots = match arguments.text(SSLROOTCERT) {
            "" => said.roots,
            path => Some(path.to_owned()),
        };
        config
            .application_name("syncline")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(SILENCE)
            .ssl_mode(if mode == Mode::Disable { SslMode::Disable } else { SslMode::Require });
        let name = name(&config);
        Ok(Self { config, trust: Trust { mode, roots: roots.map(|path| around.path(&path)) }, name })
    }
}

const NOT_A_URL: &str = "it is not of the form postgres://user@host:5432/database; \
                         signs of their own in a name or password are written %40 for @, %2F for /, %3A for :";
const PLAIN: &str = "with sslmode disable the password would cross the network in the open: leave sslmode out, \
                     or say plain_password => true where nobody else can read that network";

/// What a URL says of TLS.
#[derive(Default)]
struct Said {
    mode: Option<Mode>,
    roots: Option<String>,
}

/// The URL without what it says of TLS, and that.
fn split(url: &str) -> Result<(String, Said), String> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(NOT_A_URL.to_owned());
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut said = Said::default();
    let mut rest = vec![];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((SSLMODE, word)) => {
                said.mode = Some(
                    Mode::of(word).ok_or_else(|| format!("its sslmode is none of {}", super::tls::MODES.join(", ")))?,
                );
            }
            Some((SSLROOTCERT, path)) => said.roots = Some(path.replace("%2F", "/").replace("%20", " ")),
            _ => rest.push(pair),
        }
    }
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    Ok((format!("{place}{query}"), said))
}

/// Whether what is sent stays on this machine.
fn is_here(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        Host::Unix(_) => true,
    })
}

fn name(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().filter(|port| *port != STANDARD_PORT);
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let host = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        port(index).map_or(host.clone(), |port| format!("{host}:{port}"))
    });
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("database {database} at {}", hosts.collect::<Vec<_>>().join(", "))
}

const STANDARD_PORT: u16 = 5432;

/// The address as it may be shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let place = |text: &'_ str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    match rest.rsplit_once('@') {
        None => format!("{scheme}://{}", place(rest)),
        Some((who, rest)) => format!("{scheme}://{}@{}", who.split(':').next().unwrap_or_default(), place(rest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{registry::connector, spec::Args};

    fn address(url: &str, named: &[(&str, Value)]) -> Result<Address, String> {
        let named = named.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let args = Args { positional: vec![json!(url), json!("t")], named };
        let arguments = Arguments::checked(connector("postgres").unwrap(), &args).map_err(|error| error.to_string())?;
        Address::of(&arguments, &Surroundings::folder("/here")).map_err(|error| error.to_string())
    }

    #[test]
    fn another_machine_is_verified_and_this_one_is_not() {
        let mode = |url: &str| address(url, &[]).unwrap().trust.mode;
        assert_eq!(mode("postgres://ada@db.example.org/shop"), Mode::VerifyFull);
        assert_eq!(mode("postgres://ada@10.0.0.1/shop"), Mode::VerifyFull);
        for here in ["localhost:5433", "127.0.0.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://ada@{here}/shop")), Mode::Disable, "{here}");
        }
        assert_eq!(mode("postgres://ada@localhost/shop?sslmode=require&connect_timeout=3"), Mode::Require);
        let said = address("postgresql://db/shop?sslmode=verify-ca&sslrootcert=ca.pem", &[]).unwrap();
        assert_eq!((said.trust.mode, said.trust.roots), (Mode::VerifyCa, Some("/here/ca.pem".into())));
        let said = address("postgres://db/shop?sslmode=disable", &[("sslmode", json!("require"))]).unwrap();
        assert_eq!(said.trust.mode, Mode::Require);
    }

    #[test]
    fn a_password_does_not_cross_a_network_in_the_open_unless_told() {
        let refused = "`postgres://ada@db:5432/shop` is no address that can be used: with sslmode disable the password would cross \
                       the network in the open: leave sslmode out, or say plain_password => true where nobody else can read that network";
        let open = "postgres://ada:tr0ub4dor@db:5432/shop?sslmode=disable";
        assert_eq!(address(open, &[]).err(), Some(refused.to_owned()));
        let beside = [("password", json!("tr0ub4dor"))];
        assert_eq!(address("postgres://ada@db:5432/shop?sslmode=disable", &beside).err(), Some(refused.to_owned()));
        assert!(address(open, &[("plain_password", json!(true))]).is_ok());
        assert!(address("postgres://ada@db/shop?sslmode=disable", &[]).is_ok(), "there is no password");
        assert!(address("postgres://ada:tr0ub4dor@127.0.0.1/shop?sslmode=disable", &[]).is_ok());
        assert!(address("postgres://ada:tr0ub4dor@localhost,db/shop?sslmode=disable", &[]).is_err());
    }

    #[test]
    fn what_is_said_of_an_address_never_has_its_password() {
        for url in [
            "postgres://ada:tr0ub4dor@db:port/shop",
            "postgres://ada:tr0ub4dor@db/shop?sslmode=maybe",
            "postgres://ada:tr0ub4dor@db/shop?password=tr0ub4dor&colour=tr0ub4dor",
            "host=db password=tr0ub4dor",
            "postgres://ada:p@tr0ub4dor@db:x/shop",
        ] {
            let said = address(url, &[]).err().unwrap();
            assert!(!said.contains("tr0ub4dor"), "{said}");
        }
        let good = address("postgres://ada:tr0ub4dor@db.example.org:5433/shop", &[]).unwrap();
        assert_eq!(good.name, "database shop at db.example.org:5433");
        assert!(!format!("{:?}", good.config).contains("tr0ub4dor"));
    }
}
