//! What TLS has to prove of a server, in libpq's words.
//!
//! | word | the connection is | the server is |
//! |---|---|---|
//! | `disable` | in the open | anybody |
//! | `require` | encrypted | anybody |
//! | `verify-ca` | encrypted | one whose certificate a trusted authority signed |
//! | `verify-full` | encrypted | that, and the certificate names the host of the address |

use std::{path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Disable,
    Require,
    VerifyCa,
    VerifyFull,
}

pub const MODES: &[&str] = &["disable", "require", "verify-ca", "verify-full"];

impl Mode {
    pub fn of(word: &str) -> Option<Self> {
        let modes = [Self::Disable, Self::Require, Self::VerifyCa, Self::VerifyFull];
        MODES.iter().position(|known| *known == word).map(|index| modes[index])
    }
}

/// Whom to believe.
#[derive(Clone, Debug)]
pub struct Trust {
    pub mode: Mode,
    /// A file of authorities; those of the system where there is none.
    pub roots: Option<PathBuf>,
}

impl Trust {
    /// None where the connection is in the open.
    pub fn client(&self) -> Result<Option<ClientConfig>, String> {
        if self.mode == Mode::Disable {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let verifier = self.verifier(provider)?;
        let client = match verifier {
            Verifier::Full(roots) => builder.with_root_certificates(roots),
            Verifier::Own(own) => builder.dangerous().with_custom_certificate_verifier(Arc::new(own)),
        };
        Ok(Some(client.with_no_client_auth()))
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        if self.mode == Mode::Require {
            return Ok(Verifier::Own(Own { provider, authority: None }));
        }
        let roots = Arc::new(self.roots()?);
        if self.mode == Mode::VerifyFull {
            return Ok(Verifier::Full(roots));
        }
        let authority = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        Ok(Verifier::Own(Own { provider, authority: Some(authority.map_err(|error| error.to_string())?) }))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(path) => {
                let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
                let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| unreadable(&error))?;
                    roots.add(certificate).map_err(|error| unreadable(&error))?;
                }
                if roots.is_empty() {
                    return Err(unreadable(&"there is no certificate in it (PEM)"));
                }
            }
            None => {
                // Some of a system's authorities may be unreadable; the others still are what they are.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(
                        "this system has no certificates of authorities: name a file, sslrootcert => 'ca.pem'".into()
                    );
                }
            }
        }
        Ok(roots)
    }
}

enum Verifier {
    Full(Arc<RootCertStore>),
    Own(Own),
}

/// Less than the whole proof: an authority without a name, or neither. That the server holds its certificate's key is always proved.
#[derive(Debug)]
struct Own {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(certificate, between, name, ocsp, now) {
            // The name is looked at last: everything else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
