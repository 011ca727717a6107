//! Connections to workers: a worker that does not answer is gone after seconds, whatever the network thinks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use datafusion_distributed::{
    ChannelResolver, GetWorkerInfoRequest, WorkerChannel,
    grpc::{BoxCloneSyncChannel, create_worker_client},
};
use tonic::{
    body::Body,
    codegen::http::{HeaderValue, Request, Uri, header::AUTHORIZATION},
    transport::Channel,
};
use url::Url;

use super::{Tls, Token};

/// A machine that is there takes a connection in this time.
const CONNECT: Duration = Duration::from_secs(2);
/// A worker is asked for a sign of life this often, and has as long to give it: one that is stopped is gone after six seconds.
pub const ALIVE: Duration = Duration::from_secs(3);
/// One that lives says who he is in this time.
const ANSWER: Duration = Duration::from_secs(3);

/// Connections, one a worker; kept as long as they serve.
#[derive(Clone, Default)]
pub struct Net {
    token: Option<Token>,
    tls: Option<Tls>,
    open: Arc<Mutex<HashMap<Url, BoxCloneSyncChannel>>>,
}

impl Net {
    pub fn new(token: Option<Token>, tls: Option<Tls>) -> Self {
        Self { token, tls, open: Arc::default() }
    }

    async fn channel(&self, url: &Url) -> Result<BoxCloneSyncChannel> {
        if let Some(open) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(open.clone());
        }
        let away = |error: tonic::transport::Error| unreachable(url, &words(&error));
        // An address comes with a question: what it leads to is never told the token in the clear where there are certificates.
        if self.tls.is_some() != (url.scheme() == "https") {
            return Err(unreachable(url, "one side wants TLS, and the other has none"));
        }
        let endpoint = Channel::from_shared(url.to_string())
            .map_err(|error| unreachable(url, &error.to_string()))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE)
            .keep_alive_while_idle(true);
        let channel = match &self.tls {
            None => endpoint.connect().await,
            Some(tls) => {
                let (tls, url) = (tls.clone(), url.clone());
                let connect = move |_: Uri| {
                    let (tls, url) = (tls.clone(), url.clone());
                    async move { tls.connect(&url).await }
                };
                endpoint.connect_with_connector(tower::service_fn(connect)).await
            }
        };
        let channel = channel.map_err(away)?;
        let proof = self.token.as_ref().and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.0)).ok());
        let channel = tower::ServiceBuilder::new()
            .map_request(move |mut request: Request<Body>| {
                if let Some(proof) = &proof {
                    request.headers_mut().insert(AUTHORIZATION, proof.clone());
                }
                request
            })
            .service(channel);
        let channel = BoxCloneSyncChannel::new(channel);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(url.clone(), channel.clone());
        Ok(channel)
    }

    /// Asks a worker who he is: his version.
    pub async fn ask(&self, url: &Url) -> Result<String> {
        let asked = async {
            let info = create_worker_client(self.channel(url).await?).get_worker_info(GetWorkerInfoRequest {}).await;
            info.map(|info| info.version)
        };
        let answer = tokio::time::timeout(ANSWER, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(unreachable(url, "it does not answer")));
        if answer.is_err() {
            // The next question tries a connection of its own.
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
        }
        answer
    }
}

fn unreachable(url: &Url, detail: &str) -> DataFusionError {
    DataFusionError::Execution(format!("worker {}: {detail}", shown(url)))
}

/// `host:port`
pub fn shown(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
}

/// The innermost reason is the one that says something.
fn words(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    innermost.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

#[async_trait]
impl ChannelResolver for Net {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        Ok(create_worker_client(self.channel(url).await?))
    }
}
