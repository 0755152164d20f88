//! The end of a run: the kept arm's adapter in PEFT's format with its model card, in `adapter/`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::durable::{self, FileError};
use super::folder::ADAPTER;
use crate::lora::{LoraAdapter, peft};

const TEMPORARY: &str = ".tmp-adapter";

/// Writes `adapter/` whole or not at all and answers its path. An earlier export is replaced.
///
/// `base_model` goes into `adapter_config.json`, `card` is the text of `README.md`.
pub fn export(
    run: &Path,
    adapter: &LoraAdapter,
    base_model: &Path,
    card: &str,
) -> Result<PathBuf, FileError> {
    let temporary = run.join(TEMPORARY);
    remove(&temporary)?;
    fs::create_dir(&temporary).map_err(|error| FileError::new("make", &temporary, error))?;
    if let Err(error) = write_files(&temporary, adapter, base_model, card) {
        // Give the space back; the error itself is what the person must see.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    let path = run.join(ADAPTER);
    remove(&path)?;
    fs::rename(&temporary, &path).map_err(|error| FileError::new("rename", &temporary, error))?;
    durable::sync_dir(run)?;
    Ok(path)
}

fn write_files(
    folder: &Path,
    adapter: &LoraAdapter,
    base_model: &Path,
    card: &str,
) -> Result<(), FileError> {
    durable::create_file(&folder.join(peft::CONFIG_FILE), |file| {
        file.write_all(&peft::portable_config_json(adapter, base_model))
    })?;
    durable::create_file(&folder.join(peft::TENSOR_FILE), |file| {
        peft::write_tensors(file, adapter)
    })?;
    durable::create_file(&folder.join("README.md"), |file| file.write_all(card.as_bytes()))?;
    durable::sync_dir(folder)
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("delete", path, error))
        }
        _ => Ok(()),
    }
}
