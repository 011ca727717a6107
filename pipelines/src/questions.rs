//! Which connections questions read: those of the files that this process runs, or of the folder that a command stands in.
//!
//! Files are read when a question names a connection, so what they say now is what holds. A viewer reads only what a file opens to him
//! (`sql = true`): he may look at everything that happened here, and what lies behind a password is more than that. Operators and
//! whoever owns the folder read all of them. Nothing is written there, and no secret is in what is said of a place.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use syncline_analytics::{Catalog, Closed, Place, Places};
use syncline_connectors::questions::{KINDS, SQL, tables};
use syncline_dsl::plan::Value;
use syncline_engine::tables::{Condition, Give, Listed, Stop, Table, TableError, Tables, Wanted};
use syncline_record::keys;

use crate::{
    connections::{self, Connection},
    project::{self, Scope},
    secrets,
    tokens::Role,
    world::DATA_FOLDER,
};

/// What questions are asked of, by what the asker may see.
pub struct Questions {
    /// Who may see every connection.
    all: Catalog,
    /// Who may see those that are open to everybody.
    open: Catalog,
    scope: Arc<OnceLock<Scope>>,
}

impl Questions {
    /// `folder`: the data folder, with its secrets.
    pub fn new(catalog: &Catalog, folder: &Path) -> Self {
        let scope = Arc::<OnceLock<Scope>>::default();
        let of = |all| {
            let files = Files::Served(scope.clone());
            catalog.clone().with_places(Arc::new(Declared { files, folder: folder.to_owned(), all }))
        };
        Self { all: of(true), open: of(false), scope }
    }

    /// The files that this process runs are known.
    pub fn reads(&self, scope: &Scope) {
        let _ = self.scope.set(scope.clone());
    }

    pub fn of(&self, role: Option<Role>) -> &Catalog {
        if role >= Some(Role::Operator) { &self.all } else { &self.open }
    }
}

/// All connections of the files beside a data folder, for whoever owns them.
pub fn beside(folder: &Path) -> Arc<dyn Places> {
    let named = folder.file_name().is_some_and(|name| name == DATA_FOLDER);
    let files = match folder.parent().filter(|_| named) {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Arc::new(Declared { files: Files::In(files), folder: folder.to_owned(), all: true })
}

/// Where files are.
enum Files {
    Served(Arc<OnceLock<Scope>>),
    In(PathBuf),
}

struct Declared {
    files: Files,
    folder: PathBuf,
    all: bool,
}

impl Places for Declared {
    fn all(&self) -> Vec<Place> {
        let files = match &self.files {
            Files::Served(scope) => scope.get().map_or_else(|| Ok(vec![]), project::every),
            Files::In(folder) => project::files(std::slice::from_ref(folder)),
        };
        // A file that cannot be read is in the way of no other.
        let files = files.unwrap_or_default().into_iter();
        let found = files.flat_map(|file| connections::all(&[file]).unwrap_or_default());
        let mut places: Vec<Place> = vec![];
        for connection in found {
            let place = self.place(connection);
            let twice = places.iter_mut().find(|other| other.name.eq_ignore_ascii_case(&place.name));
            match twice {
                None => places.push(place),
                Some(other) if other.id == place.id => {}
                Some(other) => {
                    let name = &other.name;
                    other.open = Err(Closed {
                        detail: format!("{name} is declared by several files, and not alike"),
                        help: "a question cannot tell them apart: give one of them another name".to_owned(),
                        forbidden: false,
                    });
                }
            }
        }
        places
    }
}

impl Declared {
    fn place(&self, connection: Connection) -> Place {
        let said = format!("{:?} in {}", connection.place, connection.file.folder().display());
        let id = keys::hex128(keys::content_hash(said.as_bytes()));
        let (name, file) = (connection.name.clone(), connection.file.name());
        let is_open =
            connection.place.named.iter().any(|(name, value)| name == SQL.name && *value == Value::Boolean(true));
        let kind = &connection.place.connector;
        let open = match () {
            _ if !KINDS.contains(&kind.as_str()) => Err(Closed {
                detail: format!("{name} is a connection to {kind}, which has no tables that a question could read"),
                help: format!("questions read connections to {}", KINDS.join(", ")),
                forbidden: false,
            }),
            _ if !(self.all || is_open) => Err(Closed {
                detail: format!("{name} is a connection that only operators read in SQL"),
                help: format!("open it to all who may ask: CONNECTION {name} TO {kind} WITH (…, sql = true) in {file}"),
                forbidden: true,
            }),
            _ => Ok(Arc::new(Guarded { connection, folder: self.folder.clone() }) as Arc<dyn Tables>),
        };
        Place { name, id, open }
    }
}

/// A connection whose secrets are looked up when somebody goes there, and are in nothing that is said.
struct Guarded {
    connection: Connection,
    folder: PathBuf,
}

impl Guarded {
    fn tables(&self) -> Result<Arc<dyn Tables>, TableError> {
        let args = self.connection.args(&self.folder).map_err(|failure| TableError::Place(failure.title))?;
        match tables(&self.connection.place.connector, &args, &self.connection.around()) {
            Some(tables) => tables.map_err(|error| TableError::Place(error.to_string())),
            None => Err(TableError::Place("it has no tables".to_owned())),
        }
    }
}

impl Tables for Guarded {
    fn all(&self) -> Result<Vec<Listed>, TableError> {
        self.tables().and_then(|tables| tables.all()).map_err(hidden)
    }

    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError> {
        let table = self.tables().and_then(|tables| tables.table(name)).map_err(hidden)?;
        Ok(table.map(|table| Arc::new(GuardedTable(table)) as Arc<dyn Table>))
    }
}

struct GuardedTable(Arc<dyn Table>);

impl Table for GuardedTable {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.0.schema()
    }

    fn takes(&self, condition: &Condition) -> bool {
        self.0.takes(condition)
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError> {
        self.0.read(wanted, stop, give).map_err(hidden)
    }
}

fn hidden(error: TableError) -> TableError {
    match error {
        TableError::Place(detail) => TableError::Place(secrets::hidden(&detail).into_owned()),
        TableError::Value(detail) => TableError::Value(secrets::hidden(&detail).into_owned()),
        TableError::Over => TableError::Over,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn told(text: &[(&str, &str)], all: bool) -> Vec<String> {
        let folder = TempDir::new().unwrap();
        text.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        let files = Files::In(folder.path().to_owned());
        let places = Declared { files, folder: folder.path().join(DATA_FOLDER), all }.all();
        let told = places.into_iter().map(|place| match place.open {
            Ok(_) => place.name,
            Err(closed) => format!("{}: {}; {}", place.name, closed.detail, closed.forbidden),
        });
        told.collect()
    }

    const SHOP: &str = "CONNECTION shop TO sqlite WITH (path = 'shop.db');\n";
    const OPEN: &str = "CONNECTION open TO sqlite WITH (path = 'shop.db', sql = true);\n";

    #[test]
    fn a_viewer_reads_what_a_file_opens_and_the_owner_reads_all() {
        let files = [("a.sync", &*format!("{SHOP}{OPEN}"))];
        assert_eq!(told(&files, true), ["shop", "open"]);
        assert_eq!(told(&files, false), ["shop: shop is a connection that only operators read in SQL; true", "open"]);
        let not = [("a.sync", "CONNECTION shop TO sqlite WITH (path = 'shop.db', sql = false);\n")];
        assert_eq!(told(&not, false).len(), 1);
        assert!(told(&not, false)[0].ends_with("true"), "only `true` opens");
    }

    #[test]
    fn a_name_means_one_place_or_nothing() {
        let same = [("a.sync", SHOP), ("b.sync", SHOP)];
        assert_eq!(told(&same, true), ["shop"]);
        let other = "CONNECTION Shop TO sqlite WITH (path = 'other.db');\n";
        let twice = [("a.sync", SHOP), ("b.sync", other), ("c.sync", "no pipeline;")];
        assert_eq!(told(&twice, true), ["shop: shop is declared by several files, and not alike; false"]);
    }
}
