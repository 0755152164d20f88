//! One training run from its configuration to its adapter: read, check, train, save. The command line and
//! the window's worker both run this; they differ in where the events go.

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::forecast::score_pairs;
use super::observer::{Journal, RunObserver};
use super::prepare::{self, Prepared};
use super::protocol::{Controls, Phase, Reporter, locked};
use crate::config::RunConfig;
use crate::data::pair::TokenizedPair;
use crate::lora::LoraAdapter;
use crate::lora::peft::portable;
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::run::card::{CardInput, model_card};
use crate::run::checkpoint::{self, Loaded};
use crate::run::events::{self, EventLog};
use crate::run::export::export;
use crate::run::folder::{self, RunFolder, RunRecord};
use crate::run::probe_records::{ProbeRecorder, RecordedPair};
use crate::train::event::{ArmInfo, Event};
use crate::train::state::TrainState;
use crate::train::{Outcome, Trainer};

/// What to do.
#[derive(Clone, Debug)]
pub enum Job {
    /// A new run in `run`, or in a new folder under the default root.
    New { config: Box<RunConfig>, run: Option<PathBuf> },
    /// Go on from the newest whole checkpoint of a run folder.
    Resume { run: PathBuf },
}

/// How a session ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Finished {
        adapter: PathBuf,
    },
    /// Asked to stop; `checkpoint` is where `--resume` goes on.
    Stopped {
        checkpoint: PathBuf,
    },
    /// Asked to stop before training began: there was nothing to save.
    Cancelled,
}

/// How it ended badly.
#[derive(Debug)]
pub enum SessionError {
    /// Something given cannot be used: an option, a file, a folder. Nothing was trained.
    Input(anyhow::Error),
    /// Something broke on the way: the disk, the device, the program.
    Failure(anyhow::Error),
}

impl SessionError {
    pub(super) fn input(error: impl Into<anyhow::Error>) -> SessionError {
        SessionError::Input(error.into())
    }

    pub(super) fn failure(error: impl Into<anyhow::Error>) -> SessionError {
        SessionError::Failure(error.into())
    }

    /// The whole chain of causes in one text.
    pub fn message(&self) -> String {
        let (SessionError::Input(error) | SessionError::Failure(error)) = self;
        in_words(error)
    }
}

/// An error and its causes in one text. Many errors tell their cause within their own sentence; it is not told again.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for part in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = part;
        } else if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
    }
    text
}

/// The session's connections to the outside.
#[derive(Clone)]
pub struct Outside {
    pub reporter: Arc<dyn Reporter>,
    pub controls: Arc<Controls>,
    pub phase: Arc<Phase>,
}

impl Outside {
    /// Names what comes next; tells at once.
    pub(super) fn enter(&self, phase: &str) {
        self.phase.set(phase);
        self.reporter.report(&Event::Heartbeat { phase: phase.into() });
    }
}

/// Runs a job to its end. The last event reported is `Finished`, `Stopped` or `Failed`; a panic inside is
/// caught and reported like any failure.
pub fn run(job: Job, outside: &Outside) -> Result<Ending, SessionError> {
    let journal = Journal::new(Arc::clone(&outside.reporter));
    let result = panic::catch_unwind(AssertUnwindSafe(|| run_job(job, outside, &journal)))
        .unwrap_or_else(|payload| {
            Err(SessionError::Failure(anyhow::anyhow!(panic_text(payload.as_ref()))))
        });
    match &result {
        Ok(Ending::Cancelled) => {
            journal.tell(Event::Stopped { step: 0, checkpoint: PathBuf::new() })
        }
        Ok(_) => {}
        Err(error) => journal.tell(Event::Failed { message: error.message() }),
    }
    result
}

fn run_job(job: Job, outside: &Outside, journal: &Journal) -> Result<Ending, SessionError> {
    let (config, existing, wanted) = match job {
        Job::New { config, run } => {
            let run =
                run.map(|run| prepare::full(&run)).transpose().map_err(SessionError::input)?;
            if let Some(run) = &run {
                folder::refuse_existing(run).map_err(SessionError::input)?;
            }
            (prepare::absolute(*config).map_err(SessionError::input)?, None, run)
        }
        Job::Resume { run } => {
            let run = prepare::full(&run).map_err(SessionError::input)?;
            let folder = RunFolder::open(&run).map_err(SessionError::input)?;
            (folder.record.config.clone(), Some(folder), None)
        }
    };
    let record = existing.as_ref().map(|folder| &folder.record);
    let Some(prepared) = prepare::prepare(&config, record, outside)? else {
        return Ok(Ending::Cancelled);
    };
    let (folder, loaded) = match existing {
        Some(folder) => {
            let loaded = checkpoint::load_newest(&folder.path, &prepared.model.config)
                .map_err(SessionError::input)?;
            if let Some(arm) = loaded.state.arms.first() {
                prepare::refuse_edited(&loaded.path, &arm.adapter.config, &config)?;
            }
            let log =
                EventLog::resume(&folder.path, loaded.state.step).map_err(SessionError::failure)?;
            journal.open(log);
            (folder, Some(loaded))
        }
        None => {
            let folder = create_folder(&config, wanted, &prepared)?;
            journal.open(EventLog::create(&folder.path).map_err(SessionError::failure)?);
            (folder, None)
        }
    };
    train(&folder, prepared, loaded, outside, journal)
}

fn create_folder(
    config: &RunConfig,
    wanted: Option<PathBuf>,
    prepared: &Prepared,
) -> Result<RunFolder, SessionError> {
    let path = match wanted {
        Some(path) => path,
        None => folder::default_root()
            .and_then(|root| folder::new_run_path(&root, &config.data))
            .map_err(SessionError::failure)?,
    };
    let record = RunRecord::new(config.clone(), prepared.inputs.clone(), prepared.device.clone());
    RunFolder::create(&path, record).map_err(|error| match error {
        folder::FolderError::File(error) => SessionError::failure(error),
        refused => SessionError::input(refused),
    })
}

fn train(
    folder: &RunFolder,
    prepared: Prepared,
    loaded: Option<Loaded>,
    outside: &Outside,
    journal: &Journal,
) -> Result<Ending, SessionError> {
    let config = &folder.record.config;
    let Prepared { model, train, probe, probe_texts, init, device, warnings, .. } = prepared;
    let (tokenizer, samples) = (prepared.tokenizer, prepared.samples);
    let (train_pairs, probe_pairs) = (train.len(), probe.len());
    let (state, path, recovered) = match loaded {
        Some(Loaded { state, path, warnings }) => (Some(state), Some(path), warnings),
        None => (None, None, Vec::new()),
    };
    let from_step = state.as_ref().map_or(0, |state| state.step);
    let records = match &state {
        Some(state) => ProbeRecorder::resume(&folder.path, state.step),
        None if probe_texts.is_empty() => Ok(None),
        None => {
            let pairs = with_ches(&model, &probe, probe_texts).map_err(SessionError::Failure)?;
            ProbeRecorder::create(&folder.path, pairs).map(Some)
        }
    };
    let records = records.map_err(SessionError::failure)?;
    let trainer =
        Trainer::new(model, config, train, probe, state, init).map_err(SessionError::Input)?;
    let mut trainer = trainer.with_samples(samples);
    let arms = trainer.arms();
    let started = Event::Started {
        run: folder.path.clone(),
        time: folder::now(),
        steps: trainer.steps(),
        steps_per_epoch: trainer.steps_per_epoch() as f64,
        arms: arms.clone(),
        device: device.name.clone(),
        train_pairs,
        probe_pairs,
        trainable_parameters: kept(trainer.state()).map_or(0, |adapter| adapter.values.len()),
        from_step,
    };
    journal.emit(started).map_err(SessionError::Failure)?;
    for message in warnings.into_iter().chain(recovered) {
        journal.emit(Event::Warning { message }).map_err(SessionError::Failure)?;
    }
    outside.enter("training");
    let mut observer = RunObserver::new(journal, outside, folder, records, tokenizer, path);
    let outcome = trainer.run(&mut observer).map_err(SessionError::Failure)?;
    let checkpoint = observer.into_last_checkpoint();
    match outcome {
        Outcome::Stopped => {
            let checkpoint = checkpoint.unwrap_or_default();
            let stopped =
                Event::Stopped { step: trainer.state().step, checkpoint: checkpoint.clone() };
            journal.emit(stopped).map_err(SessionError::Failure)?;
            Ok(Ending::Stopped { checkpoint })
        }
        Outcome::Finished | Outcome::Ended { .. } => {
            outside.enter("saving the adapter");
            let adapter = save_adapter(folder, trainer.state(), trainer.model_config(), &arms)?;
            let mut message = format!("The adapter is saved in {}.", adapter.display());
            if let Outcome::Ended { reason } = outcome {
                message = format!("Ended early: {reason}. {message}");
            }
            let finished =
                Event::Finished { step: trainer.state().step, adapter: adapter.clone(), message };
            journal.emit(finished).map_err(SessionError::Failure)?;
            Ok(Ending::Finished { adapter })
        }
    }
}

/// The probe's pairs with how alike the base model finds their answers.
fn with_ches(
    model: &Model,
    probe: &[TokenizedPair],
    mut pairs: Vec<RecordedPair>,
) -> anyhow::Result<Vec<RecordedPair>> {
    let scored = score_pairs(model, probe, |_| {})?;
    for (pair, scored) in pairs.iter_mut().zip(scored) {
        // JSON has no NaN.
        pair.ches = Some(scored.ches).filter(|ches| ches.is_finite());
    }
    Ok(pairs)
}

/// The adapter that is exported: the first arm's.
fn kept(state: &TrainState) -> Option<&LoraAdapter> {
    state.arms.first().map(|arm| &arm.adapter)
}

fn save_adapter(
    folder: &RunFolder,
    state: &TrainState,
    model: &ModelConfig,
    arms: &[ArmInfo],
) -> Result<PathBuf, SessionError> {
    let adapter = kept(state)
        .ok_or_else(|| SessionError::Failure(anyhow::anyhow!("the run has no arm to export")))?;
    let adapter = portable(adapter, model);
    let events = events::read(&folder.path).map_err(SessionError::failure)?;
    let card = model_card(&CardInput {
        record: &folder.record,
        arm: state.arms.first().map_or("", |arm| arm.name.as_str()),
        arms,
        events: &events,
        step: state.step,
        sites: &adapter.sites,
    });
    export(&folder.path, &adapter, &folder.record.config.model, &card)
        .map_err(SessionError::failure)
}

/// What the latest panic said and where, noted by the hook because the caught payload has no place.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panic messages for [`run`]'s failure report; they still go to stderr, and so to `trainer.log`.
///
/// The hook does not end the process: a library may catch a panic of its own thread and go on, as burn's
/// autotune does with a candidate that fails.
pub fn install_panic_hook() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        *locked(&LAST_PANIC) = Some(info.to_string());
    }));
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let said = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    let noted = locked(&LAST_PANIC).take();
    let what = noted.or(said).unwrap_or_else(|| "no message".into());
    format!(
        "The trainer failed in a way it did not expect: {what}. If it ran on a GPU, memory or the driver is the \
         likely cause: try smaller micro-batches, a shorter maximum length or --device cpu. Everything up to the \
         last checkpoint is saved."
    )
}
