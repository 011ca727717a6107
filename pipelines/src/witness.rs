//! The engine's witness in a file: one byte that says in which window of a commit the process is.
//!
//! Written without a sync: it has to survive `kill -9`, not a power cut, and it must cost nothing.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use syncline_engine::witness::{NoWitness, Window, Witness};

pub struct FileWitness {
    file: File,
    last: Option<Window>,
}

/// The witness of a pipeline. Where the file cannot be made, nothing is remembered: a witness never stops a run.
pub fn open(folder: &Path, pipeline: &str) -> Box<dyn Witness> {
    let folder = folder.join("witness");
    let open = || -> std::io::Result<FileWitness> {
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(pipeline.replace(['/', '\0'], "_"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut byte = [0];
        let read = file.read_at(&mut byte, 0)?;
        let last = if read == 1 { Window::from_u8(byte[0]) } else { None };
        Ok(FileWitness { file, last })
    };
    match open() {
        Ok(witness) => Box::new(witness),
        Err(_) => Box::new(NoWitness),
    }
}

impl Witness for FileWitness {
    fn enter(&mut self, window: Window) {
        // Losing this byte loses a statistic, nothing else.
        let _ = self.file.write_all_at(&[window as u8], 0);
    }

    fn last(&self) -> Option<Window> {
        self.last
    }
}
