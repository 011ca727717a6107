//! Workers, in this process: what they let be read, and by whom.

use std::{net::SocketAddr, path::Path, sync::Arc};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use async_trait::async_trait;
use datafusion::{
    datasource::MemTable,
    error::Result as Answer,
    execution::SessionStateBuilder,
    prelude::{ParquetReadOptions, SessionContext},
};
use datafusion_distributed::{
    ChannelResolver, DistributedExt, SessionStateBuilderExt, WorkerChannel, WorkerResolver,
    grpc::{BoxCloneSyncChannel, create_worker_client},
};
use object_store::local::LocalFileSystem;
use syncline_engine::archive::rows::{self, Columns, Row};
use syncline_record::Fate;
use tokio::sync::oneshot;
use url::Url;

use crate::{Serving, Token, serve, tables::ledger::FILES};

struct Fixed(Vec<Url>);

impl WorkerResolver for Fixed {
    fn get_urls(&self) -> Answer<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// Somebody's own client, without a token.
struct Bare;

#[async_trait]
impl ChannelResolver for Bare {
    async fn get_worker_client_for_url(&self, url: &Url) -> Answer<Box<dyn WorkerChannel>> {
        let channel = tonic::transport::Channel::from_shared(url.to_string()).expect("an address");
        Ok(create_worker_client(BoxCloneSyncChannel::new(channel.connect_lazy())))
    }
}

fn row(offset: u64) -> Row<'static> {
    let (step, fate, reason, source) = ("s", Fate::Dead, "r", "a:0");
    Row { step, fate, reason, source, offset, time: 1, when: None, key: None }
}

fn ledger() -> RecordBatch {
    let mut columns = Columns::default();
    for offset in 0..1000 {
        columns.push("p", row(offset));
    }
    columns.take().expect("one value each").expect("rows")
}

/// A Parquet file of these rows.
async fn write(path: &Path) {
    let context = SessionContext::new();
    let table = MemTable::try_new(rows::schema(), vec![vec![ledger()]]).expect("a table");
    context.register_table("t", Arc::new(table)).expect("a table");
    let to = format!("COPY (SELECT * FROM t) TO '{}' STORED AS PARQUET", path.display());
    context.sql(&to).await.expect("a plan").collect().await.expect("a file");
}

/// Two workers over a folder; they end with the sender.
async fn workers(folder: &Path, token: Option<&str>) -> (Vec<Url>, Vec<oneshot::Sender<()>>) {
    let (mut urls, mut ends) = (vec![], vec![]);
    for _ in 0..2 {
        let (told, told_to) = oneshot::channel();
        let (end, over) = oneshot::channel::<()>();
        let serving = Serving {
            objects: Arc::new(LocalFileSystem::new_with_prefix(folder).expect("a folder")),
            token: token.map(Token::new),
            tls: None,
            version: "1".to_owned(),
            memory: 64 << 20,
        };
        let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        tokio::spawn(serve(
            serving,
            address,
            |address| {
                let _ = told.send(address);
            },
            async {
                let _ = over.await;
            },
        ));
        let address = told_to.await.expect("it listens");
        urls.push(Url::parse(&format!("http://{address}")).expect("an address"));
        ends.push(end);
    }
    (urls, ends)
}

/// A session of somebody who sends parts to workers, made with the library alone.
fn stranger(urls: Vec<Url>) -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_distributed_worker_resolver(Fixed(urls))
        .with_distributed_channel_resolver(Bare)
        .with_distributed_planner()
        .with_distributed_file_scan_config_bytes_per_partition(1)
        .expect("a number");
    SessionContext::from(state.build())
}

async fn asked(context: &SessionContext, sql: &str) -> Result<String, String> {
    let rows = async { context.sql(sql).await?.collect().await };
    let rows: Vec<RecordBatch> = rows.await.map_err(|error| error.to_string())?;
    Ok(pretty_format_batches(&rows).expect("rows that print").to_string())
}

const SUM: &str = "SELECT step, sum(record_offset) AS n FROM t GROUP BY step";

#[tokio::test]
async fn a_worker_reads_the_files_of_its_ledger_and_nothing_else() {
    let (ledger, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(&ledger.path().join("a.parquet")).await;
    write(&elsewhere.path().join("b.parquet")).await;
    let (urls, _ends) = workers(ledger.path(), None).await;
    let local = Arc::new(LocalFileSystem::new_with_prefix(ledger.path()).expect("a folder"));
    let place = Url::parse(FILES).expect("an address");

    let context = stranger(urls.clone());
    context.register_object_store(&place, local.clone());
    context.register_parquet("t", format!("{FILES}a.parquet"), ParquetReadOptions::default()).await.expect("a table");
    let sum = asked(&context, SUM).await.expect("its own files");
    assert!(sum.contains("499500"), "{sum}");

    // The stranger can read the file; his workers cannot.
    let context = stranger(urls.clone());
    let other = elsewhere.path().join("b.parquet").display().to_string();
    context.register_parquet("t", other, ParquetReadOptions::default()).await.expect("a table");
    let refused = asked(&context, SUM).await.expect_err("a file of the machine");
    assert!(refused.contains("is none of them"), "{refused}");

    // The same name in another place: what a worker reads is in its own place, or nowhere.
    let context = stranger(urls.clone());
    let there = Arc::new(LocalFileSystem::new_with_prefix(elsewhere.path()).expect("a folder"));
    context.register_object_store(&place, there);
    context.register_parquet("t", format!("{FILES}b.parquet"), ParquetReadOptions::default()).await.expect("a table");
    let missing = asked(&context, SUM).await.expect_err("a file that is not there");
    assert!(missing.contains("not found"), "{missing}");
}

#[tokio::test]
async fn a_worker_writes_nothing() {
    use object_store::{ObjectStore, ObjectStoreExt, path::Path};
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a"), "as it was").expect("a file");
    let local: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).expect("a folder"));
    let store = crate::spread::read_only(local);
    let (a, b) = (Path::from("a"), Path::from("b"));
    assert!(store.put(&a, "changed".into()).await.is_err());
    assert!(store.put_multipart(&b).await.is_err());
    assert!(store.delete(&a).await.is_err());
    assert!(store.copy(&a, &b).await.is_err());
    assert!(store.rename(&a, &b).await.is_err());
    let bytes = store.get(&a).await.expect("it is there").bytes().await.expect("its bytes");
    assert_eq!((&bytes[..], folder.path().join("b").exists()), (&b"as it was"[..], false));
}

#[tokio::test]
async fn a_worker_with_a_token_answers_nobody_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("a.parquet")).await;
    let (urls, _ends) = workers(folder.path(), Some("a token that is long enough")).await;
    let context = stranger(urls);
    let local = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).expect("a folder"));
    context.register_object_store(&Url::parse(FILES).expect("an address"), local);
    context.register_parquet("t", format!("{FILES}a.parquet"), ParquetReadOptions::default()).await.expect("a table");
    let refused = asked(&context, SUM).await.expect_err("no token");
    assert!(refused.contains("token"), "{refused}");
}
