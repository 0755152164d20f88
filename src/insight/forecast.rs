//! A preference set before training: which pairs plain DPO is likely to hurt.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::displacement::WrongWay;
use super::spread::Histogram;
use crate::data::analysis::{Duplicate, PairDistance};

/// Bins of the histograms.
const BINS: usize = 12;

/// One pair under the base model. Log-probabilities in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairForecast {
    /// Position among the file's rows, counted from 0.
    pub row: usize,
    /// `edits`, `normalised`, `first_difference`.
    pub distance: PairDistance,
    /// [`super::displacement::ches`].
    pub ches: f64,
    pub wrong_way: WrongWay,
    /// [`super::displacement::surprise`]: the pairs are listed by it.
    pub surprise: f64,
    pub chosen_per_token: f64,
    pub rejected_per_token: f64,
}

impl PairForecast {
    /// The model finds the rejected answer the likelier one, token by token: the labels may be swapped, or the model
    /// does not know better yet.
    pub fn looks_swapped(&self) -> bool {
        self.rejected_per_token > self.chosen_per_token
    }
}

/// The set as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// In the order of the file.
    pub pairs: Vec<PairForecast>,
    /// Rows of `pairs`, the first to fall first.
    pub first_to_fall: Vec<usize>,
    /// Rows of `pairs` that [`PairForecast::looks_swapped`].
    pub swapped_looking: Vec<usize>,
    /// Rows that repeat an earlier one, all of the file.
    pub duplicates: Vec<Duplicate>,
    pub edit_distance: Option<Histogram>,
    pub ches: Option<Histogram>,
    /// Shares of the pairs that have one.
    pub wrong_way: Option<Histogram>,
    pub surprise: Option<Histogram>,
}

impl Forecast {
    pub fn new(pairs: Vec<PairForecast>, duplicates: Vec<Duplicate>) -> Forecast {
        let histogram = |value: fn(&PairForecast) -> Option<f64>| {
            let values: Vec<f64> = pairs.iter().filter_map(value).collect();
            Histogram::of(&values, BINS)
        };
        let mut order: Vec<&PairForecast> = pairs.iter().collect();
        // Stable: pairs of equal surprise stay in the order of the file.
        order.sort_by(|a, b| b.surprise.total_cmp(&a.surprise));
        Forecast {
            first_to_fall: order.into_iter().map(|pair| pair.row).collect(),
            swapped_looking: pairs
                .iter()
                .filter(|pair| pair.looks_swapped())
                .map(|pair| pair.row)
                .collect(),
            edit_distance: histogram(|pair| Some(pair.distance.normalised)),
            ches: histogram(|pair| Some(pair.ches)),
            wrong_way: histogram(|pair| pair.wrong_way.share()),
            surprise: histogram(|pair| Some(pair.surprise)),
            duplicates,
            pairs,
        }
    }
}

/// Which pairs to keep. Without a rule all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    pub min_edit_distance: Option<f64>,
    pub max_ches: Option<f64>,
    pub max_wrong_way: Option<f64>,
    pub max_surprise: Option<f64>,
    pub drop_duplicates: bool,
    pub drop_swapped: bool,
}

impl Filter {
    /// Rows of `forecast` that pass every rule, rising. A pair without a wrong-way share passes that rule.
    pub fn rows(&self, forecast: &Forecast) -> Vec<usize> {
        let below = |limit: Option<f64>, value: f64| limit.is_none_or(|limit| value <= limit);
        let repeated: HashSet<usize> = forecast.duplicates.iter().map(|d| d.row).collect();
        let mut rows: Vec<usize> = forecast
            .pairs
            .iter()
            .filter(|pair| {
                self.min_edit_distance.is_none_or(|limit| pair.distance.normalised >= limit)
                    && below(self.max_ches, pair.ches)
                    && pair.wrong_way.share().is_none_or(|share| below(self.max_wrong_way, share))
                    && below(self.max_surprise, pair.surprise)
                    && !(self.drop_duplicates && repeated.contains(&pair.row))
                    && !(self.drop_swapped && pair.looks_swapped())
            })
            .map(|pair| pair.row)
            .collect();
        rows.sort_unstable();
        rows
    }
}
