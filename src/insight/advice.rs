//! What to change, with the figures that say so. Every rule looks at the kept arm's held-out pairs, because those are what
//! the run is for.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::ObjectiveKind;

type Metrics = BTreeMap<String, f64>;

/// Probes that a rule about the present looks at.
const RECENT: usize = 3;
/// Share of pairs on which an active penalty holds the run back. (The bundled demo with lambda 500, where nothing is
/// learned, has 0.7 to 0.8.)
const HELD: f64 = 0.6;
/// A margin that rises by less than this share of the best one so far does not rise.
const RISE: f64 = 0.01;

/// The metrics that the rules look at.
pub const METRICS: [&str; 6] = [
    "logps_per_token/chosen",
    "reference_per_token/chosen",
    "rewards/margins",
    "rewards/accuracies",
    "dpop/active",
    "grad_norm",
];

/// What advice is given on.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    pub objective: ObjectiveKind,
    pub lambda: f64,
    pub learning_rate: f64,
    /// Where gradients are clipped, if they are.
    pub max_grad_norm: Option<f64>,
    /// Updates of the whole run.
    pub steps: usize,
    /// Step and metrics (of [`METRICS`] at least) of the kept arm's probes, the first before training.
    pub probes: &'a [(usize, Metrics)],
    /// Likewise of its updates.
    pub updates: &'a [(usize, Metrics)],
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hint {
    /// Which rule speaks; stable, for looking it up.
    pub rule: &'static str,
    /// What was seen, with figures, and what to try.
    pub message: String,
}

/// Whether the last `probes` values are no higher than the best before them (by 1 %).
pub fn plateaued(margins: &[f64], probes: usize) -> bool {
    let Some(split) = margins.len().checked_sub(probes).filter(|split| *split > 0) else {
        return false;
    };
    let best = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let before = best(&margins[..split]);
    probes > 0 && best(&margins[split..]) <= before + RISE * before.abs()
}

/// Everything there is to say, most pressing first.
pub fn advise(course: &Course<'_>) -> Vec<Hint> {
    let rules = [
        chosen_below_reference,
        margin_falls_off,
        penalty_holds_all,
        nothing_learned,
        learned_all,
        gradient_jumps,
    ];
    rules.into_iter().filter_map(|rule| rule(course)).collect()
}

impl Course<'_> {
    fn series(&self, name: &str) -> Vec<f64> {
        self.probes.iter().filter_map(|(_, metrics)| metrics.get(name).copied()).collect()
    }

    /// Mean of the last few values, once there are enough probes after the first.
    fn recent(&self, name: &str) -> Option<f64> {
        let values = self.series(name);
        (values.len() > RECENT)
            .then(|| values[values.len() - RECENT..].iter().sum::<f64>() / RECENT as f64)
    }

    fn last_step(&self) -> usize {
        self.probes.last().map_or(0, |(step, _)| *step)
    }
}

fn chosen_below_reference(course: &Course<'_>) -> Option<Hint> {
    let chosen = course.series("logps_per_token/chosen").last().copied()?;
    let reference = course.series("reference_per_token/chosen").last().copied()?;
    let depth = reference - chosen;
    if depth <= 0.05 {
        return None;
    }
    let remedy = match course.objective {
        ObjectiveKind::Dpop => format!(
            "Try a learning rate of {:e}, or --lambda {}",
            course.learning_rate / 4.0,
            (course.lambda * 10.0).max(5.0)
        ),
        _ => "Try --objective dpop, which penalises that".to_owned(),
    };
    Some(Hint {
        rule: "chosen-below-reference",
        message: format!(
            "At step {} the preferred answers lie {depth:.3} nats per token below the base model ({chosen:.3} against {reference:.3}). {remedy}.",
            course.last_step()
        ),
    })
}

/// The training pairs' margin rises while the held-out pairs' falls.
fn margin_falls_off(course: &Course<'_>) -> Option<Hint> {
    let held_out = course.series("rewards/margins");
    let (best, highest) =
        held_out.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let now = held_out.last().copied()?;
    let since = course.probes.get(best)?.0;
    if held_out.len() - 1 - best < RECENT || now > 0.9 * highest || highest <= 0.0 {
        return None;
    }
    let mean = |from: usize, to: usize| {
        let inside: Vec<f64> = course
            .updates
            .iter()
            .filter(|(step, _)| (from..=to).contains(step))
            .filter_map(|(_, metrics)| metrics.get("rewards/margins").copied())
            .collect();
        (!inside.is_empty()).then(|| inside.iter().sum::<f64>() / inside.len() as f64)
    };
    let width = (course.last_step() - since) / 2;
    let before = mean(since.saturating_sub(width), since)?;
    let after = mean(course.last_step() - width, course.last_step())?;
    (after > before).then(|| Hint {
        rule: "held-out-margin-falls",
        message: format!(
            "Since step {since} the margin of the held-out pairs fell from {highest:.3} to {now:.3} while that of the training pairs rose from {before:.3} to {after:.3}: the adapter learns the pairs by heart. Try --steps {since}, or more pairs."
        ),
    })
}

fn penalty_holds_all(course: &Course<'_>) -> Option<Hint> {
    // A penalty that fails to hold is not too strong.
    if chosen_below_reference(course).is_some() {
        return None;
    }
    let active = course.recent("dpop/active")?;
    let margins = course.series("rewards/margins");
    let flat = plateaued(&margins, RECENT);
    if course.objective != ObjectiveKind::Dpop || course.lambda <= 5.0 || active < HELD || !flat {
        return None;
    }
    let margin = margins.last().copied()?;
    Some(Hint {
        rule: "penalty-holds-everything",
        message: format!(
            "The penalty is active on {:.0} % of the held-out pairs and the margin is flat at {margin:.3} over the last {RECENT} probes: lambda {} holds the preferred answers so firmly that little else is learned. Try --lambda 5.",
            active * 100.0,
            course.lambda
        ),
    })
}

fn nothing_learned(course: &Course<'_>) -> Option<Hint> {
    let accuracy = course.recent("rewards/accuracies")?;
    let margin = course.recent("rewards/margins")?;
    if 2 * course.last_step() < course.steps || margin.abs() >= 0.02 {
        return None;
    }
    Some(Hint {
        rule: "nothing-learned",
        message: format!(
            "At step {} of {} the margin of the held-out pairs is {margin:.3} and {:.0} % of them are ranked right: the adapter hardly moved. Try a learning rate of {:e}.",
            course.last_step(),
            course.steps,
            accuracy * 100.0,
            course.learning_rate * 10.0
        ),
    })
}

fn learned_all(course: &Course<'_>) -> Option<Hint> {
    let accuracy = course.recent("rewards/accuracies")?;
    let margins = course.series("rewards/margins");
    if accuracy < 0.99 || !plateaued(&margins, RECENT) || course.last_step() >= course.steps {
        return None;
    }
    Some(Hint {
        rule: "learned-everything",
        message: format!(
            "{:.0} % of the held-out pairs are ranked right and the margin has not risen for {RECENT} probes ({:.3}): more steps add little. Stop now, or next time give --stop-when margin-plateau={RECENT}.",
            accuracy * 100.0,
            margins.last().copied()?
        ),
    })
}

fn gradient_jumps(course: &Course<'_>) -> Option<Hint> {
    let norms: Vec<(usize, f64)> = course
        .updates
        .iter()
        .filter_map(|(step, metrics)| Some((*step, *metrics.get("grad_norm")?)))
        .collect();
    let mut sorted: Vec<f64> = norms.iter().map(|(_, norm)| *norm).collect();
    sorted.sort_by(f64::total_cmp);
    let median = super::percentile(&sorted, 0.5)?;
    let (step, most) = norms.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let clip = (median * 10.0).max(0.1);
    // Clipped below that, a jump does no harm.
    if sorted.len() < 20
        || most < 100.0 * median
        || course.max_grad_norm.is_some_and(|norm| norm <= clip)
    {
        return None;
    }
    Some(Hint {
        rule: "gradient-jumps",
        message: format!(
            "The gradient's norm was {most:.3} at step {step}, {:.0} times its median of {median:.3}: single batches throw the adapter about. Try --max-grad-norm {clip:.1}.",
            most / median,
        ),
    })
}
