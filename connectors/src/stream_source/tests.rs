//! What a reader takes out of a stream, and where it stops.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array},
    buffer::Buffer,
    datatypes::Int64Type,
};
use serde_json::Value;
use syncline_engine::{
    log::{NewFrame, memory::MemoryLog},
    operators::present::OFFSET,
    stream::{Slowest, encode, encode_mark},
};
use syncline_record::{Batch, Headers, Origin, batch::ROW};

use super::*;

const TOPIC: &str = "pipeline/writer/stream/numbers";

/// A stream, its writer, and where its slowest reader is.
struct Bench {
    log: Arc<MemoryLog>,
    writer: Arc<Mutex<Writer>>,
    id: Arc<Mutex<Option<String>>>,
    slowest: Arc<Mutex<u64>>,
    cut_off: Arc<AtomicBool>,
}

impl Bench {
    fn new() -> Self {
        Self {
            log: Arc::new(MemoryLog::new()),
            writer: Arc::new(Mutex::new(Writer::Running)),
            id: Arc::default(),
            slowest: Arc::default(),
            cut_off: Arc::default(),
        }
    }

    /// One commit of the writer: a frame for each list of numbers, and a mark.
    fn write(&self, id: &str, frames: &[&[i64]], mark: Option<i64>) {
        let frame = |count: usize, body| NewFrame { count: count as u32, time: 0, body };
        let mut frames: Vec<NewFrame> =
            frames.iter().map(|numbers| frame(numbers.len(), encode(&batch(numbers), id).unwrap())).collect();
        frames.extend(mark.map(|mark| frame(1, encode_mark(mark, id))));
        *self.id.lock().unwrap() = Some(id.to_owned());
        for frame in frames {
            self.log.append(TOPIC, frame).unwrap();
        }
        let ends = self.log.prepare(&[TOPIC.to_owned()]).unwrap();
        self.log.commit(1, &ends).unwrap();
    }

    fn source(&self, columns: Option<&[&str]>, cursor: Option<&Value>) -> StreamSource {
        let (writer, slowest, cut_off) = (self.writer.clone(), self.slowest.clone(), self.cut_off.clone());
        let id = self.id.clone();
        let wanted = Wanted {
            topic: TOPIC.into(),
            name: "numbers".into(),
            writer: "writer".into(),
            columns: columns.map(|columns| columns.iter().map(|name| name.to_string()).collect()),
            bounded: true,
            here: false,
        };
        let around = Surroundings {
            writer: Box::new(move || *writer.lock().unwrap()),
            id: Box::new(move || id.lock().unwrap().clone()),
            readers: Box::new(move |_| {
                Ok(Some(Slowest { pipeline: "other".into(), next: *slowest.lock().unwrap(), runs: true }))
            }),
            cut_off: Box::new(move || cut_off.store(true, Ordering::SeqCst)),
        };
        let mut source = StreamSource::new(self.log.clone(), wanted, around);
        source
            .open(&cursor.map(|cursor| ("stream/numbers".to_owned(), cursor.clone())).into_iter().collect(), 0)
            .unwrap();
        source
    }

    fn is(&self, writer: Writer) {
        *self.writer.lock().unwrap() = writer;
    }
}

fn batch(numbers: &[i64]) -> Batch {
    let rows = numbers.len();
    let origin = Origin {
        partition: Partition::new("in.ndjson", 0),
        payload: Buffer::from_vec(vec![b'7'; rows]),
        spans: (0..rows as u32).map(|row| (row, row + 1)).collect(),
        texts: None,
        names: None,
        offsets: (1..=rows as u64).collect(),
        bytes: None,
        times: vec![5; rows],
        ingested_at: 6.into(),
        headers: Headers::Absent,
        keys: None,
    };
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
        (ROW, Arc::new(UInt32Array::from_iter_values(0..rows as u32))),
        (OFFSET, Arc::new(UInt64Array::from_iter_values(1..=rows as u64))),
    ];
    Batch { origin: Arc::new(origin), rows: RecordBatch::try_from_iter(columns).unwrap(), watermark: 0 }
}

/// What a poll gives: numbers and mark, or what else it says; and the cursor.
fn polled(source: &mut StreamSource) -> (String, Value) {
    match source.poll(0) {
        Ok(Polled::Streamed(streamed)) => {
            let numbers = streamed.rows.and_then(|rows| rows.columns);
            let numbers = numbers.map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec());
            (format!("{:?} {:?}", numbers.unwrap_or_default(), streamed.mark), streamed.cursor)
        }
        Ok(Polled::Idle) => ("idle".into(), Value::Null),
        Ok(Polled::Ended) => ("ended".into(), Value::Null),
        Ok(other) => (format!("{other:?}"), Value::Null),
        Err(error) => (error.to_string(), Value::Null),
    }
}

#[test]
fn frames_come_in_order_each_with_the_mark_behind_it() {
    let bench = Bench::new();
    bench.write("a", &[&[1, 2], &[3]], Some(7));
    bench.write("a", &[], Some(9));
    let mut source = bench.source(Some(&["n"]), None);
    let (first, cursor) = polled(&mut source);
    assert_eq!((first.as_str(), polled(&mut source).0.as_str()), ("[1, 2] None", "[3] Some(9)"));
    assert_eq!(polled(&mut source).0, "idle");
    // From the cursor of the first on.
    let mut again = bench.source(Some(&["n"]), Some(&cursor));
    assert_eq!(polled(&mut again).0, "[3] Some(9)");
    bench.write("a", &[&[4]], None);
    assert_eq!(polled(&mut again).0, "[4] None");
}

#[test]
fn it_ends_with_its_writer_and_stops_when_that_is_no_more() {
    let bench = Bench::new();
    bench.is(Writer::Coming);
    bench.write("a", &[&[1]], None);
    let mut source = bench.source(Some(&["n"]), None);
    assert_eq!(polled(&mut source).0, "idle");
    bench.is(Writer::Ended);
    assert_eq!([polled(&mut source).0, polled(&mut source).0], ["[1] None", "ended"]);
    bench.is(Writer::Gone);
    let mut source = bench.source(Some(&["n"]), None);
    assert_eq!([polled(&mut source).0, polled(&mut source).0], ["[1] None", "idle"]);
    assert!(bench.cut_off.load(Ordering::SeqCst));
}

const OTHER: &str = "stream numbers: it is another one than what was read before: its writer writer was started over, or has got this \
                     name since; run this pipeline with --fresh too, or put the names back";

#[test]
fn what_came_before_something_that_cannot_be_read_is_committed_first() {
    let bench = Bench::new();
    bench.write("a", &[&[1], &[2]], None);
    let mut source = bench.source(Some(&["n"]), None);
    assert_eq!(polled(&mut source).0, "[1] None");
    bench.write("b", &[&[3]], None);
    let (second, cursor) = polled(&mut source);
    assert_eq!(second, "[2] None");
    let committed = |of: &Value| Cursors::from([("stream/numbers".to_owned(), of.clone())]);
    assert_eq!([polled(&mut source).0, polled(&mut source).0], ["idle", "idle"]);
    source.committed(&committed(&cursor)).unwrap();
    assert_eq!(polled(&mut source).0, OTHER);
    // And at once where nothing came before.
    assert_eq!(polled(&mut bench.source(Some(&["n"]), Some(&cursor))).0, OTHER);
}

#[test]
fn a_writer_that_starts_over_writes_another_stream() {
    let bench = Bench::new();
    bench.write("a", &[&[1, 2], &[3]], None);
    let mut source = bench.source(Some(&["n"]), None);
    let cursor = (polled(&mut source), polled(&mut source)).1.1;
    let told = OTHER;
    // Shorter than before, as long, longer.
    for frames in [&[&[1][..]][..], &[&[1, 2], &[3]], &[&[1, 2], &[3], &[4]]] {
        let bench = Bench::new();
        bench.write("b", frames, None);
        assert_eq!(polled(&mut bench.source(Some(&["n"]), Some(&cursor))).0, told, "{frames:?}");
        // Frames say it too, should nobody know.
        *bench.id.lock().unwrap() = None;
        let said = polled(&mut bench.source(Some(&["n"]), Some(&cursor))).0;
        assert_eq!(said, if frames.len() > 2 { told } else { "idle" }, "{frames:?}");
    }
}

#[test]
fn rows_without_a_column_that_is_read_are_told_and_never_null() {
    let bench = Bench::new();
    bench.write("a", &[&[1]], None);
    let told = |columns| polled(&mut bench.source(columns, None)).0;
    assert_eq!(told(Some(&["n"])), "[1] None");
    assert_eq!(
        told(Some(&["n", "key"])),
        "stream numbers: rows that writer wrote before an edit have no column key; put the earlier file back until they are \
         read, or run both with --fresh"
    );
    assert!(told(None).contains("have named columns, and whole records are read now"));
}

#[test]
fn nothing_is_released_that_another_reader_needs() {
    let bench = Bench::new();
    bench.write("a", &[&[1, 2], &[3]], None);
    let mut source = bench.source(Some(&["n"]), None);
    let cursor = (polled(&mut source), polled(&mut source)).1.1;
    assert_eq!((Position::within(&cursor, "a"), Position::within(&cursor, "b")), (3, 0));
    let cursors: Cursors = [("stream/numbers".to_owned(), cursor)].into();
    // What a new reader finds after each commit of this one.
    let mut committed = || {
        source.committed(&cursors).unwrap();
        polled(&mut bench.source(Some(&["n"]), None)).0
    };
    assert_eq!([committed(), committed(), committed()], ["[1, 2] None"; 3]);
    // The other has come past the first frame: with the next commit that is durable.
    *bench.slowest.lock().unwrap() = 2;
    assert_eq!([committed(), committed()], ["[1, 2] None", "[3] None"]);
    *bench.slowest.lock().unwrap() = 3;
    assert_eq!([committed(), committed()], ["[3] None", "idle"]);
}

#[test]
fn who_takes_what_is_there_ends_with_it_and_goes_on_from_there_another_time() {
    let bench = Bench::new();
    let here = |cursor: Option<&Value>| {
        let mut source = bench.source(Some(&["n"]), cursor);
        source.wanted.here = true;
        source
    };
    bench.is(Writer::Coming);
    bench.write("a", &[&[1, 2], &[3]], None);
    let mut first = here(None);
    assert_eq!(polled(&mut first).0, "idle", "what lies there may not be its writer's own");
    bench.is(Writer::Running);
    assert_eq!(polled(&mut first).0, "[1, 2] None");
    // What comes while it reads is for another time.
    bench.write("a", &[&[4]], None);
    let (third, cursor) = polled(&mut first);
    assert_eq!((third.as_str(), polled(&mut first).0.as_str()), ("[3] None", "ended"));
    let mut second = here(Some(&cursor));
    assert_eq!([polled(&mut second).0, polled(&mut second).0], ["[4] None", "ended"]);
    // Whatever became of its writer.
    bench.is(Writer::Gone);
    let mut whole = here(None);
    let all = [(); 4].map(|()| polled(&mut whole).0);
    assert_eq!(all, ["[1, 2] None", "[3] None", "[4] None", "ended"]);
    assert!(!bench.cut_off.load(Ordering::SeqCst));
}
