//! The seal: how a store that comes up with less than was flushed, or with something else, is told from a sound one.
//!
//! sled takes a damaged page for the torn end of its log, cuts everything after it and opens without a word; damage in older
//! parts can make pages disappear, or come back. Therefore every batch stores, in one more pair, its number and a digest of all
//! pairs: the sum of their hashes, which a batch changes by what it takes out and puts in. Opening reads everything and compares.
//! Each flush writes its number into the file `flushed`; a store with an older number has lost batches. That file is not synced:
//! what a power cut leaves of it is a lower bound.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use ::sled::{Batch, Db};
use xxhash_rust::xxh3::Xxh3;

use super::{super::disk::failed, StoreError, contained};

/// Our own key, before every other. The keys of others start with [`super::THEIRS`].
const KEY: &[u8] = &[0];
const FLUSHED: &str = "flushed";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// Of the last batch.
    pub number: u64,
    digest: u128,
}

/// What becomes of keys: the new value, or none.
pub type Effects = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Seal {
    /// The batch with these effects, and the seal that goes with it.
    pub fn batch(&self, db: &Db, effects: &Effects) -> ::sled::Result<(Batch, Seal)> {
        let mut batch = Batch::default();
        let mut seal = Seal { number: self.number + 1, digest: self.digest };
        for (key, value) in effects {
            if let Some(old) = db.get(key)? {
                seal.digest = seal.digest.wrapping_sub(hash(key, &old));
            }
            match value {
                Some(value) => {
                    seal.digest = seal.digest.wrapping_add(hash(key, value));
                    batch.insert(key.as_slice(), value.as_slice());
                }
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(KEY, seal.encode().to_vec());
        Ok((batch, seal))
    }

    fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&self.digest.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Seal> {
        let (number, digest) = bytes.split_at_checked(8)?;
        Some(Seal {
            number: u64::from_be_bytes(number.try_into().ok()?),
            digest: u128::from_be_bytes(digest.try_into().ok()?),
        })
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    hash.digest128()
}

/// What a database holds, by reading all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub seal: Seal,
    /// Bytes of all keys and values.
    pub live: u64,
}

impl Contents {
    /// Reads everything; a digest that does not fit is damage.
    pub fn of(folder: &Path, db: &Db) -> Result<Contents, StoreError> {
        let read = || {
            let (mut digest, mut live, mut stored) = (0u128, 0, None);
            for pair in db.iter() {
                let (key, value) = pair?;
                live += (key.len() + value.len()) as u64;
                if *key == *KEY {
                    stored = Some(Seal::decode(&value));
                } else {
                    digest = digest.wrapping_add(hash(&key, &value));
                }
            }
            Ok((digest, live, stored))
        };
        let (digest, live, stored) = contained(folder, "open", read)?;
        // A store that nothing was ever put into has no seal yet.
        let seal = stored.unwrap_or(Some(Seal::default())).filter(|seal| seal.digest == digest);
        let detail = "what it holds is not what was stored last".to_owned();
        let seal = seal.ok_or(StoreError::Damaged { folder: folder.to_owned(), detail })?;
        Ok(Contents { seal, live })
    }
}

/// The number of the last flushed batch, in a file beside the database.
pub struct Flushed(File);

impl Flushed {
    /// Refuses a store that ends before what was flushed.
    pub fn open(folder: &Path, number: u64) -> Result<Flushed, StoreError> {
        let path = folder.join(FLUSHED);
        let damaged = |detail: String| StoreError::Damaged { folder: folder.to_owned(), detail };
        if !path.exists() {
            let next = folder.join("flushed.tmp");
            let write = || {
                fs::write(&next, text(number))?;
                File::open(&next)?.sync_all()?;
                fs::rename(&next, &path)
            };
            write().map_err(failed("open", folder))?;
        }
        let found = fs::read(&path).map_err(failed("open", folder))?;
        let flushed = String::from_utf8_lossy(&found).trim().parse();
        let flushed: u64 = flushed.map_err(|_| damaged(format!("the file `{FLUSHED}` does not hold a number")))?;
        if number < flushed {
            return Err(damaged(format!("it ends with batch {number}, but batch {flushed} was flushed")));
        }
        Ok(Flushed(OpenOptions::new().write(true).open(&path).map_err(failed("open", folder))?))
    }

    pub fn write(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(text(number).as_bytes(), 0)
    }
}

/// Always as long, so that writing it anew never leaves a rest.
fn text(number: u64) -> String {
    format!("{number:020}\n")
}
