//! A configuration as typed: every option may be absent, every value may be wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    BasePrecision, ComputePrecision, ObjectiveKind, Recompute, RunConfig, Schedule, Target,
    WeightPlace, field,
};

/// What an absent option means.
///
/// TRL's `DPOTrainer` has the same beta, linear schedule, no warm-up, no decay, clipping at 1, 1024 tokens,
/// batch 8 and seed 42. Different are: the learning rate, because TRL's 1e-6 is for full fine-tuning and
/// adapters want ten to a hundred times more; all linear layers with rank 16 and alpha = 2 r, because QLoRA
/// (arXiv 2305.14314) found the choice of layers to matter more than the rank; and one epoch instead of
/// three, because preference losses overfit early.
pub mod defaults {
    use super::{ObjectiveKind, Schedule};

    pub const OBJECTIVE: ObjectiveKind = ObjectiveKind::Dpop;
    pub const BETA: f64 = 0.1;
    /// arXiv 2402.13228 v2.
    pub const LAMBDA: f64 = 50.0;
    pub const LABEL_SMOOTHING: f64 = 0.1;
    pub const LEARNING_RATE: f64 = 5e-5;
    pub const SCHEDULE: Schedule = Schedule::Linear;
    pub const WARMUP_STEPS: usize = 0;
    pub const WEIGHT_DECAY: f64 = 0.0;
    pub const MAX_GRAD_NORM: f64 = 1.0;
    pub const EPOCHS: f64 = 1.0;
    pub const BATCH_PAIRS: usize = 8;
    /// The micro-batch is the largest divisor of the batch up to this.
    pub const MICRO_BATCH_PAIRS: usize = 4;
    pub const MAX_LENGTH: usize = 1024;
    pub const RANK: usize = 16;
    /// alpha is this times the rank.
    pub const ALPHA_PER_RANK: f64 = 2.0;
    pub const DROPOUT: f64 = 0.0;
    pub const EVAL_FRACTION: f64 = 0.1;
    pub const PROBE_PAIRS: usize = 32;
    pub const EVAL_EVERY: usize = 10;
    pub const FORECAST_PAIRS: usize = 4;
    pub const SAVE_EVERY: usize = 100;
    pub const SAMPLE_PROMPTS: usize = 2;
    pub const SAMPLE_TOKENS: usize = 64;
    pub const DEVICE: &str = "auto";
    pub const SEED: u64 = 42;
}

/// The twin arm as typed: an objective or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin(pub Option<ObjectiveKind>);

impl fmt::Display for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("none", ObjectiveKind::name))
    }
}

impl FromStr for Twin {
    type Err = String;

    fn from_str(text: &str) -> Result<Twin, String> {
        if text == "none" {
            return Ok(Twin(None));
        }
        let names = ObjectiveKind::ALL.map(ObjectiveKind::name).join(", ");
        ObjectiveKind::from_str(text, false)
            .map(|kind| Twin(Some(kind)))
            .map_err(|_| format!("{text:?} is no objective; choose none or one of {names}"))
    }
}

/// Linear layers as typed: names separated by commas, or `all`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Targets(pub Vec<Target>);

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|t| t.name()).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Targets {
    type Err = String;

    fn from_str(text: &str) -> Result<Targets, String> {
        if text == "all" {
            return Ok(Targets(Target::ALL.to_vec()));
        }
        let one = |name: &str| {
            // PEFT's spelling is welcome too.
            let short = name.trim().trim_end_matches("_proj");
            Target::from_str(short, false).map_err(|_| {
                format!("{name:?} is no layer; choose all or some of q, k, v, o, gate, up, down")
            })
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Targets)
    }
}

impl Serialize for Twin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Twin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Twin, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Every option of a run, as the form, the command line or a run.json gives it.
///
/// Keys and flags are those of [`FIELDS`](super::FIELDS); help texts come from there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
#[serde(default)]
pub struct RunDraft {
    #[arg(long, value_name = "DIR", help = help("model"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = help("data"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    #[arg(long, value_enum, value_name = "NAME", help = help("objective"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<ObjectiveKind>,
    #[arg(long, value_name = "NAME|none", help = help("twin"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
    #[arg(long, value_name = "NAME=F,F,..|none", help = help("sweep"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<String>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("beta"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("lambda"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("label_smoothing"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("learning_rate"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    #[arg(long, value_enum, help = help("base_precision"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_precision: Option<BasePrecision>,
    #[arg(long, value_enum, help = help("compute_precision"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_precision: Option<ComputePrecision>,
    #[arg(long, value_enum, help = help("weights"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightPlace>,
    #[arg(long, value_enum, help = help("recompute"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute: Option<Recompute>,
    #[arg(long, value_name = "GIB", allow_negative_numbers = true, help = help("memory_limit"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<f64>,
    #[arg(long, value_enum, help = help("schedule"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    #[arg(long, value_name = "N", help = help("warmup_steps"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("weight_decay"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("max_grad_norm"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    #[arg(long, value_name = "N", help = help("steps"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("epochs"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    #[arg(long, value_name = "N", help = help("batch_pairs"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_pairs: Option<usize>,
    #[arg(long, value_name = "N", help = help("micro_batch_pairs"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch_pairs: Option<usize>,
    #[arg(long, value_name = "N", help = help("max_length"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    #[arg(long, value_name = "N", help = help("rank"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("alpha"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    #[arg(long, value_name = "q,k,..|all", help = help("targets"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("dropout"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", help = help("rslora"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rslora: Option<bool>,
    #[arg(long, value_name = "DIR", help = help("init_adapter"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = help("eval_data"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_data: Option<PathBuf>,
    #[arg(long, value_name = "F", allow_negative_numbers = true, help = help("eval_fraction"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_fraction: Option<f64>,
    #[arg(long, value_name = "N", help = help("probe_pairs"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_pairs: Option<usize>,
    #[arg(long, value_name = "N", help = help("eval_every"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<usize>,
    #[arg(long, value_name = "N", help = help("forecast_pairs"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast_pairs: Option<usize>,
    #[arg(long, value_name = "RULE[,RULE]|none", help = help("stop_when"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_when: Option<String>,
    #[arg(long, value_name = "N", help = help("save_every"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<usize>,
    #[arg(long, value_name = "N", help = help("sample_prompts"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_prompts: Option<usize>,
    #[arg(long, value_name = "N", help = help("sample_tokens"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_tokens: Option<usize>,
    #[arg(long, value_name = "DEVICE", help = help("device"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[arg(long, value_name = "N", help = help("seed"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[arg(
        long = "no-shuffle",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = parse_negated,
        value_name = "true|false",
        help = "Take the pairs in the order of the file"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<bool>,
}

/// `--no-shuffle` sets `shuffle` to false.
fn parse_negated(text: &str) -> Result<bool, std::str::ParseBoolError> {
    text.parse().map(|flag: bool| !flag)
}

/// What an option means and what its absence means.
fn help(name: &str) -> &'static str {
    static TEXTS: OnceLock<BTreeMap<&'static str, String>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let least = RunDraft {
            model: Some("model".into()),
            data: Some("data".into()),
            ..RunDraft::default()
        };
        let usual = least.validate().map(RunDraft::from).unwrap_or_default();
        let usual = serde_json::to_value(usual).unwrap_or_default();
        let own = |field: &super::Field| {
            usual.get(field.name).filter(|_| !matches!(field.name, "model" | "data"))
        };
        let text = |field: &super::Field| match own(field).and_then(in_words) {
            Some(value) => format!("{} [default: {value}]", field.help),
            None => field.help.to_owned(),
        };
        super::FIELDS.iter().map(|field| (field.name, text(field))).collect()
    });
    texts.get(name).map_or(field(name).help, String::as_str)
}

/// A default as one would type it; `None` for switches and where there is none.
fn in_words(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => number.as_f64().map(|number| number.to_string()),
        serde_json::Value::Array(values) => {
            Some(values.iter().filter_map(in_words).collect::<Vec<_>>().join(","))
        }
        _ => None,
    }
}

/// One reason why a draft is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// The option's name in [`FIELDS`](super::FIELDS).
    pub field: &'static str,
    /// What is wrong, what is allowed, and what to do.
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl TryFrom<RunDraft> for RunConfig {
    type Error = String;

    fn try_from(draft: RunDraft) -> Result<RunConfig, String> {
        let join = |list: Vec<Complaint>| {
            list.iter().map(Complaint::to_string).collect::<Vec<_>>().join(" ")
        };
        draft.validate().map_err(join)
    }
}

impl RunDraft {
    /// This draft with the gaps filled from `other` (a preset, say). Where both name the same thing in two ways
    /// (steps and epochs, a held-out file and a share), this draft's way wins.
    pub fn or(self, other: RunDraft) -> RunDraft {
        let own_budget = self.steps.is_some() || self.epochs.is_some();
        let own_eval = self.eval_data.is_some() || self.eval_fraction.is_some();
        RunDraft {
            model: self.model.or(other.model),
            data: self.data.or(other.data),
            objective: self.objective.or(other.objective),
            twin: self.twin.or(other.twin),
            sweep: self.sweep.or(other.sweep),
            beta: self.beta.or(other.beta),
            lambda: self.lambda.or(other.lambda),
            label_smoothing: self.label_smoothing.or(other.label_smoothing),
            learning_rate: self.learning_rate.or(other.learning_rate),
            base_precision: self.base_precision.or(other.base_precision),
            compute_precision: self.compute_precision.or(other.compute_precision),
            weights: self.weights.or(other.weights),
            recompute: self.recompute.or(other.recompute),
            memory_limit: self.memory_limit.or(other.memory_limit),
            schedule: self.schedule.or(other.schedule),
            warmup_steps: self.warmup_steps.or(other.warmup_steps),
            weight_decay: self.weight_decay.or(other.weight_decay),
            max_grad_norm: self.max_grad_norm.or(other.max_grad_norm),
            steps: self.steps.or(other.steps.filter(|_| !own_budget)),
            epochs: self.epochs.or(other.epochs.filter(|_| !own_budget)),
            batch_pairs: self.batch_pairs.or(other.batch_pairs),
            micro_batch_pairs: self.micro_batch_pairs.or(other.micro_batch_pairs),
            max_length: self.max_length.or(other.max_length),
            rank: self.rank.or(other.rank),
            alpha: self.alpha.or(other.alpha),
            targets: self.targets.or(other.targets),
            dropout: self.dropout.or(other.dropout),
            rslora: self.rslora.or(other.rslora),
            init_adapter: self.init_adapter.or(other.init_adapter),
            eval_data: self.eval_data.or(other.eval_data.filter(|_| !own_eval)),
            eval_fraction: self.eval_fraction.or(other.eval_fraction.filter(|_| !own_eval)),
            probe_pairs: self.probe_pairs.or(other.probe_pairs),
            eval_every: self.eval_every.or(other.eval_every),
            forecast_pairs: self.forecast_pairs.or(other.forecast_pairs),
            stop_when: self.stop_when.or(other.stop_when),
            save_every: self.save_every.or(other.save_every),
            sample_prompts: self.sample_prompts.or(other.sample_prompts),
            sample_tokens: self.sample_tokens.or(other.sample_tokens),
            device: self.device.or(other.device),
            seed: self.seed.or(other.seed),
            shuffle: self.shuffle.or(other.shuffle),
        }
    }
}
