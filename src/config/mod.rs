//! What a run is asked to do. One set of names for the form, the command line and `run.json`.

mod draft;
mod field;
mod presets;
mod stop;
mod sweep;
mod validate;

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use draft::{Complaint, RunDraft, Targets, Twin, defaults};
pub use field::{Card, FIELDS, Field, Limits, field};
pub use presets::{Preset, lambda_from_allamo, presets};
pub use stop::{StopRule, StopRules};
pub use sweep::{ArmConfig, MOST_VALUES, Sweep, SweepParameter, arm_kind, arm_title};

/// The seven linear layers of a decoder block that can carry an adapter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
pub enum Target {
    #[serde(rename = "q")]
    Q,
    #[serde(rename = "k")]
    K,
    #[serde(rename = "v")]
    V,
    #[serde(rename = "o")]
    O,
    #[serde(rename = "gate")]
    Gate,
    #[serde(rename = "up")]
    Up,
    #[serde(rename = "down")]
    Down,
}

impl Target {
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];

    /// The name in run.json and on the command line: `q`, `k`, ..
    pub fn name(self) -> &'static str {
        match self {
            Target::Q => "q",
            Target::K => "k",
            Target::V => "v",
            Target::O => "o",
            Target::Gate => "gate",
            Target::Up => "up",
            Target::Down => "down",
        }
    }

    /// The module name in Hugging Face checkpoints and PEFT adapters: `q_proj`, ..
    pub fn module_name(self) -> &'static str {
        match self {
            Target::Q => "q_proj",
            Target::K => "k_proj",
            Target::V => "v_proj",
            Target::O => "o_proj",
            Target::Gate => "gate_proj",
            Target::Up => "up_proj",
            Target::Down => "down_proj",
        }
    }

    /// Whether it belongs to the MLP, of which a mixture of experts has many.
    pub fn is_mlp(self) -> bool {
        matches!(self, Target::Gate | Target::Up | Target::Down)
    }

    /// The module's parent in a decoder layer: `self_attn` or `mlp`.
    pub fn parent_name(self) -> &'static str {
        if self.is_mlp() { "mlp" } else { "self_attn" }
    }
}

/// Learning-rate schedule after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Constant,
    Linear,
    Cosine,
}

/// How the frozen base model's weights are stored on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BasePrecision {
    #[default]
    F32,
    /// 16 bits, the exponent of f32 and 8 bits of precision: what most checkpoints hold
    Bf16,
    /// 16 bits, 11 of precision
    F16,
    /// 8-bit integers
    Int8,
    /// 4-bit integers
    Int4,
    /// 4-bit NormalFloat (QLoRA)
    Nf4,
}

impl BasePrecision {
    /// The name in run.json and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            BasePrecision::F32 => "f32",
            BasePrecision::Bf16 => "bf16",
            BasePrecision::F16 => "f16",
            BasePrecision::Int8 => "int8",
            BasePrecision::Int4 => "int4",
            BasePrecision::Nf4 => "nf4",
        }
    }
}

/// In what a GPU multiplies with the frozen linear layers; all else is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ComputePrecision {
    #[default]
    F32,
    /// factors in 16 bits, sums in 32
    F16,
}

impl ComputePrecision {
    /// The name in run.json and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ComputePrecision::F32 => "f32",
            ComputePrecision::F16 => "f16",
        }
    }
}

/// Where the frozen base model's blocks lie while it trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WeightPlace {
    /// Resident where they fit, else streamed
    #[default]
    Auto,
    /// All blocks on the device
    Resident,
    /// Each block comes to the device when it computes
    Stream,
}

impl WeightPlace {
    /// The name in run.json and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WeightPlace::Auto => "auto",
            WeightPlace::Resident => "resident",
            WeightPlace::Stream => "stream",
        }
    }
}

/// What the backward pass finds of a block's forward pass (gradient checkpointing, arXiv 1604.06174).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Off where the activations fit, else on
    #[default]
    Auto,
    /// All activations are kept
    Off,
    /// Each block's input is kept, and the block computed once more on the way back
    On,
}

impl Recompute {
    /// The name in run.json and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Recompute::Auto => "auto",
            Recompute::Off => "off",
            Recompute::On => "on",
        }
    }
}

/// A preference loss by name; `crate::loss` holds the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveKind {
    /// DPO-Positive: DPO with a penalty where the chosen answer becomes less likely
    Dpop,
    /// Direct preference optimisation
    Dpo,
    /// Identity preference optimisation: a squared distance to a fixed margin
    Ipo,
    /// SLiC's hinge loss on the margin
    Hinge,
    /// Conservative DPO: some labels are taken to be wrong
    Cdpo,
    /// Supervised fine-tuning on the chosen answers
    Sft,
}

impl ObjectiveKind {
    pub const ALL: [ObjectiveKind; 6] = [
        ObjectiveKind::Dpop,
        ObjectiveKind::Dpo,
        ObjectiveKind::Ipo,
        ObjectiveKind::Hinge,
        ObjectiveKind::Cdpo,
        ObjectiveKind::Sft,
    ];

    /// The name in run.json, on the command line and in folder names: `dpop`, ..
    pub fn name(self) -> &'static str {
        match self {
            ObjectiveKind::Dpop => "dpop",
            ObjectiveKind::Dpo => "dpo",
            ObjectiveKind::Ipo => "ipo",
            ObjectiveKind::Hinge => "hinge",
            ObjectiveKind::Cdpo => "cdpo",
            ObjectiveKind::Sft => "sft",
        }
    }

    /// The name people read: `DPOP`, ..
    pub fn label(self) -> &'static str {
        match self {
            ObjectiveKind::Dpop => "DPOP",
            ObjectiveKind::Dpo => "DPO",
            ObjectiveKind::Ipo => "IPO",
            ObjectiveKind::Hinge => "SLiC hinge",
            ObjectiveKind::Cdpo => "cDPO",
            ObjectiveKind::Sft => "SFT",
        }
    }
}

impl fmt::Display for ObjectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    Steps(usize),
    Epochs(f64),
}

/// Where probe pairs come from.
#[derive(Clone, Debug, PartialEq)]
pub enum EvalSource {
    File(PathBuf),
    /// Share of the training file held out, in 0..=0.9. With 0 nothing is held out and the probe pairs are
    /// training pairs.
    Fraction(f64),
}

/// A complete, valid configuration: what `run.json` holds.
///
/// Its JSON form is that of a filled [`RunDraft`], so that every key of run.json is an option of the command
/// line under the same name, and reading one validates it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "RunDraft", try_from = "RunDraft")]
pub struct RunConfig {
    pub model: PathBuf,
    pub data: PathBuf,
    pub objective: ObjectiveKind,
    /// The arm trained beside the kept one on the same batches; `None` for no twin.
    pub twin: Option<ObjectiveKind>,
    /// Values of a parameter of the objective, each an arm of its own; the one that equals this configuration's
    /// `beta` or `lambda` is kept.
    pub sweep: Option<Sweep>,
    pub beta: f64,
    /// DPOP's lambda: inside beta and inside the sigmoid (arXiv 2402.13228 v2, Eq. 3).
    pub lambda: f64,
    /// cDPO's label smoothing, in 0..0.5.
    pub label_smoothing: f64,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub warmup_steps: usize,
    pub weight_decay: f64,
    /// Global-norm clipping; `None` (0 in run.json) for no clipping.
    pub max_grad_norm: Option<f64>,
    pub budget: Budget,
    pub batch_pairs: usize,
    /// Pairs in one forward pass; gradients accumulate up to `batch_pairs`.
    pub micro_batch_pairs: usize,
    /// Tokens of prompt and completion together.
    pub max_length: usize,
    pub rank: usize,
    pub alpha: f64,
    pub targets: Vec<Target>,
    pub dropout: f64,
    /// Scale alpha / sqrt(r) instead of alpha / r.
    pub rslora: bool,
    pub init_adapter: Option<PathBuf>,
    pub eval: EvalSource,
    /// Pairs scored at every probe; 0 for no probe.
    pub probe_pairs: usize,
    pub eval_every: usize,
    /// Probe pairs on which every probe tests by gradients whether plain DPO would lower the chosen answer; 0 for none.
    pub forecast_pairs: usize,
    /// When to end early.
    pub stop_when: StopRules,
    /// Steps between checkpoints; 0 for none before the end.
    pub save_every: usize,
    /// Held-out prompts that every arm answers at the start and at every checkpoint; 0 for none.
    pub sample_prompts: usize,
    /// New tokens of such an answer at most.
    pub sample_tokens: usize,
    /// `auto`, `cpu`, `wgpu`, `wgpu:INDEX` or `wgpu:NAME`.
    pub device: String,
    pub base_precision: BasePrecision,
    pub compute_precision: ComputePrecision,
    pub weights: WeightPlace,
    pub recompute: Recompute,
    /// Memory (GiB) that the run may use on its device; `None` (0 in run.json): what the system says is free.
    pub memory_limit: Option<f64>,
    pub seed: u64,
    pub shuffle: bool,
}
