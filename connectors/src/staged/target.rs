//! Where the rows of a step go: a folder or a bucket, with parts in it or one file.

use std::path::PathBuf;

use super::{
    parts::{PartNames, path_safe, visible_name},
    shelf::{Folder, Shelf},
};
use crate::{
    objects::{self, Bucket, BucketShelf},
    registry::SinkRequest,
    spec::{Arguments, ConnectorError},
};

/// Where the rows go.
pub struct Target {
    /// The local folder in which parts grow.
    pub working: PathBuf,
    pub shelf: Box<dyn Shelf>,
    pub names: Names,
}

#[derive(Clone, Debug)]
pub enum Names {
    /// A folder of parts.
    Parts(PartNames),
    /// One file, which appears at the end. What an earlier run wrote into it is kept in front.
    Single { name: String, hidden: String },
}

impl Target {
    /// What is written as a path: a folder or a file in one, or the same in a bucket.
    pub fn of(
        written: &str,
        names: Names,
        arguments: &Arguments,
        request: &SinkRequest,
    ) -> Result<Self, ConnectorError> {
        let single = matches!(names, Names::Single { .. });
        if objects::is_address(written) {
            let (bucket, key) = Bucket::of(written, arguments)?;
            let end = if single { key.rfind('/').map_or(0, |end| end + 1) } else { key.len() };
            let prefix = key[..end].trim_end_matches('/');
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            // Two steps may write under one prefix, and none of their parts may meet.
            let working = request.around.staging.join(path_safe(request.step.as_str()));
            return Ok(Self { working, shelf: Box::new(BucketShelf::new(bucket, prefix)), names });
        }
        let path = request.around.path(written);
        let folder = match path.parent().filter(|_| single) {
            Some(parent) => parent.to_owned(),
            None => path,
        };
        Ok(Self { working: folder.clone(), shelf: Box::new(Folder(folder)), names })
    }

    /// Lane and number of a part of this step.
    pub fn part_of(&self, name: &str) -> Option<(Option<u32>, u64)> {
        match &self.names {
            Names::Parts(names) => names.parse(name),
            Names::Single { .. } => None,
        }
    }

    /// The name of an unfinished part of this step, or of the working file of one.
    pub fn is_hidden_part(&self, name: &str) -> bool {
        visible_name(name).is_some_and(|name| self.part_of(name).is_some())
    }
}
