//! Tables of places outside, by a place that notes what it is asked for.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    util::pretty::pretty_format_batches,
};
use syncline_engine::tables::{Condition, Give, Is, Listed, Literal, Stop, Table, TableError, Tables, Wanted};
use syncline_functions::json_field;

use super::{TEN, reading};
use crate::{Catalog, Closed, Limits, Place, Places, QueryError, Words};

/// A place with one table, `orders`.
#[derive(Clone, Default)]
struct Shop {
    away: bool,
    /// Batches of the same rows; for ever where there are none.
    times: Option<usize>,
    asked: Arc<Mutex<Vec<String>>>,
    wanted: Arc<Mutex<Vec<Wanted>>>,
    stopped: Arc<AtomicUsize>,
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        json_field("value"),
    ]))
}

const VALUES: [Option<&str>; 4] = [
    Some(r#"{"n": 2, "s": "b", "in": {"x": [10, 20]}}"#),
    Some(r#"{"n": 10.50, "s": "a", "T": true}"#),
    Some(r#"{"n": "many", "s": "\u0062"}"#),
    None,
];

impl Shop {
    fn noted(&self, what: &str) -> Result<(), TableError> {
        self.asked.lock().unwrap().push(what.to_owned());
        if self.away { Err(TableError::Place("nobody answers".to_owned())) } else { Ok(()) }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Tables for Shop {
    fn all(&self) -> Result<Vec<Listed>, TableError> {
        self.noted("all")?;
        Ok(vec![Listed { name: "orders".to_owned(), schema: columns() }])
    }

    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError> {
        self.noted(name)?;
        Ok((name == "orders" || name == "eu.orders").then(|| Arc::new(self.clone()) as Arc<dyn Table>))
    }
}

impl Table for Shop {
    fn schema(&self) -> SchemaRef {
        columns()
    }

    fn takes(&self, _: &Condition) -> bool {
        true
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError> {
        self.wanted.lock().unwrap().push(wanted.clone());
        let stopped = self.stopped.clone();
        stop.then(move || {
            stopped.fetch_add(1, Ordering::SeqCst);
        });
        let all: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
            Arc::new(TimestampMicrosecondArray::from(vec![TEN; 4])),
            Arc::new(StringViewArray::from(VALUES.to_vec())),
        ];
        let schema = Arc::new(columns().project(&wanted.columns).unwrap());
        let arrays = wanted.columns.iter().map(|index| all[*index].clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(4));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options).unwrap();
        let mut left = self.times.unwrap_or(usize::MAX);
        while left > 0 && give(batch.clone()) {
            left -= 1;
        }
        Ok(())
    }
}

struct Declared(Vec<Place>);

impl Places for Declared {
    fn all(&self) -> Vec<Place> {
        self.0.clone()
    }
}

fn catalog(places: &[(&str, &Shop)]) -> Catalog {
    let place = |(name, shop): &(&str, &Shop)| Place {
        name: (*name).to_owned(),
        id: (*name).to_owned(),
        open: Ok(Arc::new((*shop).clone())),
    };
    let closed = Closed { detail: "vault is closed".into(), help: "open it".into(), forbidden: true };
    let closed = Place { name: "vault".into(), id: "vault".into(), open: Err(closed) };
    let places = places.iter().map(place).chain([closed]).collect();
    Catalog::new(reading()).with_places(Arc::new(Declared(places)))
}

async fn asked(catalog: &Catalog, words: Words, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    let mut rows = catalog.prepare(sql, words, Limits::default()).await?.answer(vec![]).await?;
    let mut batches = vec![RecordBatch::new_empty(rows.schema())];
    while let Some(batch) = rows.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// The rows without the frame of the table, or the error.
async fn told(catalog: &Catalog, sql: &str) -> String {
    match asked(catalog, Words::Ours, sql).await {
        Err(error) => error.to_string(),
        Ok(batches) => {
            let table = pretty_format_batches(&batches).unwrap().to_string();
            let inner = |line: &str| {
                let row = line.strip_prefix('|')?.strip_suffix('|')?;
                Some(row.split('|').map(str::trim).collect::<Vec<_>>().join("|"))
            };
            table.lines().filter_map(inner).skip(1).collect::<Vec<_>>().join("; ")
        }
    }
}

fn shop() -> Shop {
    Shop { times: Some(1), ..Shop::default() }
}

#[tokio::test]
async fn nobody_goes_to_a_place_that_no_question_names() {
    let (here, away) = (shop(), Shop { away: true, ..Shop::default() });
    let catalog = catalog(&[("shop", &here), ("away", &away)]);
    assert_eq!(told(&catalog, "SELECT count(*) FROM runs").await, "2");
    assert_eq!(told(&catalog, "SELECT count(*) FROM orders.dedup").await, "2");
    assert_eq!((here.asked(), away.asked()), (vec![], vec![]));
    let both = "SELECT count(*) FROM shop.orders o JOIN orders.dedup d ON d.epoch < o.id";
    assert_eq!(told(&catalog, both).await, "4");
    assert_eq!((here.asked(), away.asked()), (vec!["orders".to_owned()], vec![]));
    let error = asked(&catalog, Words::Ours, "SELECT * FROM away.orders").await.unwrap_err();
    assert_eq!(error, QueryError::Away { name: "away".into(), detail: "nobody answers".into() });
    let error = asked(&catalog, Words::Ours, "SELECT * FROM VAULT.gold").await.unwrap_err();
    assert_eq!((error.to_string(), error.help()), ("vault is closed".to_owned(), vec!["open it".to_owned()]));
    assert_eq!(told(&catalog, "SELECT * FROM shop.nothing").await, "there is no table `shop.nothing`");
}

#[tokio::test]
async fn a_list_asks_each_place_once_in_a_while_and_goes_on_without_those_that_are_away() {
    let (here, away) = (shop(), Shop { away: true, ..Shop::default() });
    let catalog = catalog(&[("shop", &here), ("away", &away), ("public", &shop())]);
    let list = "SELECT table_name FROM information_schema.tables WHERE table_schema IN ('shop', 'away', 'vault')";
    assert_eq!(told(&catalog, list).await, "orders");
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop'";
    assert_eq!(told(&catalog, columns).await, "id; at; value");
    let client = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname IN ('shop', 'away')";
    let batches = asked(&catalog, Words::Clients, client).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!((here.asked(), away.asked()), (vec!["all".to_owned()], vec!["all".to_owned()]));
    // A question that lists and names one reads it where it is.
    let both = "SELECT count(*) FROM shop.orders, information_schema.schemata WHERE schema_name = 'shop'";
    assert_eq!(told(&catalog, both).await, "4");
}

#[tokio::test]
async fn an_integer_of_a_place_that_does_not_fit_is_an_error() {
    let catalog = catalog(&[("shop", &shop())]);
    let most = i64::MAX - 3;
    let unfit = format!("{most} + 4 is no BIGINT");
    assert_eq!(told(&catalog, &format!("SELECT {most} + id FROM shop.orders")).await, unfit);
    assert_eq!(told(&catalog, &format!("SELECT id FROM shop.orders WHERE {most} + id > 0")).await, unfit);
    assert_eq!(
        told(&catalog, &format!("SELECT max({most} + id) FROM shop.orders WHERE id < 4")).await,
        i64::MAX.to_string()
    );
    let sum = format!("SELECT sum({most} - id) FROM shop.orders WHERE id < ");
    assert_eq!(told(&catalog, &(sum.clone() + "2")).await, (most - 1).to_string());
    assert!(told(&catalog, &(sum + "3")).await.ends_with("is no BIGINT"));
}

#[tokio::test]
async fn columns_conditions_and_limits_go_along() {
    let shop = shop();
    let catalog = catalog(&[("shop", &shop)]);
    let wanted = || shop.wanted.lock().unwrap().pop().unwrap();
    let ids =
        |ids: &[i64]| Condition { column: 0, is: Is::OneOf(ids.iter().map(|id| Literal::Integer(*id)).collect()) };
    assert_eq!(told(&catalog, "SELECT id FROM shop.orders WHERE id IN (2, 9) AND id > 1").await, "2");
    let above = Condition { column: 0, is: Is::AtLeast(Literal::Integer(1)) };
    let found = wanted();
    assert_eq!(found.columns, [0]);
    assert!(found.conditions.contains(&ids(&[2, 9])) && found.conditions.contains(&above), "{found:?}");
    told(&catalog, "SELECT count(*) FROM shop.orders").await;
    assert_eq!(wanted(), Wanted::default());
    told(&catalog, "SELECT id FROM shop.orders LIMIT 2").await;
    assert_eq!(wanted().most, Some(2));
    told(&catalog, "SELECT id FROM shop.orders WHERE at > now() - INTERVAL '1 minute' AND value.n = 2").await;
    let found = wanted();
    assert!(matches!(found.conditions[..], [Condition { column: 1, is: Is::AtLeast(Literal::Time(_)) }]), "{found:?}");
    // What lies in another schema of the place.
    assert_eq!(told(&catalog, "SELECT orders.id FROM shop.eu.orders WHERE orders.id = 3").await, "3");
    assert_eq!(told(&catalog, "FROM shop.eu.orders AS o |> WHERE o.id = 3 |> SELECT o.id").await, "3");
    assert_eq!(told(&catalog, "SELECT count(*) FROM syncline.public.runs").await, "2");
}

#[tokio::test]
async fn a_reading_that_nobody_wants_any_more_is_stopped() {
    let endless = Shop::default();
    let catalog = catalog(&[("shop", &endless)]);
    let mut rows = catalog.ask("SELECT * FROM shop.orders", Limits::default()).await.unwrap();
    assert!(rows.next().await.unwrap().is_ok());
    assert_eq!(endless.stopped.load(Ordering::SeqCst), 0);
    drop(rows);
    let limits = Limits { time: Some(Duration::from_millis(100)), ..Limits::default() };
    let mut rows = catalog.ask("SELECT sum(id) FROM shop.orders", limits).await.unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap_err(), QueryError::TooLong { limit: Duration::from_millis(100) });
    drop(rows);
    let began = Instant::now();
    while endless.stopped.load(Ordering::SeqCst) < 2 {
        assert!(began.elapsed() < Duration::from_secs(10), "it reads on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_pipeline_hides_a_connection_of_its_name_and_says_so() {
    let shop = shop();
    let catalog = catalog(&[("orders", &shop)]);
    assert_eq!(
        told(&catalog, "SELECT * FROM orders.orders").await,
        "orders.orders: orders is a pipeline, which has no state of a step `orders`, and the connection orders is hidden behind it; \
         give the connection another name"
    );
    assert_eq!(shop.asked(), [""; 0]);
}

#[tokio::test]
async fn json_means_what_it_means_in_a_pipeline() {
    let catalog = catalog(&[("shop", &shop())]);
    for (sql, expected) in [
        (
            "SELECT count(*) FROM (SELECT value.s FROM shop.orders UNION ALL SELECT value.s FROM shop.orders WHERE id = 2)",
            "5",
        ),
        ("SELECT value.s FROM shop.orders WHERE id < 3", "\"b\"; \"a\""),
        ("SELECT o.value['in']['x'][1] FROM shop.orders o WHERE id = 1", "20"),
        ("SELECT value -> 'in' -> 'x' -> 0 FROM shop.orders WHERE id = 1", "10"),
        ("SELECT value ->> 's' || '!' || '?' FROM shop.orders WHERE id < 3", "b!?; a!?"),
        ("SELECT id FROM shop.orders WHERE value.s = 'b'", "1; 3"),
        ("SELECT id FROM shop.orders WHERE value.s IN ('a', 'c') OR value.s LIKE 'x%'", "2"),
        ("SELECT id FROM shop.orders WHERE TRY_CAST(value.n AS DECIMAL(12, 2)) > 9.99", "2"),
        ("SELECT value.n + 1 FROM shop.orders WHERE id = 2", "11.5000000000"),
        ("SELECT sum(value.n) FROM shop.orders WHERE id < 3", "12.5000000000"),
        ("SELECT sum(CAST(value.n AS DECIMAL(12, 2))) AS n FROM shop.orders WHERE id < 3", "12.50"),
        (
            "SELECT upper(value.s), CASE WHEN value.n = 2 THEN 'two' ELSE value.s END FROM shop.orders WHERE id < 3",
            "B|two; A|a",
        ),
        ("SELECT coalesce(value.none, 'no') FROM shop.orders WHERE id = 1", "no"),
        ("SELECT value.s, count(*) FROM shop.orders GROUP BY value.s ORDER BY count(*) DESC LIMIT 1", "\"b\"|2"),
        ("SELECT count(value.s), count(DISTINCT value ->> 's') FROM shop.orders", "3|2"),
        ("SELECT TRY_CAST(value.n AS BIGINT) FROM shop.orders WHERE id = 3", ""),
        ("SELECT CAST(value.\"T\" AS BOOLEAN) FROM shop.orders WHERE id = 2", "true"),
        ("SELECT value.n + 1 FROM shop.orders", "is not a number"),
        ("SELECT CAST(value.n AS BIGINT) FROM shop.orders WHERE id = 3", "is not a BIGINT"),
        ("SELECT id FROM shop.orders ORDER BY value.n", "have no order"),
        ("SELECT max(value.s) FROM shop.orders", "max() does not take JSON"),
        ("SELECT array_agg(value.s) FROM shop.orders", "array_agg() does not take JSON"),
        ("SELECT a.id FROM shop.orders a JOIN shop.orders b ON a.value.s < b.value.s", "two JSON values have no order"),
        ("SELECT sum(value) FROM shop.orders", "sum() takes neither text nor JSON"),
        ("SELECT value.s FROM shop.orders UNION ALL SELECT state FROM runs", "UNION takes no JSON beside another type"),
        (
            "SELECT count(*) FROM runs WHERE state IN (SELECT value.s FROM shop.orders)",
            "IN (SELECT …) does not take JSON",
        ),
        (
            "SELECT count(*) FROM shop.orders JOIN (SELECT state AS value FROM runs) r USING (value)",
            "JSON is no key beside another type",
        ),
        ("SELECT count(*) FROM runs WHERE state = (SELECT value.s FROM shop.orders WHERE id = 1)", "0"),
        ("SELECT a.id, b.id FROM shop.orders a JOIN shop.orders b ON a.value.s = b.value.s AND a.id < b.id", "1|3"),
    ] {
        let found = told(&catalog, sql).await;
        let right = if expected.contains(' ') { found.contains(expected) } else { found == expected };
        assert!(right, "{sql}: {found}");
    }
}
