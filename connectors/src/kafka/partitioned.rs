//! PARTITIONED BY, the half of it that only a topic knows: a record lies in the partition where its key belongs.
//!
//! Where that is, one partitioner says: Java's, which most clients have (murmur2), or the one that librdkafka takes when nobody says
//! otherwise (CRC32). Nobody says which, so it is learnt: both may be it, until a record lies where one of them would not
//! have put it. What is known stands in the cursor of every partition, and holds from then on, also for who takes over a partition.
//!
//! Sources: `org.apache.kafka.clients.producer.internals.BuiltInPartitioner`; `rd_kafka_msg_partitioner_consistent` and `rd_kafka_msg_partitioner_murmur2`
//! of librdkafka. Both of them put a record without a key anywhere.

use serde::{Deserialize, Serialize};
use syncline_engine::{partitioned::shown, source::SourceError};
use syncline_record::{Keys, Partition, keys};

/// Who may have put keys where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many partitions the topic has: with another number of them, keys belong elsewhere.
    among: u32,
    murmur2: bool,
    crc32: bool,
}

/// What breaks `PARTITIONED BY`.
pub fn misplaced(what: String, detail: String) -> SourceError {
    SourceError::Misplaced { what, detail }
}

impl Spread {
    /// Nothing is known yet.
    pub fn among(partitions: u32) -> Self {
        Self { among: partitions.max(1), murmur2: true, crc32: true }
    }

    pub fn same_among(self, partitions: u32) -> Result<(), String> {
        if self.among == partitions {
            return Ok(());
        }
        Err(format!(
            "has {partitions} partitions, and had {}: with PARTITIONED BY a key belongs to one partition, and most of them belong elsewhere \
             now; read a topic that was filled anew, or take PARTITIONED BY out of the file",
            self.among
        ))
    }

    /// Takes over what was known when a partition was last read.
    pub fn learn(&mut self, then: Spread) -> Result<(), String> {
        then.same_among(self.among)?;
        (self.murmur2, self.crc32) = (self.murmur2 && then.murmur2, self.crc32 && then.crc32);
        match self.murmur2 || self.crc32 {
            true => Ok(()),
            false => {
                Err("has partitions that murmur2 filled and others that CRC32 filled, so a key may be in both"
                    .to_owned())
            }
        }
    }

    /// Looks at the keys of records of one partition, and learns from them. Nothing is allocated for a record that is right.
    pub fn check(&mut self, partition: &Partition, keys: &Keys, offsets: &[u64]) -> Result<(), SourceError> {
        for (row, offset) in offsets.iter().enumerate() {
            let key = keys.get(row);
            let next = key.map(|key| self.with(key, partition.number));
            match next {
                Some(next) if next.murmur2 || next.crc32 => *self = next,
                _ => {
                    let what = format!("record {offset} of partition {} of {}", partition.number, partition.name);
                    return Err(misplaced(what, self.why(key)));
                }
            }
        }
        Ok(())
    }

    /// Who may it be, when a record with this key lies there?
    fn with(self, key: &[u8], partition: u32) -> Self {
        let Self { among, .. } = self;
        Self {
            among,
            murmur2: self.murmur2 && keys::lane(key, among) == partition,
            crc32: self.crc32 && crc32fast::hash(key) % among == partition,
        }
    }

    fn why(self, key: Option<&[u8]>) -> String {
        let Self { among, .. } = self;
        let Some(key) = key else {
            return "has no key, so it lies in any partition, and PARTITIONED BY says that keys choose them".to_owned();
        };
        let (murmur2, crc32) = (keys::lane(key, among), crc32fast::hash(key) % among);
        let key = shown(key);
        match (self.murmur2, self.crc32) {
            (true, false) => format!(
                "has the key {key}, which belongs in partition {murmur2} of {among} by murmur2, as the keys before it do"
            ),
            (false, true) => format!(
                "has the key {key}, which belongs in partition {crc32} of {among} by CRC32, as the keys before it do"
            ),
            _ => format!(
                "has the key {key}, which belongs in partition {murmur2} of {among} by murmur2, and in {crc32} by CRC32"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMONG: u32 = 6;

    fn crc32(key: &str) -> u32 {
        crc32fast::hash(key.as_bytes()) % AMONG
    }

    fn murmur2(key: &str) -> u32 {
        keys::lane(key.as_bytes(), AMONG)
    }

    /// What is said of records with these keys, each where this partitioner puts it.
    fn told(spread: &mut Spread, keys: &[&str], put: fn(&str) -> u32) -> Result<(), String> {
        for (offset, key) in keys.iter().enumerate() {
            let partition = Partition::new("orders", put(key));
            let keys: Keys = [Some(key.as_bytes())].into_iter().collect();
            spread.check(&partition, &keys, &[offset as u64]).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// librdkafka's own test of its CRC32 has this value (`rdcrc32.c` is zlib's).
    #[test]
    fn crc32_is_zlibs() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_partitioner_is_learnt_from_where_keys_lie() {
        let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut spread = Spread::among(AMONG);
        assert_eq!(told(&mut spread, &keys, murmur2), Ok(()));
        assert_eq!(spread, Spread { among: AMONG, murmur2: true, crc32: false });
        let mut spread = Spread::among(AMONG);
        assert_eq!(told(&mut spread, &keys, crc32), Ok(()));
        assert_eq!(spread, Spread { among: AMONG, murmur2: false, crc32: true });
        let other = keys.iter().find(|key| murmur2(key) != crc32(key)).unwrap();
        let expected = format!(
            "record 0 of partition {} of orders: has the key `{other}`, which belongs in partition {} of 6 by CRC32, as the keys before it do",
            murmur2(other),
            crc32(other)
        );
        assert_eq!(told(&mut spread, &[other], murmur2), Err(expected));
    }

    #[test]
    fn a_key_where_neither_would_have_put_it_and_no_key_are_told() {
        let mut spread = Spread::among(AMONG);
        let elsewhere = |key: &str| (0..AMONG).find(|number| ![murmur2(key), crc32(key)].contains(number)).unwrap();
        let expected = format!(
            "record 0 of partition {} of orders: has the key `a`, which belongs in partition {} of 6 by murmur2, and in {} by CRC32",
            elsewhere("a"),
            murmur2("a"),
            crc32("a")
        );
        assert_eq!(told(&mut spread, &["a"], elsewhere), Err(expected));
        let keys: Keys = [None].into_iter().collect();
        let said = spread.check(&Partition::new("orders", 1), &keys, &[7]).unwrap_err().to_string();
        assert_eq!(
            said,
            "record 7 of partition 1 of orders: has no key, so it lies in any partition, and PARTITIONED BY says that keys choose them"
        );
        assert_eq!(spread, Spread::among(AMONG), "nothing is learnt from what is wrong");
    }

    #[test]
    fn what_was_learnt_holds_and_another_number_of_partitions_ends_it() {
        let learnt = Spread { among: AMONG, murmur2: true, crc32: false };
        let mut spread = Spread::among(AMONG);
        assert_eq!(spread.learn(Spread::among(AMONG)), Ok(()));
        assert_eq!(spread.learn(learnt), Ok(()));
        assert_eq!(spread, learnt);
        let both = spread.learn(Spread { among: AMONG, murmur2: false, crc32: true });
        assert_eq!(
            both.unwrap_err(),
            "has partitions that murmur2 filled and others that CRC32 filled, so a key may be in both"
        );
        let more = Spread::among(12).learn(learnt).unwrap_err();
        assert!(more.starts_with("has 12 partitions, and had 6: "), "{more}");
    }
}
