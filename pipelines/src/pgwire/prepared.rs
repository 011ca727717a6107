//! What a client keeps between its messages: statements that were understood, and portals: statements with values, perhaps half read.
//!
//! Both are bounded. A statement is kept as its text and understood again when it is asked, so an answer is always that of now.

use std::collections::HashMap;

use arrow::{array::RecordBatch, datatypes::Schema};
use syncline_analytics::{Rows, ScalarValue};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    messages::Column,
    refusal::Refusal,
    session::Command,
    types::{type_of, value_of},
};

/// Statements of a client: drivers keep some hundreds.
const STATEMENTS: usize = 256;
/// Bytes of their texts.
const TEXTS: usize = 4 << 20;
/// Portals of a client.
const PORTALS: usize = 64;

#[derive(Clone, Debug)]
pub enum Kind {
    Empty,
    Command(Command),
    Question,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: String,
    pub kind: Kind,
    /// Of its parameters, in order.
    pub types: Vec<u32>,
}

pub struct Portal {
    pub statement: Statement,
    pub values: Vec<ScalarValue>,
    /// None: text. One: of all columns. Else one for each.
    pub formats: Vec<i16>,
    pub state: State,
}

pub enum State {
    Bound,
    /// Rows are left.
    Running(Box<Running>),
    /// Rows were left when its time was over.
    Late,
    Over,
}

/// An answer on its way. The place among the questions is kept until the last row has gone.
pub struct Running {
    pub rows: Rows,
    pub columns: Vec<Column>,
    /// A batch, and how many of its rows have gone.
    pub batch: Option<(RecordBatch, usize)>,
    pub sent: usize,
    pub until: Instant,
    pub _place: OwnedSemaphorePermit,
}

#[derive(Default)]
pub struct Kept {
    statements: HashMap<String, Statement>,
    portals: HashMap<String, Portal>,
}

impl Kept {
    /// The one without a name is replaced, others are let go first.
    pub fn put_statement(&mut self, name: String, statement: Statement) -> Result<(), Refusal> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Refusal::error("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let texts: usize = self.statements.values().map(|kept| kept.sql.len()).sum();
        if self.statements.len() >= STATEMENTS || texts + statement.sql.len() > TEXTS {
            return Err(Refusal::error("53400", "there is no room for more prepared statements").hint("DEALLOCATE ALL"));
        }
        self.statements.insert(name, statement);
        Ok(())
    }

    pub fn statement(&self, name: &str) -> Result<&Statement, Refusal> {
        let missing = || Refusal::error("26000", format!("prepared statement \"{name}\" does not exist"));
        self.statements.get(name).ok_or_else(missing)
    }

    pub fn put_portal(&mut self, name: String, portal: Portal) -> Result<(), Refusal> {
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Refusal::error("42P03", format!("portal \"{name}\" already exists")));
        }
        if self.portals.len() >= PORTALS {
            return Err(Refusal::error("53400", "there is no room for more portals").hint("close one of them"));
        }
        self.portals.insert(name, portal);
        Ok(())
    }

    pub fn portal(&mut self, name: &str) -> Result<&mut Portal, Refusal> {
        let missing = || Refusal::error("34000", format!("portal \"{name}\" does not exist"));
        self.portals.get_mut(name).ok_or_else(missing)
    }

    pub fn close_statement(&mut self, name: &str) {
        self.statements.remove(name);
    }

    pub fn close_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    pub fn close_portals(&mut self) {
        self.portals.clear();
    }

    /// When the first of the answers that are half read has had its time.
    pub fn until(&self) -> Option<Instant> {
        let running = |portal: &Portal| match &portal.state {
            State::Running(running) => Some(running.until),
            _ => None,
        };
        self.portals.values().filter_map(running).min()
    }

    /// Lets answers go whose time is over, with their places among the questions: nobody may be about to read on.
    pub fn end_late(&mut self) {
        let now = Instant::now();
        for portal in self.portals.values_mut() {
            if matches!(&portal.state, State::Running(running) if running.until <= now) {
                portal.state = State::Late;
            }
        }
    }

    pub fn forget(&mut self) {
        self.statements.clear();
        self.portals.clear();
    }
}

/// A statement with its values, as a Bind says them.
pub fn bound(
    statement: &Statement,
    formats: &[i16],
    values: &[Option<Vec<u8>>],
    results: Vec<i16>,
) -> Result<Portal, Refusal> {
    let count = statement.types.len();
    if values.len() != count {
        let told =
            format!("bind message supplies {} parameters, but prepared statement requires {count}", values.len());
        return Err(Refusal::error("08P01", told));
    }
    if formats.len() > 1 && formats.len() != count {
        return Err(Refusal::error("08P01", "there are more or fewer formats than parameters"));
    }
    let types = statement.types.iter().zip(values).enumerate();
    let values =
        types.map(|(index, (oid, bytes))| value_of(*oid, is_binary(formats, index), bytes.as_deref(), index + 1));
    Ok(Portal {
        statement: statement.clone(),
        values: values.collect::<Result<_, _>>()?,
        formats: results,
        state: State::Bound,
    })
}

fn is_binary(formats: &[i16], index: usize) -> bool {
    let format = if formats.len() == 1 { formats.first() } else { formats.get(index) };
    format == Some(&1)
}

/// How an answer of this schema is described.
pub fn columns(schema: &Schema, formats: &[i16]) -> Vec<Column> {
    let column = |(index, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| {
        let (oid, size) = type_of(field);
        Column { name: field.name().clone(), oid, size, binary: is_binary(formats, index) }
    };
    schema.fields().iter().enumerate().map(column).collect()
}
