//! Quantised matrices of a streamed model on disk, so that each is quantised once and host memory holds one block.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::kernels::HostMatrix;
use crate::model::error::ModelError;
use crate::quant::{QuantFormat, QuantMatrix};

/// A nameless temporary file of quantised matrices, gone with this value or with the process.
pub struct Spill {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    end: u64,
    index: HashMap<String, Stored>,
}

#[derive(Clone, Copy)]
struct Stored {
    start: u64,
    format: QuantFormat,
    rows: usize,
    cols: usize,
}

impl Spill {
    /// An empty file on the disk that holds `folder`.
    pub fn create(folder: &Path) -> Result<Spill, ModelError> {
        let file = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
        let file = file.map_err(|source| failed(folder, source))?;
        let inner = Inner { file, end: 0, index: HashMap::new() };
        Ok(Spill { folder: folder.to_path_buf(), inner: Mutex::new(inner) })
    }

    /// The matrix as stored, or as `make` gives it, which is stored for the next time if it is quantised.
    pub fn matrix(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<HostMatrix, ModelError>,
    ) -> Result<HostMatrix, ModelError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stored) = inner.index.get(name).copied() {
            let matrix = inner.read(stored).map_err(|source| failed(&self.folder, source))?;
            return Ok(HostMatrix::Quantised(matrix));
        }
        let made = make()?;
        if let HostMatrix::Quantised(matrix) = &made {
            let stored = inner.append(matrix).map_err(|source| failed(&self.folder, source))?;
            inner.index.insert(name.to_owned(), stored);
        }
        Ok(made)
    }
}

impl Inner {
    fn read(&mut self, stored: Stored) -> io::Result<QuantMatrix> {
        let Stored { start, format, rows, cols } = stored;
        let file = &mut self.file;
        file.seek(SeekFrom::Start(start))?;
        let mut words = |count: usize| -> io::Result<Vec<u32>> {
            let mut words = vec![0u32; count];
            file.read_exact(bytemuck::cast_slice_mut(&mut words))?;
            Ok(words)
        };
        let codes = words(rows * format.code_words(cols))?;
        let scales = words(rows * format.scale_words(cols))?;
        Ok(QuantMatrix { format, rows, cols, codes, scales })
    }

    fn append(&mut self, matrix: &QuantMatrix) -> io::Result<Stored> {
        let start = self.end;
        let file = &mut self.file;
        file.seek(SeekFrom::Start(start))?;
        file.write_all(bytemuck::cast_slice(&matrix.codes))?;
        file.write_all(bytemuck::cast_slice(&matrix.scales))?;
        self.end = start + 4 * (matrix.codes.len() + matrix.scales.len()) as u64;
        let QuantMatrix { format, rows, cols, .. } = *matrix;
        Ok(Stored { start, format, rows, cols })
    }
}

fn failed(path: &Path, source: io::Error) -> ModelError {
    ModelError::Spill { path: path.to_path_buf(), source }
}
