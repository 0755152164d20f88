//! `dpop-studio review`: what a run's record says.

use super::args::ReviewArgs;
use super::output::{CliError, Out};
use crate::insight::EditProfile;
use crate::run::review::{Review, review};

/// Distances from the first difference that the text shows one by one.
const SHOWN: std::ops::RangeInclusive<isize> = -3..=12;

pub fn run(args: &ReviewArgs) -> Result<(), CliError> {
    let review = review(&args.run).map_err(CliError::input)?;
    let mut out = Out::new();
    if args.json {
        out.json(&review)?;
        return out.finish();
    }
    for line in profile_lines(&review) {
        out.line(&line)?;
    }
    for line in verdict_lines(&review) {
        out.line(&line)?;
    }
    out.finish()
}

/// The forecasts' record and the advice.
pub fn verdict_lines(review: &Review) -> Vec<String> {
    let kinds =
        [("pair's own gradients", &review.calibration), ("optimiser's heading", &review.heading)];
    let mut lines = Vec::new();
    for (kind, by_arm) in kinds {
        let checked = by_arm.iter().filter_map(|(arm, own)| Some((arm, own.sentence()?)));
        lines
            .extend(checked.map(|(arm, text)| format!("forecasts of {arm} by the {kind}: {text}")));
    }
    lines.extend(review.hints.iter().map(|hint| format!("advice: {}", hint.message)));
    lines
}

fn profile_lines(review: &Review) -> Vec<String> {
    let Some(step) = review.step else {
        return vec!["This run recorded no tokens of held-out pairs.".to_owned()];
    };
    let mut lines = vec![format!(
        "chosen answers at step {step}: mean log-probability of a token (nats) by its distance from the first difference"
    )];
    let row = |name: String, values: &dyn Fn(&EditProfile) -> Option<f64>| {
        let cells = review.profiles.values().map(|profile| match values(profile) {
            Some(value) => format!("{value:>12.4}"),
            None => format!("{:>12}", "-"),
        });
        format!("{name:>10}{}", cells.collect::<String>())
    };
    let names = review.profiles.keys().map(|name| format!("{name:>12}")).collect::<String>();
    lines.push(format!("{:>10}{names}", ""));
    lines.push(row("before".into(), &|profile| profile.before));
    lines.push(row("at".into(), &|profile| profile.at));
    lines.push(row("after".into(), &|profile| profile.after));
    for offset in SHOWN {
        let at = move |profile: &EditProfile| {
            profile.points.iter().find(|point| point.offset == offset).map(|point| point.mean)
        };
        lines.push(row(format!("{offset:+}"), &at));
    }
    lines
}
