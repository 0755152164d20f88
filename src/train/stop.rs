//! Ending a run early, by the rules of `--stop-when`.

use super::event::ArmMetrics;
use super::trainer::Trainer;
use crate::config::{StopRule, arm_title};
use crate::insight::advice::plateaued;

/// The first gradient that is no number ends a run, one way or the other.
#[derive(Debug, thiserror::Error)]
#[error(
    "the gradient of arm {arm} is not a number at step {step}; lower the learning rate, or resume from the last checkpoint with --max-grad-norm 1"
)]
pub(super) struct NotANumber {
    pub arm: String,
    pub step: usize,
}

impl Trainer {
    /// Notes what the rules look at in a later probe.
    pub(super) fn note_kept(&mut self, arms: &ArmMetrics) {
        let Some(metrics) = self.arms.first().and_then(|kept| arms.get(&kept.name)) else { return };
        let value = |name: &str| metrics.get(name).copied();
        if let Some(margin) = value("rewards/margins") {
            // A run that goes on before its first update begins with its first probe again.
            if self.state.step == 0 {
                self.state.probe_margins.clear();
            }
            self.state.probe_margins.push(margin);
        }
        let reference = value("reference_per_token/chosen");
        self.chosen_depth =
            reference.zip(value("logps_per_token/chosen")).map(|(reference, now)| reference - now);
    }

    /// What the latest probe says against going on.
    pub(super) fn reason_to_end(&self) -> Option<String> {
        let step = self.state.step;
        let kept = arm_title(&self.arms.first()?.name);
        self.config.stop_when.0.iter().find_map(|rule| match *rule {
            StopRule::ChosenBelowReference(limit) => {
                let depth = self.chosen_depth.filter(|depth| *depth > limit)?;
                Some(format!(
                    "at step {step} the preferred answers under {kept} lie {depth:.3} nats per token below the base model, more than {limit}"
                ))
            }
            StopRule::MarginPlateau(probes) => {
                plateaued(&self.state.probe_margins, probes).then(|| {
                    format!(
                        "at step {step} the margin of {kept} has not risen for {probes} probes ({:.3})",
                        self.state.probe_margins.last().copied().unwrap_or_default()
                    )
                })
            }
            StopRule::Nan => None,
        })
    }

    /// Whether `error` is one that a rule takes for an end. The state is that before the failed update.
    pub(super) fn ends_on_nan(&self, error: &anyhow::Error) -> bool {
        self.config.stop_when.0.contains(&StopRule::Nan) && error.is::<NotANumber>()
    }
}
