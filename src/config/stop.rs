//! When a run ends before its budget does.

use std::fmt;
use std::str::FromStr;

/// One reason to end early. Rules look at the kept arm; the twin is there to go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StopRule {
    /// A probe finds the mean chosen log-likelihood per token more than this many nats below the reference.
    ChosenBelowReference(f64),
    /// The mean margin has not risen any more for this many probes.
    MarginPlateau(usize),
    /// The loss or its gradient stops being a number.
    Nan,
}

/// Rules as typed: separated by commas, or `none`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopRules(pub Vec<StopRule>);

impl fmt::Display for StopRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopRule::ChosenBelowReference(depth) => write!(f, "chosen-below-reference={depth}"),
            StopRule::MarginPlateau(probes) => write!(f, "margin-plateau={probes}"),
            StopRule::Nan => f.write_str("nan"),
        }
    }
}

impl FromStr for StopRule {
    type Err = String;

    fn from_str(text: &str) -> Result<StopRule, String> {
        let wrong = || {
            format!(
                "{text:?} is no rule; write chosen-below-reference=NATS (such as 0.05), margin-plateau=PROBES (such as 5) or nan"
            )
        };
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let rule = match name.trim() {
            "chosen-below-reference" => {
                let depth = value.trim().parse().ok().filter(|d: &f64| d.is_finite() && *d >= 0.0);
                depth.map(StopRule::ChosenBelowReference)
            }
            "margin-plateau" => {
                let probes = value.trim().parse().ok().filter(|n| *n > 0);
                probes.map(StopRule::MarginPlateau)
            }
            "nan" if value.is_empty() => Some(StopRule::Nan),
            _ => None,
        };
        rule.ok_or_else(wrong)
    }
}

impl fmt::Display for StopRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&self.0.iter().map(StopRule::to_string).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for StopRules {
    type Err = String;

    fn from_str(text: &str) -> Result<StopRules, String> {
        match text.trim() {
            "" | "none" => Ok(StopRules::default()),
            rules => rules
                .split(',')
                .map(|rule| rule.trim().parse())
                .collect::<Result<_, _>>()
                .map(StopRules),
        }
    }
}
