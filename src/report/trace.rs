//! How the lines of arms are told apart.
//!
//! A run and its twin need no legend: solid and dashed, both in the colour of what they show. Where there are more
//! arms each has a colour of its own, the same in every chart, and only another loss than the kept one is dashed.

use super::palette::Ink;
use super::run_view::RunView;
use crate::config::arm_kind;

/// Colour and stroke of one arm's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub ink: Ink,
    pub dashed: bool,
    /// The arm whose adapter is kept: the widest line, over the others.
    pub kept: bool,
}

/// The line of a run's arm; `pair` are the colours of the kept arm and of its twin where there are no others.
pub fn of_arm(run: &RunView, arm: usize, pair: [Ink; 2]) -> Trace {
    let kept = run.arms.get(arm).is_some_and(|arm| arm.kept);
    if !many(run) {
        return Trace { ink: if kept { pair[0] } else { pair[1] }, dashed: !kept, kept };
    }
    Trace { ink: Ink::Number(arm), dashed: another_loss(run, arm), kept }
}

/// The line of one arm where several runs are drawn together: a colour for each run, or, where one of them has many
/// arms, for each arm.
pub fn among(runs: &[&RunView], run: usize, arm: usize) -> Trace {
    let Some(own) = runs.get(run) else {
        return Trace { ink: Ink::Number(run), dashed: false, kept: false };
    };
    let kept = own.arms.get(arm).is_some_and(|arm| arm.kept);
    if !runs.iter().any(|run| many(run)) {
        return Trace { ink: Ink::Number(run), dashed: !kept, kept };
    }
    let before: usize = runs[..run].iter().map(|run| run.arms.len()).sum();
    Trace { ink: Ink::Number(before + arm), dashed: another_loss(own, arm), kept }
}

/// More arms than one and its twin.
pub fn many(run: &RunView) -> bool {
    run.arms.len() > 2
}

fn another_loss(run: &RunView, arm: usize) -> bool {
    let kind = |name: &str| arm_kind(name).to_owned();
    let kept = run.kept().map(|arm| kind(&arm.name));
    run.arms.get(arm).map(|arm| kind(&arm.name)) != kept
}
