//! Files and objects that are written once, as a whole: those that an earlier run has begun, found again.
//!
//! A cursor counts while its file is meant. After an edit of the pipeline others may be: then it waits until its own is meant again, and
//! what became of that meanwhile is nobody's trouble. Of one that is meant there are three answers: it is the same; it was read to its
//! end and may be gone; or reading cannot go on without losing or repeating something, which is told.

use syncline_engine::source::SourceError;

/// What tells a file from another under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    pub tag: Option<&'a str>,
    pub size: u64,
}

/// What a cursor knows of its file.
pub struct Known<'a> {
    /// As the pipeline would write it.
    pub place: String,
    /// A file, or an object.
    pub noun: &'static str,
    pub version: Version<'a>,
    /// All of it was given.
    pub ended: bool,
}

impl Known<'_> {
    /// Whether reading can go on in what is there now.
    pub fn still(self, there: Option<Version>) -> Result<(), SourceError> {
        let noun = self.noun;
        let detail = match there {
            Some(version) if version == self.version => return Ok(()),
            Some(_) => format!(
                "is not the {noun} that was read before; run with --fresh to read everything again, or give the new {noun} a name of \
                 its own"
            ),
            None if self.ended => return Ok(()),
            None => "was removed before it was read to its end; bring it back, or run with --fresh".to_owned(),
        };
        Err(SourceError::Changed { what: self.place, detail })
    }
}
