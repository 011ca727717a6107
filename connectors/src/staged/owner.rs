//! Whose a target is: a hidden sign beside the files, which says who writes them.
//!
//! Two data folders that write parts of the same names would take each other's rows away, and each would find its own books in
//! order. So the first one signs the target, and nobody else opens it, not even to start over. A folder is signed for each step
//! that writes parts into it, a single file once; there the sign also says how many bytes are ours, so that what a user has
//! written is neither built upon nor removed.

use serde::{Deserialize, Serialize};
use syncline_engine::sink::{Owner, SinkError};

use super::{Names, Target};

/// Grows when an older version could not read a sign.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    format: u32,
    #[serde(flatten)]
    owner: Owner,
    /// Length of the single file as we left it; none when an earlier version wrote it and did not note what was its own.
    length: Option<u64>,
}

impl Target {
    /// The name of the sign.
    fn sign(&self) -> String {
        match &self.names {
            Names::Parts(names) => format!(".{}.owner", names.prefix()),
            Names::Single { name, .. } => format!(".{name}.owner"),
        }
    }

    /// What messages call it.
    fn place(&self) -> String {
        match &self.names {
            Names::Parts(_) => self.shelf.place(""),
            Names::Single { name, .. } => self.shelf.place(name),
        }
    }

    fn sign_place(&self) -> String {
        self.shelf.place(&self.sign())
    }

    /// Length of the single file; 0 when it is not there.
    fn standing(&mut self) -> Result<u64, SinkError> {
        match &self.names {
            Names::Single { name, .. } => Ok(self.shelf.length(name)?.unwrap_or(0)),
            Names::Parts(_) => Ok(0),
        }
    }

    /// The first file that is there and bears a name of ours, shown or hidden.
    fn first_file(&mut self) -> Result<Option<String>, SinkError> {
        if let Names::Single { name, .. } = &self.names {
            let name = name.clone();
            return Ok((self.standing()? > 0).then_some(name));
        }
        let mut there = self.shelf.names()?;
        there.retain(|name| self.part_of(name).is_some() || self.is_hidden_part(name));
        // A dot comes before everything else, and what is shown says more.
        there.sort_by_key(|name| (name.starts_with('.'), name.clone()));
        Ok(there.into_iter().next())
    }
}

impl Sign {
    /// The sign of a target, made where there is none. `known`: we have a mark of this target.
    pub fn claim(target: &mut Target, owner: &Owner, known: bool) -> Result<Sign, SinkError> {
        for _ in 0..2 {
            if let Some(sign) = read(target)? {
                return if sign.owner == *owner { Ok(sign) } else { Err(foreign(target, &sign.owner, owner)) };
            }
            let first = target.first_file()?;
            if let (Some(file), false) = (&first, known) {
                return Err(unsigned(target, file, owner));
            }
            let length = if first.is_none() { Some(0) } else { None };
            let sign = Sign { format: FORMAT, owner: owner.clone(), length };
            if target.shelf.put_first(&target.sign(), &sign.text(), &owner.id)? {
                return Ok(sign);
            }
        }
        Err(SinkError::Again(format!("{} comes and goes", target.sign_place())))
    }

    /// The single file has what we left in it, or nothing. `anew`: it is about to be removed.
    pub fn check(&self, target: &mut Target, anew: bool) -> Result<(), SinkError> {
        let standing = target.standing()?;
        let path = target.place();
        match self.length {
            _ if standing == 0 => Ok(()),
            Some(length) if standing == length => Ok(()),
            Some(length) => Err(SinkError::Foreign(format!(
                "{path} has {standing} bytes, and {length} of `{}` were written to it: somebody else changed it. Move it away, \
                 and what comes next begins a new file; or write to a folder",
                self.owner.pipeline,
            ))),
            None if anew => Err(SinkError::Foreign(format!(
                "{path} was begun by an earlier version, which did not note what in it is its own. Move it away, and start over then"
            ))),
            None => Ok(()),
        }
    }

    /// Notes how long the single file is now.
    pub fn note(&mut self, target: &mut Target, length: Option<u64>) -> Result<(), SinkError> {
        if self.length == length {
            return Ok(());
        }
        self.length = length;
        target.shelf.put(&target.sign(), &self.text(), &self.owner.id)
    }

    /// Length of a file that we have added to: what we do not know of its beginning we do not know of the whole.
    pub fn with(&self, length: Option<u64>) -> Option<u64> {
        self.length.and(length)
    }

    fn text(&self) -> String {
        format!("{}\n", serde_json::to_string(self).unwrap_or_default())
    }
}

fn read(target: &mut Target) -> Result<Option<Sign>, SinkError> {
    let Some(text) = target.shelf.read(&target.sign())? else { return Ok(None) };
    match serde_json::from_str::<Sign>(&text) {
        Ok(sign) if sign.format <= FORMAT => Ok(Some(sign)),
        _ => Err(SinkError::Foreign(format!(
            "{} says who writes here, and cannot be read by this version. Write to another place; or, when nobody else \
             writes here, remove that file",
            target.sign_place()
        ))),
    }
}

fn foreign(target: &Target, found: &Owner, owner: &Owner) -> SinkError {
    let (path, sign) = (target.place(), target.sign_place());
    if found.id == owner.id || found.pipeline != owner.pipeline {
        return SinkError::Foreign(format!(
            "{path} is written by step `{}` of `{}`. Write to a file of its own, or to a folder; where that step is gone for good, \
             move {path} away and remove {sign}",
            found.step, found.pipeline
        ));
    }
    SinkError::Foreign(format!(
        "{path} holds rows of `{}` from another data folder (log {}, and this is {}). Give back that data folder; or write to \
         another place. Where that data folder is gone for good, move what it wrote away and remove {sign}",
        found.pipeline, found.id, owner.id
    ))
}

fn unsigned(target: &Target, file: &str, owner: &Owner) -> SinkError {
    let path = target.place();
    SinkError::Foreign(match target.names {
        Names::Parts(_) => format!(
            "{path} holds rows of `{}` that this data folder did not write ({file}). Give back the data folder that did; or move \
             them away; or write to another folder",
            owner.pipeline
        ),
        Names::Single { .. } => format!(
            "{path} is there already, and `{}` did not write it. Move it away; or write to another file, or to a folder",
            owner.pipeline
        ),
    })
}
