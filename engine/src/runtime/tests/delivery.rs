//! From an outbox to its sink: what a batch is, what a repeat takes back, when a pause is over.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use syncline_record::{Fate, Reason, StepId};

use crate::{
    checkpoint,
    ledger::{self, SinkFrame, settle},
    log::Log,
    runtime::{
        Turn,
        delivery::{Delivery, DeliveryError},
        job::Job,
        start::StartOptions,
    },
    simulation::{lock, pipeline::NAME, world::World},
    sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream},
};

/// A sink that does what it is told.
#[derive(Default)]
struct Told {
    /// What the next calls of `apply` answer; then all rows pass.
    answers: Vec<Result<Applied, SinkError>>,
    /// Where the transaction stands, if the sink keeps that.
    position: Option<Delivered>,
    /// The next `commit` fails before it did anything.
    refuses_commit: bool,
    bases: Vec<(u64, usize)>,
    opened: usize,
    /// It forgets positions.
    forgets: bool,
}

struct Puppet(Arc<Mutex<Told>>);

impl OutboxSink for Puppet {
    fn open(&mut self, _: &Stream) -> Result<Option<Delivered>, SinkError> {
        let mut told = lock(&self.0);
        told.opened += 1;
        Ok(told.position.clone())
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let mut told = lock(&self.0);
        told.bases.extend(rows.iter().map(|rows| (rows.base, rows.rows.num_rows())));
        if told.answers.is_empty() { Ok(Applied::default()) } else { told.answers.remove(0) }
    }

    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        let mut told = lock(&self.0);
        if std::mem::take(&mut told.refuses_commit) {
            return Err(SinkError::Reconnect("gone".into()));
        }
        if told.position.is_some() {
            told.position = Some(delivered.clone());
        }
        Ok(())
    }

    fn forgets(&self) -> bool {
        lock(&self.0).forgets
    }

    fn clear(&mut self, _: &Stream) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A world whose outbox `step` holds some rows, and a delivery from it.
fn delivery(step: &str, told: Told) -> (World, Delivery, Arc<Mutex<Told>>, u64) {
    let world = World::new(11, 100, None);
    lock(&world.input).arrived = 80;
    let mut job = Job::start(world.ground(), world.spec(), &StartOptions::default()).expect("no trouble");
    while job.turn().expect("no trouble") == Turn::Worked {}
    job.commit(false).expect("no trouble");
    let stream = Stream {
        pipeline: NAME.into(),
        step: StepId::new(step),
        part: 0,
        log_id: job.checkpoint().log_id.clone(),
        fence: 1,
    };
    let topic = ledger::outbox_topic(NAME, &StepId::new(step));
    let end = world.log.end(&topic).expect("no trouble");
    assert!(end > 3, "the test needs some rows");
    let told = Arc::new(Mutex::new(told));
    let delivery = Delivery::new(world.ground(), stream, topic, Box::new(Puppet(told.clone())), false);
    (world, delivery, told, end)
}

fn told_of(world: &World, step: &str) -> SinkFrame {
    let frames = world.log.read(&ledger::sink_topic(NAME, &StepId::new(step)), 0, usize::MAX).expect("no trouble");
    settle(frames.iter().map(|frame| serde_json::from_slice::<SinkFrame>(&frame.body).expect("its own frame")))
}

fn dead(offset: u64) -> Result<Applied, SinkError> {
    Ok(Applied { dead: vec![(offset, Reason::new("constraint", "no"))], stale: vec![offset + 1] })
}

#[test]
fn a_sink_in_the_middle_of_a_frame_gets_the_rest_of_it() {
    let position = Some(Delivered { next: 1, ..Delivered::default() });
    let (world, mut delivery, told, end) = delivery("people", Told { position, ..Told::default() });
    assert_eq!(delivery.turn().unwrap(), Turn::Worked);
    assert_eq!((delivery.turn().unwrap(), delivery.drained().unwrap()), (Turn::Idle, true));
    let told = lock(&told);
    assert_eq!(told.bases[0].0, 1);
    let gaps = told.bases.windows(2).filter(|pair| pair[0].0 + pair[0].1 as u64 != pair[1].0).count();
    assert_eq!((gaps, told.bases.iter().map(|(_, rows)| *rows as u64).sum::<u64>()), (0, end - 1));
    let record = &checkpoint::delivered(&*world.store, NAME).unwrap()[&StepId::new("people")];
    assert_eq!((record.next, record.books.rows_in, record.books.fate(Fate::Passed)), (end, end - 1, end - 1));
}

/// Kafka's groups do, after a week of rest: the rows would have gone out again.
#[test]
fn a_place_that_forgets_its_position_goes_on_where_our_record_says() {
    let told = Told { position: Some(Delivered::default()), forgets: true, ..Told::default() };
    let (world, mut delivery, told, end) = delivery("people", told);
    while delivery.turn().unwrap() == Turn::Worked {}
    let sent = |told: &Told| told.bases.iter().map(|(_, rows)| *rows as u64).sum::<u64>();
    assert_eq!(sent(&lock(&told)), end);
    lock(&told).position = Some(Delivered::default());
    let topic = ledger::outbox_topic(NAME, &StepId::new("people"));
    let mut again =
        Delivery::new(world.ground(), delivery.stream.clone(), topic, Box::new(Puppet(told.clone())), false);
    while again.turn().unwrap() == Turn::Worked {}
    let told = lock(&told);
    assert_eq!((sent(&told), told.opened), (end, 2));
}

/// An attempt that had no dead rows published nothing, and those of the attempt before it stayed.
#[test]
fn a_repeat_takes_back_what_the_first_attempt_said() {
    let position = Some(Delivered::default());
    let told = Told { position, answers: vec![dead(1)], refuses_commit: true, ..Told::default() };
    let (world, mut delivery, told, end) = delivery("people", told);
    assert_eq!(delivery.turn().unwrap(), Turn::Idle);
    assert_eq!((told_of(&world, "people").dead.len(), told_of(&world, "people").stale.len()), (1, 1));
    world.advance(Duration::from_secs(1));
    assert_eq!(delivery.turn().unwrap(), Turn::Worked);
    assert_eq!(told_of(&world, "people"), SinkFrame::default());
    let told = lock(&told);
    assert_eq!((told.opened, told.position.as_ref().map(|position| position.next)), (2, Some(end)));
}

#[test]
fn dead_and_stale_rows_are_counted_and_told_with_where_they_came_from() {
    let (world, mut delivery, _, end) = delivery("people", Told { answers: vec![dead(1)], ..Told::default() });
    assert_eq!(delivery.turn().unwrap(), Turn::Worked);
    let books = checkpoint::delivered(&*world.store, NAME).unwrap()[&StepId::new("people")].books;
    assert_eq!((books.fate(Fate::Dead), books.fate(Fate::Stale), books.fate(Fate::Passed)), (1, 1, end - 2));
    assert!(books.balance());
    let told = told_of(&world, "people");
    let letter = &told.dead[0].1;
    assert!(letter.place.offset > 0 && letter.place.partition.name.starts_with("in/orders"), "{letter:?}");
    assert!(letter.bytes.starts_with(b"{\"id\":"), "{letter:?}");
}

/// A row that only clears its group is no row: calling it stale made the books count it.
#[test]
fn a_clear_that_a_sink_names_is_not_counted() {
    let all = |end: u64| Ok(Applied { dead: vec![], stale: (0..end).collect() });
    let (world, mut delivery, told, end) = delivery("groups", Told::default());
    lock(&told).answers = vec![all(end)];
    assert_eq!(delivery.turn().unwrap(), Turn::Worked);
    let books = checkpoint::delivered(&*world.store, NAME).unwrap()[&StepId::new("groups")].books;
    assert!(books.rows_in < end, "the test needs clears");
    assert_eq!((books.fate(Fate::Stale), books.balance()), (books.rows_in, true));
    assert_eq!(told_of(&world, "groups").stale.len() as u64, books.rows_in);
}

#[test]
fn a_pause_lasts_as_long_as_it_was_asked_for_and_never_means_the_end_of_it() {
    let later = SinkError::Later { delay: Duration::from_secs(10), detail: "slow down".into() };
    let (world, mut delivery, told, _) = delivery("people", Told { answers: vec![Err(later)], ..Told::default() });
    assert_eq!(delivery.turn().unwrap(), Turn::Idle);
    assert_eq!(delivery.trouble().map(|trouble| trouble.tries), Some(1));
    world.advance(Duration::from_millis(9_999));
    assert_eq!((delivery.turn().unwrap(), lock(&told).opened), (Turn::Idle, 1));
    world.advance(Duration::from_secs(6));
    assert_eq!((delivery.turn().unwrap(), delivery.trouble()), (Turn::Worked, None));
}

#[test]
fn never_is_the_end_and_says_why() {
    let answers = vec![Err(SinkError::Never("no such table".into()))];
    let (_world, mut delivery, ..) = delivery("people", Told { answers, ..Told::default() });
    let error = delivery.turn().unwrap_err();
    assert!(matches!(&error, DeliveryError::Sink { .. }), "{error:?}");
    assert_eq!(error.to_string(), "people: no such table");
}
