//! Lists come in pages: `?limit=&cursor=` is answered with `{"items": […], "next": "…" | null}`.
//!
//! A cursor names the last row of a page by what the list is ordered by, and not by its number: rows that come meanwhile move nothing, and a
//! row that was there when the first page was asked for comes once. It is opaque, and good for the list that gave it.

use arrow::array::RecordBatch;
use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use syncline_analytics::{Limits, QueryError};
use syncline_functions::{JsonWriter, instant_of, token_of};
use utoipa::{IntoParams, ToSchema};

use super::{ApiState, access::Caller, facts::instant_text, problem::Problem, query};

/// Items of a page when the asker does not say, and the most there can be: an answer is held in memory.
const ITEMS: usize = 100;
const MOST_ITEMS: usize = 1000;
/// The longest cursor: one of events has the name of each pipeline in it.
const LONGEST: usize = 64 << 10;

/// A part of a list.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; `null` on the last one.
    pub next: Option<String>,
}

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// Items of the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl Part {
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(ITEMS) {
            limit @ 1..=MOST_ITEMS => Ok(limit),
            limit => Err(Problem::refused(StatusCode::BAD_REQUEST, "no-such-parameter", format!("limit={limit}"))
                .help(format!("a page has 1 to {MOST_ITEMS} items; ask for the next one with its cursor"))),
        }
    }

    /// The values after which this part begins, one for each of `kinds`.
    fn after(&self, keys: &[Key]) -> Result<Option<Vec<Value>>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let values: Option<Vec<Value>> = place(cursor);
        let fits = |values: &Vec<Value>| {
            values.len() == keys.len() && keys.iter().zip(values).all(|(key, value)| key.kind.fits(value))
        };
        values.filter(fits).map(Some).ok_or_else(no_such_cursor)
    }
}

/// What a list is ordered by.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub column: &'static str,
    pub kind: Kind,
    /// The greatest first.
    pub falling: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Time,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_i64(),
            Self::Time => value.as_str().is_some_and(|text| instant_of(text.as_bytes()).is_some()),
        }
    }

    fn literal(self, value: &Value) -> String {
        match self {
            Self::Number => value.to_string(),
            Self::Text => literal(value.as_str().unwrap_or_default()),
            Self::Time => {
                let micros = value.as_str().and_then(|text| instant_of(text.as_bytes())).unwrap_or_default();
                format!("CAST('{}' AS TIMESTAMP)", instant_text(micros))
            }
        }
    }
}

/// A text as a literal of SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A list that is a question to the tables. It has a column `pipeline`, by which it leaves out what a token is not for.
pub struct List {
    pub select: String,
    /// Together they tell any two rows apart.
    pub keys: &'static [Key],
}

impl List {
    fn sql(&self, caller: &Caller, part: &Part, limit: usize) -> Result<String, Problem> {
        let after = part.after(self.keys)?.map_or("TRUE".to_owned(), |values| behind(self.keys, &values));
        let order: Vec<String> = self
            .keys
            .iter()
            .map(|key| format!("{} {}", key.column, if key.falling { "DESC" } else { "ASC" }))
            .collect();
        let (select, order, his) = (&self.select, order.join(", "), caller.condition());
        Ok(format!("SELECT * FROM ({select}) AS list WHERE {his} AND {after} ORDER BY {order} LIMIT {limit}"))
    }

    /// One page of it.
    pub async fn page(&self, state: &ApiState, caller: &Caller, part: &Part) -> Result<Response, Problem> {
        let limit = part.limit()?;
        let batches = rows(state, &self.sql(caller, part, limit + 1)?).await?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut text = b"{\"items\":[".to_vec();
        let (mut taken, mut next) = (0, None);
        for batch in &batches {
            let writer = JsonWriter::new(batch.schema_ref());
            for row in 0..batch.num_rows().min(limit - taken) {
                text.extend_from_slice(if taken > 0 { b"," } else { b"" });
                writer.write_row(batch, row, &mut text);
                taken += 1;
                if taken == limit && found > limit {
                    next = Some(cursor(&self.values(batch, row)));
                }
            }
        }
        let next = serde_json::to_string(&next).unwrap_or_default();
        text.extend_from_slice(format!("],\"next\":{next}}}").as_bytes());
        Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
    }

    fn values(&self, batch: &RecordBatch, row: usize) -> Vec<Value> {
        let value = |key: &Key| {
            let (index, field) = batch.schema_ref().column_with_name(key.column)?;
            let mut token = vec![];
            token_of(batch.column(index), field, row, &mut token);
            serde_json::from_slice(&token).ok()
        };
        self.keys.iter().map(|key| value(key).unwrap_or_default()).collect()
    }
}

/// The rows behind these values: `a > 1 OR (a = 1 AND b > 2)`.
fn behind(keys: &[Key], values: &[Value]) -> String {
    let (Some((key, keys)), Some((value, values))) = (keys.split_first(), values.split_first()) else {
        return "FALSE".to_owned();
    };
    let (column, value) = (key.column, key.kind.literal(value));
    let further = if key.falling { '<' } else { '>' };
    format!("({column} {further} {value} OR ({column} = {value} AND {}))", behind(keys, values))
}

/// One page of a list that is in memory, ordered by name.
pub fn named<T>(items: Vec<T>, name: impl Fn(&T) -> &str, part: &Part) -> Result<Page<T>, Problem> {
    const NAME: &[Key] = &[Key { column: "name", kind: Kind::Text, falling: false }];
    let (limit, after) = (part.limit()?, part.after(NAME)?);
    let after = after.as_ref().and_then(|values| values.first()?.as_str());
    let mut items: Vec<T> = items.into_iter().filter(|item| after.is_none_or(|after| name(item) > after)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| cursor(&[name(last).into()]));
    Ok(Page { items, next })
}

fn cursor(values: &[Value]) -> String {
    opaque(&Value::from(values))
}

/// A place in a list, as nobody should read it.
pub fn opaque(place: &impl Serialize) -> String {
    let text = serde_json::to_vec(place).unwrap_or_default();
    text.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The place that a cursor says; `None` where it is none.
pub fn place<T: DeserializeOwned>(cursor: &str) -> Option<T> {
    let bytes = Some(cursor).filter(|cursor| cursor.len() <= LONGEST).and_then(unhex)?;
    serde_json::from_slice(&bytes).ok()
}

pub fn no_such_cursor() -> Problem {
    Problem::refused(StatusCode::BAD_REQUEST, "no-such-cursor", "this is no cursor of this list")
        .help("take `next` of the page before as it is, or leave the cursor out")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// All rows of an answer that is known to be small. It waits for its place among the queries.
pub async fn rows(state: &ApiState, sql: &str) -> Result<Vec<RecordBatch>, Problem> {
    let _place = state.queries.acquire().await;
    let mut rows = state.catalog.ask(sql, Limits::default()).await.map_err(unread)?;
    let mut batches = vec![];
    while let Some(batch) = rows.next().await {
        batches.push(batch.map_err(unread)?);
    }
    Ok(batches)
}

/// The first row of an answer as a JSON object.
pub async fn row(state: &ApiState, sql: &str) -> Result<Option<Vec<u8>>, Problem> {
    let batches = rows(state, sql).await?;
    Ok(batches.iter().find(|batch| batch.num_rows() > 0).map(|batch| {
        let mut text = vec![];
        JsonWriter::new(batch.schema_ref()).write_row(batch, 0, &mut text);
        text
    }))
}

/// The question is ours, so what is wrong is not the asker's doing.
fn unread(error: QueryError) -> Problem {
    let status = match &error {
        QueryError::TooLong { .. } | QueryError::TooLarge { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, query::failure(error))
}

/// The parameters of a query string; what is not understood is refused by name.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, state).await.map_err(|rejection| {
            Problem::refused(StatusCode::BAD_REQUEST, "no-such-parameter", "the query string is not understood")
                .seen(rejection.body_text())
                .help("GET /openapi.json lists the parameters of each resource")
        })?;
        Ok(Self(params))
    }
}

/// The parts of a path that are names.
pub struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(names) = Path::from_request_parts(parts, state).await.map_err(|rejection| {
            Problem::refused(StatusCode::BAD_REQUEST, "no-such-path", "the path is not understood")
                .seen(rejection.body_text())
                .help("names are UTF-8, numbers are whole")
        })?;
        Ok(Self(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_names_have_each_item_once_whatever_comes_between_them() {
        let mut names: Vec<String> = ["b", "d", "f", "h", "j"].map(str::to_owned).to_vec();
        let mut part = Part { limit: Some(2), cursor: None };
        let mut seen = vec![];
        loop {
            let page = named(names.clone(), |name| name, &part).unwrap_or_else(|problem| panic!("{problem:?}"));
            seen.extend(page.items);
            // Before and behind where the reader is, names come and go.
            names.insert(0, "a".into());
            names.retain(|name| name != "h");
            match page.next {
                None => break,
                next => part.cursor = next,
            }
        }
        assert_eq!(seen, ["b", "d", "f", "j"]);
    }

    #[test]
    fn what_is_no_cursor_is_refused_and_never_sql() {
        const KEYS: &[Key] = &[
            Key { column: "time", kind: Kind::Time, falling: true },
            Key { column: "id", kind: Kind::Text, falling: false },
        ];
        let sql = |values: &[Value]| {
            let part = Part { limit: None, cursor: Some(cursor(values)) };
            List { select: "x".into(), keys: KEYS }.sql(&Caller::local(), &part, 3)
        };
        assert_eq!(
            sql(&["2026-11-20T10:00:00Z".into(), "a'b".into()]).unwrap(),
            "SELECT * FROM (x) AS list WHERE TRUE AND (time < CAST('2026-11-20T10:00:00Z' AS TIMESTAMP) OR (time = \
             CAST('2026-11-20T10:00:00Z' AS TIMESTAMP) AND (id > 'a''b' OR (id = 'a''b' AND FALSE)))) \
             ORDER BY time DESC, id ASC LIMIT 3"
        );
        for values in [&["x' OR TRUE".into(), "a".into()][..], &["a".into()], &[1.into(), "a".into()], &[]] {
            assert_eq!(sql(values).unwrap_err().failure.slug, "no-such-cursor", "{values:?}");
        }
        for cursor in ["", "abc", "zz", "ü", "7b7d"] {
            let part = Part { limit: None, cursor: Some(cursor.to_owned()) };
            assert!(part.after(KEYS).is_err(), "{cursor}");
        }
    }
}
