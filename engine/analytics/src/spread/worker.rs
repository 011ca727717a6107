//! A worker: works on parts of others' questions, and reads the files of one ledger for them, nothing else.
//!
//! Parts come from outside, so whatever they name is looked for in that place only, and can only be read: the machine's files, other
//! stores and every way to write do not exist for them.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    common::Result,
    error::DataFusionError,
    execution::{
        SessionState, SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        object_store::ObjectStoreRegistry,
        runtime_env::RuntimeEnvBuilder,
    },
};
use datafusion_distributed::{DistributedExt, Worker, WorkerQueryContext};
use futures::{FutureExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, path::Path,
};
use subtle::ConstantTimeEq;
use syncline_functions::bounded;
use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Server, server::TcpIncoming},
};
use url::Url;

use super::{
    Tls, Token, codec,
    guard::guarded,
    net::{ALIVE, Net},
    tls::greeted,
};
use crate::{exact, tables::ledger::FILES};

/// What a worker is.
pub struct Serving {
    /// The ledger's files.
    pub objects: Arc<dyn ObjectStore>,
    pub token: Option<Token>,
    /// How it is spoken with; in the clear without. Without a token, who asks has to show a certificate.
    pub tls: Option<Tls>,
    pub version: String,
    /// Memory for all parts together, in bytes.
    pub memory: usize,
}

/// Takes parts until `over`. Returns when those that it works on are broken off.
pub async fn serve(
    serving: Serving,
    address: SocketAddr,
    listening: impl FnOnce(SocketAddr),
    over: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let Serving { objects, token, tls, version, memory } = serving;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_object_store_registry(Arc::new(Only(Arc::new(ReadOnly(objects)))))
        .build_arc()
        .map_err(std::io::Error::other)?;
    let net = Net::new(token.clone(), tls.clone());
    let show = token.is_none();
    let acceptor = tls.map(|tls| tls.acceptor(show)).transpose()?;
    let session = move |context: WorkerQueryContext| {
        let net = net.clone();
        async move { session(context, net) }
    };
    let worker = Worker::from_session_builder(session).with_runtime_env(runtime).with_version(version);
    let door = move |request: Request<()>| may_ask(request, token.as_ref());
    let service = InterceptedService::new(worker.into_worker_server(), door);
    let listener = TcpListener::bind(address).await?;
    listening(listener.local_addr()?);
    let server = Server::builder()
        .http2_keepalive_interval(Some(ALIVE))
        .http2_keepalive_timeout(Some(ALIVE))
        .add_service(service);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = match acceptor {
        Some(acceptor) => server.serve_with_incoming(greeted(incoming, acceptor)).boxed(),
        None => server.serve_with_incoming(incoming).boxed(),
    };
    tokio::select! {
        ended = server => ended.map_err(std::io::Error::other),
        () = over => Ok(()),
    }
}

fn may_ask(request: Request<()>, token: Option<&Token>) -> std::result::Result<Request<()>, Status> {
    let Some(Token(token)) = token else { return Ok(request) };
    let said = request.metadata().get("authorization").and_then(|said| said.to_str().ok()?.strip_prefix("Bearer "));
    match said {
        Some(said) if bool::from(said.as_bytes().ct_eq(token.as_bytes())) => Ok(request),
        _ => Err(Status::unauthenticated("the worker wants another token than this one (SYNCLINE_WORKER_TOKEN)")),
    }
}

/// The session of a part: the functions that a coordinator has, and nothing of what he set.
fn session(context: WorkerQueryContext, net: Net) -> Result<SessionState> {
    let mut builder = context.builder;
    known_functions(&mut builder, codec::is_exact(&context.headers));
    builder.scalar_functions().get_or_insert_default().extend(codec::functions(&context.headers)?);
    let builder = builder.with_distributed_channel_resolver(net).with_distributed_worker_plan_rewrite_handler(guarded);
    Ok(builder.build())
}

/// What plans name: DataFusion's functions, those of them that have an end, and what is in the place of operators. `exact`: `sum` is ours.
pub(super) fn known_functions(builder: &mut SessionStateBuilder, exact: bool) {
    let functions = builder.scalar_functions().get_or_insert_default();
    let ours: Vec<_> = functions.iter().filter_map(bounded).map(Arc::new).collect();
    functions.extend(ours);
    functions.extend(exact::operators());
    if exact {
        builder.aggregate_functions().get_or_insert_default().push(Arc::new(exact::sum()));
    }
}

/// The only place there is.
#[derive(Debug)]
struct Only(Arc<dyn ObjectStore>);

impl ObjectStoreRegistry for Only {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.as_str() == FILES {
            return Ok(self.0.clone());
        }
        Err(DataFusionError::Execution(format!("a worker reads the files of its ledger, and {url} is none of them")))
    }
}

/// A place that cannot be changed, where only files of rows are read.
#[derive(Debug)]
struct ReadOnly(Arc<dyn ObjectStore>);

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ledger's files")
    }
}

fn refused() -> Error {
    Error::NotSupported { source: "a worker writes nothing".into() }
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        Err(refused())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(refused())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        Box::pin(futures::StreamExt::map(locations, |_| Err(refused())))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(refused())
    }
}

/// A store as workers have it.
#[cfg(test)]
pub fn read_only(store: Arc<dyn ObjectStore>) -> impl ObjectStore {
    ReadOnly(store)
}
