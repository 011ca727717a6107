//! The thread that reads a table, a chunk ahead of whoever takes the rows.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering, mpsc::SyncSender},
    thread,
    time::Duration,
};

use syncline_engine::source::SourceError;
use syncline_record::Partition;

use super::{Chunk, Come, Cursor, Place, Shared, Table, block::Block, same};

/// A database that went away is asked again after so long, then twice as long, up to the last: one that starts is not pressed by many.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// In a pause, how long a source that is given up may still have its thread.
const STEP: Duration = Duration::from_millis(50);

pub(super) struct Reading<P: Place> {
    pub place: P,
    pub partition: Partition,
    pub cursor: Cursor,
    /// None while it is lost.
    pub table: Option<P::Table>,
    pub giving: SyncSender<Come>,
    pub shared: Arc<Shared>,
}

impl<P: Place> Reading<P> {
    pub fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let first = self.cursor.rows + 1;
            let mut block = Block::of(self.partition.clone(), self.cursor.time, first);
            match self.chunk(&mut block) {
                Ok(chunk) => {
                    pause = FIRST_PAUSE;
                    self.say_trouble(None);
                    let end = chunk.end;
                    // Nobody takes the rows any more.
                    if !self.give(block, chunk) {
                        return;
                    }
                    if end {
                        _ = self.giving.send(Come::End);
                        return;
                    }
                }
                Err(SourceError::Again { what, detail }) if !self.place.of_one_moment() => {
                    self.table = None;
                    self.say_trouble(Some(format!("{what}: {detail}")));
                    if !self.wait(pause) {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    _ = self.giving.send(Come::Trouble(error));
                    return;
                }
            }
        }
    }

    fn chunk(&mut self, block: &mut Block) -> Result<Chunk, SourceError> {
        let table = match &mut self.table {
            Some(table) => table,
            lost => {
                let table = self.place.open()?;
                same(&self.place.what(), &self.cursor.identity, table.identity())?;
                lost.insert(table)
            }
        };
        table.after(self.cursor.after.as_ref(), block)
    }

    fn give(&mut self, mut block: Block, chunk: Chunk) -> bool {
        if block.is_empty() {
            return true;
        }
        self.cursor.rows = block.next() - 1;
        self.cursor.after = chunk.last;
        let cursor = match self.place.of_one_moment() {
            // It is no input: nothing of it is in the cursors.
            true => serde_json::Value::Null,
            false => serde_json::to_value(&self.cursor).unwrap_or_default(),
        };
        self.giving.send(Come::Rows(Box::new(block.rows(cursor)))).is_ok()
    }

    fn say_trouble(&self, why: Option<String>) {
        let mut trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*trouble, &why) {
            (None, Some(why)) => tracing::warn!(table = %self.partition, "{why}; it is waited for"),
            (Some(_), None) => tracing::info!(table = %self.partition, "it answers again"),
            _ => {}
        }
        *trouble = why;
    }

    /// False when nobody waits any more.
    fn wait(&self, pause: Duration) -> bool {
        let mut left = pause;
        while !left.is_zero() && !self.shared.left.load(Ordering::Relaxed) {
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
        !self.shared.left.load(Ordering::Relaxed)
    }
}
