//! Adapters in PEFT's format with their model cards: the kept arm's at the end of a run in `adapter/`, any arm's on
//! demand where a person wants it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::card::{CardInput, model_card};
use super::checkpoint::{self, CheckpointError};
use super::durable::{self, FileError};
use super::events;
use super::folder::{self, ADAPTER, FolderError};
use crate::lora::LoraAdapter;
use crate::lora::peft::{self, PeftError};
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use crate::train::event::{ArmInfo, Event};

const TEMPORARY: &str = ".tmp-";
const CARD: &str = "README.md";

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Adapter(#[from] PeftError),
    #[error("{run} has no arm `{arm}`. Its arms are {known}.")]
    NoSuchArm { run: PathBuf, arm: String, known: String },
    #[error(
        "{run} holds no checkpoint yet. Wait for the first one, or stop the run: it saves one then."
    )]
    NothingSaved { run: PathBuf },
    #[error("{target} is already there. Choose a folder that does not exist yet.")]
    Exists { target: PathBuf },
    #[error("{target} names no folder. Give the path of a new one.")]
    NoName { target: PathBuf },
}

/// Writes `adapter/` whole or not at all and answers its path. An earlier export is replaced.
///
/// `base_model` goes into `adapter_config.json`, `card` is the text of `README.md`.
pub fn export(
    run: &Path,
    adapter: &LoraAdapter,
    base_model: &Path,
    card: &str,
) -> Result<PathBuf, FileError> {
    let path = run.join(ADAPTER);
    let temporary = run.join(format!("{TEMPORARY}{ADAPTER}"));
    whole(&temporary, |folder| write_files(folder, adapter, base_model, card))?;
    remove(&path)?;
    rename(&temporary, &path)?;
    durable::sync_dir(run)?;
    Ok(path)
}

/// Writes the adapter of one arm of `run`, as its newest whole checkpoint has it, into the new folder `target`; answers
/// after how many updates that was. The run may be going on.
pub fn export_arm(run: &Path, arm: &str, target: &Path) -> Result<usize, ExportError> {
    let record = folder::read_record(run)?;
    let (step, checkpoint) = checkpoint::newest_whole(run).map_err(|error| match error {
        CheckpointError::NoneAtAll { run } => ExportError::NothingSaved { run },
        other => other.into(),
    })?;
    if !checkpoint.join(arm).is_dir() {
        let (run, arm) = (run.to_owned(), arm.to_owned());
        return Err(ExportError::NoSuchArm {
            run,
            arm,
            known: checkpoint::arms(&checkpoint).join(", "),
        });
    }
    // The card tells what the log tells; the adapter does not need it.
    let log = events::read(run).unwrap_or_default();
    let arms = arms(&log);
    if target.exists() {
        return Err(ExportError::Exists { target: target.to_owned() });
    }
    let name =
        target.file_name().ok_or_else(|| ExportError::NoName { target: target.to_owned() })?;
    let model = &record.config.model;
    let adapter = peft::load(&checkpoint.join(arm), &ModelConfig::read(model)?)?;
    let sites = &adapter.sites;
    let card =
        model_card(&CardInput { record: &record, arm, arms: &arms, events: &log, step, sites });
    let parent = target.parent().unwrap_or_else(|| Path::new(""));
    let temporary = parent.join(format!("{TEMPORARY}{}", name.to_string_lossy()));
    whole(&temporary, |folder| write_files(folder, &adapter, model, &card))?;
    rename(&temporary, target)?;
    Ok(step)
}

/// The arms of a run as its log names them; the last start counts.
fn arms(log: &[Event]) -> Vec<ArmInfo> {
    let started = log.iter().rev().find_map(|event| match event {
        Event::Started { arms, .. } => Some(arms.clone()),
        _ => None,
    });
    started.unwrap_or_default()
}

/// Fills the new folder `temporary`; on an error nothing of it is left.
fn whole(
    temporary: &Path,
    fill: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    remove(temporary)?;
    fs::create_dir(temporary).map_err(|error| FileError::new("make", temporary, error))?;
    let filled = fill(temporary).and_then(|()| durable::sync_dir(temporary));
    if filled.is_err() {
        // Give the space back; the error itself is what the person must see.
        let _ = fs::remove_dir_all(temporary);
    }
    filled
}

fn write_files(
    folder: &Path,
    adapter: &LoraAdapter,
    base_model: &Path,
    card: &str,
) -> Result<(), FileError> {
    durable::create_file(&folder.join(peft::CONFIG_FILE), |file| {
        file.write_all(&peft::config_json(adapter, base_model))
    })?;
    durable::create_file(&folder.join(peft::TENSOR_FILE), |file| {
        peft::write_tensors(file, adapter)
    })?;
    durable::create_file(&folder.join(CARD), |file| file.write_all(card.as_bytes())).map(drop)
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|error| FileError::new("rename", from, error))
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("delete", path, error))
        }
        _ => Ok(()),
    }
}
