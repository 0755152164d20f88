//! Which charts a run has, and what is in each: the same for the window, for pictures and for the report.

use super::format;
use super::palette::Ink;
use super::reduce::BandPoint;
use super::run_view::RunView;
use super::series::{Key, Series, Source};
use super::trace::{self, Trace};
use crate::config::arm_title;
use crate::train::event::ArmInfo;

/// What the main charts measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scale {
    #[default]
    PerToken,
    Sum,
    /// Sums less the reference's: the r of the formulas.
    Change,
}

impl Scale {
    pub const ALL: [Scale; 3] = [Scale::PerToken, Scale::Sum, Scale::Change];

    pub fn label(self) -> &'static str {
        match self {
            Scale::PerToken => "Per token",
            Scale::Sum => "Sum",
            Scale::Change => "Change from reference",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Scale::PerToken => "nats per token",
            Scale::Sum | Scale::Change => "nats per answer",
        }
    }

    /// The policy's metric for `chosen` or `rejected`.
    pub fn metric(self, answer: &str) -> String {
        match self {
            Scale::PerToken => format!("logps_per_token/{answer}"),
            Scale::Sum => format!("logps/{answer}"),
            Scale::Change => format!("change/{answer}"),
        }
    }

    /// The reference's metric; `None` where the reference is 0 by definition.
    pub fn reference(self, answer: &str) -> Option<String> {
        match self {
            Scale::PerToken => Some(format!("reference_per_token/{answer}")),
            Scale::Sum => Some(format!("reference/{answer}")),
            Scale::Change => None,
        }
    }
}

/// How values of a chart are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nats, losses, norms.
    Plain,
    /// Shares in 0..1, written in per cent.
    Share,
    /// Learning rates.
    Scientific,
}

impl Unit {
    pub fn value(self, v: f64) -> String {
        match self {
            Unit::Plain => format::number(v),
            Unit::Share => format::percent(v),
            Unit::Scientific => format::scientific(v),
        }
    }

    /// A label of the axis whose marks stand `step` apart.
    pub fn tick(self, v: f64, step: f64) -> String {
        match self {
            Unit::Plain => format::tick(v, step),
            Unit::Share => format!("{}%", format::tick(v * 100.0, step * 100.0)),
            Unit::Scientific => format::scientific(v),
        }
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Curve {
    pub label: String,
    pub trace: Trace,
    /// Which of the runs drawn together; 0 where there is one.
    pub run: usize,
    pub key: Key,
    /// Draw the moving average over so many values, with the raw values faint behind it.
    pub smooth: Option<usize>,
    /// Metrics below and above which a tenth of the pairs lie.
    pub band: Option<[Key; 2]>,
}

impl Curve {
    pub fn series<'a>(&self, runs: &[&'a RunView]) -> Option<&'a Series> {
        runs.get(self.run)?.store.series(&self.key)
    }
}

/// A vertical mark where something happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub run: usize,
    pub step: f64,
    pub text: String,
    pub sentence: String,
}

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// For file names and identities.
    pub id: &'static str,
    pub title: &'static str,
    pub help: &'static str,
    pub unit: Unit,
    /// Written beside the title; empty where the title says it.
    pub measure: &'static str,
    pub curves: Vec<Curve>,
    /// Level of the reference model.
    pub reference: Option<f64>,
    /// Tint the region below the reference.
    pub shade: bool,
    /// Values the y axis always holds.
    pub include: Vec<f64>,
    /// No value lies above; the axis names none there.
    pub ceiling: Option<f64>,
    pub marks: Vec<Mark>,
}

/// A chart that shows one metric of every arm.
struct Small {
    id: &'static str,
    title: &'static str,
    help: &'static str,
    metric: &'static str,
    source: Source,
    unit: Unit,
    smooth: bool,
    include: &'static [f64],
}

const SMALL: [Small; 8] = [
    Small {
        id: "margin",
        title: "Margin",
        help: "Reward of chosen less reward of rejected on the probe: beta times the difference of their changes \
               from the reference. Larger means the preference is learnt; it grows even while both fall.",
        metric: "rewards/margins",
        source: Source::Probe,
        unit: Unit::Plain,
        smooth: false,
        include: &[0.0],
    },
    Small {
        id: "accuracy",
        title: "Accuracy",
        help: "Share of probe pairs whose chosen answer gained more on the reference than the rejected one.",
        metric: "rewards/accuracies",
        source: Source::Probe,
        unit: Unit::Share,
        smooth: false,
        include: &[0.0, 1.0],
    },
    Small {
        id: "active",
        title: "Penalty on",
        help: "Share of probe pairs whose chosen answer fell below the reference: there DPOP's lambda pulls.",
        metric: "dpop/active",
        source: Source::Probe,
        unit: Unit::Share,
        smooth: false,
        include: &[0.0, 1.0],
    },
    Small {
        id: "dpo_lowers",
        title: "DPO would lower",
        help: "Share of the forecast's held-out pairs whose chosen answer a step of plain DPO on the pair itself would \
               make less likely, by the exact test with adapter gradients: <gw, gl> > |gw|^2.",
        metric: "forecast/dpo_lowers",
        source: Source::Probe,
        unit: Unit::Share,
        smooth: false,
        include: &[0.0, 1.0],
    },
    Small {
        id: "in_band",
        title: "In the band",
        help: "Share of the forecast's held-out pairs on which a step of the arm's own loss would neither lower the \
               chosen answer nor raise the rejected one: its push ratio r lies in the pair's disentanglement band \
               (arXiv 2604.18239). r is 1 for DPO, 1 + lambda while DPOP's penalty acts. Inspect shows the bands.",
        metric: "forecast/in_band",
        source: Source::Probe,
        unit: Unit::Share,
        smooth: false,
        include: &[0.0, 1.0],
    },
    Small {
        id: "loss",
        title: "Loss",
        help: "Loss of each batch before its update, faint, and its moving average.",
        metric: "loss",
        source: Source::Step,
        unit: Unit::Plain,
        smooth: true,
        include: &[0.0],
    },
    Small {
        id: "grad_norm",
        title: "Gradient norm",
        help: "Global norm of the adapter's gradient, faint, and its moving average.",
        metric: "grad_norm",
        source: Source::Step,
        unit: Unit::Plain,
        smooth: true,
        include: &[0.0],
    },
    Small {
        id: "learning_rate",
        title: "Learning rate",
        help: "AdamW's step size after warm-up and schedule.",
        metric: "learning_rate",
        source: Source::Step,
        unit: Unit::Scientific,
        smooth: false,
        include: &[0.0],
    },
];

/// Values over which a run of so many is averaged: a hundredth of it.
pub fn window(values: usize) -> usize {
    (values / 100).max(5)
}

/// One for every step at which arms collapsed, in the order of the steps.
fn marks(run: &RunView) -> Vec<Mark> {
    let mut steps: Vec<usize> = run.collapses.iter().map(|collapse| collapse.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let mark = |step: usize| {
        let here = || run.collapses.iter().filter(|collapse| collapse.step == step);
        let names: Vec<String> = here().map(|collapse| arm_title(&collapse.arm)).collect();
        let verb = if names.len() == 1 { "collapses" } else { "collapse" };
        let sentences: Vec<&str> = here().map(|collapse| collapse.message.as_str()).collect();
        Mark {
            run: 0,
            step: step as f64,
            text: format!("{} {verb} here", names.join(", ")),
            sentence: sentences.join(" "),
        }
    };
    steps.into_iter().map(mark).collect()
}

/// The two main charts: log-likelihood of the chosen and of the rejected answers on the probe.
pub fn answers(run: &RunView, scale: Scale, smooth: bool) -> [Chart; 2] {
    [answer(run, "chosen", scale, smooth), answer(run, "rejected", scale, smooth)]
}

fn answer(run: &RunView, answer: &'static str, scale: Scale, smooth: bool) -> Chart {
    let chosen = answer == "chosen";
    let reference = reference_level(run, answer, scale);
    let span = least_span(run, answer, scale);
    let include = match reference {
        Some(level) if chosen => vec![level - span, level + span * 0.18],
        Some(level) => vec![level - span * 0.5, level + span * 0.5],
        None => vec![-1.0, 0.0],
    };
    Chart {
        id: answer,
        title: if chosen { "Chosen answers" } else { "Rejected answers" },
        help: "Mean log-likelihood on the probe's pairs.",
        unit: Unit::Plain,
        measure: scale.unit(),
        curves: answer_curves(run, answer, scale, smooth),
        reference,
        shade: chosen,
        include,
        // A log-likelihood is at most 0; its change may be anything.
        ceiling: (scale != Scale::Change).then_some(0.0),
        marks: marks(run),
    }
}

fn answer_curves(run: &RunView, answer: &str, scale: Scale, smooth: bool) -> Vec<Curve> {
    let ink = if answer == "chosen" { Ink::Chosen } else { Ink::Rejected };
    let curve = |(number, arm): (usize, &ArmInfo)| {
        let key = |metric: String| Key { source: Source::Probe, arm: arm.name.clone(), metric };
        let metric = scale.metric(answer);
        let band = [key(format!("{metric}_p10")), key(format!("{metric}_p90"))];
        // The bands of many arms would bury the lines.
        let banded = arm.kept || !trace::many(run);
        let there = banded && band.iter().all(|key| run.store.series(key).is_some());
        let key = key(metric);
        let probes = run.store.series(&key).map_or(0, Series::len);
        Curve {
            label: arm_title(&arm.name),
            trace: trace::of_arm(run, number, [ink, ink]),
            run: 0,
            key,
            smooth: smooth.then(|| window(probes)),
            band: there.then_some(band),
        }
    };
    run.arms.iter().enumerate().map(curve).collect()
}

/// The reference's level of an answer; every arm has the same.
pub fn reference_level(run: &RunView, answer: &str, scale: Scale) -> Option<f64> {
    let Some(metric) = scale.reference(answer) else { return Some(0.0) };
    let first = |arm: &str| Some(run.store.get(Source::Probe, arm, &metric)?.first()?.1);
    run.arms.iter().find_map(|arm| first(&arm.name))
}

/// Room around the reference so that noise of a held line does not fill the chart: a little more than
/// the collapse threshold of 0.05 nats per token.
fn least_span(run: &RunView, answer: &str, scale: Scale) -> f64 {
    const PER_TOKEN: f64 = 0.06;
    let level = |s: Scale| reference_level(run, answer, s).filter(|v| v.abs() > 1e-9);
    match scale {
        Scale::PerToken => PER_TOKEN,
        Scale::Sum | Scale::Change => match (level(Scale::Sum), level(Scale::PerToken)) {
            (Some(sum), Some(per_token)) => PER_TOKEN * (sum / per_token).abs(),
            _ => 1.0,
        },
    }
}

/// The charts below the main ones; forecasts only where the run made some.
pub fn small(run: &RunView) -> Vec<Chart> {
    let forecast =
        |small: &&Small| !small.metric.starts_with("forecast/") || !run.forecasts.is_empty();
    SMALL.iter().filter(forecast).map(|small| small_chart(run, small)).collect()
}

fn small_chart(run: &RunView, small: &Small) -> Chart {
    let curve = |(number, arm): (usize, &ArmInfo)| Curve {
        label: arm_title(&arm.name),
        trace: trace::of_arm(run, number, [Ink::Kept, Ink::Twin]),
        run: 0,
        key: Key { source: small.source, arm: arm.name.clone(), metric: small.metric.to_owned() },
        smooth: small.smooth.then(|| window(run.clock.len()).max(9)),
        band: None,
    };
    Chart {
        id: small.id,
        title: small.title,
        help: small.help,
        unit: small.unit,
        measure: "",
        curves: run.arms.iter().enumerate().map(curve).collect(),
        reference: None,
        shade: false,
        include: small.include.to_vec(),
        ceiling: (small.unit == Unit::Share).then_some(1.0),
        marks: marks(run),
    }
}

/// The charts in which several runs are compared, with the arms for which `shown` says so (number of the run, name).
pub fn compared(
    runs: &[&RunView],
    shown: impl Fn(usize, &str) -> bool,
    scale: Scale,
    smooth: bool,
) -> Vec<Chart> {
    let mut overlaid: Vec<Chart> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let small = small(run).into_iter().filter(|chart| chart.id != "learning_rate");
        let own = answers(run, scale, smooth).into_iter().chain(small);
        for (place, mut chart) in own.enumerate() {
            chart.curves.retain(|curve| shown(number, &curve.key.arm));
            for curve in &mut chart.curves {
                curve.label = format!("{} {}", letter(number), curve.label);
                let arm = run.arms.iter().position(|arm| arm.name == curve.key.arm);
                curve.trace = trace::among(runs, number, arm.unwrap_or_default());
                curve.run = number;
                // Several runs' spreads over each other are one grey.
                curve.band = None;
            }
            // A mark for every arm of every run would bury the lines; the table has the steps.
            chart.marks.clear();
            match overlaid.get_mut(place) {
                None => overlaid.push(chart),
                Some(together) => {
                    // Runs of other models have other references.
                    let same = together.reference.zip(chart.reference);
                    let same = same.filter(|(a, b)| (a - b).abs() < 1e-6);
                    together.reference = same.map(|(a, _)| a);
                    together.include.extend(chart.include);
                    together.curves.extend(chart.curves);
                }
            }
        }
    }
    overlaid
}

/// What a compared run is called: A, B, ..
pub fn letter(number: usize) -> char {
    char::from(b'A' + (number % 26) as u8)
}

/// Every chart of a run.
pub fn all(run: &RunView, scale: Scale, smooth: bool) -> Vec<Chart> {
    answers(run, scale, smooth).into_iter().chain(small(run)).collect()
}

/// The range of the y axis for drawn values on `lines` and `bands`. Bands may widen it by as much
/// as the lines span, no more: the lines are what the chart is about. Where no band shows even then, they are left out.
/// `head` is the share of the height to keep free at the top.
pub fn y_range(
    chart: &Chart,
    lines: impl Iterator<Item = f64> + Clone,
    bands: &[&[BandPoint]],
    head: f64,
) -> (f64, f64) {
    let edges = bands.iter().flat_map(|band| band.iter().flat_map(|&(_, low, high)| [low, high]));
    let range = range_around(chart, lines.clone(), edges, head);
    if bands.iter().any(|band| band_shows(band, range)) {
        return range;
    }
    range_around(chart, lines, std::iter::empty(), head)
}

fn range_around(
    chart: &Chart,
    lines: impl Iterator<Item = f64>,
    bands: impl Iterator<Item = f64>,
    head: f64,
) -> (f64, f64) {
    let held = chart.include.iter().chain(chart.reference.iter()).copied();
    let (mut low, mut high) = bounds(lines.chain(held));
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    if high - low < 1e-12 {
        let room = if high == 0.0 { 1.0 } else { high.abs() * 0.5 };
        (low, high) = (low - room, high + room);
    }
    let span = high - low;
    let (band_low, band_high) = bounds(bands);
    low = low.min(band_low.max(low - span));
    high = high.max(band_high.min(high + span));
    let span = high - low;
    let head = head.clamp(0.06, 0.6);
    (low - span * 0.08, high + span * head / (1.0 - head))
}

/// Whether a band tells anything within a y axis of this `range`: one that fills nearly all of it nearly everywhere would
/// only tint the chart.
pub fn band_shows(points: &[BandPoint], (low, high): (f64, f64)) -> bool {
    let fills = |(_, from, to): &&BandPoint| to.min(high) - from.max(low) >= 0.9 * (high - low);
    points.len() > 1 && points.iter().filter(fills).count() * 10 < points.len() * 9
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)))
}

#[cfg(test)]
mod tests {
    use super::band_shows;

    #[test]
    fn a_band_that_fills_the_chart_is_not_drawn() {
        let band = |low: f64, high: f64| vec![(0.0, low, high), (1.0, low, high), (2.0, low, high)];
        assert!(band_shows(&band(0.2, 0.8), (0.0, 1.0)));
        assert!(band_shows(&band(0.2, 5.0), (0.0, 1.0)), "one of its edges is seen");
        assert!(!band_shows(&band(-3.0, 5.0), (0.0, 1.0)));
        assert!(!band_shows(&band(0.01, 5.0), (0.0, 1.0)), "the edge is at the very end");
        let narrows = [band(-3.0, 5.0), band(0.4, 0.6)].concat();
        assert!(band_shows(&narrows, (0.0, 1.0)));
        assert!(!band_shows(&[], (0.0, 1.0)));
    }
}
