//! Preference losses as pure functions of four numbers.

/// Summed log-probabilities of one pair (nats): policy and reference, chosen and rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLogps {
    pub chosen: f64,
    pub rejected: f64,
    pub ref_chosen: f64,
    pub ref_rejected: f64,
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
