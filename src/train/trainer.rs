//! Trains every arm in lock-step on the same batches over the same frozen base.

use std::collections::BTreeMap;
use std::time::Instant;

use super::event::{ArmInfo, ArmMetrics, Event};
use super::metrics::{PairResult, metrics, pair_logps};
use super::optimizer::{adamw, clip, global_norm};
use super::schedule::{DataOrder, learning_rate};
use super::state::{ArmState, Reference, TrainState};
use super::stop::NotANumber;
use super::{Control, Observer, Outcome, Samples};
use crate::config::{ArmConfig, RunConfig};
use crate::data::pair::TokenizedPair;
use crate::lora::{LoraAdapter, LoraConfig};
use crate::loss::Objective;
use crate::model::config::ModelConfig;
use crate::model::layout::PackedBatch;
use crate::model::{DeviceBatch, Model, PairScore, Updates, entry_weights, pair_scores, read};

/// One loss under training: its name, formula, and adapter on the device.
pub(super) struct Arm {
    pub name: String,
    pub objective: Objective,
    /// By which rewards are scaled.
    pub beta: f64,
    pub updates: Updates,
}

/// A run between two steps.
pub struct Trainer {
    pub(super) model: Model,
    pub(super) config: RunConfig,
    train: Vec<TokenizedPair>,
    pub(super) probe: Vec<TokenizedPair>,
    order: DataOrder,
    pub(super) arms: Vec<Arm>,
    pub(super) state: TrainState,
    /// How far (nats per token) the kept arm's chosen answers lay below the reference at the latest probe.
    pub(super) chosen_depth: Option<f64>,
    pub(super) samples: Option<Samples>,
}

impl Trainer {
    /// `state` goes on with a stopped run; else every arm starts from `init`, or from one fresh adapter that all
    /// arms share.
    ///
    /// # Errors
    /// When there is nothing to train on, or `state` does not fit the configuration.
    pub fn new(
        model: Model,
        config: &RunConfig,
        train: Vec<TokenizedPair>,
        probe: Vec<TokenizedPair>,
        state: Option<TrainState>,
        init: Option<LoraAdapter>,
    ) -> anyhow::Result<Trainer> {
        anyhow::ensure!(
            !train.is_empty(),
            "no pairs to train on are left; lower the held-out share or raise max-length"
        );
        let wanted = config.arms();
        let state = match state {
            Some(state) => state,
            None => fresh_state(&model, config, &wanted, init),
        };
        let names = |names: Vec<&str>| names.join(", ");
        let held = names(state.arms.iter().map(|arm| arm.name.as_str()).collect());
        let asked = names(wanted.iter().map(|arm| arm.name.as_str()).collect());
        anyhow::ensure!(
            held == asked,
            "the checkpoint holds the arms {held} and the run asks for {asked}"
        );
        let arms = wanted.into_iter().map(|ArmConfig { name, config }| Arm {
            name,
            objective: Objective::from_config(&config),
            beta: config.beta,
            updates: Updates(Vec::new()),
        });
        let arms = arms.collect();
        let order = DataOrder::new(train.len(), config);
        Ok(Trainer {
            model,
            config: config.clone(),
            train,
            probe,
            order,
            arms,
            state,
            chosen_depth: None,
            samples: None,
        })
    }

    /// Lets every arm answer prompts of the probe at the start and at every checkpoint.
    pub fn with_samples(self, samples: Option<Samples>) -> Trainer {
        Trainer { samples, ..self }
    }

    pub fn arms(&self) -> Vec<ArmInfo> {
        let info = |(i, arm): (usize, &Arm)| ArmInfo {
            name: arm.name.clone(),
            objective: arm.objective.describe(),
            kept: i == 0,
        };
        self.arms.iter().enumerate().map(info).collect()
    }

    pub fn state(&self) -> &TrainState {
        &self.state
    }

    pub fn model_config(&self) -> &ModelConfig {
        &self.model.config
    }

    /// Updates of the whole run.
    pub fn steps(&self) -> usize {
        self.order.total_steps(self.config.budget)
    }

    pub fn steps_per_epoch(&self) -> usize {
        self.order.steps_per_epoch()
    }

    /// Trains to the end or until the observer says stop; the last thing it does is a checkpoint.
    ///
    /// # Errors
    /// When the device or the observer fails, or the loss stops being a number.
    pub fn run(&mut self, observer: &mut dyn Observer) -> anyhow::Result<Outcome> {
        let total = self.steps();
        if self.state.step == 0 {
            self.probe(observer)?;
            self.answer_samples(observer)?;
        }
        while self.state.step < total {
            if observer.control(self.state.step)? == Control::Stop {
                observer.checkpoint(&self.state)?;
                return Ok(Outcome::Stopped);
            }
            let event = match self.step() {
                Err(error) if self.ends_on_nan(&error) => {
                    observer.checkpoint(&self.state)?;
                    return Ok(Outcome::Ended { reason: error.to_string() });
                }
                event => event?,
            };
            observer.event(event)?;
            let step = self.state.step;
            let mut ending = None;
            if step.is_multiple_of(self.config.eval_every) || step == total {
                self.probe(observer)?;
                ending = self.reason_to_end().filter(|_| step < total);
            }
            if step.is_multiple_of(self.config.save_every) || step == total || ending.is_some() {
                self.answer_samples(observer)?;
                observer.checkpoint(&self.state)?;
            }
            if let Some(reason) = ending {
                return Ok(Outcome::Ended { reason });
            }
        }
        Ok(Outcome::Finished)
    }

    /// One update of every arm.
    ///
    /// # Errors
    /// When the device fails or the loss stops being a number.
    pub fn step(&mut self) -> anyhow::Result<Event> {
        let started = Instant::now();
        let indices = self.order.batch(self.state.step);
        let lr = learning_rate(&self.config, self.state.step, self.steps());
        let seed = (self.config.seed as u32).wrapping_add(self.state.step as u32);
        for (arm, state) in self.arms.iter_mut().zip(&self.state.arms) {
            let layers = self.model.config.num_layers;
            arm.updates = state.adapter.upload(layers, self.model.device(), Some(seed));
        }
        let size = indices.len();
        let parameters = self.state.arms[0].adapter.values.len();
        let mut grads = vec![vec![0.0f32; parameters]; self.arms.len()];
        let mut results = vec![Vec::with_capacity(size); self.arms.len()];
        let mut tokens = 0;
        for micro in indices.chunks(self.config.micro_batch_pairs) {
            let packed = PackedBatch::new(micro.iter().map(|&i| &self.train[i]));
            let batch = self.model.upload(&packed);
            tokens += micro.iter().map(|&i| pair_tokens(&self.train[i])).sum::<usize>();
            self.fill_references(micro, &packed, &batch)?;
            for (arm, (grads, results)) in grads.iter_mut().zip(&mut results).enumerate() {
                self.accumulate(arm, micro, &packed, &batch, size, grads, results)?;
            }
        }
        // All before any: an arm that fails must not leave the others a step ahead.
        let norms = self.norms(&grads)?;
        let mut arms = ArmMetrics::new();
        for (i, (mut grads, results)) in grads.into_iter().zip(results).enumerate() {
            let norm = norms[i];
            self.update(i, &mut grads, norm, lr);
            let mut values = metrics(&results, self.arms[i].beta);
            values.insert("grad_norm".to_owned(), norm);
            values.insert("learning_rate".to_owned(), lr);
            arms.insert(self.arms[i].name.clone(), values);
        }
        self.state.step += 1;
        self.state.num_tokens += tokens as u64;
        let seconds = started.elapsed().as_secs_f64();
        self.state.elapsed += seconds;
        Ok(Event::Step {
            step: self.state.step,
            epoch: self.state.step as f64 / self.steps_per_epoch() as f64,
            elapsed: self.state.elapsed,
            tokens_per_second: tokens as f64 / seconds,
            num_tokens: self.state.num_tokens,
            memory_bytes: memory_stats::memory_stats().map_or(0, |m| m.physical_mem as u64),
            arms,
        })
    }

    /// The base model's log-probabilities of pairs seen for the first time: in the same layout and kernels as the
    /// policy's, so that the log-ratio of an untrained adapter is exactly zero and not noise across the kink.
    fn fill_references(
        &mut self,
        indices: &[usize],
        packed: &PackedBatch,
        batch: &DeviceBatch,
    ) -> anyhow::Result<()> {
        if indices.iter().all(|i| self.state.references.contains_key(i)) {
            return Ok(());
        }
        let scores = pair_scores(packed, &read(self.model.log_probs(batch, None)?)?);
        for (&i, score) in indices.iter().zip(&scores) {
            let (chosen, rejected) = score.sums();
            self.state.references.entry(i).or_insert(Reference { chosen, rejected });
        }
        Ok(())
    }

    /// Adds one micro-batch's gradients of one arm.
    #[expect(clippy::too_many_arguments, reason = "one call site; each is a different thing")]
    fn accumulate(
        &self,
        arm: usize,
        indices: &[usize],
        packed: &PackedBatch,
        batch: &DeviceBatch,
        batch_size: usize,
        grads: &mut [f32],
        results: &mut Vec<PairResult>,
    ) -> anyhow::Result<()> {
        let Arm { objective, updates, .. } = &self.arms[arm];
        let (logps, saved) = self.model.forward(batch, updates)?;
        let scores = pair_scores(packed, &read(logps)?);
        let mut derivatives = Vec::with_capacity(indices.len());
        for (&i, score) in indices.iter().zip(&scores) {
            let reference = self.state.references.get(&i);
            let reference =
                reference.ok_or_else(|| anyhow::anyhow!("pair {i} has no reference"))?;
            let result = self.result(objective, &self.train[i], score, *reference);
            let output = objective.evaluate(&result.logps);
            let share = 1.0 / batch_size as f64;
            derivatives.push((output.d_chosen * share, output.d_rejected * share));
            results.push(result);
        }
        let weights = entry_weights(packed, &derivatives);
        let block_grads = self.model.backward(batch, updates, saved, &weights)?;
        let own = self.state.arms[arm].adapter.read_grads(block_grads)?;
        for (sum, g) in grads.iter_mut().zip(own) {
            *sum += g;
        }
        Ok(())
    }

    pub(super) fn result(
        &self,
        objective: &Objective,
        pair: &TokenizedPair,
        score: &PairScore,
        reference: Reference,
    ) -> PairResult {
        let logps = pair_logps(score.sums(), reference);
        PairResult {
            row: pair.row,
            logps,
            loss: objective.evaluate(&logps).loss,
            chosen_tokens: score.chosen.len(),
            rejected_tokens: score.rejected.len(),
        }
    }

    /// Every arm's gradient norm.
    fn norms(&self, grads: &[Vec<f32>]) -> anyhow::Result<Vec<f64>> {
        let named = self.arms.iter().zip(grads);
        let norm = |(arm, grads): (&Arm, &Vec<f32>)| {
            let norm = global_norm(grads);
            let step = self.state.step + 1;
            if norm.is_finite() {
                Ok(norm)
            } else {
                Err(NotANumber { arm: arm.name.clone(), step })
            }
        };
        Ok(named.map(norm).collect::<Result<_, _>>()?)
    }

    /// Clips and applies one arm's gradients.
    fn update(&mut self, arm: usize, grads: &mut [f32], norm: f64, lr: f64) {
        if let Some(limit) = self.config.max_grad_norm {
            clip(grads, norm, limit);
        }
        let step = self.state.step + 1;
        adamw(&mut self.state.arms[arm], grads, step, lr, self.config.weight_decay);
    }
}

/// Tokens of both sequences of a pair, each counted whole: what a trainer without shared prefixes would compute.
fn pair_tokens(pair: &TokenizedPair) -> usize {
    2 * pair.prompt_ids.len() + pair.chosen_ids.len() + pair.rejected_ids.len()
}

fn fresh_state(
    model: &Model,
    config: &RunConfig,
    arms: &[ArmConfig],
    init: Option<LoraAdapter>,
) -> TrainState {
    let lora = LoraConfig {
        rank: config.rank,
        alpha: config.alpha,
        targets: config.targets.clone(),
        dropout: config.dropout,
        rslora: config.rslora,
    };
    let adapter = init.unwrap_or_else(|| LoraAdapter::init(lora, &model.config, config.seed));
    let arms = arms.iter().map(|arm| ArmState {
        name: arm.name.clone(),
        first_moment: vec![0.0; adapter.values.len()],
        second_moment: vec![0.0; adapter.values.len()],
        adapter: adapter.clone(),
        collapsed_at: None,
    });
    TrainState {
        step: 0,
        num_tokens: 0,
        elapsed: 0.0,
        arms: arms.collect(),
        references: BTreeMap::new(),
        probe_references: BTreeMap::new(),
        probe_margins: Vec::new(),
    }
}
