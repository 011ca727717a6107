//! A client that is in: what it says, one message after the other, and what it is told.
//!
//! Its messages are read beside whatever it has asked, so that it is noticed when it goes away. A question ends with its time, a request
//! to cancel it, its client, or the process. Rows go out as they come: an answer of any length passes in bounded memory, and a client
//! that does not read keeps nobody waiting longer than its question may take.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::{DataType, Field, Schema};
use syncline_analytics::{Limits, QueryError, ScalarValue, Words, statements};
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    Door, Inside,
    connection::Wire,
    interrupts::{Interrupts, Step, Stop},
    messages::{Broken, Column, LONGEST, Message, Out, Target, read_message},
    prepared::{Kept, Kind, Portal, Running, State, Statement, bound, columns},
    refusal::{Refusal, Severity},
    session::{Command, Done, Session, command},
    types::{TEXT, parameter_type, unsaid, write_value},
};

/// Who has said nothing for so long is let go: dashboards ask more often, and connect again by themselves.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Messages that are read before they are answered: those of one question of the extended protocol.
const AHEAD: usize = 8;
/// Bytes that are collected before they go out.
const SENT_AT: usize = 64 << 10;
/// How long a question waits for others to end.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Conversation {
    messages: mpsc::Receiver<Result<Message, Broken>>,
    reader: JoinHandle<()>,
    writer: WriteHalf<Box<dyn Wire>>,
    out: Out,
    session: Session,
    kept: Kept,
    interrupts: Interrupts,
    door: Arc<Door>,
    /// A message of the extended protocol was refused: those up to Sync are not done.
    skipping: bool,
    _inside: Inside,
}

impl Conversation {
    pub fn new(
        wire: Box<dyn Wire>,
        session: Session,
        inside: Inside,
        door: Arc<Door>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (read, writer) = split(wire);
        let (sender, messages) = mpsc::channel(AHEAD);
        let (gone_tells, gone) = watch::channel(false);
        let reader = tokio::spawn(listen(read, sender, gone_tells));
        let interrupts = Interrupts { cancels: inside.cancels.clone(), gone, stop };
        Self {
            messages,
            reader,
            writer,
            out: Out::default(),
            session,
            kept: Kept::default(),
            interrupts,
            door,
            skipping: false,
            _inside: inside,
        }
    }

    pub async fn run(mut self) {
        while let Some(message) = self.next().await {
            match self.hear(message).await {
                Ok(true) => {}
                Ok(false) | Err(Stop::Gone) => break,
                Err(Stop::Refused(refusal)) => {
                    self.farewell(&refusal).await;
                    break;
                }
            }
        }
        let _ = timeout(PATIENCE, self.writer.shutdown()).await;
        self.reader.abort();
    }

    async fn farewell(&mut self, refusal: &Refusal) {
        self.out.refusal(refusal);
        let _ = self.flush(Instant::now() + PATIENCE).await;
    }

    /// The next message; `None` when there will be none.
    async fn next(&mut self) -> Option<Message> {
        let idle = Instant::now() + IDLE;
        let refusal = loop {
            let late = self.kept.until();
            tokio::select! {
                heard = timeout_at(idle, self.messages.recv()) => match heard {
                    Ok(Some(Ok(message))) => return Some(message),
                    Ok(Some(Err(Broken::Gone(_))) | None) => return None,
                    Ok(Some(Err(broken))) => break Refusal::broken(&broken),
                    Err(_) => {
                        break Refusal::fatal("57P05", format!("nothing was asked for {} minutes", IDLE.as_secs() / 60));
                    }
                },
                _ = self.interrupts.stop.wait_for(|stop| *stop) => break Refusal::stopping(),
                () = sleep_until(late.unwrap_or(idle)), if late.is_some() => self.kept.end_late(),
            }
        };
        self.farewell(&refusal).await;
        None
    }

    /// Does what a message says; whether the conversation goes on.
    async fn hear(&mut self, message: Message) -> Step<bool> {
        match message {
            Message::Terminate => return Ok(false),
            Message::Password(_) => return Err(Refusal::fatal("08P01", "a password was not asked for").into()),
            Message::Copy => {}
            Message::Query(sql) => {
                let done = self.simple(&sql).await;
                self.told(done)?;
                self.ready().await?;
            }
            Message::Sync => {
                self.skipping = false;
                if self.session.transaction == super::session::Transaction::None {
                    self.kept.close_portals();
                }
                self.ready().await?;
            }
            Message::Flush => self.flush(Instant::now() + PATIENCE).await?,
            _ if self.skipping => {}
            message => {
                let done = self.extended(message).await;
                self.skipping = self.told(done)?;
                if self.skipping || self.out.0.len() > SENT_AT {
                    self.flush(Instant::now() + PATIENCE).await?;
                }
            }
        }
        Ok(true)
    }

    /// Tells what was refused, and whether anything was.
    fn told(&mut self, done: Step) -> Step<bool> {
        match done {
            Ok(()) => Ok(false),
            Err(Stop::Refused(refusal)) if refusal.severity != Severity::Fatal => {
                self.out.refusal(&refusal);
                self.session.failed();
                Ok(true)
            }
            Err(stop) => Err(stop),
        }
    }

    async fn ready(&mut self) -> Step {
        self.out.ready(self.session.transaction.letter());
        self.flush(Instant::now() + PATIENCE).await
    }

    async fn flush(&mut self, until: Instant) -> Step {
        let out = std::mem::take(&mut self.out.0);
        // Cut off in the middle of a message, nothing more can be said.
        match timeout_at(until, async { self.writer.write_all(&out).await.and(self.writer.flush().await) }).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Stop::Gone),
        }
    }

    /// Statements of the simple protocol, until one is refused.
    async fn simple(&mut self, sql: &str) -> Step {
        let statements = statements(sql).all();
        if statements.is_empty() {
            self.out.bare(b'I');
        }
        for sql in statements {
            let command = command(sql);
            self.session.admits(command.as_ref())?;
            if let Some(command) = command {
                self.perform(command, true)?;
                continue;
            }
            let mut running = self.ask(sql, vec![], &[]).await?;
            self.out.columns(&running.columns);
            self.send(&mut running, usize::MAX).await?;
            self.out.complete(&format!("SELECT {}", running.sent));
        }
        Ok(())
    }

    fn perform(&mut self, command: Command, describe: bool) -> Step {
        match self.session.perform(command)? {
            Done::Tag(tag) => self.out.complete(tag),
            Done::Noticed(tag, notice) => {
                self.out.refusal(&notice);
                self.out.complete(tag);
            }
            Done::Shown(name, value) => {
                if describe {
                    self.out.columns(&shown(&name));
                }
                self.out.row(1, |_, out| {
                    out.extend_from_slice(value.as_bytes());
                    true
                });
                self.out.complete("SHOW");
            }
            Done::Forget(name) => {
                match name {
                    Some(name) => self.kept.close_statement(&name),
                    None => self.kept.forget(),
                }
                self.out.complete("DEALLOCATE");
            }
            Done::ForgetAll => {
                self.kept.forget();
                self.out.complete("DISCARD ALL");
            }
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits { time: Some(self.session.timeout()), ..Limits::default() }
    }

    /// Begins a question.
    async fn ask(&mut self, sql: &str, values: Vec<ScalarValue>, formats: &[i16]) -> Step<Running> {
        let limits = self.limits();
        let door = self.door.clone();
        self.interrupts.cancels.mark_unchanged();
        let begun = async {
            let place = timeout(PATIENCE, door.state.queries.clone().acquire_owned()).await;
            let Ok(Ok(place)) = place else {
                let busy = Refusal::error("53000", "too many questions are being answered");
                return Err(Stop::from(busy.hint("ask again when one of them has ended")));
            };
            let question = door.catalog().prepare(sql, Words::Clients, limits).await?;
            let rows = question.answer(values).await?;
            Ok((rows, place))
        };
        let (rows, place) = self.interrupts.unless(begun).await??;
        let columns = columns(&rows.schema(), formats);
        let until = Instant::now() + self.session.timeout();
        Ok(Running { rows, columns, batch: None, sent: 0, until, _place: place })
    }

    /// Sends no more than so many rows; whether there may be more.
    async fn send(&mut self, running: &mut Running, most: usize) -> Step<bool> {
        let mut left = most;
        loop {
            let (batch, from) = match running.batch.take() {
                Some(rest) => rest,
                None => match self.interrupts.unless(running.rows.next()).await? {
                    Some(batch) => (batch?, 0),
                    None => return Ok(false),
                },
            };
            let schema = batch.schema();
            for row in from..batch.num_rows() {
                if left == 0 {
                    running.batch = Some((batch, row));
                    return Ok(true);
                }
                self.out.row(batch.num_columns(), |index, out| {
                    write_value(batch.column(index), schema.field(index), row, running.columns[index].binary, out)
                });
                (left, running.sent) = (left - 1, running.sent + 1);
                if self.out.0.len() > SENT_AT {
                    self.send_out(running.until).await?;
                }
            }
        }
    }

    /// Sends what is collected, unless the question ends first. What is left then goes before the word about it: a message that is cut
    /// off in the middle would be the end of the connection.
    async fn send_out(&mut self, until: Instant) -> Step {
        let (out, mut sent) = (std::mem::take(&mut self.out.0), 0);
        let writing = async {
            while sent < out.len() {
                match self.writer.write(&out[sent..]).await {
                    Ok(0) | Err(_) => return Err(Stop::Gone),
                    Ok(more) => sent += more,
                }
            }
            Ok(())
        };
        let limit = self.session.timeout();
        let late = |_| Err(QueryError::TooLong { limit }.into());
        let done = self.interrupts.unless(timeout_at(until, writing)).await.and_then(|done| done.unwrap_or_else(late));
        self.out.0.extend_from_slice(&out[sent..]);
        done
    }

    async fn extended(&mut self, message: Message) -> Step {
        match message {
            Message::Parse { name, sql, types } => self.parse(name, sql, types).await?,
            Message::Bind { portal, statement, formats, values, results } => {
                let bound = bound(self.kept.statement(&statement)?, &formats, &values, results)?;
                if portal.is_empty() {
                    self.kept.close_portal("");
                }
                self.kept.put_portal(portal, bound)?;
                self.out.bare(b'2');
            }
            Message::Describe(Target::Statement(name)) => {
                let statement = self.kept.statement(&name)?.clone();
                let values = statement.types.iter().map(|oid| unsaid(*oid)).collect();
                self.out.parameters(&statement.types);
                self.describe(&statement, values, &[]).await?;
            }
            Message::Describe(Target::Portal(name)) => {
                let Portal { statement, values, formats, .. } = self.kept.portal(&name)?;
                let (statement, values, formats) = (statement.clone(), values.clone(), formats.clone());
                self.describe(&statement, values, &formats).await?;
            }
            Message::Execute { portal, rows } => self.execute(&portal, rows).await?,
            Message::Close(target) => {
                match target {
                    Target::Statement(name) => self.kept.close_statement(&name),
                    Target::Portal(name) => self.kept.close_portal(&name),
                }
                self.out.bare(b'3');
            }
            _ => {}
        }
        Ok(())
    }

    async fn parse(&mut self, name: String, sql: String, types: Vec<u32>) -> Step {
        let parts = statements(&sql).all();
        let statement = match parts.as_slice() {
            [] => Statement { sql: String::new(), kind: Kind::Empty, types },
            [one] => match command(one) {
                Some(command) => {
                    self.session.admits(Some(&command))?;
                    Statement { sql: (*one).to_owned(), kind: Kind::Command(command), types }
                }
                None => {
                    self.session.admits(None)?;
                    let types = self.types(one, types).await?;
                    Statement { sql: (*one).to_owned(), kind: Kind::Question, types }
                }
            },
            _ => {
                return Err(Refusal::error("42601", "cannot insert multiple commands into a prepared statement").into());
            }
        };
        if name.is_empty() {
            self.kept.close_statement("");
        }
        self.kept.put_statement(name, statement)?;
        self.out.bare(b'1');
        Ok(())
    }

    /// The types of a question's parameters: those that the client says, else those that the question asks for.
    async fn types(&mut self, sql: &str, said: Vec<u32>) -> Step<Vec<u32>> {
        let question = self.question(sql).await?;
        let asked = question.parameters()?;
        let count = asked.last_key_value().map_or(0, |(last, _)| *last).max(said.len());
        if count > usize::from(u16::MAX) {
            return Err(Refusal::error("54000", "a question takes no more than 65535 parameters").into());
        }
        let of = |index: usize| match said.get(index) {
            Some(oid) if *oid != 0 => *oid,
            _ => parameter_type(asked.get(&(index + 1)).and_then(Option::as_ref)),
        };
        Ok((0..count).map(of).collect())
    }

    async fn question(&mut self, sql: &str) -> Step<syncline_analytics::Question> {
        let (door, limits) = (self.door.clone(), self.limits());
        self.interrupts.cancels.mark_unchanged();
        let prepared = door.catalog().prepare(sql, Words::Clients, limits);
        Ok(self.interrupts.unless(prepared).await??)
    }

    async fn describe(&mut self, statement: &Statement, values: Vec<ScalarValue>, formats: &[i16]) -> Step {
        match &statement.kind {
            Kind::Command(Command::Show { name }) => self.out.columns(&shown(name)),
            Kind::Empty | Kind::Command(_) => self.out.bare(b'n'),
            Kind::Question => {
                let question = self.question(&statement.sql).await?;
                let schema = self.interrupts.unless(question.schema(values)).await??;
                self.out.columns(&columns(&schema, formats));
            }
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows: usize) -> Step {
        let portal = self.kept.portal(name)?;
        let state = std::mem::replace(&mut portal.state, State::Over);
        let (statement, formats) = (portal.statement.clone(), portal.formats.clone());
        let mut running = match (statement.kind, state) {
            (Kind::Empty, _) => {
                self.out.bare(b'I');
                return Ok(());
            }
            (Kind::Command(command), _) => {
                self.session.admits(Some(&command))?;
                return self.perform(command, false);
            }
            (Kind::Question, State::Running(running)) => running,
            (Kind::Question, State::Late) => return Err(QueryError::TooLong { limit: self.session.timeout() }.into()),
            (Kind::Question, State::Over) => {
                self.out.complete("SELECT 0");
                return Ok(());
            }
            (Kind::Question, State::Bound) => {
                self.session.admits(None)?;
                let values = portal.values.clone();
                Box::new(self.ask(&statement.sql, values, &formats).await?)
            }
        };
        let before = running.sent;
        let most = if rows == 0 { usize::MAX } else { rows };
        if self.send(&mut running, most).await? {
            self.out.bare(b's');
            self.kept.portal(name)?.state = State::Running(running);
        } else {
            self.out.complete(&format!("SELECT {}", running.sent - before));
        }
        Ok(())
    }
}

/// The answer of `SHOW`.
fn shown(name: &str) -> Vec<Column> {
    let mut columns = columns(&Schema::new(vec![Field::new(name, DataType::Utf8, false)]), &[]);
    columns.iter_mut().for_each(|column| column.oid = TEXT);
    columns
}

/// Reads messages until there are no more.
async fn listen(
    mut from: ReadHalf<Box<dyn Wire>>,
    to: mpsc::Sender<Result<Message, Broken>>,
    gone: watch::Sender<bool>,
) {
    loop {
        let message = read_message(&mut from, LONGEST).await;
        let over = message.is_err() || matches!(message, Ok(Message::Terminate));
        let nobody = matches!(message, Err(Broken::Gone(_)) | Ok(Message::Terminate));
        if nobody {
            let _ = gone.send(true);
        }
        if to.send(message).await.is_err() || over {
            break;
        }
    }
    // What was not the protocol is answered before the connection ends.
    if !*gone.borrow() {
        gone.closed().await;
    }
}
