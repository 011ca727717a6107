"""Trips shaped like New York's: made, and compared, by pyarrow, which shares nothing with Syncline.

    taxi.py make ROWS SEED FOLDER     trips.parquet and trips.csv, the same trips
    taxi.py compare FOLDER OUT        every part in OUT against trips.parquet: types, values, order
    taxi.py codecs ROWS FOLDER        so many numbered rows in a file of each codec, as CODEC.parquet
"""

import glob
import random
import sys
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

SCHEMA = pa.schema([
    ("VendorID", pa.int32()),
    ("tpep_pickup_datetime", pa.timestamp("us", tz="UTC")),
    ("tpep_dropoff_datetime", pa.timestamp("us", tz="UTC")),
    ("passenger_count", pa.int64()),
    ("trip_distance", pa.float64()),
    ("RatecodeID", pa.int64()),
    ("store_and_fwd_flag", pa.string()),
    ("PULocationID", pa.int32()),
    ("DOLocationID", pa.int32()),
    ("payment_type", pa.int64()),
    ("fare_amount", pa.decimal128(10, 2)),
    ("tip_amount", pa.float64()),
    ("total_amount", pa.decimal128(12, 2)),
    ("pickup_day", pa.date32()),
    ("note", pa.string()),
])
# Rows made at once.
BLOCK = 100_000
# Texts that a format may stumble over; "" and NULL are two things.
NOTES = ["", "a, b", 'say "hi"', "two\nlines", "é漢🚕", " spaces ", "NULL", "0042", None, "plain"]


def block(rows, chance):
    start = datetime(2026, 1, 1)
    pickups = [start + timedelta(microseconds=chance.randrange(31 * 86_400_000_000)) for _ in range(rows)]
    # Whole seconds, too, as most real files have.
    pickups = [at.replace(microsecond=0) if chance.random() < 0.5 else at for at in pickups]
    cents = [chance.randrange(-500, 30_000) for _ in range(rows)]
    maybe = lambda value: None if chance.random() < 0.03 else value
    columns = [
        [chance.choice((1, 2, 6)) for _ in range(rows)],
        pickups,
        [maybe(at + timedelta(seconds=chance.randrange(7200))) for at in pickups],
        [maybe(chance.randrange(7)) for _ in range(rows)],
        [chance.choice((0.0, -0.5, round(chance.expovariate(0.3), 2), chance.random() * 1e-7, chance.random() * 1e17)) for _ in range(rows)],
        [maybe(chance.choice((1, 2, 5, 99))) for _ in range(rows)],
        [maybe(chance.choice("NY")) for _ in range(rows)],
        [chance.randrange(1, 266) for _ in range(rows)],
        [chance.randrange(1, 266) for _ in range(rows)],
        [chance.randrange(0, 6) for _ in range(rows)],
        [Decimal(value) / 100 for value in cents],
        [maybe(round(abs(value) / 700, 2)) for value in cents],
        [maybe(Decimal(value + 250) / 100) for value in cents],
        [at.date() for at in pickups],
        [chance.choice(NOTES) for _ in range(rows)],
    ]
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, SCHEMA)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def make(rows, seed, folder):
    chance = random.Random(seed)
    # Blocks are drawn from a few: five million rows are made in a minute, and still differ from their neighbours.
    blocks = [block(min(rows, BLOCK), chance) for _ in range(3)]
    options = csv.WriteOptions(quoting_style="needed")
    with pq.ParquetWriter(f"{folder}/trips.parquet", SCHEMA, compression="snappy") as parquet:
        with csv.CSVWriter(f"{folder}/trips.csv", SCHEMA, write_options=options) as text:
            left = rows
            while left:
                one = chance.choice(blocks)[: min(left, BLOCK)]
                parquet.write_batch(one, row_group_size=70_000)
                text.write_batch(one)
                left -= len(one)


def read(path):
    if path.endswith(".parquet"):
        return pq.read_table(path)
    if path.endswith(".arrow"):
        return ipc.open_file(path).read_all()
    convert = csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""])
    return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=convert)


def compare(folder, out):
    expected = pq.read_table(f"{folder}/trips.parquet")
    parts = sorted(path for path in glob.glob(f"{out}/*") if path.rsplit(".", 1)[1] in ("parquet", "arrow", "csv"))
    tables = [read(path) for path in parts]
    for path, table in zip(parts, tables):
        found = [(field.name, field.type) for field in table.schema]
        wanted = [(field.name, field.type) for field in SCHEMA]
        assert found == wanted, f"{path}: {found}"
    found = pa.concat_tables(tables)
    assert len(found) == len(expected), f"{len(found)} rows, expected {len(expected)}"
    for name in SCHEMA.names:
        one, other = found[name].combine_chunks(), expected[name].combine_chunks()
        if not one.equals(other):
            at = next(row for row in range(len(one)) if one[row] != other[row] and (one[row].is_valid or other[row].is_valid))
            raise AssertionError(f"{name}, row {at}: {one[at]!r}, expected {other[at]!r}")
    print(f"{len(found)} rows in {len(parts)} parts are the same")


CODECS = ("brotli", "gzip", "lz4", "none", "snappy", "zstd")


def codecs(rows, folder):
    for number, codec in enumerate(CODECS):
        ids = list(range(number * rows, (number + 1) * rows))
        table = pa.table({"id": pa.array(ids, pa.int64()), "word": [f"{codec} {value % 7}" for value in ids]})
        pq.write_table(table, f"{folder}/{codec}.parquet", compression=codec, row_group_size=700)


if sys.argv[1] == "make":
    make(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
elif sys.argv[1] == "codecs":
    codecs(int(sys.argv[2]), sys.argv[3])
else:
    compare(sys.argv[2], sys.argv[3])
