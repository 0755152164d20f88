//! One run, one arm for each of several values of a loss's parameter.

use std::fmt;
use std::str::FromStr;

use super::{Field, ObjectiveKind, RunConfig, field};

/// The parameter that a sweep varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepParameter {
    Beta,
    Lambda,
}

impl SweepParameter {
    pub const ALL: [SweepParameter; 2] = [SweepParameter::Beta, SweepParameter::Lambda];

    /// The name as typed and in arms' names.
    pub fn name(self) -> &'static str {
        match self {
            SweepParameter::Beta => "beta",
            SweepParameter::Lambda => "lambda",
        }
    }

    /// The letter of the formulas.
    pub fn symbol(self) -> char {
        match self {
            SweepParameter::Beta => 'β',
            SweepParameter::Lambda => 'λ',
        }
    }

    /// The option that holds the kept arm's value.
    pub fn field(self) -> &'static Field {
        field(self.name())
    }

    /// Whether a loss depends on it.
    pub fn belongs_to(self, objective: ObjectiveKind) -> bool {
        match self {
            SweepParameter::Beta => objective != ObjectiveKind::Sft,
            SweepParameter::Lambda => objective == ObjectiveKind::Dpop,
        }
    }

    pub fn of(self, config: &RunConfig) -> f64 {
        match self {
            SweepParameter::Beta => config.beta,
            SweepParameter::Lambda => config.lambda,
        }
    }
}

/// `lambda=1,5,50`: at least two values, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    pub parameter: SweepParameter,
    pub values: Vec<f64>,
}

/// Most values of a sweep: every arm costs a forward and a backward pass of its own, and every line a colour.
pub const MOST_VALUES: usize = 8;

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(f64::to_string).collect();
        write!(f, "{}={}", self.parameter.name(), values.join(","))
    }
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Sweep, String> {
        let wrong = || format!("{text:?} is no sweep; write lambda=1,5,50 or beta=0.05,0.1,0.3");
        let (name, list) = text.split_once('=').ok_or_else(wrong)?;
        let parameter = SweepParameter::ALL.into_iter().find(|known| known.name() == name.trim());
        let parameter = parameter.ok_or_else(wrong)?;
        let values: Result<Vec<f64>, _> = list.split(',').map(|v| v.trim().parse()).collect();
        let values = values.map_err(|_| wrong())?;
        let limits = parameter.field().limits;
        if let Some(value) = values.iter().find(|value| !limits.allow(**value)) {
            return Err(format!("{value} is no {name}; it must be {}", limits.describe()));
        }
        if let Some((_, twice)) =
            values.iter().enumerate().find(|(i, value)| values[..*i].contains(value))
        {
            return Err(format!("{twice} stands there twice"));
        }
        if !(2..=MOST_VALUES).contains(&values.len()) {
            return Err(format!("it has {} values; it takes 2 to {MOST_VALUES}", values.len()));
        }
        Ok(Sweep { parameter, values })
    }
}

/// One arm of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmConfig {
    /// In events, charts and folder names: `dpop`, `dpo`, `dpop-lambda-5`, ..
    pub name: String,
    /// The run that trains this arm alone.
    pub config: RunConfig,
}

impl RunConfig {
    /// The arms of this run: first the kept one, then the other values of the sweep in their order, last the twin.
    pub fn arms(&self) -> Vec<ArmConfig> {
        let alone = RunConfig { twin: None, sweep: None, ..self.clone() };
        let mut arms = match &self.sweep {
            None => {
                vec![ArmConfig { name: self.objective.name().to_owned(), config: alone.clone() }]
            }
            Some(sweep) => {
                let mut values = sweep.values.clone();
                // Stable: the kept value comes first, the others stay in their order.
                values.sort_by_key(|value| *value != sweep.parameter.of(self));
                values.into_iter().map(|value| swept(&alone, sweep.parameter, value)).collect()
            }
        };
        arms.extend(self.twin.map(|twin| ArmConfig {
            name: twin.name().to_owned(),
            config: RunConfig { objective: twin, ..alone },
        }));
        arms
    }
}

fn swept(alone: &RunConfig, parameter: SweepParameter, value: f64) -> ArmConfig {
    let mut config = alone.clone();
    match parameter {
        SweepParameter::Beta => config.beta = value,
        SweepParameter::Lambda => config.lambda = value,
    }
    ArmConfig { name: format!("{}-{}-{value}", config.objective.name(), parameter.name()), config }
}

/// The loss in an arm's name: `dpop` of `dpop-lambda-5`.
pub fn arm_kind(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// An arm's name as people write it: `DPOP`, `DPOP λ 5`.
pub fn arm_title(name: &str) -> String {
    let mut parts = name.splitn(3, '-');
    let kind = parts.next().unwrap_or_default();
    let Some(kind) = ObjectiveKind::ALL.into_iter().find(|known| known.name() == kind) else {
        return name.to_owned();
    };
    let parameter = parts
        .next()
        .and_then(|own| SweepParameter::ALL.into_iter().find(|known| known.name() == own));
    match (parameter, parts.next()) {
        (Some(parameter), Some(value)) => {
            format!("{} {} {value}", kind.label(), parameter.symbol())
        }
        _ if name == kind.name() => kind.label().to_owned(),
        _ => name.to_owned(),
    }
}
