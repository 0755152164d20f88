//! What the next update does to a pair, from the gradients of its two log-probabilities.
//!
//! Let `gw`, `gl` be the gradients of the chosen and the rejected answer's summed log-probability by the adapter. A step
//! down a loss with derivatives `dw = dL/dlw`, `dl = dL/dll` on this pair alone changes them, to first order, by
//!
//! ```text
//! chosen:   -(dw |gw|^2 + dl <gw, gl>)        rejected:   -(dw <gw, gl> + dl |gl|^2)
//! ```
//!
//! With `r = -dw / dl` the chosen answer does not fall and the rejected one does not rise exactly if
//!
//! ```text
//! <gw, gl> / |gw|^2  <=  r  <=  |gl|^2 / <gw, gl>
//! ```
//!
//! (no upper end where `<gw, gl> <= 0`): the disentanglement band of Chen et al., arXiv 2604.18239, `rho a <= r <= a / rho`
//! with `a = |gl| / |gw|` and `rho` the cosine between them. DPO has `r = 1`, DPOP `1 + lambda` while its penalty
//! acts. A real update differs: it is made of a batch, and AdamW rescales it. How often the test is right is
//! therefore counted ([`Calibration`]).

use serde::{Deserialize, Serialize};

use crate::loss::LossOutput;

/// Inner products of one pair's two gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientProducts {
    /// `<gw, gl>`
    pub inner: f64,
    /// `|gw|^2`
    pub chosen: f64,
    /// `|gl|^2`
    pub rejected: f64,
}

/// The values of `r` for which a step lowers the rejected answer and not the chosen one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    pub low: f64,
    /// `None`: no upper end.
    pub high: Option<f64>,
}

impl Band {
    pub fn holds(&self, ratio: f64) -> bool {
        self.low <= ratio && self.high.is_none_or(|high| ratio <= high)
    }
}

impl GradientProducts {
    /// Summed in f64, in the order of the parameters.
    pub fn of(chosen: &[f32], rejected: &[f32]) -> GradientProducts {
        let mut products = GradientProducts { inner: 0.0, chosen: 0.0, rejected: 0.0 };
        for (&w, &l) in chosen.iter().zip(rejected) {
            let (w, l) = (f64::from(w), f64::from(l));
            products.inner += w * l;
            products.chosen += w * w;
            products.rejected += l * l;
        }
        products
    }

    pub fn are_finite(&self) -> bool {
        [self.inner, self.chosen, self.rejected].iter().all(|product| product.is_finite())
    }

    /// First-order change of the chosen answer's log-probability by a step of length 1 down the loss.
    pub fn chosen_change(&self, loss: &LossOutput) -> f64 {
        -(loss.d_chosen * self.chosen + loss.d_rejected * self.inner)
    }

    /// A step of plain DPO would make the chosen answer less likely.
    pub fn dpo_lowers_chosen(&self) -> bool {
        self.inner > self.chosen
    }

    /// `None` where the chosen answer has no gradient.
    pub fn band(&self) -> Option<Band> {
        (self.chosen > 0.0).then(|| Band {
            low: (self.inner / self.chosen).max(0.0),
            high: (self.inner > 0.0).then(|| self.rejected / self.inner),
        })
    }
}

/// `r = -(dL/dlw) / (dL/dll)`; `None` where the loss does not push the rejected answer.
pub fn push_ratio(loss: &LossOutput) -> Option<f64> {
    (loss.d_rejected != 0.0).then(|| -loss.d_chosen / loss.d_rejected)
}

/// How often the forecasts of a run were right, each compared with the next probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Pairs that were said to fall.
    pub warnings: usize,
    /// Those of them that had fallen by the next probe.
    pub came_true: usize,
    /// Pairs that were not said to fall.
    pub quiet: usize,
    /// Those of them that fell all the same.
    pub fell_anyway: usize,
}

impl Calibration {
    pub fn count(&mut self, warned: bool, fell: bool) {
        let (all, fallen) = if warned {
            (&mut self.warnings, &mut self.came_true)
        } else {
            (&mut self.quiet, &mut self.fell_anyway)
        };
        *all += 1;
        *fallen += usize::from(fell);
    }

    /// What a forecast of this run is worth, in words; `None` before the first could be checked.
    pub fn sentence(&self) -> Option<String> {
        let percent = |part: usize, all: usize| (100.0 * part as f64 / all as f64).round();
        let Calibration { warnings, came_true, quiet, fell_anyway } = *self;
        let without = match quiet {
            0 => "There was no pair without a warning.".to_owned(),
            _ => format!(
                "Of {quiet} pairs without a warning {fell_anyway} fell too ({} %).",
                percent(fell_anyway, quiet)
            ),
        };
        match (warnings, quiet) {
            (0, 0) => None,
            (0, _) => Some(format!("No warning so far. {without}")),
            _ => Some(format!(
                "{came_true} of {warnings} warnings came true by the next probe ({} %). {without}",
                percent(came_true, warnings)
            )),
        }
    }
}
