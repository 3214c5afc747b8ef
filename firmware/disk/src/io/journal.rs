//! A journal in a file.
#![expect(clippy::disallowed_methods, reason = "keeps a file")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use crate::write::{Journal, Record};

/// Longest journal that is read: some hundred bytes for each 256 MiB written; a longer file is something else.
const LIMIT: u64 = 64 << 20;

/// A file with one record a line (the form is described with [`Record`]'s module), flushed after each.
#[derive(Debug)]
pub struct FileJournal(Mutex<File>);

impl FileJournal {
    /// Opens the journal at `path`, made if missing. A torn last record is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // A new file's name is on the disk when its folder is.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        let journal = FileJournal(Mutex::new(file));
        journal.load()?;
        Ok(journal)
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Journal for FileJournal {
    fn load(&self) -> io::Result<Vec<Record>> {
        let mut file = self.file();
        file.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        (&mut *file).take(LIMIT + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too long for a journal",
            ));
        }
        let (records, whole) = Record::parse(&text);
        if whole == 0 && !is_torn(&text) {
            // Some other file, named by mistake.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a journal"));
        }
        if whole < text.len() {
            file.set_len(whole as u64)?;
            file.sync_all()?;
        }
        Ok(records)
    }

    fn append(&self, record: &Record) -> io::Result<()> {
        let mut file = self.file();
        file.seek(SeekFrom::End(0))?;
        file.write_all(record.to_line().as_bytes())?;
        file.sync_data()
    }

    fn reset(&self) -> io::Result<()> {
        let file = self.file();
        file.set_len(0)?;
        file.sync_all()
    }
}

/// Whether this may be all that came of a first record: its beginning, or zeroes in its place. Also nothing at all.
fn is_torn(text: &[u8]) -> bool {
    let digits = text.len().min(8);
    let begins = text[..digits].iter().all(u8::is_ascii_hexdigit)
        && text.get(8..10).is_none_or(|next| next == b" {");
    text.len() < 256 && (begins && !text.contains(&b'\n') || text.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use prejoin_wire::digest::Digest;

    use super::*;

    #[test]
    fn outlives_its_process_and_a_torn_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w1.journal");
        let intent = Record::Intent {
            plan: Digest::of(b"plan"),
        };
        let journal = FileJournal::open(&path).unwrap();
        journal.append(&intent).unwrap();
        journal.append(&Record::Done).unwrap();
        drop(journal);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!(journal.load().unwrap(), std::slice::from_ref(&intent));
        journal.append(&Record::Done).unwrap();
        assert_eq!(journal.load().unwrap(), [intent, Record::Done]);
        journal.reset().unwrap();
        assert_eq!(FileJournal::open(&path).unwrap().load().unwrap(), []);

        for torn in [&text[..1], &text[..9], &text[..30], &[0; 40]] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(FileJournal::open(&path).unwrap().load().unwrap(), []);
        }
        for other in ["my notes\n", "my notes", "{}", "cafe\n"] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(
                FileJournal::open(&path).unwrap_err().to_string(),
                "not a journal"
            );
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                other,
                "somebody's file stays"
            );
        }
    }
}
