//! A question over the ledger's files on several processes.
//!
//! The coordinator understands the question, cuts its plan at the exchanges, and hands the parts to workers, who read files of the same
//! ledger. What is in no file (other tables, the last minute of the ledger) the coordinator reads himself and sends along. A question that
//! reads no file, or that cannot be sent, is answered by the coordinator alone.
//!
//! A worker that is killed, stopped or panics never makes an answer wrong: a panic becomes an error on the worker ([`guard`]), silence
//! becomes one after seconds ([`net`]), and after an error the question is asked again, whole, of those that live ([`coordinator`]). No row
//! is handed out before all are there, as long as they fit into [`HELD`].

mod codec;
pub(crate) mod coordinator;
#[cfg(debug_assertions)]
mod fault;
mod guard;
pub(crate) mod here;
mod net;
mod tls;
mod worker;

use std::{fmt, sync::Arc};

use url::{Host, Url};

pub use tls::Tls;
#[cfg(test)]
pub use worker::read_only;
pub use worker::{Serving, serve};

/// Bytes of an answer that are held back until it is whole, so that it can be asked for again.
pub const HELD: usize = 64 << 20;

/// Who works.
#[derive(Clone)]
pub struct Workers {
    urls: Vec<Url>,
    /// Of this build: a worker of another one is not asked.
    version: Arc<str>,
    net: net::Net,
}

/// What coordinator and workers share. It is never shown.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }
}

impl Workers {
    /// `addresses`: host and port of each. An error is the one that is none. Without `tls` everything is said in the clear.
    pub fn new(addresses: &[String], token: Option<Token>, tls: Option<Tls>, version: &str) -> Result<Self, String> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let urls = addresses.iter().map(|address| url_of(scheme, address).ok_or_else(|| address.clone()));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        let net = net::Net::new(token, tls);
        Ok(Self { urls, version: version.into(), net })
    }

    /// The first that is not this machine.
    pub fn elsewhere(&self) -> Option<String> {
        let here = |url: &&Url| match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        self.urls.iter().find(|url| !here(url)).map(net::shown)
    }
}

fn url_of(scheme: &str, address: &str) -> Option<Url> {
    let address = address.trim();
    // A port that a scheme has by itself is none that somebody chose.
    address.rsplit_once(':')?.1.parse::<u16>().ok()?;
    let url = Url::parse(&format!("{scheme}://{address}")).ok()?;
    let plain = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    (plain && url.host().is_some()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_a_host_and_a_port() {
        let none = ["", "host", "10.0.0.1", "[::1]", "host:port", "host:1/path", "user@host:1", "host:70000"];
        for address in none {
            assert_eq!(Workers::new(&[address.to_owned()], None, None, "1").err(), Some(address.to_owned()));
        }
        let all = ["127.0.0.1:7900", "[::1]:7900", "localhost:80"].map(str::to_owned);
        let workers = Workers::new(&all, None, None, "1").expect("workers");
        assert_eq!((workers.urls.len(), workers.elsewhere()), (3, None));
        for elsewhere in ["10.0.0.1:7900", "localhost.example:7900"] {
            let all = ["127.0.0.1:7900", elsewhere].map(str::to_owned);
            let workers = Workers::new(&all, None, None, "1").expect("workers");
            assert_eq!(workers.elsewhere(), Some(elsewhere.to_owned()));
        }
    }
}
