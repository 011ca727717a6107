//! What clients of PostgreSQL look for beside the tables: `pg_catalog` with its functions, and their own queries of it (`\d` of psql,
//! the lists of tables of notebooks and dashboards) in words that DataFusion understands.
//!
//! Only questions that come over PostgreSQL's protocol see this, and only where plain SQL does not do: a question that everybody may
//! ask has the same answer through every door. Object ids are those of one [`Clients`], so that a client may ask with the id that it
//! was told before.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use arrow::datatypes::DataType;
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProviderList, SchemaProvider},
    common::ScalarValue,
    error::{DataFusionError, Result},
    execution::{SessionStateBuilder, runtime_env::RuntimeEnv},
    logical_expr::{ColumnarValue, Volatility, create_udf},
    prelude::{SessionConfig, SessionContext},
    sql::parser::Statement,
};
use datafusion_pg_catalog::{
    pg_catalog::{context::EmptyContextProvider, setup_pg_catalog},
    sql::PostgresCompatibilityParser,
};

use crate::catalog::{CATALOG, Folder, PUBLIC};

/// The schema of PostgreSQL's own tables.
const PG_CATALOG: &str = "pg_catalog";
/// The version of PostgreSQL whose clients are understood. Their queries differ by it.
pub const VERSION: &str = "15.14";

pub struct Clients {
    template: SessionContext,
    pg_catalog: Arc<dyn SchemaProvider>,
    parser: PostgresCompatibilityParser,
}

impl Clients {
    pub fn new(folder: &Folder) -> Result<Self> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, PUBLIC)
            .with_create_default_catalog_and_schema(false);
        let template = SessionContext::new_with_config(config);
        let seen = Arc::new(Seen { folder: folder.listed(), pg_catalog: RwLock::default() });
        template.register_catalog(CATALOG, seen.clone());
        setup_pg_catalog(&template, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let told = format!("PostgreSQL {VERSION} (Syncline {})", env!("CARGO_PKG_VERSION"));
        template.register_udf(create_udf(
            "version",
            vec![],
            DataType::Utf8,
            Volatility::Stable,
            Arc::new(move |_| Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(told.clone()))))),
        ));
        // No type has a name of its own here: psycopg asks for those of extensions.
        template.register_udf(create_udf(
            "to_regtype",
            vec![DataType::Utf8],
            DataType::Int32,
            Volatility::Stable,
            Arc::new(|_| Ok(ColumnarValue::Scalar(ScalarValue::Int32(None)))),
        ));
        let pg_catalog = seen
            .schema(PG_CATALOG)
            .ok_or_else(|| DataFusionError::Internal("pg_catalog was not registered".to_owned()))?;
        Ok(Self { template, pg_catalog, parser: PostgresCompatibilityParser::new() })
    }

    /// A session that knows what clients look for.
    pub fn session(&self, folder: &Folder, config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionContext {
        let state = SessionStateBuilder::new_from_existing(self.template.state())
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let context = SessionContext::new_with_state(state);
        let catalog = Named { folder: folder.clone(), pg_catalog: self.pg_catalog.clone() };
        context.register_catalog(CATALOG, Arc::new(catalog));
        context
    }

    /// A client's question in DataFusion's words; `None` where it is not one statement.
    pub fn statement(&self, sql: &str) -> Option<Statement> {
        let mut statements = self.parser.parse(sql).ok()?;
        let statement = statements.pop().filter(|_| statements.is_empty())?;
        Some(Statement::Statement(Box::new(statement)))
    }
}

/// What `pg_class` and its like list: all tables, `pg_catalog` among the schemas.
struct Seen {
    folder: Folder,
    pg_catalog: RwLock<Option<Arc<dyn SchemaProvider>>>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(f)
    }
}

impl CatalogProvider for Seen {
    fn schema_names(&self) -> Vec<String> {
        [self.folder.schema_names(), vec![PG_CATALOG.to_owned()]].concat()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            PG_CATALOG => self.pg_catalog.read().unwrap_or_else(PoisonError::into_inner).clone(),
            _ => self.folder.schema(name),
        }
    }

    fn register_schema(&self, _: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(self.pg_catalog.write().unwrap_or_else(PoisonError::into_inner).replace(schema))
    }
}

/// What a question can name. `SHOW TABLES` lists what is here for people, so `pg_catalog` is known and not listed.
struct Named {
    folder: Folder,
    pg_catalog: Arc<dyn SchemaProvider>,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.fmt(f)
    }
}

impl CatalogProvider for Named {
    fn schema_names(&self) -> Vec<String> {
        self.folder.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == PG_CATALOG { Some(self.pg_catalog.clone()) } else { self.folder.schema(name) }
    }
}
