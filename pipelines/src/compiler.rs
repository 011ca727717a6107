//! Texts compiled for one request, each once: ahead of the thread that supervises all pipelines, which then only looks them up.
//!
//! To compile a folder takes as long as its texts are many, and as whatever answers slowly that they look at: files, tables, databases.
//! So a request that needs all of them has them compiled on a thread of its own, and what it found is sealed. Whoever does the request
//! does it as if nobody had compiled before; a text that is not known then is one that changed meanwhile, and nothing is done with it.
//! What depends on a text alone is kept from one request to the next; what was looked at outside is looked at again.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use syncline_dsl::Checked;

use crate::{command::Format, outcome::Failure, plans, source_file::SourceFile, verbs::stopping};

type Texts = HashMap<(PathBuf, String), Known>;

#[derive(Clone)]
struct Known {
    checked: Arc<Checked>,
    /// It depends on nothing but the text.
    alone: bool,
    shown: bool,
}

/// What the texts of the folder mean, as the request before found them.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Texts>>);

/// The texts of one request.
#[derive(Default)]
pub struct Compiler {
    texts: Mutex<Texts>,
    kept: Kept,
    /// What is not known is not compiled.
    sealed: AtomicBool,
    /// It was asked for a text that is not known, and was sealed.
    missed: AtomicBool,
    /// The process is about to end: nobody waits for what is not compiled yet.
    ending: Arc<AtomicBool>,
}

impl Compiler {
    pub fn new(kept: &Kept, ending: &Arc<AtomicBool>) -> Self {
        Self { kept: kept.clone(), ending: ending.clone(), ..Self::default() }
    }

    /// What a text means. An error: it is not known, and this is not the time to find out.
    pub fn compile(&self, file: &SourceFile) -> Result<Arc<Checked>, Failure> {
        let key = (file.path.clone(), file.text.clone());
        if let Some(known) = lock(&self.texts).get(&key) {
            return Ok(known.checked.clone());
        }
        let kept = lock(&self.kept.0).get(&key).cloned();
        let known = match kept {
            Some(kept) => Known { shown: false, ..kept },
            None if self.sealed.load(Ordering::SeqCst) => {
                self.missed.store(true, Ordering::SeqCst);
                return Err(plans::stale());
            }
            None if self.ending.load(Ordering::SeqCst) => return Err(stopping()),
            None => {
                let (checked, alone) = file.compile_and_look();
                Known { checked: Arc::new(checked), alone, shown: false }
            }
        };
        let checked = known.checked.clone();
        lock(&self.texts).insert(key, known);
        Ok(checked)
    }

    /// Shows what there is to say of a text, once in a request.
    pub fn show(&self, file: &SourceFile, format: Format) {
        let key = (file.path.clone(), file.text.clone());
        let known = lock(&self.texts).get_mut(&key).filter(|known| !known.shown).map(|known| {
            known.shown = true;
            known.checked.clone()
        });
        if let Some(checked) = known {
            file.show(&checked.diagnostics, format);
        }
    }

    pub fn seal(&self) {
        self.sealed.store(true, Ordering::SeqCst);
    }

    /// What was asked is being done: it is not left halfway.
    pub fn open(&self) {
        self.sealed.store(false, Ordering::SeqCst);
    }

    /// Nothing changed since it was sealed, as far as anybody asked.
    pub fn holds(&self) -> Result<(), Failure> {
        if self.missed.load(Ordering::SeqCst) { Err(plans::stale()) } else { Ok(()) }
    }

    /// The texts of this request are those of the folder now.
    pub fn keep(&self) {
        let alone = lock(&self.texts)
            .iter()
            .filter(|(_, known)| known.alone)
            .map(|(key, known)| (key.clone(), known.clone()))
            .collect();
        *lock(&self.kept.0) = alone;
    }
}

fn lock<T>(texts: &Mutex<T>) -> MutexGuard<'_, T> {
    texts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, from: &str) -> SourceFile {
        let text = format!("PIPELINE {name} AS FROM {from} |> WHERE id > 1 |> INSERT INTO file('out/');\n");
        SourceFile { path: PathBuf::from(format!("{name}.sync")), text }
    }

    #[test]
    fn a_text_that_changed_since_it_was_sealed_is_told_and_not_compiled() {
        let (before, after) = (file("orders", "http('/orders')"), file("orders", "http('/others')"));
        let compiler = Compiler::default();
        compiler.compile(&before).unwrap();
        compiler.seal();
        compiler.compile(&before).unwrap();
        compiler.holds().unwrap();
        assert_eq!(compiler.compile(&after).unwrap_err().slug, "stale-plan");
        // Also when whoever asked for it made nothing of that.
        assert_eq!(compiler.holds().unwrap_err().slug, "stale-plan");
        compiler.open();
        compiler.compile(&after).unwrap();
    }

    #[test]
    fn what_looked_outside_is_not_kept_for_the_next_request_and_the_rest_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.ndjson"), "{\"id\":1}\n").unwrap();
        let (alone, looks) = (file("orders", "http('/orders')"), file("lines", "file('a.ndjson')"));
        let looks = SourceFile { path: folder.path().join("lines.sync"), ..looks };
        let (kept, ending) = (Kept::default(), Arc::default());
        let first = Compiler::new(&kept, &ending);
        let checked = first.compile(&alone).unwrap();
        first.compile(&looks).unwrap();
        first.keep();
        let next = Compiler::new(&kept, &ending);
        next.seal();
        assert!(Arc::ptr_eq(&checked, &next.compile(&alone).unwrap()), "the same, and not once more");
        next.holds().unwrap();
        assert_eq!(next.compile(&looks).unwrap_err().slug, "stale-plan");
    }

    #[test]
    fn nothing_more_is_compiled_when_the_process_ends() {
        let ending = Arc::new(AtomicBool::new(true));
        let compiler = Compiler::new(&Kept::default(), &ending);
        assert_eq!(compiler.compile(&file("orders", "http('/orders')")).unwrap_err().slug, "stopping");
    }
}
