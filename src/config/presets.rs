//! Ready-made drafts.

use serde::Serialize;

use super::{ObjectiveKind, RunDraft, Schedule, Target, Targets, Twin};

/// A named starting point; model and data stay open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preset {
    /// Key on the command line.
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub draft: RunDraft,
}

/// All presets, in the order of the menu.
pub fn presets() -> Vec<Preset> {
    vec![demo(), paper(), bielik()]
}

/// DPOP's lambda in our formula for ALLaMo's `dpo_penalty_lambda`.
///
/// ALLaMo (which trained Bielik) puts the penalty outside beta, `beta * (rw - rl) - lambda * max(0, -rw)`; the
/// paper and we put it inside, so that the same loss needs `lambda / beta`.
pub fn lambda_from_allamo(lambda: f64, beta: f64) -> f64 {
    lambda / beta
}

fn demo() -> Preset {
    Preset {
        name: "demo",
        title: "Demo",
        description: "For the bundled 0.8M-parameter model and its pairs: in under a minute on two cores plain \
             DPO forgets the right answers and DPOP keeps them. The learning rate is far too high for \
             a real model.",
        draft: RunDraft {
            objective: Some(ObjectiveKind::Dpop),
            twin: Some(Twin(Some(ObjectiveKind::Dpo))),
            beta: Some(0.1),
            lambda: Some(50.0),
            learning_rate: Some(2e-3),
            schedule: Some(Schedule::Constant),
            warmup_steps: Some(0),
            weight_decay: Some(0.0),
            // Unclipped, so that the curves are those of the losses.
            max_grad_norm: Some(0.0),
            steps: Some(200),
            batch_pairs: Some(4),
            micro_batch_pairs: Some(4),
            max_length: Some(192),
            rank: Some(8),
            alpha: Some(16.0),
            targets: Some(Targets(Target::ALL.to_vec())),
            dropout: Some(0.0),
            probe_pairs: Some(32),
            eval_every: Some(10),
            save_every: Some(100),
            // assets/demo/README.md shows what other seeds do.
            seed: Some(1),
            ..RunDraft::default()
        },
    }
}

fn paper() -> Preset {
    Preset {
        name: "paper",
        title: "Paper (Smaug)",
        description: "DPO-Positive with the beta and lambda of arXiv 2402.13228 v2: 0.3 and 50. The other \
             values are this program's defaults, not the paper's.",
        draft: RunDraft {
            objective: Some(ObjectiveKind::Dpop),
            twin: Some(Twin(Some(ObjectiveKind::Dpo))),
            beta: Some(0.3),
            lambda: Some(50.0),
            ..RunDraft::default()
        },
    }
}

fn bielik() -> Preset {
    let beta = 0.05;
    Preset {
        name: "bielik",
        title: "Bielik v3",
        description: "In the manner of Bielik v3, which was trained with ALLaMo, whose penalty stands outside \
             beta: 2.5 there is our 2.5 / 0.05 = 50. We could not check beta 0.05 and 2.5 against \
             Bielik's report. Bielik was trained in full; rank, layers and learning rate are this \
             program's defaults for adapters.",
        draft: RunDraft {
            objective: Some(ObjectiveKind::Dpop),
            twin: Some(Twin(Some(ObjectiveKind::Dpo))),
            beta: Some(beta),
            lambda: Some(lambda_from_allamo(2.5, beta)),
            ..RunDraft::default()
        },
    }
}
