//! Rows that are asked for by their key, and how long an answer holds.
//!
//! A `LOOKUP` has no input: nothing of it is in the cursors, and a restart asks again. So a row that is processed again may meet a newer
//! answer; what it had met before was not committed. Answers are kept in memory alone, as the records came, no longer than their age
//! allows; that nothing was found is an answer too.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arrow::array::RecordBatch;
use hashbrown::HashMap;
use syncline_record::StepId;

use crate::source::SourceError;

/// A JSON object as it came: whether it is UTF-8 is seen when it is decoded.
pub type Record = Vec<u8>;

/// Whoever can be asked. Called by one thread: `open` at each start of the pipeline, then `find`.
pub trait KeyedReader: Send {
    /// Connects, and says when what is to be asked is not there.
    fn open(&mut self) -> Result<(), SourceError>;

    /// The records of each key. One column for each part of the key; no part is NULL. A record too many does no harm: who asks compares
    /// their keys, exactly.
    fn find(&mut self, keys: &RecordBatch) -> Result<Vec<Vec<Record>>, SourceError>;
}

/// Answers that are kept at most. Each is a record or a few: with records of 1 kB, 100 MB.
const MOST_ANSWERS: usize = 100_000;

/// Times that answers are looked through in the time that they hold: what is too old is not used, and goes a little later.
const SWEEPS: u32 = 8;

/// The records of one key.
pub type Answer = Arc<[Record]>;

/// Who is asked, and what is known already.
pub struct Lookup {
    pub step: StepId,
    /// How old an answer may be; `None`: each batch asks for its keys.
    age: Option<Duration>,
    inner: Mutex<Inner>,
}

struct Inner {
    reader: Box<dyn KeyedReader>,
    now: Duration,
    known: HashMap<u128, (Answer, Duration)>,
    /// When answers that are too old were let go last, and when the oldest of the others was given.
    swept: Duration,
    oldest: Option<Duration>,
    counts: Counts,
}

/// What was asked since the last question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys that were asked for outside.
    pub asked: u64,
    /// Keys whose answer was known.
    pub known: u64,
}

impl Lookup {
    pub fn new(step: StepId, reader: Box<dyn KeyedReader>, age: Option<Duration>) -> Self {
        let inner = Inner {
            reader,
            now: Duration::ZERO,
            known: HashMap::new(),
            swept: Duration::ZERO,
            oldest: None,
            counts: Counts::default(),
        };
        Self { step, age, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn open(&self) -> Result<(), SourceError> {
        self.lock().reader.open()
    }

    /// It is `now`: answers that are too old are let go. Returns what was asked meanwhile, and the age of the oldest answer.
    pub fn advance(&self, now: Duration) -> (Counts, Duration) {
        let mut inner = self.lock();
        inner.now = now;
        if let Some(age) = self.age.filter(|age| now.saturating_sub(inner.swept) >= *age / SWEEPS) {
            inner.known.retain(|_, (_, at)| now.saturating_sub(*at) < age);
            inner.swept = now;
            inner.oldest = inner.known.values().map(|(_, at)| *at).min();
        }
        (std::mem::take(&mut inner.counts), inner.oldest.map_or(Duration::ZERO, |at| now.saturating_sub(at)))
    }

    /// The records of each of these keys. `keys` has a row for each print.
    pub fn find(&self, prints: &[u128], keys: &RecordBatch) -> Result<Vec<Answer>, SourceError> {
        let mut inner = self.lock();
        let mut answers: Vec<Option<Answer>> = prints.iter().map(|print| inner.answer(*print, self.age)).collect();
        let open: Vec<u32> = (0..prints.len() as u32).filter(|row| answers[*row as usize].is_none()).collect();
        inner.counts.asked += open.len() as u64;
        inner.counts.known += (prints.len() - open.len()) as u64;
        if !open.is_empty() {
            let rows = arrow::array::UInt32Array::from(open.clone());
            let asked = arrow::compute::take_record_batch(keys, &rows).expect("rows of the batch");
            let found = inner.reader.find(&asked)?;
            for (row, records) in open.iter().zip(found) {
                let answer: Answer = records.into();
                answers[*row as usize] = Some(answer.clone());
                inner.keep(self.age, prints[*row as usize], answer);
            }
        }
        Ok(answers.into_iter().map(Option::unwrap_or_default).collect())
    }
}

impl Inner {
    fn answer(&self, print: u128, age: Option<Duration>) -> Option<Answer> {
        let (answer, at) = self.known.get(&print)?;
        age.is_some_and(|age| self.now.saturating_sub(*at) < age).then(|| answer.clone())
    }

    fn keep(&mut self, age: Option<Duration>, print: u128, answer: Answer) {
        if age.is_none() {
            return;
        }
        // Which of them is asked for next nobody knows: all are asked for anew.
        if self.known.len() >= MOST_ANSWERS {
            self.known.clear();
            self.oldest = None;
        }
        self.oldest.get_or_insert(self.now);
        self.known.insert(print, (answer, self.now));
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray, StringViewArray},
        datatypes::Schema,
    };
    use syncline_functions::json_field;

    use super::*;

    /// Answers with what it was asked, and how often it was asked before.
    struct Parrot(u32);

    impl KeyedReader for Parrot {
        fn open(&mut self) -> Result<(), SourceError> {
            Ok(())
        }

        fn find(&mut self, keys: &RecordBatch) -> Result<Vec<Vec<Record>>, SourceError> {
            self.0 += 1;
            let words = keys.column(0).as_string_view();
            Ok(words.iter().map(|word| vec![format!("{} {}", word.unwrap_or("NULL"), self.0).into_bytes()]).collect())
        }
    }

    fn asked(lookup: &Lookup, words: &[&str]) -> Vec<String> {
        let prints: Vec<u128> = words.iter().map(|word| word.as_bytes()[0] as u128).collect();
        let schema = Arc::new(Schema::new(vec![json_field("word")]));
        let keys = RecordBatch::try_new(schema, vec![Arc::new(StringViewArray::from(words.to_vec()))]).expect("words");
        let text = |answer: &Answer| String::from_utf8(answer.join(&b',')).expect("words");
        lookup.find(&prints, &keys).expect("an answer").iter().map(text).collect()
    }

    #[test]
    fn an_answer_is_used_until_it_is_too_old() {
        let seconds = Duration::from_secs;
        let lookup = Lookup::new(StepId::new("lookup"), Box::new(Parrot(0)), Some(seconds(10)));
        lookup.advance(seconds(100));
        assert_eq!(asked(&lookup, &["a", "b"]), ["a 1", "b 1"]);
        lookup.advance(seconds(109));
        assert_eq!(asked(&lookup, &["b", "c", "a"]), ["b 1", "c 2", "a 1"]);
        assert_eq!(lookup.advance(seconds(109)), (Counts { asked: 1, known: 2 }, seconds(9)));
        lookup.advance(seconds(110));
        assert_eq!(asked(&lookup, &["a", "c"]), ["a 3", "c 2"]);
        assert_eq!(lookup.advance(seconds(119)).1, seconds(9), "of a, since c is gone");
    }

    #[test]
    fn without_an_age_every_batch_asks() {
        let lookup = Lookup::new(StepId::new("lookup"), Box::new(Parrot(0)), None);
        assert_eq!([asked(&lookup, &["a"]), asked(&lookup, &["a"])].concat(), ["a 1", "a 2"]);
    }
}
