//! Answers during training: what every arm says to a few prompts of the probe. Greedy, so that nothing is drawn, and
//! the state of the training is only read: a run is the same with and without them.

use std::ops::ControlFlow;

use super::event::REFERENCE;
use super::trainer::Trainer;
use super::{Observer, PairAnswers};
use crate::data::pair::TokenizedPair;
use crate::model::Updates;
use crate::model::generate::{GenerateOptions, Generated, check_prompt};
use crate::model::sampling::Sampling;

/// What is asked and how long an answer may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// The first so many pairs of the probe.
    pub prompts: usize,
    /// New tokens of one answer at most.
    pub tokens: usize,
    /// Tokens that end an answer.
    pub end_ids: Vec<u32>,
}

impl Trainer {
    /// Lets the base model (before the first update) and every arm answer, and reports.
    pub(super) fn answer_samples(&self, observer: &mut dyn Observer) -> anyhow::Result<()> {
        let Some(samples) = &self.samples else { return Ok(()) };
        // A prompt that fills the model's context leaves no room for an answer.
        let limit = self.model.config.max_position_embeddings;
        let room = |pair: &&TokenizedPair| check_prompt(pair.prompt_ids.len(), limit).is_ok();
        let pairs: Vec<_> = self.probe.iter().filter(room).take(samples.prompts).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let prompts: Vec<Vec<u32>> = pairs.iter().map(|pair| pair.prompt_ids.clone()).collect();
        let options = GenerateOptions {
            max_new_tokens: samples.tokens,
            sampling: Sampling::GREEDY,
            end_ids: samples.end_ids.clone(),
        };
        let answer = |updates: Option<&Updates>| {
            let go_on = |_, _| ControlFlow::Continue(());
            self.model.generate(&prompts, updates, &options, go_on)
        };
        let mut voices: Vec<(&str, Vec<Generated>)> = Vec::new();
        if self.state.step == 0 {
            voices.push((REFERENCE, answer(None)?));
        }
        for arm in &self.state.arms {
            let layers = self.model.config.num_layers;
            let updates = arm.adapter.upload(layers, self.model.device(), None);
            voices.push((&arm.name, answer(Some(&updates))?));
        }
        for (number, pair) in pairs.into_iter().enumerate() {
            let arms = voices.iter().map(|(name, answers)| (*name, &answers[number])).collect();
            observer.answers(&PairAnswers { step: self.state.step, pair, arms })?;
        }
        Ok(())
    }
}
