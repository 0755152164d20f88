//! The paper's figure: mean log-probability of the chosen answers' tokens by their distance from the first token that
//! differs, under the reference and under each arm.

use std::collections::BTreeMap;
use std::path::Path;

use super::format;
use super::palette::{Ink, Palette};
use super::run_view::RunView;
use super::scene::{Anchor, Paint, Scene, Shape, Words};
use super::trace::{self, Trace};
use crate::config::arm_title;
use crate::insight::EditProfile;
use crate::run::probe_records::{ProbeRecords, ProbeRecordsError};

/// Tokens before and behind the first difference that are shown at most.
pub const BEFORE: isize = 12;
pub const BEHIND: isize = 40;

/// What the figure is about and what the paper measured.
pub const HELP: &str = "Plain DPO lowers the tokens behind the first difference, although they are right. In the paper \
                        (Pal et al., arXiv 2402.13228 v2, section 3, MetaMath pairs) their mean is \u{2212}0.37 nats under \
                        the reference, \u{2212}1.82 after DPO and \u{2212}0.26 after DPOP.";

/// Where likelihood lies after so many updates.
#[derive(Clone, Debug)]
pub struct Profiles {
    pub step: usize,
    pub reference: EditProfile,
    /// By arm.
    pub arms: BTreeMap<String, EditProfile>,
}

impl Profiles {
    /// Of the run in `folder` at the probe after `step` updates, or at the newest; `None` for a run without records.
    pub fn read(folder: &Path, step: Option<usize>) -> Result<Option<Profiles>, ProbeRecordsError> {
        let Some(records) = ProbeRecords::open(folder)? else { return Ok(None) };
        let steps = records.steps()?;
        let at = step.map_or(steps.len(), |step| steps.partition_point(|&at| at <= step));
        let Some(&step) = steps.get(at.saturating_sub(1)) else { return Ok(None) };
        let now = records.step(step)?;
        let arms = now.arms.iter().map(|(arm, scores)| (arm.clone(), records.profile(scores)));
        let reference = records.profile(&records.reference()?);
        Ok(Some(Profiles { step, reference, arms: arms.collect() }))
    }
}

/// One line of the figure.
pub struct ProfileLine<'a> {
    pub name: String,
    /// `None`: the reference.
    pub trace: Option<Trace>,
    pub profile: &'a EditProfile,
}

/// The reference, then the arms, the kept one last: it is drawn over the others.
pub fn lines<'a>(
    run: &RunView,
    reference: &'a EditProfile,
    arms: &'a BTreeMap<String, EditProfile>,
) -> Vec<ProfileLine<'a>> {
    let name = "reference".to_owned();
    let mut lines = vec![ProfileLine { name, trace: None, profile: reference }];
    for (number, arm) in run.arms.iter().enumerate().rev() {
        if let Some(profile) = arms.get(&arm.name) {
            let trace = Some(trace::of_arm(run, number, [Ink::Chosen, Ink::Chosen]));
            lines.push(ProfileLine { name: arm_title(&arm.name), trace, profile });
        }
    }
    lines
}

const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 40.0;

/// The figure as a drawing.
pub fn scene(run: &RunView, profiles: &Profiles, palette: &Palette, size: (f64, f64)) -> Scene {
    let (width, height) = size;
    let mut scene = Scene { width, height, ..Scene::default() };
    scene.shapes.push(Shape::Rect {
        min: (0.0, 0.0),
        size,
        radius: 0.0,
        paint: Paint::solid(palette.card),
    });
    let title = format!("Chosen answers after {} updates, nats per token", profiles.step);
    let words = Words::bold(&title, 13.0);
    scene.text((14.0, 22.0), Anchor::Start, &words, Paint::solid(palette.text));
    let lines = lines(run, &profiles.reference, &profiles.arms);
    legend(&mut scene, &lines, palette);
    let shown = |line: &ProfileLine<'_>| -> Vec<(f64, f64)> {
        let points = line.profile.points.iter();
        let points = points.filter(|point| (-BEFORE..=BEHIND).contains(&point.offset));
        points.map(|point| (point.offset as f64, point.mean)).collect()
    };
    let drawn: Vec<Vec<(f64, f64)>> = lines.iter().map(shown).collect();
    let ends = |values: &dyn Fn(&(f64, f64)) -> f64, begin: (f64, f64)| {
        let all = drawn.iter().flatten().map(values);
        all.fold(begin, |(low, high), v| (low.min(v), high.max(v)))
    };
    let (x_low, x_high) = ends(&|point| point.0, (0.0, 1.0));
    let (y_low, _) = ends(&|point| point.1, (-0.01, 0.0));
    let (x_low, x_high) = (x_low - 0.8, x_high + 0.8);
    let (y_low, y_high) = (y_low * 1.08, -y_low * 0.06);
    let bottom = height - 40.0;
    let place = |(x, y): (f64, f64)| {
        let across = (x - x_low) / (x_high - x_low);
        let down = (y_high - y) / (y_high - y_low);
        (LEFT + (width - LEFT - RIGHT) * across, TOP + (bottom - TOP) * down)
    };
    grid(&mut scene, palette, (x_low, x_high), (y_low, y_high), &place);
    for (line, points) in lines.iter().zip(&drawn) {
        let points: Vec<(f64, f64)> = points.iter().map(|point| place(*point)).collect();
        let (paint, thick, dash) = stroke(line, palette);
        match dash {
            Some(dash) => scene.dashed(points.clone(), paint, thick, dash),
            None => scene.line(points.clone(), paint, thick),
        }
        let dots = points.into_iter().map(|at| Shape::Dot { at, radius: thick * 0.9, paint });
        scene.shapes.extend(dots);
    }
    scene
}

fn stroke(line: &ProfileLine<'_>, palette: &Palette) -> (Paint, f64, Option<[f64; 2]>) {
    match line.trace {
        None => (Paint::solid(palette.reference), 1.4, Some([2.0, 3.0])),
        Some(Trace { ink, dashed, kept }) => {
            let thick = if kept { 2.4 } else { 1.8 };
            (Paint::solid(palette.ink(ink)), thick, dashed.then_some([7.0, 4.5]))
        }
    }
}

/// On the right of the title's line, from right to left.
fn legend(scene: &mut Scene, lines: &[ProfileLine<'_>], palette: &Palette) {
    let mut x = scene.width - RIGHT;
    for line in lines {
        let words = Words::plain(&line.name, 11.5);
        scene.text((x, 22.0), Anchor::End, &words, Paint::solid(palette.text));
        x -= words.width() + 6.0;
        let (paint, thick, dash) = stroke(line, palette);
        let sample = vec![(x - 18.0, 18.0), (x, 18.0)];
        match dash {
            Some(dash) => scene.dashed(sample, paint, thick, dash),
            None => scene.line(sample, paint, thick),
        }
        x -= 30.0;
    }
}

fn grid(
    scene: &mut Scene,
    palette: &Palette,
    (x_low, x_high): (f64, f64),
    (y_low, y_high): (f64, f64),
    place: &dyn Fn((f64, f64)) -> (f64, f64),
) {
    let faint = Paint::solid(palette.faint);
    let bottom = place((0.0, y_low)).1;
    let step = format::round_step((y_high - y_low) / (bottom - TOP) * 30.0);
    if step > 0.0 {
        for k in (y_low / step).ceil() as i64..=0 {
            let value = k as f64 * step;
            let (left, right) = (place((x_low, value)), place((x_high, value)));
            scene.line(vec![left, right], Paint::solid(palette.grid), 1.0);
            let label = format::tick(value, step);
            let at = (left.0 - 8.0, left.1 + 3.8);
            scene.text(at, Anchor::End, &Words::plain(&label, 11.0), faint);
        }
    }
    let first = place((0.0, y_low));
    let top = (first.0, TOP);
    scene.line(vec![top, first], Paint::faint(palette.danger, 0.6), 1.0);
    let mark = |offset: i64| {
        if offset > 0 { format!("+{offset}") } else { format::tick(offset as f64, 1.0) }
    };
    for offset in (x_low.ceil() as i64..=x_high as i64).filter(|offset| offset % 5 == 0) {
        let at = (place((offset as f64, 0.0)).0, bottom + 16.0);
        scene.text(at, Anchor::Middle, &Words::plain(&mark(offset), 11.0), faint);
    }
    let at = (scene.width / 2.0, bottom + 32.0);
    let words = "tokens from the first that differs";
    scene.text(at, Anchor::Middle, &Words::plain(words, 11.0), faint);
}
