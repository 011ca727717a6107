//! Rows go to the task of their key, and come out as they were.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray},
    datatypes::Schema,
};
use syncline_functions::Planner;
use syncline_record::{Headers, Partition};

use super::*;
use crate::{
    changelog::memory::MemoryChangelogs,
    checkpoint,
    clock::{SeededRng, VirtualClock},
    log::memory::MemoryLog,
    operator::{
        Operator, Output,
        harness::{NOW, by, origin, shown, wanted, when},
    },
    operators::{Decode, Filter, Unnest, decode::Wanted},
    replica::{Replica, Scope},
    runtime::Ground,
    simulation::pipeline::typed,
    store::{Changes, StateStore, memory::MemoryStore},
    stream::Content,
};

const TOPIC: &str = "syncline.p.dedup.repartition";

/// Rows of whole records, of which a WHERE has dropped one.
fn batch(first: i64) -> Batch {
    let record = |id: i64| format!("{{ \"id\": \"k{}\", \"n\": {id} }}", id % 5);
    let records: Vec<String> = (first..first + 20).map(record).collect();
    let mut origin = origin("orders", first as u64, &records);
    origin.headers = Headers::Same("{}".into());
    let mut out = Output::new(StepId::new("source"), false);
    Decode::new(Wanted { whole_record: true, ..wanted(&["id", "n"]) }).push(origin, None, NOW, &mut out);
    let batch = out.emitted.remove(0);
    let mut out = Output::new(StepId::new("where"), false);
    let mut filter = Filter::new(when("n <> 3", &batch.rows.schema()), false);
    filter.push(batch, &mut out).unwrap();
    out.emitted.remove(0)
}

fn hop(key: Option<&str>, batch: &Batch, tasks: u32) -> Hop {
    Hop::new(TOPIC.to_owned(), key.map(|key| by(&[key], &batch.rows.schema())), None, (1, tasks))
}

/// The frames of a partition.
fn frames(log: &MemoryLog, partition: u32) -> Vec<Vec<u8>> {
    let topic = address(TOPIC, partition);
    let ends = log.prepare(std::slice::from_ref(&topic)).unwrap();
    log.commit(1, &ends).unwrap();
    let mut assembly = Assembly::default();
    let frames = log.read(&topic, 0, usize::MAX).unwrap();
    let whole = frames.iter().filter_map(|frame| assembly.take(frame.base, &frame.body).unwrap());
    whole.map(|(writer, frame)| (assert_eq!(writer, 1), frame).1).collect()
}

/// What the tasks of the next stage get, each for itself.
fn taken(log: &MemoryLog, like: &Batch, tasks: u32) -> Vec<Vec<Batch>> {
    let task = |task: u32| {
        let mut decode = Decode::whole(like.rows.schema());
        let mut out = Output::new(StepId::new("source"), false);
        for frame in frames(log, task) {
            let (id, Content::Rows(rows)) = stream::decode(&frame).unwrap() else { panic!("no rows") };
            assert_eq!(id, "life");
            decode.push_streamed(&Partition::new("from", 1), *rows, &mut out).unwrap();
        }
        out.emitted
    };
    (0..tasks).map(task).collect()
}

#[test]
fn rows_of_a_key_come_to_one_task_as_they_were() {
    let (first, second) = (batch(0), batch(20));
    let log = MemoryLog::new();
    let mut hop = hop(Some("id"), &first, 3);
    for batch in [&first, &second] {
        hop.send(&log, "life", &StepId::new("dedup/repartition"), batch).unwrap();
    }
    assert_eq!(hop.sent, 39);
    let tasks = taken(&log, &first, 3);
    let mut rows: Vec<String> = tasks.iter().flatten().flat_map(shown).collect();
    let mut before: Vec<String> = [&first, &second].into_iter().flat_map(shown).collect();
    rows.sort();
    before.sort();
    assert_eq!(rows, before);
    let keys = |batches: &Vec<Batch>| -> Vec<String> {
        let ids = batches.iter().flat_map(|batch| {
            let ids = batch.rows.column_by_name("id").unwrap().as_string_view().clone();
            (0..ids.len()).map(move |row| ids.value(row).to_owned())
        });
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let of_tasks: Vec<String> = tasks.iter().flat_map(keys).collect();
    assert_eq!(of_tasks.len(), 5, "{of_tasks:?}");
    assert!(tasks.iter().filter(|batches| !batches.is_empty()).count() > 1);
    // Every row finds its record, its place and its headers, in order.
    for batch in tasks.iter().flatten() {
        for (row, id) in batch.row_ids().values().iter().enumerate() {
            let letter = batch.origin.dead(*id as usize, &StepId::new("x"), syncline_record::Reason::new("y", "z"));
            let offset = letter.place.offset as i64;
            assert_eq!(letter.bytes, format!("{{ \"id\": \"k{}\", \"n\": {offset} }}", offset % 5).into_bytes());
            assert_eq!(
                (letter.place.partition.to_string().as_str(), letter.headers.as_deref()),
                ("orders", Some("{}"))
            );
            assert_eq!(row as u32, *id);
        }
        assert!(batch.origin.offsets.is_sorted());
    }
}

#[test]
fn without_a_key_all_rows_come_to_the_first_task() {
    let batch = batch(0);
    let log = MemoryLog::new();
    hop(None, &batch, 3).send(&log, "life", &StepId::new("limit/repartition"), &batch).unwrap();
    let tasks = taken(&log, &batch, 3);
    assert_eq!(
        tasks.iter().map(|batches| batches.iter().map(Batch::len).sum::<usize>()).collect::<Vec<_>>(),
        [19, 0, 0]
    );
}

#[test]
fn rows_of_another_version_are_told_and_not_guessed() {
    let batch = batch(0);
    let log = MemoryLog::new();
    hop(None, &batch, 1).send(&log, "life", &StepId::new("x"), &batch).unwrap();
    let frame = frames(&log, 0).remove(0);
    let read = |fields: &[&str]| {
        let (_, Content::Rows(rows)) = stream::decode(&frame).unwrap() else { panic!("no rows") };
        let mut decode = Decode::whole(Decode::new(wanted(fields)).schema());
        decode.push_streamed(&Partition::new("from", 1), *rows, &mut Output::new(StepId::new("source"), false))
    };
    assert_eq!(read(&["n"]), Ok(()));
    assert_eq!(read(&["n", "total"]).unwrap_err(), "they have no column total");
    assert_eq!(read(&["n:i64"]).unwrap_err(), "n is JSON, and BIGINT is read now");
}

/// A STRING and JSON look alike in memory: `"north"` would be a text with quotes around it, and `north` no JSON at all.
#[test]
fn json_is_not_taken_for_text_nor_text_for_json() {
    let tagged = batch(0);
    let plain = |field: &Arc<Field>| match field.name().as_str() {
        "id" => Arc::new(field.as_ref().clone().with_metadata(HashMap::new())),
        _ => field.clone(),
    };
    let schema = tagged.rows.schema();
    let schema: SchemaRef = Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()));
    let texts = RecordBatch::try_new(schema, tagged.rows.columns().to_vec()).unwrap();
    let texts = tagged.with_rows(texts);
    let read = |written: &Batch, read: &Batch| {
        let log = MemoryLog::new();
        hop(None, written, 1).send(&log, "life", &StepId::new("x"), written).unwrap();
        let (_, Content::Rows(rows)) = stream::decode(&frames(&log, 0)[0]).unwrap() else { panic!("no rows") };
        let mut out = Output::new(StepId::new("source"), false);
        let answer = Decode::whole(read.rows.schema()).push_streamed(&Partition::new("from", 1), *rows, &mut out);
        answer.map(|()| out.emitted.iter().flat_map(shown).collect::<Vec<_>>())
    };
    assert_eq!(read(&tagged, &tagged), Ok(shown(&tagged)));
    assert_eq!(read(&texts, &texts), Ok(shown(&texts)));
    assert_eq!(read(&tagged, &texts), Err("id is JSON, and STRING is read now".to_owned()));
    assert_eq!(read(&texts, &tagged), Err("id is STRING, and JSON is read now".to_owned()));
}

/// Records with a list of as many `items`, and a row for each of them.
fn unnested(records: &[usize]) -> (Vec<String>, Vec<Batch>) {
    let items =
        |count: &usize| (0..*count).map(|n| format!("\"{n}{}\"", "x".repeat(100))).collect::<Vec<_>>().join(",");
    let record = |(id, count): (usize, &usize)| format!(r#"{{ "id": {id}, "items": [{}] }}"#, items(count));
    let records: Vec<String> = records.iter().enumerate().map(record).collect();
    let mut out = Output::new(StepId::new("source"), false);
    let wanted = Wanted { whole_record: true, ..wanted(&["id", "items"]) };
    Decode::new(wanted).push(origin("orders", 0, &records), None, NOW, &mut out);
    let batch = out.emitted.remove(0);
    let schema = batch.rows.schema();
    let planner = Planner::new();
    let arrays = vec![("item".to_owned(), typed(&planner, "items", &schema))];
    let arrays = Projection::new(&planner, arrays, &schema).unwrap();
    let mut unnest = Unnest::new(arrays, vec!["items".into()], false, None).unwrap();
    let mut out = Output::new(StepId::new("unnest"), false);
    unnest.push(batch, &mut out).unwrap();
    (records, out.emitted)
}

/// Rows with their records, in order.
fn with_records(batches: &[Batch]) -> Vec<(String, Vec<u8>)> {
    let of = |batch: &Batch| {
        let ids = batch.row_ids().values().to_vec();
        let record = |id: u32| batch.origin.bytes_of(id as usize).into_owned();
        shown(batch).into_iter().zip(ids.into_iter().map(record)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// A record of a megabyte with 4,000 elements was 4 GB in one frame.
#[test]
fn a_record_of_many_rows_is_written_once_and_is_the_record_of_all_of_them() {
    let (records, batches) = unnested(&[2, 400, 1, 100]);
    let whole: usize = records.iter().map(String::len).sum();
    let send = |batches: &[Batch]| {
        let log = MemoryLog::new();
        let mut hop = hop(None, &batches[0], 1);
        for batch in batches {
            hop.send(&log, "life", &StepId::new("x"), batch).unwrap();
        }
        let size: usize = frames(&log, 0).iter().map(Vec::len).sum();
        // The record, its column `items`, and the elements; a column of the whole record is nothing more.
        assert!(size < whole * 4, "{size} bytes of {whole}");
        taken(&log, &batches[0], 1).remove(0)
    };
    let first = send(&batches);
    assert_eq!(with_records(&first), with_records(&batches));
    assert_eq!(first[0].rows.num_rows(), 503);
    let second = send(&first);
    assert_eq!(with_records(&second), with_records(&batches), "through another hop");
    let letters = second[0].origin.dead(402, &StepId::new("x"), syncline_record::Reason::new("y", "z"));
    assert_eq!((letters.bytes, letters.place.offset), (records[2].clone().into_bytes(), 2));
}

#[test]
fn heavy_rows_go_in_several_frames() {
    let heavy = |id: usize| format!(r#"{{ "id": "{id}{}", "n": {id} }}"#, "x".repeat(1 << 20));
    let records: Vec<String> = (0..10).map(heavy).collect();
    let mut out = Output::new(StepId::new("source"), false);
    Decode::new(wanted(&["id", "n"])).push(origin("orders", 0, &records), None, NOW, &mut out);
    let log = MemoryLog::new();
    let bytes = hop(None, &out.emitted[0], 1).send(&log, "life", &StepId::new("x"), &out.emitted[0]).unwrap();
    let frames: Vec<usize> = frames(&log, 0).iter().map(Vec::len).collect();
    assert!(frames.len() == 4 && frames.iter().all(|frame| *frame < 9 << 20), "{frames:?}");
    assert_eq!(frames.iter().sum::<usize>() as u64, bytes);
    assert_eq!(with_records(&taken(&log, &out.emitted[0], 1).remove(0)), with_records(&out.emitted));
}

#[test]
fn every_task_hears_how_far_time_has_come() {
    let batch = batch(0);
    let log = MemoryLog::new();
    let hop = hop(Some("id"), &batch, 2);
    hop.tell(&log, "life", Standing { lowest: 7, quiet: false }).unwrap();
    hop.tell(&log, "life", Standing { lowest: 9, quiet: true }).unwrap();
    for task in 0..2 {
        let told: Vec<_> =
            frames(&log, task).iter().map(|frame| format!("{:?}", stream::decode(frame).unwrap())).collect();
        assert_eq!(told, [r#"("life", Mark(7))"#, r#"("life", Quiet(9))"#]);
    }
}

#[test]
fn what_hops_is_written_with_the_checkpoint_or_not_at_all() {
    let changelogs = MemoryChangelogs::default();
    let open = || {
        let (store, log) = (Arc::new(MemoryStore::default()), Arc::new(MemoryLog::default()));
        let ground =
            Ground { store, log, clock: Arc::new(VirtualClock::at(0)), rng: Arc::new(SeededRng::from_seed(1)) };
        Replica::open(&ground, Scope::of("p"), Box::new(changelogs.writer()), None, false).unwrap()
    };
    let put = |replica: &Replica, body: &[u8]| {
        let frame = NewFrame { count: 1, time: 0, body: body.to_vec() };
        replica.append(&address(TOPIC, 2), frame).unwrap();
    };
    let close = |replica: &Replica| {
        let mut changes = Changes::default();
        changes.put(checkpoint::checkpoint_key("p"), b"{}");
        replica.apply(changes).unwrap();
        replica.flush()
    };
    let replica = open();
    put(&replica, b"one");
    // Something else is flushed: not the checkpoint.
    let mut other = Changes::default();
    other.put(b"r/x", b"y");
    replica.apply(other).unwrap();
    replica.flush().unwrap();
    assert_eq!(changelogs.beside(TOPIC, 2), Vec::<Vec<u8>>::new());
    close(&replica).unwrap();
    assert_eq!(changelogs.beside(TOPIC, 2), [b"one".to_vec()]);
    // An epoch that is dropped, and one that the brokers do not take.
    put(&replica, b"dropped");
    let replica = open();
    put(&replica, b"refused");
    changelogs.lose_answer(false);
    close(&replica).unwrap_err();
    let replica = open();
    put(&replica, b"two");
    changelogs.lose_answer(true);
    close(&replica).unwrap_err();
    assert_eq!(changelogs.beside(TOPIC, 2), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(open().topics("hop/").unwrap(), Vec::<String>::new(), "nothing of it lies here");
}

#[test]
fn frames_of_several_writers_are_put_together_again() {
    let long: Vec<u8> = (0..PART * 2 + 7).map(|byte| byte as u8).collect();
    let one: Vec<Vec<u8>> = records(3, &long).collect();
    let other: Vec<Vec<u8>> = records(0, b"short").collect();
    assert_eq!((one.len(), other.len()), (3, 1));
    let mut assembly = Assembly::default();
    assert_eq!(assembly.take(7, &one[0]), Ok(None));
    assert_eq!(assembly.take(8, &other[0]), Ok(Some((0, b"short".to_vec()))));
    assert_eq!(assembly.take(9, &one[1]), Ok(None));
    // Who stops here begins with the first part again.
    assert_eq!(assembly.from(10), 7);
    assert_eq!(assembly.take(10, &one[2]), Ok(Some((3, long))));
    assert_eq!(assembly.from(11), 11);
}

#[test]
fn what_is_no_record_of_a_hop_is_told() {
    let mut assembly = Assembly::default();
    assert!(assembly.take(0, b"{}").is_err());
    assert!(assembly.take(0, &[9; HEAD]).unwrap_err().contains("format 9"));
    let second = records(1, &vec![0; PART + 1]).nth(1).unwrap();
    assert_eq!(assembly.take(0, &second), Err("part 1 of 2 of task 1 does not follow what came before it".to_owned()));
}

#[test]
fn an_empty_frame_is_one_record() {
    assert_eq!(records(0, b"").count(), 1);
}

#[test]
fn partitions_of_hops_have_names_that_no_topic_has() {
    assert_eq!(outside(&address("syncline.p.dedup.repartition", 12)), Some(("syncline.p.dedup.repartition", 12)));
    assert_eq!(outside("pipeline/hop/1/x"), None);
}
