//! TLS between workers and who asks them: nothing is said before the certificate of the other side was looked at.
//!
//! One authority signs the certificates of all. A worker shows one, to who asks and to the workers that fetch rows from it; who asks shows one
//! where that is what lets him in.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Duration, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use url::Url;

/// The protocol of workers, as TLS names it.
const HTTP2: &[u8] = b"h2";
/// Who connects says hello in this time, or is gone.
const HELLO: Duration = Duration::from_secs(5);
/// Who may be saying hello at once: more wait for a place, and nobody that has said it waits for them.
const HELLOS: usize = 64;

/// What a process knows others by, and is known by. It is never shown.
#[derive(Clone)]
pub struct Tls {
    asks: TlsConnector,
    authority: Arc<RootCertStore>,
    identity: Option<Identity>,
}

/// A certificate, with those that sign it, and its key.
pub type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

#[derive(Clone)]
struct Identity(Arc<Pair>);

impl Tls {
    /// The certificates of the authority, and a certificate of one's own with its key. An error is in words.
    pub fn new(authority: RootCertStore, identity: Option<Pair>) -> Result<Self, String> {
        let authority = Arc::new(authority);
        let identity = identity.map(|pair| Identity(Arc::new(pair)));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(authority.clone());
        let mut config = match &identity {
            Some(Identity(pair)) => {
                config.with_client_auth_cert(pair.0.clone(), pair.1.clone_key()).map_err(|error| error.to_string())?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self { asks: TlsConnector::from(Arc::new(config)), authority, identity })
    }

    /// Connects to a worker, and looks at his certificate.
    pub(super) async fn connect(&self, url: &Url) -> io::Result<TokioIo<client::TlsStream<TcpStream>>> {
        let wrong = || io::Error::other("it is no address");
        let (host, port) = (url.host_str().ok_or_else(wrong)?, url.port_or_known_default().ok_or_else(wrong)?);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host).map_err(|_| wrong())?;
        Ok(TokioIo::new(self.asks.connect(name, stream).await?))
    }

    /// How others are answered. `show`: they have to show a certificate; else it is something else that lets them in.
    pub(super) fn acceptor(&self, show: bool) -> io::Result<TlsAcceptor> {
        let Some(Identity(pair)) = &self.identity else {
            return Err(io::Error::other("who answers needs a certificate of his own"));
        };
        let provider = Arc::new(ring::default_provider());
        let known = WebPkiClientVerifier::builder_with_provider(self.authority.clone(), provider.clone());
        let known = if show { known } else { known.allow_unauthenticated() };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(known.build().map_err(io::Error::other)?)
            .with_single_cert(pair.0.clone(), pair.1.clone_key())
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificates")
    }
}

/// Connections that have said hello. One that does not, or not as it has to, is dropped, and holds up no other.
pub(super) fn greeted(incoming: TcpIncoming, acceptor: TlsAcceptor) -> impl Stream<Item = io::Result<Greeted>> {
    let greet = move |came: io::Result<TcpStream>| {
        let acceptor = acceptor.clone();
        async move {
            let stream = came.ok()?;
            let from = stream.connect_info();
            let said = timeout(HELLO, acceptor.accept(stream)).await.ok()?;
            match said {
                Ok(stream) => Some(Ok(Greeted { stream, from })),
                Err(error) => {
                    tracing::debug!("somebody was not let in: {error}");
                    None
                }
            }
        }
    };
    incoming.map(greet).buffer_unordered(HELLOS).filter_map(std::future::ready)
}

/// A connection with TLS.
pub(super) struct Greeted {
    stream: server::TlsStream<TcpStream>,
    from: TcpConnectInfo,
}

impl Connected for Greeted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.from.clone()
    }
}

impl AsyncRead for Greeted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
