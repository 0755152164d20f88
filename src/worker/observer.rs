//! What the loop reports, made durable and passed on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::protocol::{Reporter, locked};
use super::session::Outside;
use crate::data::tokenizer::Tokenizer;
use crate::model::generate::Finish;
use crate::run::checkpoint;
use crate::run::events::EventLog;
use crate::run::folder::RunFolder;
use crate::run::probe_records::{ProbeRecorder, Tokens};
use crate::train::event::{Event, SampleText};
use crate::train::state::TrainState;
use crate::train::{Control, Observer, PairAnswers, ProbeScores};

/// Events go to the run folder's log (once it is open) and to the reporter.
pub struct Journal {
    log: Mutex<Option<EventLog>>,
    reporter: Arc<dyn Reporter>,
}

impl Journal {
    pub fn new(reporter: Arc<dyn Reporter>) -> Journal {
        Journal { log: Mutex::new(None), reporter }
    }

    pub fn open(&self, log: EventLog) {
        *locked(&self.log) = Some(log);
    }

    /// Records and reports; an error means that the log cannot be written.
    pub fn emit(&self, event: Event) -> anyhow::Result<()> {
        let logged = locked(&self.log).as_mut().map_or(Ok(()), |log| log.append(&event));
        self.reporter.report(&event);
        Ok(logged?)
    }

    /// As [`Self::emit`] for the last words of a session, where a full disk changes nothing any more.
    pub fn tell(&self, event: Event) {
        let _ = self.emit(event);
    }

    fn sync(&self) -> anyhow::Result<()> {
        Ok(locked(&self.log).as_ref().map_or(Ok(()), EventLog::sync)?)
    }
}

/// The loop's observer in a run folder.
pub struct RunObserver<'a> {
    journal: &'a Journal,
    outside: &'a Outside,
    folder: &'a RunFolder,
    records: Option<ProbeRecorder>,
    /// `None` where the data are token ids and the model has no tokenizer.
    tokenizer: Option<Tokenizer>,
    last_checkpoint: Option<PathBuf>,
}

impl<'a> RunObserver<'a> {
    /// `resumed_from` is the checkpoint a resumed run started at.
    pub fn new(
        journal: &'a Journal,
        outside: &'a Outside,
        folder: &'a RunFolder,
        records: Option<ProbeRecorder>,
        tokenizer: Option<Tokenizer>,
        resumed_from: Option<PathBuf>,
    ) -> RunObserver<'a> {
        RunObserver { journal, outside, folder, records, tokenizer, last_checkpoint: resumed_from }
    }

    /// A text as people read it: without special tokens.
    fn text(&self, ids: &[u32]) -> anyhow::Result<String> {
        Ok(match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode_answer(ids)?,
            None => Tokens::new(ids, None).texts.concat(),
        })
    }

    pub fn into_last_checkpoint(self) -> Option<PathBuf> {
        self.last_checkpoint
    }
}

impl Observer for RunObserver<'_> {
    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        self.journal.emit(event)
    }

    fn probe(&mut self, scores: &ProbeScores<'_>) -> anyhow::Result<()> {
        Ok(self.records.as_ref().map_or(Ok(()), |records| records.write(scores))?)
    }

    fn answers(&mut self, answers: &PairAnswers<'_>) -> anyhow::Result<()> {
        let pair = answers.pair;
        let mut arms = BTreeMap::new();
        for (name, generated) in &answers.arms {
            let text = self.text(&generated.ids)?;
            let ended = generated.finish == Finish::End;
            arms.insert((*name).to_owned(), SampleText { text, ended });
        }
        self.journal.emit(Event::Sample {
            step: answers.step,
            row: pair.row,
            prompt: self.text(&pair.prompt_ids)?,
            chosen: self.text(&pair.chosen_ids)?,
            arms,
        })
    }

    fn checkpoint(&mut self, state: &TrainState) -> anyhow::Result<PathBuf> {
        // The log first: a checkpoint whose steps are not in the log would leave a hole in the charts.
        self.journal.sync()?;
        let written =
            checkpoint::write(&self.folder.path, state, &self.folder.record.config.model)?;
        self.last_checkpoint = Some(written.path.clone());
        self.journal.emit(Event::Checkpoint { step: state.step, path: written.path.clone() })?;
        for message in written.warnings {
            self.journal.emit(Event::Warning { message })?;
        }
        Ok(written.path)
    }

    fn control(&mut self, step: usize) -> anyhow::Result<Control> {
        let controls = &self.outside.controls;
        if controls.pause_asked() && !controls.stop_asked() {
            self.journal.emit(Event::Paused { step })?;
            self.outside.enter("paused");
            controls.wait_while_paused();
            if !controls.stop_asked() {
                self.journal.emit(Event::Resumed { step })?;
                self.outside.enter("training");
            }
        }
        if controls.stop_asked() {
            self.outside.enter("saving a checkpoint");
            return Ok(Control::Stop);
        }
        Ok(Control::Continue)
    }
}
