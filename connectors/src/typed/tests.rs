//! Files that say their columns: the contract of sources, types, projection, and files that are not what they were.

use std::{fs, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
        Float16Array, Float64Array, Int8Array, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray,
        StructArray, Time32SecondArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
    },
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef},
};
use object_store::{ObjectStoreExt, PutPayload, memory::InMemory, path::Path};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use syncline_engine::source::{Cursors, Polled, Source, SourceError};
use syncline_functions::{JsonWriter, sql_type_of};
use tempfile::TempDir;

use super::{FileKind, TypedSource, Wanted, places::Places};
use crate::{
    conformance::source::check,
    ipc::ArrowFiles,
    objects::{Bucket, wait::wait},
    parquet::ParquetFiles,
    spec::{Args, Arguments, Surroundings},
};

/// Rows `from..to`, in row groups of 700.
fn parquet(from: i64, to: i64) -> Vec<u8> {
    let name: StringArray = (from..to).map(|n| (n % 3 > 0).then(|| format!("name {n}"))).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(from..to))),
        ("name", Arc::new(name)),
        ("half", Arc::new(Float64Array::from_iter_values((from..to).map(|n| n as f64 / 2.0)))),
    ];
    written(&RecordBatch::try_from_iter(columns).unwrap())
}

fn written(rows: &RecordBatch) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(700)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

fn source(folder: &TempDir, place: &str, columns: Option<&[&str]>) -> TypedSource {
    let connector = crate::registry::connector("parquet").unwrap();
    let args = Args::texts(&[place]);
    let arguments = Arguments::checked(connector, &args).unwrap();
    let columns = columns.map(|columns| columns.iter().map(|name| name.to_string()).collect());
    let around = Surroundings::folder(folder.path());
    let kind: Arc<dyn FileKind> = if place.contains("arrow") { Arc::new(ArrowFiles) } else { Arc::new(ParquetFiles) };
    TypedSource::new(place, &arguments, &around, kind, Wanted { columns, pruning: None }).unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// The columns of a row group lie one behind the other: the last of them is reached with the first row.
#[test]
fn how_much_of_a_file_is_read_goes_with_its_rows() {
    let rows = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(0..100_000)) as ArrayRef),
        ("name", Arc::new(StringArray::from_iter_values((0..100_000).map(|n| format!("name {n}")))) as ArrayRef),
    ]);
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.as_ref().unwrap().schema(), None).unwrap();
    writer.write(rows.as_ref().unwrap()).unwrap();
    let folder = folder(&[("a.parquet", writer.into_inner().unwrap())]);
    let mut source = source(&folder, "*.parquet", None);
    source.open(&Cursors::new(), 7).unwrap();
    let mut given = 0;
    while let Polled::Rows(polled) = source.poll(7).unwrap() {
        given += polled.origin.offsets.len();
        let progress = source.progress();
        let part = progress.done as f64 / progress.total.unwrap() as f64;
        assert!((part - given as f64 / 100_000.0).abs() < 0.001, "{part} of the bytes with {given} rows");
    }
    assert_eq!(given, 100_000);
}

/// Every row as JSON.
fn drained(source: &mut TypedSource, cursors: &mut Cursors) -> Result<Vec<String>, SourceError> {
    source.open(cursors, 7)?;
    let mut rows = vec![];
    loop {
        match source.poll(7)? {
            Polled::Rows(polled) => {
                let columns = polled.columns.expect("columns");
                let writer = JsonWriter::new(&columns.schema());
                for row in 0..columns.num_rows() {
                    let mut text = vec![];
                    writer.write_row(&columns, row, &mut text);
                    assert_eq!(polled.origin.bytes_of(row), text, "the text of a row is what was read of it");
                    rows.push(String::from_utf8(text).unwrap());
                }
                cursors.insert(polled.origin.partition.to_string(), polled.cursor);
            }
            Polled::LeftOut(left_out) => panic!("{left_out:?}"),
            Polled::Idle | Polled::Streamed(_) => panic!("a file has no quiet times"),
            Polled::Ended => return Ok(rows),
        }
    }
}

#[test]
fn files_of_columns_keep_the_contract_of_sources() {
    let files = folder(&[
        ("in/a.parquet", parquet(0, 10_000)),
        ("in/b.parquet", parquet(0, 0)),
        ("in/c.parquet", parquet(5, 6)),
    ]);
    for place in ["in/*.parquet", "in/"] {
        let given = check(&|| Box::new(source(&files, place, None)));
        let counts: Vec<(&str, usize)> = given.rows.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
        assert_eq!(counts, [("in/a.parquet", 10_000), ("in/c.parquet", 1)]);
        let last = given.rows["in/a.parquet"].last().unwrap();
        assert_eq!((last.offset, last.bytes.as_slice()), (10_000, &b"{\"id\":9999,\"name\":null,\"half\":4999.5}"[..]));
    }
}

#[test]
fn objects_of_a_bucket_give_the_same_rows() {
    let bucket = Bucket { store: Arc::new(InMemory::new()), address: "s3://shop/".into() };
    for (key, bytes) in [("in/a.parquet", parquet(0, 10_000)), ("in/b.parquet", parquet(7, 9))] {
        let (store, payload) = (bucket.store.clone(), PutPayload::from(bytes));
        wait(async move { store.put(&Path::from(key), payload).await }).unwrap().unwrap();
    }
    let given = check(&|| {
        let mut source = source(&folder(&[]), "in/*.parquet", Some(&["id"]));
        source.places = Places::Objects { bucket: bucket.clone(), wanted: "in/*.parquet".into() };
        Box::new(source)
    });
    let counts: Vec<(&str, usize)> = given.rows.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
    assert_eq!(counts, [("s3://shop/in/a.parquet", 10_000), ("s3://shop/in/b.parquet", 2)]);
    assert_eq!(given.rows["s3://shop/in/b.parquet"][1].bytes, b"{\"id\":8}");
}

#[test]
fn columns_that_are_not_wanted_are_not_even_read() {
    let mut bytes = parquet(0, 600);
    // The first column's pages lie at the start: nothing there can be read any more.
    bytes[4..200].fill(0xff);
    let files = folder(&[("a.parquet", bytes)]);
    let rows = drained(&mut source(&files, "a.parquet", Some(&["half", "nowhere"])), &mut Cursors::new()).unwrap();
    assert_eq!((rows.len(), rows[599].as_str()), (600, "{\"half\":299.5}"));
    let rows = drained(&mut source(&files, "a.parquet", Some(&[])), &mut Cursors::new()).unwrap();
    assert_eq!((rows.len(), rows[0].as_str()), (600, "{}"));
    let error = drained(&mut source(&files, "a.parquet", None), &mut Cursors::new()).unwrap_err();
    assert!(matches!(&error, SourceError::Unreadable { what, .. } if what == "a.parquet"), "{error}");
}

/// 0.5 in 16 bits.
fn half() -> <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native {
    <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native::from_bits(0x3800)
}

fn one_column(column: ArrayRef) -> RecordBatch {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("x", column.data_type().clone(), true)]));
    RecordBatch::try_new(schema, vec![column]).unwrap()
}

#[test]
fn every_type_of_a_file_is_one_of_ours_with_the_same_values() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let structure = StructArray::from(vec![(
        Arc::new(Field::new("a", DataType::LargeUtf8, true)),
        Arc::new(LargeStringArray::from(vec![Some("q"), None])) as ArrayRef,
    )]);
    let at = 1_767_225_600_000_001;
    let cases: Vec<(ArrayRef, &str, &str)> = vec![
        (Arc::new(Int8Array::from(vec![Some(-7), None])), "TINYINT", "-7"),
        (Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])), "BIGINT UNSIGNED", "18446744073709551615"),
        (Arc::new(BooleanArray::from(vec![Some(true), None])), "BOOLEAN", "true"),
        (Arc::new(Float16Array::from(vec![Some(half()), None])), "REAL", "0.5"),
        (Arc::new(Float64Array::from(vec![Some(f64::NAN), None])), "DOUBLE", "\"NaN\""),
        (
            Arc::new(Decimal128Array::from(vec![Some(1250), None]).with_precision_and_scale(12, 2).unwrap()),
            "DECIMAL(12, 2)",
            "12.50",
        ),
        (Arc::new(LargeStringArray::from(vec![Some("é\""), None])), "STRING", "\"é\\\"\""),
        (Arc::new(["a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>()), "STRING", "\"a\""),
        (
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([1u8, 2, 3]), None].into_iter(), 3).unwrap(),
            ),
            "BYTES",
            "\"AQID\"",
        ),
        (Arc::new(Date32Array::from(vec![Some(20_454), None])), "DATE", "\"2026-01-01\""),
        (Arc::new(Time32SecondArray::from(vec![Some(3661), None])), "TIME", "\"01:01:01\""),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![Some(at), None]).with_timezone("Europe/Berlin")),
            "TIMESTAMP",
            "\"2026-01-01T00:00:00.000001Z\"",
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![Some(at * 1000), None])),
            "TIMESTAMP",
            "\"2026-01-01T00:00:00.000001Z\"",
        ),
        (Arc::new(list), "INT[]", "[1,null]"),
        (Arc::new(structure), "STRUCT(a STRING)", "{\"a\":\"q\"}"),
    ];
    for (column, kind, value) in cases {
        let files = folder(&[("a.parquet", written(&one_column(column.clone())))]);
        let mut reading = source(&files, "a.parquet", None);
        let shape = reading.shape().unwrap();
        assert_eq!(sql_type_of(shape[0].as_ref().unwrap()), kind, "{:?}", column.data_type());
        let rows = drained(&mut reading, &mut Cursors::new()).unwrap();
        assert_eq!(rows[0], format!("{{\"x\":{value}}}"), "{:?}", column.data_type());
    }
}

#[test]
fn a_file_is_read_however_its_pages_are_packed() {
    let rows = one_column(Arc::new(StringArray::from_iter_values((0..5_000).map(|n| format!("name {}", n % 100)))));
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(codec).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        let files = folder(&[("a.parquet", writer.into_inner().unwrap())]);
        let found = drained(&mut source(&files, "a.parquet", None), &mut Cursors::new()).unwrap();
        assert_eq!((found.len(), found[4_999].as_str()), (5_000, "{\"x\":\"name 99\"}"), "{codec:?}");
    }
}

#[test]
fn a_type_that_there_is_not_here_is_named() {
    let days = Date64Array::from(vec![0]);
    let nanoseconds = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]);
    let nanoseconds = arrow::compute::cast(
        &nanoseconds,
        &DataType::List(Arc::new(Field::new_list_field(
            DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None),
            true,
        ))),
    );
    let rows = RecordBatch::try_from_iter([("days", Arc::new(days) as ArrayRef), ("list", nanoseconds.unwrap())]);
    let files = folder(&[("a.parquet", written(&rows.unwrap()))]);
    let shape = source(&files, "a.parquet", None).shape().unwrap();
    assert!(shape[0].is_ok(), "{shape:?}");
    assert!(matches!(&shape[1], Err((name, kind)) if name == "list" && kind.contains("ns")), "{shape:?}");
}

#[test]
fn a_file_that_is_another_or_gone_or_none_is_told() {
    let files = folder(&[("in/a.parquet", parquet(0, 3))]);
    let path = files.path().join("in/a.parquet");
    let mut cursors = Cursors::new();
    let run =
        |cursors: &mut Cursors| drained(&mut source(&files, "in/*", Some(&["id"])), cursors).map(|rows| rows.len());
    assert_eq!(run(&mut cursors), Ok(3));
    fs::write(files.path().join("in/b.parquet"), parquet(3, 5)).unwrap();
    assert_eq!(run(&mut cursors), Ok(2), "a second run reads what is new");
    fs::write(&path, parquet(1, 4)).unwrap();
    let detail = "is not the file that was read before; run with --fresh to read everything again, or give the new file a name of its \
                  own";
    let changed = SourceError::Changed { what: "in/a.parquet".into(), detail: detail.into() };
    assert_eq!(run(&mut cursors), Err(changed));
    fs::remove_file(&path).unwrap();
    assert_eq!(run(&mut cursors), Ok(0), "one that was read to its end may go");
    for (bytes, words) in [(parquet(0, 3)[..50].to_vec(), "Parquet"), (b"{}".to_vec(), "Parquet"), (vec![], "Parquet")]
    {
        fs::write(files.path().join("in/c.parquet"), bytes).unwrap();
        let error = run(&mut Cursors::new()).unwrap_err();
        assert!(matches!(&error, SourceError::Unreadable { what, .. } if what == "in/c.parquet"), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let nothing = drained(&mut source(&files, "none/*", None), &mut Cursors::new()).unwrap_err();
    assert_eq!(nothing.to_string(), "none/*: no file matches");
}

/// Some rows of a source, and their cursor.
fn begin(source: &mut dyn Source, cursors: &mut Cursors) -> usize {
    source.open(cursors, 7).unwrap();
    let Ok(Polled::Rows(rows)) = source.poll(7) else { panic!("no rows") };
    cursors.insert(rows.origin.partition.to_string(), rows.cursor);
    rows.origin.rows()
}

#[test]
fn a_file_that_is_not_meant_any_more_waits_until_it_is_again() {
    let files = folder(&[("in/a.parquet", parquet(0, 9_000)), ("in/b.parquet", parquet(0, 5))]);
    let (path, aside) = (files.path().join("in/a.parquet"), files.path().join("aside"));
    let mut cursors = Cursors::new();
    let first = begin(&mut source(&files, "in/a*", None), &mut cursors);
    assert!(first < 9_000);
    let run = |place: &str, cursors: &mut Cursors| {
        let mut reading = source(&files, place, None);
        drained(&mut reading, cursors).map(|rows| rows.len())
    };
    fs::rename(&path, &aside).unwrap();
    assert_eq!(run("in/b*", &mut cursors), Ok(5));
    let gone = "was removed before it was read to its end; bring it back, or run with --fresh";
    let gone = SourceError::Changed { what: "in/a.parquet".into(), detail: gone.into() };
    assert_eq!(run("in/*", &mut cursors), Err(gone));
    assert_eq!(run("none/*", &mut cursors).unwrap_err().to_string(), "none/*: no file matches");
    assert!(run("in/c.parquet", &mut cursors).unwrap_err().to_string().starts_with("in/c.parquet: "));
    // A name in between is as good as another's.
    fs::write(&path, parquet(1, 9)).unwrap();
    assert_eq!(run("in/b*", &mut cursors), Ok(0));
    fs::rename(&aside, &path).unwrap();
    // Written otherwise, it is the same file.
    assert_eq!(run("./in/*", &mut cursors), Ok(9_000 - first));
    assert_eq!(run("in/*", &mut cursors), Ok(0));
}

/// Both of Arrow's formats, in batches of 700 rows.
fn arrow(from: i64, to: i64, stream: bool) -> Vec<u8> {
    let rows = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef),
        (
            "kind",
            Arc::new(
                (from..to).map(|n| if n % 2 == 0 { "even" } else { "odd" }).collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
    ]);
    let rows = rows.unwrap();
    let batches = (0..rows.num_rows()).step_by(700).map(|at| rows.slice(at, 700.min(rows.num_rows() - at)));
    if stream {
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        batches.for_each(|batch| writer.write(&batch).unwrap());
        return writer.into_inner().unwrap();
    }
    let mut writer = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    batches.for_each(|batch| writer.write(&batch).unwrap());
    writer.into_inner().unwrap()
}

#[test]
fn arrow_files_and_streams_keep_the_contract_of_sources() {
    let files = folder(&[("in/a.arrow", arrow(0, 9_000, false)), ("in/b.arrow", arrow(3, 2_000, true))]);
    for place in ["in/*.arrow", "in/a.arrow"] {
        let given = check(&|| Box::new(source(&files, place, None)));
        let rows = &given.rows["in/a.arrow"];
        assert_eq!((rows.len(), rows[8_999].bytes.as_slice()), (9_000, &b"{\"id\":8999,\"kind\":\"odd\"}"[..]));
    }
    let rows = drained(&mut source(&files, "in/b.arrow", Some(&["kind"])), &mut Cursors::new()).unwrap();
    assert_eq!((rows.len(), rows[0].as_str()), (1_997, "{\"kind\":\"odd\"}"));
    for bytes in [arrow(0, 9_000, false)[..5_000].to_vec(), b"ARROW1ARROW1".to_vec(), b"no such thing".to_vec(), vec![]]
    {
        fs::write(files.path().join("in/c.arrow"), bytes).unwrap();
        let error = drained(&mut source(&files, "in/c.arrow", None), &mut Cursors::new()).unwrap_err();
        assert!(matches!(&error, SourceError::Unreadable { what, .. } if what == "in/c.arrow"), "{error}");
    }
}
