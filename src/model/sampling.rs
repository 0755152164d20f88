//! Choosing the next token from its logits.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The logits are divided by it; 0 takes the likeliest token always.
    pub temperature: f64,
    /// Only the so many likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability (nucleus sampling, arXiv 1904.09751); 1 for all.
    pub top_p: f64,
    pub seed: u64,
}

impl Sampling {
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 };
}

/// Chooses the tokens of one sequence.
pub struct Sampler {
    sampling: Sampling,
    rng: Pcg64Mcg,
}

impl Sampler {
    /// Sequences of one batch draw independently: what one becomes does not depend on the others.
    pub fn new(sampling: Sampling, sequence: usize) -> Sampler {
        let seed =
            sampling.seed.wrapping_add((sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Sampler { sampling, rng: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// The next token; `None` where no logit is a number.
    pub fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        if self.sampling.temperature <= 0.0 {
            return likeliest(logits);
        }
        let candidates = self.candidates(logits)?;
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.random_range(0.0..1.0) * total;
        for &(id, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return Some(id);
            }
        }
        // Rounding alone gets here.
        candidates.last().map(|&(id, _)| id)
    }

    /// The tokens that may be chosen, each with a weight in proportion to its probability. As in transformers, the
    /// temperature comes first, then top k, then top p.
    fn candidates(&self, logits: &[f32]) -> Option<Vec<(u32, f64)>> {
        let Sampling { temperature, top_k, top_p, .. } = self.sampling;
        let top = f64::from(logits[likeliest(logits)? as usize]);
        let weight = |logit: f32| ((f64::from(logit) - top) / temperature).exp();
        let mut all: Vec<(u32, f64)> = (0..)
            .zip(logits)
            .filter(|(_, logit)| !logit.is_nan())
            .map(|(id, &logit)| (id, weight(logit)))
            .collect();
        // Equal ones in the order of the vocabulary.
        let likelier = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if (1..all.len()).contains(&top_k) {
            all.select_nth_unstable_by(top_k - 1, likelier);
            all.truncate(top_k);
        }
        if top_p < 1.0 {
            all.sort_unstable_by(likelier);
            let wanted = top_p * all.iter().map(|(_, weight)| weight).sum::<f64>();
            let mut sum = 0.0;
            let enough = all.iter().position(|(_, weight)| {
                sum += weight;
                sum >= wanted
            });
            all.truncate(enough.map_or(all.len(), |last| last + 1));
        }
        Some(all)
    }
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (id, &logit) in (0..).zip(logits) {
        if !logit.is_nan() && best.is_none_or(|(_, top)| logit > top) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of the given probabilities.
    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        let mut sampler = Sampler::new(sampling, 0);
        let mut counts = vec![0.0; logits.len()];
        let draws = 20_000;
        for _ in 0..draws {
            counts[sampler.choose(logits).unwrap() as usize] += 1.0 / f64::from(draws);
        }
        counts
    }

    #[track_caller]
    fn near(got: &[f64], want: &[f64]) {
        // Five standard deviations of a share near one half.
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.018), "{got:?}, not {want:?}");
    }

    #[test]
    fn shares_are_those_of_the_softmax() {
        let logits = logits(&[0.5, 0.2, 0.3]);
        let base = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 7 };
        near(&shares(base, &logits), &[0.5, 0.2, 0.3]);
        // p^2 renormalised.
        let sum = 0.25 + 0.04 + 0.09;
        let cold = Sampling { temperature: 0.5, ..base };
        near(&shares(cold, &logits), &[0.25 / sum, 0.04 / sum, 0.09 / sum]);
        near(&shares(Sampling { top_k: 2, ..base }, &logits), &[0.625, 0.0, 0.375]);
        // 0.5 is not enough, 0.5 + 0.3 is.
        near(&shares(Sampling { top_p: 0.7, ..base }, &logits), &[0.625, 0.0, 0.375]);
        near(&shares(Sampling { top_p: 0.4, ..base }, &logits), &[1.0, 0.0, 0.0]);
        // Top p counts within what top k leaves: 0.5 / 0.8 = 0.625 is enough for 0.6.
        let both = Sampling { top_k: 2, top_p: 0.6, ..base };
        near(&shares(both, &logits), &[1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_sequences_draw_their_own() {
        let logits = vec![0.0; 50];
        let draw = |seed, sequence| {
            let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed };
            let mut sampler = Sampler::new(sampling, sequence);
            (0..20).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest_and_no_nan() {
        let mut greedy = Sampler::new(Sampling::GREEDY, 0);
        assert_eq!(greedy.choose(&[f32::NAN, -1.0, 3.0, 3.0]), Some(2));
        assert_eq!(greedy.choose(&[f32::NAN]), None);
        let warm = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        assert_eq!(Sampler::new(warm, 0).choose(&[f32::NAN, f32::NEG_INFINITY, 0.0]), Some(2));
    }
}
