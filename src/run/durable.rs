//! Files that survive a crash: written whole, hashed on the way, synced, renamed into place.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a manifest says of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Lower-case hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

/// A file system operation that failed, ending as a sentence with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(
        "no space left to {action} {path} ({source}). Free some space and try again: what was saved before is intact."
    )]
    NoSpace { action: &'static str, path: PathBuf, source: io::Error },
    #[error("no permission to {action} {path} ({source}). Choose a folder you may write to.")]
    Permission { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {action} {path} ({source}). Check that its folder exists and may be used.")]
    Other { action: &'static str, path: PathBuf, source: io::Error },
}

impl FileError {
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> FileError {
        let path = path.to_path_buf();
        match source.kind() {
            // A quota and a file size limit leave a person in the same place as a full disk.
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => FileError::NoSpace { action, path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                FileError::Permission { action, path, source }
            }
            _ => FileError::Other { action, path, source },
        }
    }
}

impl FileError {
    /// The same of the file that `path` was to become.
    fn of(self, path: &Path) -> FileError {
        let (FileError::NoSpace { action, source, .. }
        | FileError::Permission { action, source, .. }
        | FileError::Other { action, source, .. }) = self;
        FileError::new(action, path, source)
    }
}

/// A new file whose SHA-256 is taken while it is written.
pub struct HashingFile {
    out: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
}

impl HashingFile {
    pub fn create(path: &Path) -> io::Result<HashingFile> {
        Ok(HashingFile {
            out: BufWriter::new(File::create(path)?),
            hasher: Sha256::new(),
            bytes: 0,
        })
    }

    /// Flushes and syncs: after this the bytes are on the disk.
    pub fn finish(mut self) -> io::Result<FileRecord> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(FileRecord { sha256: hex(&self.hasher.finalize()), bytes: self.bytes })
    }
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes a file through `write` and syncs it.
pub fn create_file(
    path: &Path,
    write: impl FnOnce(&mut HashingFile) -> io::Result<()>,
) -> Result<FileRecord, FileError> {
    let make = || {
        let mut file = HashingFile::create(path)?;
        write(&mut file)?;
        file.finish()
    };
    make().map_err(|error| FileError::new("write", path, error))
}

/// Replaces `path` in one step: a reader sees the old bytes or the new ones, never a mixture.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_added_extension("tmp");
    let make = || {
        create_file(&temporary, |file| file.write_all(bytes)).map_err(|error| error.of(path))?;
        fs::rename(&temporary, path).map_err(|error| FileError::new("write", path, error))
    };
    if let Err(error) = make() {
        // Give the space back; the error itself is what the person must see.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the entries of a folder durable (a rename lives in the folder, not in the file).
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    // Windows cannot open a folder as a file; NTFS journals renames.
    if cfg!(unix) {
        File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| FileError::new("sync", path, error))?;
    }
    Ok(())
}

/// SHA-256 and length of a file.
pub fn record_of(path: &Path) -> Result<FileRecord, FileError> {
    let hash = || {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(FileRecord { sha256: hex(&hasher.finalize()), bytes });
            }
            hasher.update(&buffer[..read]);
            bytes += read as u64;
        }
    };
    hash().map_err(|error| FileError::new("read", path, error))
}

/// Lower-case hexadecimal of a digest.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
