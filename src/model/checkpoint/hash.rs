//! A fingerprint of a model folder that is quick to take.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind::NotFound;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::files::WeightFiles;
use crate::gguf::{self, Gguf};
use crate::model::error::ModelError;

/// Files up to this size are hashed whole.
const WHOLE: u64 = 16 << 20;
/// Larger files: this many blocks, evenly spread from the first byte to the last.
const BLOCKS: u64 = 256;
const BLOCK: u64 = 16 << 10;
/// The longest header that safetensors allows.
const MAX_HEADER: u64 = 100_000_000;

/// SHA-256 (hex) that tells two base models apart without reading tens of gigabytes.
///
/// Covers config.json byte for byte; of each weight file its name, its size, its header, and its
/// contents: all of it up to 16 MiB, else 256 blocks of 16 KiB spread evenly over the file. Another model,
/// another training run or a cut download change the hash. A change confined to bytes between the blocks
/// of a large file does not. Tokenizer and chat template are not covered.
pub fn model_hash(dir: &Path) -> Result<String, ModelError> {
    let files = WeightFiles::find(dir)?;
    let path = gguf::folder_of(dir).join("config.json");
    // A GGUF file describes itself.
    let config = match std::fs::read(&path) {
        Err(error) if error.kind() == NotFound && matches!(files, WeightFiles::Gguf(_)) => {
            Vec::new()
        }
        read => read.map_err(|source| ModelError::Io { path, source })?,
    };
    let mut hash = Sha256::new();
    hash.update((config.len() as u64).to_le_bytes());
    hash.update(&config);
    // Only a GGUF file has to be read to know how long its header is.
    let ends: HashMap<PathBuf, u64> = match &files {
        WeightFiles::Gguf(paths) => {
            Gguf::open(paths)?.data_starts().map(|(path, end)| (path.to_path_buf(), end)).collect()
        }
        _ => HashMap::new(),
    };
    for path in files.paths() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        let end = ends.get(&path).copied();
        sample(&path, end, &mut hash).map_err(|source| ModelError::Io { path, source })?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `header`: bytes of the file's header where it is known; safetensors say it in their first eight bytes.
fn sample(path: &Path, header: Option<u64>, hash: &mut Sha256) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    hash.update(size.to_le_bytes());
    if size <= WHOLE {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        hash.update(&bytes);
        return Ok(());
    }
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let said = || u64::from_le_bytes(length).min(MAX_HEADER);
    let header = header.map_or_else(said, |end| end.saturating_sub(8)).min(size - 8);
    let mut bytes = Vec::new();
    (&mut file).take(header).read_to_end(&mut bytes)?;
    hash.update(&bytes);
    let mut block = vec![0; BLOCK as usize];
    for i in 0..BLOCKS {
        // In u128: size * i overflows u64 for no real file, but costs nothing to rule out.
        let start = (u128::from(size - BLOCK) * u128::from(i) / u128::from(BLOCKS - 1)) as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        hash.update(&block);
    }
    Ok(())
}
