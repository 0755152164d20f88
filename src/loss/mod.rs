//! Preference losses as pure functions of four numbers.
//!
//! Notation of the formulas: `lw`, `ll` are the policy's summed log-probabilities of the chosen and the
//! rejected completion, `rw = lw - lw_ref` and `rl = ll - ll_ref` the log-ratios to the reference, and
//! `delta = rw - rl` the margin. All in nats, all in f64 on the host.

mod cdpo;
mod dpop;
mod hinge;
mod ipo;
mod logistic;
mod sft;

use crate::config::{ObjectiveKind, RunConfig};

/// Summed log-probabilities of one pair (nats): policy and reference, chosen and rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLogps {
    pub chosen: f64,
    pub rejected: f64,
    pub ref_chosen: f64,
    pub ref_rejected: f64,
}

impl PairLogps {
    /// `rw`: log-ratio of the chosen completion to the reference.
    pub fn chosen_ratio(&self) -> f64 {
        self.chosen - self.ref_chosen
    }

    /// `rl`: log-ratio of the rejected completion to the reference.
    pub fn rejected_ratio(&self) -> f64 {
        self.rejected - self.ref_rejected
    }

    /// `delta = rw - rl`.
    pub fn margin(&self) -> f64 {
        self.chosen_ratio() - self.rejected_ratio()
    }

    /// What DPOP's lambda multiplies: `max(0, -rw)`, above zero where the chosen completion has become
    /// less likely than under the reference.
    pub fn penalty(&self) -> f64 {
        (-self.chosen_ratio()).max(0.0)
    }
}

/// Loss of one pair and its derivatives by the policy's summed log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOutput {
    pub loss: f64,
    pub d_chosen: f64,
    pub d_rejected: f64,
}

/// A loss with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    Dpop { beta: f64, lambda: f64 },
    Dpo { beta: f64 },
    Ipo { beta: f64 },
    Hinge { beta: f64 },
    Cdpo { beta: f64, label_smoothing: f64 },
    Sft,
}

impl Objective {
    /// The objective of `config` with its parameters. For a run of several arms see [`RunConfig::arms`].
    pub fn from_config(config: &RunConfig) -> Objective {
        let beta = config.beta;
        match config.objective {
            ObjectiveKind::Dpop => Objective::Dpop { beta, lambda: config.lambda },
            ObjectiveKind::Dpo => Objective::Dpo { beta },
            ObjectiveKind::Ipo => Objective::Ipo { beta },
            ObjectiveKind::Hinge => Objective::Hinge { beta },
            ObjectiveKind::Cdpo => {
                Objective::Cdpo { beta, label_smoothing: config.label_smoothing }
            }
            ObjectiveKind::Sft => Objective::Sft,
        }
    }

    /// Loss and derivatives of one pair. Pairs are averaged by the caller.
    pub fn evaluate(&self, pair: &PairLogps) -> LossOutput {
        match *self {
            Objective::Dpop { beta, lambda } => dpop::evaluate(pair, beta, lambda),
            Objective::Dpo { beta } => dpop::evaluate(pair, beta, 0.0),
            Objective::Ipo { beta } => ipo::evaluate(pair, beta),
            Objective::Hinge { beta } => hinge::evaluate(pair, beta),
            Objective::Cdpo { beta, label_smoothing } => {
                cdpo::evaluate(pair, beta, label_smoothing)
            }
            Objective::Sft => sft::evaluate(pair),
        }
    }

    pub fn kind(&self) -> ObjectiveKind {
        match self {
            Objective::Dpop { .. } => ObjectiveKind::Dpop,
            Objective::Dpo { .. } => ObjectiveKind::Dpo,
            Objective::Ipo { .. } => ObjectiveKind::Ipo,
            Objective::Hinge { .. } => ObjectiveKind::Hinge,
            Objective::Cdpo { .. } => ObjectiveKind::Cdpo,
            Objective::Sft => ObjectiveKind::Sft,
        }
    }

    /// The arm's name in events and folders: `dpop`, `dpo`, ..
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// In words, e.g. `DPOP (beta 0.1, lambda 50)`.
    pub fn describe(&self) -> String {
        let label = self.kind().label();
        match self {
            Objective::Dpop { beta, lambda } => format!("{label} (beta {beta}, lambda {lambda})"),
            Objective::Dpo { beta } | Objective::Ipo { beta } | Objective::Hinge { beta } => {
                format!("{label} (beta {beta})")
            }
            Objective::Cdpo { beta, label_smoothing } => {
                format!("{label} (beta {beta}, label smoothing {label_smoothing})")
            }
            Objective::Sft => label.to_owned(),
        }
    }

    /// The loss of one pair on one line of plain text, in this module's notation.
    pub fn formula(&self) -> &'static str {
        formula(self.kind())
    }
}

/// See [`Objective::formula`].
pub fn formula(kind: ObjectiveKind) -> &'static str {
    match kind {
        ObjectiveKind::Dpop => "-log sigmoid(beta * (rw - rl - lambda * max(0, -rw)))",
        ObjectiveKind::Dpo => "-log sigmoid(beta * (rw - rl))",
        ObjectiveKind::Ipo => "(rw - rl - 1 / (2 * beta))^2",
        ObjectiveKind::Hinge => "max(0, 1 - beta * (rw - rl))",
        ObjectiveKind::Cdpo => {
            "-(1 - e) * log sigmoid(beta * (rw - rl)) - e * log sigmoid(-beta * (rw - rl)), e = label smoothing"
        }
        ObjectiveKind::Sft => "-lw",
    }
}

/// The notation of [`formula`] in words, for the form.
pub const NOTATION: &str = "lw, ll: log-likelihood of the chosen and the rejected answer (sum over its tokens); \
     rw = lw - lw(reference), rl = ll - ll(reference)";
