//! Learning rate and order of the data, both functions of the step alone, so that a resumed run goes on alike.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use crate::config::{Budget, RunConfig, Schedule};

/// Learning rate of the update after `done` updates of `total` (Hugging Face's schedules: the warm-up's first
/// update has rate 0).
pub fn learning_rate(config: &RunConfig, done: usize, total: usize) -> f64 {
    let warmup = config.warmup_steps;
    let factor = if done < warmup {
        done as f64 / warmup.max(1) as f64
    } else {
        let span = total.saturating_sub(warmup).max(1) as f64;
        let progress = ((done - warmup) as f64 / span).min(1.0);
        match config.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    };
    config.learning_rate * factor
}

/// Which pairs each step trains on: epochs of a seeded shuffle; the last batch of an epoch may be short.
#[derive(Clone, Debug)]
pub struct DataOrder {
    pairs: usize,
    batch: usize,
    seed: Option<u64>,
    /// The shuffle in hand: epoch and order.
    current: Option<(usize, Vec<usize>)>,
}

impl DataOrder {
    pub fn new(pairs: usize, config: &RunConfig) -> Self {
        let seed = config.shuffle.then_some(config.seed);
        DataOrder { pairs, batch: config.batch_pairs, seed, current: None }
    }

    pub fn steps_per_epoch(&self) -> usize {
        self.pairs.div_ceil(self.batch).max(1)
    }

    /// Steps of the whole run.
    pub fn total_steps(&self, budget: Budget) -> usize {
        match budget {
            Budget::Steps(steps) => steps,
            Budget::Epochs(epochs) => (epochs * self.steps_per_epoch() as f64).ceil() as usize,
        }
    }

    /// Indices of the pairs of step `step`, counted from 0.
    pub fn batch(&mut self, step: usize) -> Vec<usize> {
        let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let batch = self.batch;
        self.epoch(epoch).iter().skip(within * batch).take(batch).copied().collect()
    }

    fn epoch(&mut self, epoch: usize) -> &[usize] {
        let (pairs, seed) = (self.pairs, self.seed);
        let stale = self.current.as_ref().is_none_or(|(current, _)| *current != epoch);
        if stale {
            self.current = None;
        }
        let (_, order) = self.current.get_or_insert_with(|| {
            let mut order: Vec<usize> = (0..pairs).collect();
            if let Some(seed) = seed {
                let mut rng = Pcg64Mcg::seed_from_u64(seed.wrapping_add((epoch as u64) << 32));
                order.shuffle(&mut rng);
            }
            (epoch, order)
        });
        order
    }
}
