//! What psql asks before it shows anything, and that everybody else is answered as before.

use datafusion::common::ScalarValue;

use super::reading;
use crate::{Catalog, Limits, QueryError, Words};

async fn rows(catalog: &Catalog, words: Words, sql: &str, values: Vec<ScalarValue>) -> Result<Vec<String>, QueryError> {
    let mut rows = catalog.prepare(sql, words, Limits::default()).await?.answer(values).await?;
    let mut batches = vec![];
    while let Some(batch) = rows.next().await {
        batches.push(batch?);
    }
    let table = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    let inner = |line: &str| {
        line.strip_prefix('|')?.strip_suffix('|').map(|row| row.split('|').map(str::trim).collect::<Vec<_>>().join("|"))
    };
    Ok(table.lines().filter_map(inner).skip(1).collect())
}

const LIST: &str = "SELECT n.nspname as \"Schema\", c.relname as \"Name\",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' END as \"Type\", pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\"
FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2";

#[tokio::test]
async fn psql_finds_its_tables_and_asks_again_with_the_id_it_was_told() {
    let catalog = Catalog::new(reading());
    let listed = rows(&catalog, Words::Clients, LIST, vec![]).await.unwrap();
    assert!(listed.iter().any(|row| row.starts_with("orders|dedup|table|")), "{listed:?}");
    assert!(listed.iter().any(|row| row.starts_with("public|runs|table|")), "{listed:?}");
    let find = "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(runs)$' COLLATE pg_catalog.default";
    let oid = rows(&catalog, Words::Clients, find, vec![]).await.unwrap().remove(0);
    let columns =
        format!("SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = '{oid}' AND attnum > 0 ORDER BY attnum");
    let columns = rows(&catalog, Words::Clients, &columns, vec![]).await.unwrap();
    assert_eq!(columns[..3], ["pipeline", "run", "attempt"]);
    let extension =
        "SELECT typname AS name, oid, oid::regtype::text AS regtype FROM pg_type t WHERE t.oid = to_regtype('hstore')";
    assert_eq!(rows(&catalog, Words::Clients, extension, vec![]).await.unwrap(), [""; 0]);
    assert_eq!(
        rows(&catalog, Words::Ours, LIST, vec![]).await.unwrap_err().to_string(),
        "there is no table `pg_catalog.pg_class`"
    );
}

#[tokio::test]
async fn a_question_that_everybody_may_ask_is_the_same_to_a_client() {
    let catalog = Catalog::new(reading());
    for sql in [
        "SHOW TABLES",
        "FROM runs |> SELECT run, state",
        "SELECT 0.1 + 0.2",
        "SELECT 2.0 / 3",
        "SELECT * FROM orders.dedup",
    ] {
        let [ours, clients] = [Words::Ours, Words::Clients].map(|words| rows(&catalog, words, sql, vec![]));
        assert_eq!(ours.await.unwrap(), clients.await.unwrap(), "{sql}");
    }
}

#[tokio::test]
async fn parameters_have_the_types_that_the_question_asks_for() {
    let catalog = Catalog::new(reading());
    let sql = "SELECT run, $2 AS said FROM runs WHERE run = $1";
    let question = catalog.prepare(sql, Words::Clients, Limits::default()).await.unwrap();
    let asked = question.parameters().unwrap();
    assert_eq!(asked.get(&1), Some(&Some(arrow::datatypes::DataType::Int64)));
    assert_eq!(asked.len(), 2);
    let cast = catalog.prepare("SELECT CAST($1 AS DECIMAL(12, 2))", Words::Clients, Limits::default()).await.unwrap();
    assert_eq!(cast.parameters().unwrap()[&1], Some(arrow::datatypes::DataType::Decimal128(12, 2)));
    let values = vec![ScalarValue::Int64(Some(2)), ScalarValue::Utf8(Some("x".into()))];
    assert_eq!(question.schema(values.clone()).await.unwrap().field(1).name(), "said");
    assert_eq!(rows(&catalog, Words::Clients, sql, values).await.unwrap(), ["2|x"]);
    let missing = rows(&catalog, Words::Clients, sql, vec![ScalarValue::Int64(Some(2))]).await;
    assert!(missing.is_err());
}
