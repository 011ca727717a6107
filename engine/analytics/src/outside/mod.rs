//! Tables of places outside, beside those that are here: `shop.customers` is the table `customers` of the connection `shop`.
//!
//! Nobody goes to a place before a question names a table of it, or lists what there is (`SHOW TABLES`, `information_schema`,
//! `pg_catalog`). A question that names one fails when the place is away, and no other does. A list goes to all places at once, waits for
//! [`LISTING`] and no longer, and leaves out who has not answered; what was found is remembered for [`REMEMBERED`].
//!
//! Rows come as they are there: in batches, on a thread of their own that stays a few of them ahead, with the columns and, where that
//! is surely right, the conditions of the question. The reading ends when nobody wants its rows any more. Only this process goes
//! outside: workers are never told of places.

mod condition;
mod names;
mod table;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{SchemaProvider, TableProvider},
    error::DataFusionError,
    logical_expr::TableType,
};
use syncline_engine::tables::{Listed, TableError, Tables};

pub use names::joined;
use table::{Later, Outer};

/// How long a list waits for places.
const LISTING: Duration = Duration::from_secs(4);
/// Between two looks for answers.
const BLINK: Duration = Duration::from_millis(10);
/// How long a question waits for a place whose table it names: connectors give up before, and say why.
const LOOK: Duration = Duration::from_secs(12);
/// How long what a place said of its tables holds for lists, and that it said nothing.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Tables of one place that a list shows at most: each costs a row in a dozen tables of `pg_catalog`.
const MOST: usize = 20_000;

/// Who knows the places that questions may read.
pub trait Places: Send + Sync + 'static {
    /// Those that there are now. Reads files, and goes nowhere.
    fn all(&self) -> Vec<Place>;
}

/// A place that questions name.
#[derive(Clone)]
pub struct Place {
    pub name: String,
    /// Another one where it leads elsewhere, or goes there in another way.
    pub id: String,
    /// Else why nobody may ask, and what to do about it.
    pub open: Result<Arc<dyn Tables>, Closed>,
}

/// A place that is there and is not for this asker, or cannot be gone to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub detail: String,
    pub help: String,
    /// Others may.
    pub forbidden: bool,
}

/// Why a place gives no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("{name}: {detail}")]
    Away { name: String, detail: String },
    #[error("{detail}")]
    Unfit { detail: String },
    #[error("{}", .0.detail)]
    Closed(Closed),
}

impl Trouble {
    fn of(name: &str, error: TableError) -> Self {
        match error {
            TableError::Place(detail) => Self::Away { name: name.to_owned(), detail },
            TableError::Value(detail) => Self::Unfit { detail },
            TableError::Over => Self::Away { name: name.to_owned(), detail: "the question is over".to_owned() },
        }
    }
}

impl From<Trouble> for DataFusionError {
    fn from(trouble: Trouble) -> Self {
        Self::External(Box::new(trouble))
    }
}

/// What one question, or a list of all that there is, knows of places.
pub struct Outside {
    places: Option<Arc<dyn Places>>,
    known: Arc<Known>,
    /// As this question sees them.
    declared: OnceLock<Arc<Vec<Place>>>,
    lists: bool,
}

/// What is remembered of places, for all questions.
#[derive(Default)]
struct Known {
    /// Those of the last list.
    last: Mutex<Arc<Vec<Place>>>,
    said: Mutex<HashMap<String, Said>>,
}

/// What a place said when it was asked for all that it has.
struct Said {
    at: Instant,
    /// By name; none where it said nothing.
    tables: Arc<Vec<Listed>>,
    /// Somebody waits for its answer.
    asked: bool,
}

impl Known {
    fn said(&self) -> MutexGuard<'_, HashMap<String, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Arc<Vec<Place>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self, id: &str) -> Arc<Vec<Listed>> {
        self.said().get(id).map(|said| said.tables.clone()).unwrap_or_default()
    }

    fn table(&self, id: &str, name: &str) -> Option<Listed> {
        let tables = self.tables(id);
        let exact = tables.binary_search_by(|listed| listed.name.as_str().cmp(name)).ok();
        exact.and_then(|index| tables.get(index).cloned())
    }

    /// Whether somebody has asked, and has no answer yet.
    fn waits(&self, id: &str) -> bool {
        self.said().get(id).is_some_and(|said| said.asked)
    }

    /// Whether somebody has to ask; if so, it is taken for asked.
    fn wants(&self, id: &str) -> bool {
        let mut said = self.said();
        // What nobody has asked for in a while is another file's by now.
        said.retain(|known, said| known == id || said.asked || said.at.elapsed() < REMEMBERED * 10);
        let now = Instant::now();
        match said.get_mut(id) {
            Some(said) if said.asked || said.at.elapsed() < REMEMBERED => false,
            Some(said) => {
                said.asked = true;
                true
            }
            None => said.insert(id.to_owned(), Said { at: now, tables: Arc::default(), asked: true }).is_none(),
        }
    }

    fn hears(&self, place: &Place, answer: Result<Vec<Listed>, TableError>) {
        let tables = answer.unwrap_or_else(|error| {
            tracing::debug!(connection = place.name, "its tables are not listed: {error}");
            vec![]
        });
        let mut tables: Vec<Listed> = tables.into_iter().take(MOST).collect();
        tables.sort_by(|one, other| one.name.cmp(&other.name));
        let said = Said { at: Instant::now(), tables: Arc::new(tables), asked: false };
        self.said().insert(place.id.clone(), said);
    }
}

impl Outside {
    pub fn new(places: Option<Arc<dyn Places>>) -> Self {
        Self { places, known: Arc::default(), declared: OnceLock::new(), lists: false }
    }

    /// Of another question. `lists`: it may ask what there is.
    pub fn anew(&self, lists: bool) -> Self {
        Self { places: self.places.clone(), known: self.known.clone(), declared: OnceLock::new(), lists }
    }

    /// What lists have found last, whoever asks.
    pub fn listed(&self) -> Self {
        Self { places: None, known: self.known.clone(), declared: OnceLock::new(), lists: true }
    }

    fn declared(&self) -> Arc<Vec<Place>> {
        match &self.places {
            None => self.known.last().clone(),
            Some(places) => self.declared.get_or_init(|| Arc::new(places.all())).clone(),
        }
    }

    /// Those whose tables a list shows.
    pub fn names(&self) -> Vec<String> {
        if !self.lists {
            return vec![];
        }
        self.declared().iter().filter(|place| place.open.is_ok()).map(|place| place.name.clone()).collect()
    }

    /// The place of this name, as a schema.
    pub fn schema(self: &Arc<Self>, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let declared = self.declared();
        let exact = declared.iter().find(|place| place.name == name);
        let place = exact.or_else(|| declared.iter().find(|place| place.name.eq_ignore_ascii_case(name)))?;
        Some(Arc::new(Schema { place: place.clone(), outside: self.clone() }))
    }

    /// Asks every place for all that it has, where that is not known yet.
    pub async fn list(&self) {
        if !self.lists || self.places.is_none() {
            return;
        }
        let declared = self.declared();
        *self.known.last() = declared.clone();
        for place in declared.iter() {
            let Some(tables) = place.open.clone().ok().filter(|_| self.known.wants(&place.id)) else { continue };
            let (place, known) = (place.clone(), self.known.clone());
            // Who answers late is heard too: he is listed the next time.
            tokio::spawn(async move {
                let answer = tokio::task::spawn_blocking(move || tables.all()).await;
                let fell = |_| Err(TableError::Place("its reader fell over".to_owned()));
                known.hears(&place, answer.unwrap_or_else(fell));
            });
        }
        // Whoever else has asked, their answers are waited for.
        let began = Instant::now();
        while began.elapsed() < LISTING && declared.iter().any(|place| self.known.waits(&place.id)) {
            tokio::time::sleep(BLINK).await;
        }
    }
}

/// Words of questions that list what there is.
const LISTS: [&str; 8] =
    ["information_schema", "pg_class", "pg_tables", "pg_views", "pg_attribute", "pg_namespace", "pg_matviews", "show "];

/// Whether a question may ask what there is. Where it does not, places were gone to for nothing.
pub fn lists(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    LISTS.iter().any(|word| sql.contains(word))
}

/// A place as a schema.
struct Schema {
    place: Place,
    outside: Arc<Outside>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.place.name)
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.outside.known.tables(&self.place.id);
        tables.iter().map(|listed| listed.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let place = self.place.name.clone();
        let tables = match &self.place.open {
            Ok(tables) => tables.clone(),
            Err(closed) => return Err(Trouble::Closed(closed.clone()).into()),
        };
        if self.outside.lists
            && let Some(listed) = self.outside.known.table(&self.place.id, name)
        {
            let later = Later { tables, listed };
            return Ok(Some(Arc::new(Outer { place: place.into(), table: Arc::new(later) })));
        }
        let asked = name.to_owned();
        let look = tokio::task::spawn_blocking(move || tables.table(&asked));
        let away = |detail: &str| Trouble::Away { name: self.place.name.clone(), detail: detail.to_owned() };
        match tokio::time::timeout(LOOK, look).await {
            Ok(Ok(Ok(None))) => Ok(None),
            Ok(Ok(Ok(Some(table)))) => Ok(Some(Arc::new(Outer { place: place.into(), table }))),
            Ok(Ok(Err(error))) => Err(Trouble::of(&self.place.name, error).into()),
            Ok(Err(_)) => Err(away("its reader fell over; the log says where").into()),
            Err(_) => Err(away("it does not say what its tables are").into()),
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.outside.known.table(&self.place.id, name).map(|_| TableType::Base))
    }

    fn table_exist(&self, _: &str) -> bool {
        // Nobody is asked without need: whoever takes the table is told.
        self.place.open.is_ok()
    }
}
