//! Per-pair results of one arm to the metrics of an event.

use super::event::{Metrics, ProbePair};
use super::state::Reference;
use crate::insight::percentile;
use crate::loss::PairLogps;

/// One pair under one arm.
#[derive(Clone, Copy, Debug)]
pub struct PairResult {
    pub row: usize,
    pub logps: PairLogps,
    pub loss: f64,
    pub chosen_tokens: usize,
    pub rejected_tokens: usize,
}

impl PairResult {
    pub fn probe_pair(&self) -> ProbePair {
        ProbePair {
            row: self.row,
            chosen: self.logps.chosen,
            rejected: self.logps.rejected,
            ref_chosen: self.logps.ref_chosen,
            ref_rejected: self.logps.ref_rejected,
            chosen_tokens: self.chosen_tokens,
            rejected_tokens: self.rejected_tokens,
        }
    }
}

/// Joins policy sums and reference to what a loss takes.
pub fn pair_logps((chosen, rejected): (f64, f64), reference: Reference) -> PairLogps {
    PairLogps { chosen, rejected, ref_chosen: reference.chosen, ref_rejected: reference.rejected }
}

/// Means over the pairs; `logps_per_token` are token-weighted means. Rewards are beta times log-ratio, as in TRL;
/// an accuracy of 1 means that every pair's chosen log-ratio is strictly above its rejected one.
pub fn metrics(results: &[PairResult], beta: f64) -> Metrics {
    let n = results.len().max(1) as f64;
    let sum = |f: &dyn Fn(&PairResult) -> f64| results.iter().map(f).sum::<f64>();
    let mean = |f: &dyn Fn(&PairResult) -> f64| sum(f) / n;
    let chosen_tokens = sum(&|r| r.chosen_tokens as f64).max(1.0);
    let rejected_tokens = sum(&|r| r.rejected_tokens as f64).max(1.0);
    let named = [
        ("loss", mean(&|r| r.loss)),
        ("logps/chosen", mean(&|r| r.logps.chosen)),
        ("logps/rejected", mean(&|r| r.logps.rejected)),
        ("logps_per_token/chosen", sum(&|r| r.logps.chosen) / chosen_tokens),
        ("logps_per_token/rejected", sum(&|r| r.logps.rejected) / rejected_tokens),
        ("reference/chosen", mean(&|r| r.logps.ref_chosen)),
        ("reference/rejected", mean(&|r| r.logps.ref_rejected)),
        ("reference_per_token/chosen", sum(&|r| r.logps.ref_chosen) / chosen_tokens),
        ("reference_per_token/rejected", sum(&|r| r.logps.ref_rejected) / rejected_tokens),
        ("rewards/chosen", beta * mean(&|r| r.logps.chosen_ratio())),
        ("rewards/rejected", beta * mean(&|r| r.logps.rejected_ratio())),
        ("rewards/margins", beta * mean(&|r| r.logps.margin())),
        ("rewards/accuracies", mean(&|r| f64::from(r.logps.margin() > 0.0))),
        ("dpop/penalty", mean(&|r| r.logps.penalty())),
        ("dpop/active", mean(&|r| f64::from(r.logps.penalty() > 0.0))),
    ];
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// 10th and 90th percentile over the pairs of each answer's mean log-probability per token (nats): the band around the
/// curves of [`metrics`].
pub fn spread(results: &[PairResult]) -> Metrics {
    type PerToken = fn(&PairResult) -> f64;
    let sides: [(&str, PerToken); 2] = [
        ("chosen", |r| r.logps.chosen / r.chosen_tokens.max(1) as f64),
        ("rejected", |r| r.logps.rejected / r.rejected_tokens.max(1) as f64),
    ];
    let mut values = Metrics::new();
    for (side, per_token) in sides {
        let mut sorted: Vec<f64> = results.iter().map(per_token).collect();
        sorted.sort_by(f64::total_cmp);
        for (name, q) in [("p10", 0.1), ("p90", 0.9)] {
            if let Some(value) = percentile(&sorted, q) {
                values.insert(format!("logps_per_token/{side}_{name}"), value);
            }
        }
    }
    values
}
