//! A simulated plain sink: it takes lines and remembers nothing of us.

use std::sync::{Arc, Mutex};

use super::{
    disk::lines_of,
    further::texts_of,
    lock,
    trap::{Strike, Trap},
};
use crate::sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream};

#[derive(Default)]
pub struct Outlet {
    pub trap: Trap,
    /// Outbox offset and line of everything that ever came, repeats included.
    pub came: Vec<(u64, String)>,
}

pub struct Pipe {
    pub outlet: Arc<Mutex<Outlet>>,
    /// How a row is a line.
    pub lines: Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// As the staged sink writes them.
    Orders,
    /// Whatever its columns are.
    Columns,
}

impl Pipe {
    fn call<T>(
        &mut self,
        name: &'static str,
        mut work: impl FnMut(&mut Outlet, bool) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let mut outlet = lock(&self.outlet);
        let strike = outlet.trap.step(name);
        match strike {
            None => return work(&mut outlet, false),
            Some(Strike::After | Strike::Unheard) => drop(work(&mut outlet, false)?),
            Some(Strike::Halfway) => drop(work(&mut outlet, true)?),
            Some(_) => {}
        }
        Err(if outlet.trap.dead { SinkError::Never("crashed".into()) } else { SinkError::Again("refused".into()) })
    }
}

impl OutboxSink for Pipe {
    fn open(&mut self, _stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.call("open", |_, _| Ok(None))
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let printed = self.lines;
        self.call("apply", |outlet, half| {
            for batch in rows {
                let mut lines = match printed {
                    Lines::Orders => lines_of(&batch.rows).into_iter().map(|(line, _)| line).collect(),
                    Lines::Columns => texts_of(&batch.rows),
                };
                if half {
                    lines.truncate(lines.len() / 2);
                }
                let numbered = lines.into_iter().enumerate();
                outlet.came.extend(numbered.map(|(row, line)| (batch.base + row as u64, line)));
                if half {
                    break;
                }
            }
            Ok(Applied::default())
        })
    }

    fn commit(&mut self, _delivered: &Delivered) -> Result<(), SinkError> {
        self.call("commit", |_, _| Ok(()))
    }

    fn clear(&mut self, _stream: &Stream) -> Result<(), SinkError> {
        self.call("clear", |outlet, _| {
            outlet.came.clear();
            Ok(())
        })
    }
}
