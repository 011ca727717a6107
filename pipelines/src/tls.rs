//! TLS of a door: a certificate that cannot be used ends the start, so nothing is ever said in the clear by mistake. And of whoever goes to
//! one: what cannot be verified is not spoken to.

use std::{io, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName,
    pem::{self, PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::outcome::Failure;

/// Reads a certificate chain and its key, both in PEM, which options of this name gave: `--postgres-tls` and `-cert`, `-key`.
pub fn acceptor(option: &str, certificate: &Path, key: &Path) -> Result<TlsAcceptor, Failure> {
    let (chain, private) = pair(option, certificate, key)?;
    let versions =
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = versions.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let config = config.map_err(|error| {
        let pair = format!("{} and {} do not make a certificate", certificate.display(), key.display());
        Failure::usage("tls-unusable", pair)
            .seen(error.to_string())
            .help("the key has to be that of the first certificate in the file")
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS with the server of this name, which shows a certificate that `ca` has signed, or else somebody whom this system trusts.
pub async fn connect(stream: TcpStream, host: &str, ca: Option<&Path>) -> Result<TlsStream<TcpStream>, Failure> {
    let untrusted = |error: &dyn std::fmt::Display| {
        Failure::environment("server-untrusted", format!("{host} does not prove that it is the one that is meant"))
            .seen(error.to_string())
            .help("name who signed its certificate: syncline context add NAME URL --ca FILE")
    };
    let versions =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| untrusted(&error))?;
    let config = config.with_root_certificates(authorities(ca)?).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| untrusted(&error))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error: io::Error| untrusted(&error))
}

/// Who may vouch for a server: those of a file, or else whom this system trusts.
fn authorities(ca: Option<&Path>) -> Result<RootCertStore, Failure> {
    if let Some(path) = ca {
        // The option is `--ca`.
        return authority("-", path);
    }
    let mut roots = RootCertStore::empty();
    // Some of a system's authorities may be unreadable; the others still are what they are.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Failure::usage("tls-unusable", "there is no authority that could vouch for the server")
            .help("name a file in PEM with one: syncline context add NAME URL --ca FILE"));
    }
    Ok(roots)
}

/// The certificates of an authority, from the file of the option `-ca`.
pub fn authority(option: &str, path: &Path) -> Result<RootCertStore, Failure> {
    let unusable = |error: &pem::Error| unusable(&format!("{option}-ca"), path, error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|_| unusable(&pem::Error::NoItemsFound))?;
    }
    if roots.is_empty() { Err(unusable(&pem::Error::NoItemsFound)) } else { Ok(roots) }
}

/// A certificate chain and its key, both in PEM, from the files of the options `-cert` and `-key`.
pub fn pair(
    option: &str,
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let chain: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_file_iter(certificate).and_then(|certificates| certificates.collect());
    let chain = chain.map_err(|error| unusable(&format!("{option}-cert"), certificate, &error))?;
    if chain.is_empty() {
        return Err(unusable(&format!("{option}-cert"), certificate, &pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&format!("{option}-key"), key, &error))?;
    Ok((chain, private))
}

fn unusable(option: &str, path: &Path, error: &pem::Error) -> Failure {
    // What stands in a key is not told.
    let seen = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is nothing of the kind in it".to_owned(),
        _ => "it is not PEM".to_owned(),
    };
    Failure::usage("tls-unusable", format!("{option} {} cannot be used", path.display()))
        .seen(seen)
        .help("give a file in PEM: -----BEGIN CERTIFICATE-----, -----BEGIN PRIVATE KEY-----")
}
