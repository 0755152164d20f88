//! A run is a folder, and the folder is the truth: what was asked (`run.json`), what happened
//! (`events.jsonl`), where to go on (`checkpoint-N/`), what came out (`adapter/`).

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::{self, FileError};
use super::{checkpoint, events};
use crate::config::RunConfig;
use crate::train::event::Event;

pub const RECORD: &str = "run.json";
pub const TRAINER_LOG: &str = "trainer.log";
/// The exported adapter of the kept arm.
pub const ADAPTER: &str = "adapter";
/// Names the folder in which new runs are made, in place of the platform's data folder.
pub const ROOT_VARIABLE: &str = "DPOP_STUDIO_RUNS";

const LOCK: &str = ".lock";
const FORMAT: u32 = 1;
/// Characters of the data file's name that go into a run's name.
const NAME_LENGTH: usize = 40;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} already holds a run. Go on with `dpop-studio train --resume {path}`, or choose another --run folder."
    )]
    AlreadyARun { path: PathBuf },
    #[error(
        "{path} holds other things already ({found}), and a run needs a folder of its own. Choose a new --run folder."
    )]
    NotEmpty { path: PathBuf, found: String },
    #[error("{path} is a file, and --run needs a folder. Choose another --run folder.")]
    NotAFolder { path: PathBuf },
    #[error(
        "{path} is not a run folder: it has no {RECORD}. Choose the folder that holds {RECORD}."
    )]
    NotARun { path: PathBuf },
    #[error(
        "{path} is damaged: {reason}. The adapters in its checkpoint folders may still be whole."
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path} was written by a newer version of this program (format {found}, this one reads {FORMAT}). Update it."
    )]
    NewerFormat { path: PathBuf, found: u32 },
    #[error("{path} is being trained by another process. Wait for it to end, or stop it first.")]
    InUse { path: PathBuf },
    #[error("this system names no folder for application data. Set {ROOT_VARIABLE} or give --run.")]
    NoRoot,
}

/// `run.json`: everything needed to do the run again, and to notice that its inputs changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub format: u32,
    /// RFC 3339 with the local offset.
    pub created: String,
    pub versions: Versions,
    pub config: RunConfig,
    pub inputs: Inputs,
    pub device: DeviceRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    #[serde(rename = "dpop-studio")]
    pub program: String,
    pub burn: String,
}

/// What the run reads; SHA-256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    pub model: String,
    /// How the model's files store its weights: `BF16`, `GGUF Q4_K`, `GPTQ 4-bit`, .. Runs of older versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_format: Option<String>,
    /// Of the files that decide how text becomes token ids.
    pub tokenizer: String,
    pub data: String,
    /// Of the file given as --eval-data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_data: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` (a software adapter), `native` (no adapter).
    pub kind: String,
    /// `Vulkan`, `Metal`, `DX12`; `Flex` for the CPU.
    pub api: String,
    pub driver: String,
}

impl RunRecord {
    pub fn new(config: RunConfig, inputs: Inputs, device: DeviceRecord) -> RunRecord {
        RunRecord {
            format: FORMAT,
            created: now(),
            versions: Versions {
                program: env!("CARGO_PKG_VERSION").into(),
                burn: super::BURN_VERSION.into(),
            },
            config,
            inputs,
            device,
        }
    }
}

/// The current local time, RFC 3339 with offset, to the second.
pub fn now() -> String {
    jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// A run folder held by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    pub path: PathBuf,
    pub record: RunRecord,
    /// Released by the operating system when the process ends, however it ends.
    _lock: Option<File>,
}

impl RunFolder {
    /// Makes the folder (or takes an existing one that holds no run) and writes `run.json`.
    pub fn create(path: &Path, record: RunRecord) -> Result<RunFolder, FolderError> {
        refuse_existing(path)?;
        fs::create_dir_all(path).map_err(|error| FileError::new("make", path, error))?;
        let lock = lock(path)?;
        let mut json = serde_json::to_vec_pretty(&record)
            .map_err(|error| FileError::new("write", &path.join(RECORD), error.into()))?;
        json.push(b'\n');
        durable::replace_file(&path.join(RECORD), &json)?;
        Ok(RunFolder { path: path.into(), record, _lock: lock })
    }

    /// Opens a run to go on with it.
    pub fn open(path: &Path) -> Result<RunFolder, FolderError> {
        let record = read_record(path)?;
        let lock = lock(path)?;
        Ok(RunFolder { path: path.into(), record, _lock: lock })
    }
}

/// An error if `path` cannot become a new run: it is a file, or it holds a run already.
pub fn refuse_existing(path: &Path) -> Result<(), FolderError> {
    if path.is_file() {
        return Err(FolderError::NotAFolder { path: path.into() });
    }
    let taken = [RECORD, events::FILE, ADAPTER].iter().any(|name| path.join(name).exists());
    if taken || (path.is_dir() && !checkpoint::steps(path)?.is_empty()) {
        return Err(FolderError::AlreadyARun { path: path.into() });
    }
    // What a trainer leaves that ended before its run began.
    let own = [LOCK, TRAINER_LOG];
    let names = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let other = names.map(|name| name.to_string_lossy().into_owned());
    match other.filter(|name| !own.contains(&name.as_str())).min() {
        Some(found) => Err(FolderError::NotEmpty { path: path.into(), found }),
        None => Ok(()),
    }
}

/// Reads and checks `run.json`.
pub fn read_record(path: &Path) -> Result<RunRecord, FolderError> {
    let file = path.join(RECORD);
    let bytes = fs::read(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            FolderError::NotARun { path: path.into() }
        }
        _ => FileError::new("read", &file, error).into(),
    })?;
    let damaged = |error: serde_json::Error| FolderError::Damaged {
        path: file.clone(),
        reason: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(FORMAT) => Err(FolderError::NewerFormat {
            path: file,
            found: u32::try_from(found).unwrap_or(u32::MAX),
        }),
        _ => serde_json::from_value(value).map_err(damaged),
    }
}

/// Takes the folder's lock. File systems without locks are trusted to be used by one process.
fn lock(path: &Path) -> Result<Option<File>, FolderError> {
    let file = path.join(LOCK);
    let file = File::create(&file).map_err(|error| FileError::new("make", &file, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: path.into() }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether another process (or another handle of this one) trains in this folder now.
pub fn in_use(path: &Path) -> bool {
    let Ok(file) = File::open(path.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Where new runs are made: `DPOP_STUDIO_RUNS`, else `runs` in the platform's data folder of the program.
pub fn default_root() -> Result<PathBuf, FolderError> {
    if let Some(root) = std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()) {
        return Ok(root.into());
    }
    let dirs = directories::ProjectDirs::from("", "", "dpop-studio").ok_or(FolderError::NoRoot)?;
    Ok(dirs.data_dir().join("runs"))
}

/// Where large temporary files go: the runs' own disk, not a temporary folder that may lie in memory.
pub fn scratch_root() -> Result<PathBuf, FolderError> {
    default_root()
}

/// Makes an empty folder for a new run on `data` under `root`, named by local time and file:
/// `2026-11-23T10-15-00-mydata`. Two runs in one second get `-2`, `-3`, ..
pub fn new_run_path(root: &Path, data: &Path) -> Result<PathBuf, FolderError> {
    fs::create_dir_all(root).map_err(|error| FileError::new("make", root, error))?;
    let time = jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H-%M-%S").to_string();
    let name = format!("{time}-{}", slug(data));
    let mut path = root.join(&name);
    let mut number = 2;
    loop {
        // `create_dir` fails when the folder is there, so two processes never share one.
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = root.join(format!("{name}-{number}"));
                number += 1;
            }
            Err(error) => return Err(FileError::new("make", &path, error).into()),
        }
    }
}

/// The data file's name, reduced to what every file system and shell takes.
fn slug(data: &Path) -> String {
    let stem = data.file_stem().unwrap_or_default().to_string_lossy();
    let plain: String = stem
        .chars()
        .map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' })
        .take(NAME_LENGTH)
        .collect();
    match plain.trim_matches('-') {
        "" => "run".into(),
        name => name.into(),
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    Running,
    Finished,
    Stopped,
    Failed,
    /// Its process ended without a word: a crash, a power cut.
    Interrupted,
}

/// A line in the list of runs.
#[derive(Clone, Debug)]
pub struct RunSummary {
    pub path: PathBuf,
    /// The folder's name.
    pub name: String,
    /// `run.json`, or what is wrong with it in words.
    pub record: Result<RunRecord, String>,
    pub status: RunStatus,
    /// Updates done, as far as the log's end tells.
    pub step: Option<usize>,
    pub has_adapter: bool,
    /// Steps of the checkpoints, rising.
    pub checkpoints: Vec<usize>,
}

/// All runs under `root`, newest name first. A missing root has no runs; a damaged run is listed as such.
pub fn list(root: &Path) -> Result<Vec<RunSummary>, FolderError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("read", root, error).into()),
    };
    let mut runs: Vec<RunSummary> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_run(path))
        .map(|path| summary(&path))
        .collect();
    runs.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(runs)
}

/// Whether a folder looks like a run (it may be damaged).
pub fn is_run(path: &Path) -> bool {
    path.join(RECORD).is_file() || path.join(events::FILE).is_file()
}

/// What the list of runs says about one folder.
pub fn summary(path: &Path) -> RunSummary {
    let last = events::last(path);
    let status = match &last {
        _ if in_use(path) => RunStatus::Running,
        Some(Event::Finished { .. }) => RunStatus::Finished,
        Some(Event::Stopped { .. }) => RunStatus::Stopped,
        Some(Event::Failed { .. }) => RunStatus::Failed,
        _ => RunStatus::Interrupted,
    };
    let checkpoints = checkpoint::steps(path).unwrap_or_default();
    RunSummary {
        path: path.into(),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        record: read_record(path).map_err(|error| error.to_string()),
        status,
        step: last.as_ref().and_then(step_of).max(checkpoints.last().copied()),
        has_adapter: path.join(ADAPTER).join(crate::lora::peft::TENSOR_FILE).is_file(),
        checkpoints,
    }
}

fn step_of(event: &Event) -> Option<usize> {
    match event {
        Event::Step { step, .. }
        | Event::Probe { step, .. }
        | Event::Forecast { step, .. }
        | Event::Checkpoint { step, .. }
        | Event::Collapse { step, .. }
        | Event::Paused { step }
        | Event::Resumed { step }
        | Event::Finished { step, .. }
        | Event::Stopped { step, .. } => Some(*step),
        _ => None,
    }
}
