//! Checkpoints that are whole or absent.
//!
//! `checkpoint-N/` is written as `.tmp-checkpoint-N/`: every file is hashed and synced, `manifest.json` with
//! the hashes comes last, then the folder is synced and renamed. A crash at any moment leaves the earlier
//! checkpoints untouched, and a reader trusts only what its manifest vouches for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::{self, FileError, FileRecord};
use crate::lora::peft::tensor_file::{self, TensorFileError};
use crate::lora::peft::{self, PeftError};
use crate::model::config::ModelConfig;
use crate::train::state::{ArmState, Reference, TrainState};

/// Checkpoints kept in a run folder; older ones are deleted once a new one is durable.
pub const KEEP: usize = 3;

const MANIFEST: &str = "manifest.json";
const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const PREFIX: &str = "checkpoint-";
const TEMPORARY: &str = ".tmp-checkpoint-";
const RETIRED: &str = ".old-checkpoint-";
const DAMAGED: &str = "damaged-checkpoint-";
/// torch's names of AdamW's moments.
const FIRST_MOMENT: &str = ".exp_avg";
const SECOND_MOMENT: &str = ".exp_avg_sq";
const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Peft(#[from] PeftError),
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    #[error(
        "the state of step {step} cannot be saved: {what} is not finite. Lower the learning rate and start again."
    )]
    NotFinite { step: usize, what: String },
    #[error("{path} has no {MANIFEST}: it was never finished. An earlier checkpoint may be whole.")]
    NoManifest { path: PathBuf },
    #[error("{path}: {reason}. An earlier checkpoint may be whole.")]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path} was written by a newer version of this program (format {found}, this one reads {FORMAT}). Update it."
    )]
    NewerFormat { path: PathBuf, found: u32 },
    #[error(
        "{run} holds no whole checkpoint, so there is nothing to go on from:\n  {reasons}\nStart again with a new --run folder."
    )]
    NoneWhole { run: PathBuf, reasons: String },
    #[error(
        "{run} holds no checkpoint, so there is nothing to go on from. Start again with a new --run folder."
    )]
    NoneAtAll { run: PathBuf },
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    step: usize,
    /// By path inside the checkpoint, with `/` on every platform.
    files: BTreeMap<String, FileRecord>,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    step: usize,
    num_tokens: u64,
    elapsed: f64,
    arms: Vec<ArmFile>,
    references: BTreeMap<usize, Reference>,
    probe_references: BTreeMap<usize, Reference>,
    #[serde(default)]
    probe_margins: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct ArmFile {
    name: String,
    collapsed_at: Option<usize>,
}

/// A checkpoint that was made durable.
#[derive(Debug)]
pub struct Written {
    pub path: PathBuf,
    /// What went wrong without touching the checkpoint itself (an old one that could not be deleted).
    pub warnings: Vec<String>,
}

/// A checkpoint that was read and verified.
#[derive(Debug)]
pub struct Loaded {
    pub state: TrainState,
    pub path: PathBuf,
    /// Newer checkpoints that were damaged, in words.
    pub warnings: Vec<String>,
}

/// Folder of the checkpoint after `step` updates.
pub fn path(run: &Path, step: usize) -> PathBuf {
    run.join(format!("{PREFIX}{step}"))
}

/// Steps of all finished checkpoint folders, in rising order, whether whole or not.
pub fn steps(run: &Path) -> Result<Vec<usize>, FileError> {
    let entries = fs::read_dir(run).map_err(|error| FileError::new("read", run, error))?;
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| FileError::new("read", run, error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(step) = number.and_then(|number| number.parse().ok())
            && entry.path().is_dir()
        {
            steps.push(step);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Names of the arms whose adapters a checkpoint holds.
pub fn arms(checkpoint: &Path) -> Vec<String> {
    let entries = fs::read_dir(checkpoint).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut arms: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    arms.sort();
    arms
}

/// Makes `state` durable as `checkpoint-{step}` and then deletes all but the newest [`KEEP`].
///
/// `base_model` goes into the adapters' `adapter_config.json`. On an error nothing that existed before is
/// changed.
pub fn write(
    run: &Path,
    state: &TrainState,
    base_model: &Path,
) -> Result<Written, CheckpointError> {
    refuse_non_finite(state)?;
    let temporary = run.join(format!("{TEMPORARY}{}", state.step));
    remove_dir_if_there(&temporary)?;
    let written = write_folder(&temporary, state, base_model);
    if let Err(error) = written {
        // Give the space back; the error itself is what the person must see.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    let path = path(run, state.step);
    let mut warnings = Vec::new();
    let retired = run.join(format!("{RETIRED}{}", state.step));
    if path.exists() {
        // The same step saved before (a run that was resumed and stopped at once). A crash between the two
        // renames leaves the old one as `.old-..`, which `recover` puts back.
        remove_dir_if_there(&retired)?;
        rename(&path, &retired)?;
    }
    rename(&temporary, &path)?;
    durable::sync_dir(run)?;
    if let Err(error) = remove_dir_if_there(&retired) {
        warnings.push(error.to_string());
    }
    prune(run, KEEP, &mut warnings);
    Ok(Written { path, warnings })
}

fn write_folder(
    folder: &Path,
    state: &TrainState,
    base_model: &Path,
) -> Result<(), CheckpointError> {
    create_dir(folder)?;
    let mut files = BTreeMap::new();
    for arm in &state.arms {
        let arm_folder = folder.join(&arm.name);
        create_dir(&arm_folder)?;
        let mut add = |name: &str, record| files.insert(format!("{}/{name}", arm.name), record);
        add(
            peft::CONFIG_FILE,
            durable::create_file(&arm_folder.join(peft::CONFIG_FILE), |file| {
                file.write_all(&peft::config_json(&arm.adapter, base_model))
            })?,
        );
        add(
            peft::TENSOR_FILE,
            durable::create_file(&arm_folder.join(peft::TENSOR_FILE), |file| {
                peft::write_tensors(file, &arm.adapter)
            })?,
        );
        add(
            OPTIMIZER,
            durable::create_file(&arm_folder.join(OPTIMIZER), |file| {
                let mut tensors =
                    peft::named_tensors(&arm.adapter, &arm.first_moment, FIRST_MOMENT)?;
                tensors.extend(peft::named_tensors(
                    &arm.adapter,
                    &arm.second_moment,
                    SECOND_MOMENT,
                )?);
                tensor_file::write(file, &tensors)
            })?,
        );
        durable::sync_dir(&arm_folder)?;
    }
    let state_file = StateFile {
        step: state.step,
        num_tokens: state.num_tokens,
        elapsed: state.elapsed,
        arms: state
            .arms
            .iter()
            .map(|arm| ArmFile { name: arm.name.clone(), collapsed_at: arm.collapsed_at })
            .collect(),
        references: state.references.clone(),
        probe_references: state.probe_references.clone(),
        probe_margins: state.probe_margins.clone(),
    };
    files.insert(STATE.into(), write_json(&folder.join(STATE), &state_file)?);
    write_json(&folder.join(MANIFEST), &Manifest { format: FORMAT, step: state.step, files })?;
    durable::sync_dir(folder)?;
    Ok(())
}

/// JSON has no NaN: such a state would be written and never read again.
fn refuse_non_finite(state: &TrainState) -> Result<(), CheckpointError> {
    let fail = |what: String| Err(CheckpointError::NotFinite { step: state.step, what });
    for (index, reference) in state.references.iter().chain(&state.probe_references) {
        if !reference.chosen.is_finite() || !reference.rejected.is_finite() {
            return fail(format!("the reference log-probability of pair {index}"));
        }
    }
    if state.probe_margins.iter().any(|margin| !margin.is_finite()) {
        return fail("the margin at a probe".into());
    }
    for arm in &state.arms {
        let buffers = [&arm.adapter.values, &arm.first_moment, &arm.second_moment];
        if buffers.iter().any(|buffer| buffer.iter().any(|value| !value.is_finite())) {
            return fail(format!("an adapter weight or moment of arm `{}`", arm.name));
        }
    }
    Ok(())
}

/// Reads and verifies one checkpoint folder.
pub fn load(path: &Path, model: &ModelConfig) -> Result<TrainState, CheckpointError> {
    let manifest = verify(path)?;
    let state: StateFile = read_json(&path.join(STATE))?;
    let damaged =
        |reason: &str| CheckpointError::Damaged { path: path.into(), reason: reason.into() };
    if state.step != manifest.step {
        return Err(damaged("manifest and trainer state name different steps"));
    }
    let mut arms = Vec::new();
    for arm in state.arms {
        if !manifest.files.contains_key(&format!("{}/{OPTIMIZER}", arm.name)) {
            return Err(damaged(&format!("the manifest does not list arm `{}`", arm.name)));
        }
        arms.push(load_arm(&path.join(&arm.name), arm, model)?);
    }
    Ok(TrainState {
        step: state.step,
        num_tokens: state.num_tokens,
        elapsed: state.elapsed,
        arms,
        references: state.references,
        probe_references: state.probe_references,
        probe_margins: state.probe_margins,
    })
}

fn load_arm(folder: &Path, arm: ArmFile, model: &ModelConfig) -> Result<ArmState, CheckpointError> {
    let adapter = peft::load(folder, model)?;
    let path = folder.join(OPTIMIZER);
    let mut tensors = tensor_file::read(&path)?;
    let rank = adapter.config.rank;
    let first_moment = peft::take_named(&path, &adapter.sites, rank, FIRST_MOMENT, &mut tensors)?;
    let second_moment = peft::take_named(&path, &adapter.sites, rank, SECOND_MOMENT, &mut tensors)?;
    peft::refuse_unused(&path, tensors)?;
    Ok(ArmState {
        name: arm.name,
        adapter,
        first_moment,
        second_moment,
        collapsed_at: arm.collapsed_at,
    })
}

/// Compares every file with the manifest.
fn verify(path: &Path) -> Result<Manifest, CheckpointError> {
    let manifest_path = path.join(MANIFEST);
    if !manifest_path.exists() {
        return Err(CheckpointError::NoManifest { path: path.into() });
    }
    let manifest: Manifest = read_json(&manifest_path)?;
    if manifest.format > FORMAT {
        return Err(CheckpointError::NewerFormat { path: path.into(), found: manifest.format });
    }
    let damaged = |reason: String| CheckpointError::Damaged { path: path.into(), reason };
    if !manifest.files.contains_key(STATE) {
        return Err(damaged(format!("the manifest does not list {STATE}")));
    }
    for (name, expected) in &manifest.files {
        // A manifest is data: it must not lead outside its folder.
        if name.split('/').any(|part| part.is_empty() || part == ".." || part.contains(['\\', ':']))
        {
            return Err(damaged(format!("the manifest lists `{name}`, which is not a plain path")));
        }
        let found = durable::record_of(&path.join(name))
            .map_err(|error| damaged(format!("{name} cannot be read ({error})")))?;
        if found != *expected {
            return Err(damaged(format!("{name} does not match its hash in {MANIFEST}")));
        }
    }
    Ok(manifest)
}

/// Step and folder of the newest whole checkpoint. Unlike [`load_newest`] it changes nothing, so the run may be going on.
pub fn newest_whole(run: &Path) -> Result<(usize, PathBuf), CheckpointError> {
    let mut reasons = Vec::new();
    for step in steps(run)?.into_iter().rev() {
        let path = path(run, step);
        match verify(&path) {
            Ok(_) => return Ok((step, path)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(none_whole(run, &reasons))
}

fn none_whole(run: &Path, reasons: &[String]) -> CheckpointError {
    let run = run.to_owned();
    match reasons {
        [] => CheckpointError::NoneAtAll { run },
        _ => CheckpointError::NoneWhole { run, reasons: reasons.join("\n  ") },
    }
}

/// Finds the newest whole checkpoint, finishing or undoing what a crash interrupted.
///
/// Damaged newer ones are set aside as `damaged-checkpoint-N` and reported in `warnings`.
pub fn load_newest(run: &Path, model: &ModelConfig) -> Result<Loaded, CheckpointError> {
    recover(run)?;
    let mut reasons = Vec::new();
    let mut newest_first = steps(run)?;
    newest_first.reverse();
    for step in newest_first {
        let path = path(run, step);
        match load(&path, model) {
            Ok(state) if state.step == step => {
                return Ok(Loaded { state, path, warnings: set_aside(run, reasons) });
            }
            Ok(state) => {
                let reason = format!("{} holds step {}", path.display(), state.step);
                reasons.push((step, reason));
            }
            Err(error) => reasons.push((step, error.to_string())),
        }
    }
    let reasons: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
    Err(none_whole(run, &reasons))
}

/// Renames damaged checkpoints out of the way of the resumed run, and says so.
fn set_aside(run: &Path, damaged: Vec<(usize, String)>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (step, reason) in damaged {
        let aside = run.join(format!("{DAMAGED}{step}"));
        let moved = remove_dir_if_there(&aside).and_then(|()| rename(&path(run, step), &aside));
        warnings.push(match moved {
            Ok(()) => format!(
                "Going back past checkpoint {step}: {reason} It was set aside as {}.",
                aside.display()
            ),
            Err(error) => format!("Going back past checkpoint {step}: {reason} ({error})"),
        });
    }
    warnings
}

/// Clears what an interrupted write left: half-written folders go; a retired folder without its successor
/// comes back.
fn recover(run: &Path) -> Result<(), FileError> {
    let entries = fs::read_dir(run).map_err(|error| FileError::new("read", run, error))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(TEMPORARY) {
            remove_dir_if_there(&entry.path())?;
        } else if let Some(step) = name.strip_prefix(RETIRED) {
            let current = run.join(format!("{PREFIX}{step}"));
            if current.exists() {
                remove_dir_if_there(&entry.path())?;
            } else {
                rename(&entry.path(), &current)?;
            }
        }
    }
    durable::sync_dir(run)
}

/// Deletes all but the newest `keep` checkpoints. A checkpoint is renamed before it is deleted, so that a
/// crash cannot leave half of one under its good name.
fn prune(run: &Path, keep: usize, warnings: &mut Vec<String>) {
    let steps = match steps(run) {
        Ok(steps) => steps,
        Err(error) => return warnings.push(error.to_string()),
    };
    for step in steps.iter().rev().skip(keep) {
        let doomed = run.join(format!("{TEMPORARY}{step}"));
        let deleted = remove_dir_if_there(&doomed)
            .and_then(|()| rename(&path(run, *step), &doomed))
            .and_then(|()| remove_dir_if_there(&doomed));
        if let Err(error) = deleted {
            warnings.push(format!("An old checkpoint stays: {error}"));
        }
    }
}

fn create_dir(path: &Path) -> Result<(), FileError> {
    fs::create_dir(path).map_err(|error| FileError::new("make", path, error))
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|error| FileError::new("rename", from, error))
}

fn remove_dir_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new("delete", path, error))
        }
        _ => Ok(()),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<FileRecord, FileError> {
    durable::create_file(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    })
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, CheckpointError> {
    let bytes = fs::read(path).map_err(|error| FileError::new("read", path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| CheckpointError::Damaged {
        path: path.into(),
        reason: format!("it is not what this program writes ({error})"),
    })
}
