//! One table of all options, for the form, the command line, the complaints and the documentation.

/// Values that an option accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limits {
    /// A path, a name or a choice.
    Other,
    /// A finite real number from `low` to `high`; `open` excludes `low` itself, `open_high` `high`.
    Real { low: f64, high: f64, open: bool, open_high: bool },
    /// A whole number from `low` to `high`.
    Whole { low: u64, high: u64 },
}

impl Limits {
    const fn real(low: f64, high: f64) -> Limits {
        Limits::Real { low, high, open: false, open_high: false }
    }

    const fn above(low: f64, high: f64) -> Limits {
        Limits::Real { low, high, open: true, open_high: false }
    }

    const fn below(low: f64, high: f64) -> Limits {
        Limits::Real { low, high, open: false, open_high: true }
    }

    const fn whole(low: u64, high: u64) -> Limits {
        Limits::Whole { low, high }
    }

    /// In words: `above 0, at most 100`; empty for [`Limits::Other`].
    pub fn describe(&self) -> String {
        match *self {
            Limits::Other => String::new(),
            Limits::Real { low, high, open, open_high } => {
                let from = if open { "above" } else { "at least" };
                let to = if open_high { "below" } else { "at most" };
                format!("{from} {low}, {to} {high}")
            }
            Limits::Whole { low, high } => format!("a whole number from {low} to {high}"),
        }
    }

    /// Whether a number is allowed. NaN and infinities never are.
    pub fn allow(&self, value: f64) -> bool {
        match *self {
            Limits::Other => true,
            Limits::Real { low, high, open, open_high } => {
                let from = if open { value > low } else { value >= low };
                let to = if open_high { value < high } else { value <= high };
                value.is_finite() && from && to
            }
            Limits::Whole { low, high } => value >= low as f64 && value <= high as f64,
        }
    }
}

/// The part of the form that shows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    Model,
    Data,
    Method,
    Adapter,
    Budget,
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Key in run.json and in complaints.
    pub name: &'static str,
    /// On the command line, with the dashes.
    pub flag: &'static str,
    pub label: &'static str,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// Empty where the value has none.
    pub unit: &'static str,
    pub card: Card,
    pub limits: Limits,
    /// What to do about a refused value.
    pub remedy: &'static str,
}

/// The option named `name`.
///
/// The names are fixed in this crate and a test looks all of them up; an unknown one answers the first
/// option rather than ending the program.
pub fn field(name: &str) -> &'static Field {
    FIELDS.iter().find(|field| field.name == name).unwrap_or(&FIELDS[0])
}

const fn option(
    card: Card,
    name: &'static str,
    flag: &'static str,
    label: &'static str,
    unit: &'static str,
    help: &'static str,
) -> Field {
    Field { name, flag, label, help, unit, card, limits: Limits::Other, remedy: "" }
}

impl Field {
    const fn limits(self, limits: Limits, remedy: &'static str) -> Field {
        Field { limits, remedy, ..self }
    }

    const fn remedy(self, remedy: &'static str) -> Field {
        Field { remedy, ..self }
    }
}

/// Every option of a run, in the order of the form.
pub const FIELDS: &[Field] = &[
    option(
        Card::Model,
        "model",
        "--model",
        "Model",
        "",
        "Folder of the base model, as downloaded from Hugging Face, or a .gguf file",
    )
    .remedy("Choose a folder with config.json, tokenizer.json and *.safetensors, or a .gguf file"),
    option(
        Card::Model,
        "device",
        "--device",
        "Device",
        "",
        "auto (best GPU, else CPU), cpu, wgpu, or wgpu:NAME-OR-INDEX",
    )
    .remedy("`dpop-studio devices` lists the names and indexes"),
    option(
        Card::Model,
        "base_precision",
        "--base-precision",
        "Base weights",
        "",
        "How the frozen weights are stored on the device: f32, bf16, f16, int8, int4 or nf4; fewer bits need less memory",
    )
    .remedy("Choose f32, bf16, f16, int8, int4 or nf4"),
    option(
        Card::Model,
        "compute_precision",
        "--compute-precision",
        "Arithmetic",
        "",
        "How a GPU multiplies with the frozen weights: f32, or f16 where the adapter has it (factors in 16 bits, sums \
             in 32; adapters, norms, attention and the head stay in f32)",
    )
    .remedy("Choose f32 or f16"),
    option(
        Card::Model,
        "weights",
        "--weights",
        "Weights stay",
        "",
        "resident on the device, stream (block by block when they compute), or auto (resident if they fit)",
    )
    .remedy("Choose auto, resident or stream"),
    option(
        Card::Model,
        "recompute",
        "--recompute",
        "Recompute blocks",
        "",
        "Compute each block again on the way back instead of keeping its activations: a third more work, \
             far less memory, the same result; auto (where they do not fit), off or on",
    )
    .remedy("Choose auto, off or on"),
    option(
        Card::Model,
        "memory_limit",
        "--memory-limit",
        "Memory limit",
        "GiB",
        "Memory the run may use on its device; 0 for what the system says is free",
    )
    .limits(Limits::real(0.0, 1e6), "0 takes what is free"),
    option(
        Card::Data,
        "data",
        "--data",
        "Training pairs",
        "",
        "File of preference pairs: prompt, chosen, rejected",
    )
    .remedy("Choose a .jsonl or .json file of preference pairs"),
    option(
        Card::Data,
        "eval_data",
        "--eval-data",
        "Held-out file",
        "",
        "File of pairs for the probe, instead of holding out a share",
    )
    .remedy("Give either a held-out file or a held-out share"),
    option(
        Card::Data,
        "eval_fraction",
        "--eval-fraction",
        "Held-out share",
        "",
        "Share of the training file held out for the probe; 0 probes training pairs",
    )
    .limits(Limits::real(0.0, 0.9), "0.1 is usual"),
    option(
        Card::Data,
        "max_length",
        "--max-length",
        "Longest sequence",
        "tokens",
        "Prompt and answer together; longer answers are cut, longer prompts dropped",
    )
    .limits(Limits::whole(8, 131_072), "1024 is usual"),
    option(
        Card::Data,
        "shuffle",
        "--no-shuffle",
        "Shuffle",
        "",
        "Take the pairs in a new random order every epoch (off: in the order of the file)",
    ),
    option(
        Card::Method,
        "objective",
        "--objective",
        "Objective",
        "",
        "The loss whose adapter is kept",
    ),
    option(
        Card::Method,
        "twin",
        "--twin",
        "Twin",
        "",
        "The loss trained beside it on the same batches, for comparison; none for no twin",
    )
    .remedy("Choose another objective for the twin, or none"),
    option(
        Card::Method,
        "sweep",
        "--sweep",
        "Sweep",
        "",
        "One arm for each value, such as lambda=1,5,50 or beta=0.1,0.3; the arm of --lambda or --beta is kept; or none",
    )
    .remedy("The kept arm is the one whose value is that of --lambda or --beta"),
    option(
        Card::Method,
        "beta",
        "--beta",
        "beta",
        "",
        "How strongly the policy is held to the reference model",
    )
    .limits(Limits::above(0.0, 100.0), "0.1 is usual"),
    option(
        Card::Method,
        "lambda",
        "--lambda",
        "lambda",
        "",
        "Weight of DPOP's penalty, inside beta and inside the sigmoid; 0 is DPO",
    )
    .limits(Limits::real(0.0, 1e6), "The paper takes 50"),
    option(
        Card::Method,
        "label_smoothing",
        "--label-smoothing",
        "Label smoothing",
        "",
        "cDPO: the probability that a pair's labels are swapped",
    )
    .limits(Limits::below(0.0, 0.5), "0.1 is usual"),
    option(
        Card::Method,
        "learning_rate",
        "--learning-rate",
        "Learning rate",
        "",
        "AdamW's step size at the schedule's peak",
    )
    .limits(Limits::above(0.0, 1.0), "5e-5 is usual for adapters"),
    option(
        Card::Method,
        "schedule",
        "--schedule",
        "Schedule",
        "",
        "How the learning rate goes on after the warm-up: constant, or falling to 0",
    ),
    option(
        Card::Method,
        "warmup_steps",
        "--warmup-steps",
        "Warm-up",
        "steps",
        "Steps in which the learning rate rises linearly from 0",
    )
    .limits(Limits::whole(0, 1_000_000), "Warm up for fewer steps than the run has"),
    option(
        Card::Method,
        "weight_decay",
        "--weight-decay",
        "Weight decay",
        "",
        "AdamW's decoupled weight decay",
    )
    .limits(Limits::real(0.0, 1.0), "0 is usual for adapters"),
    option(
        Card::Method,
        "max_grad_norm",
        "--max-grad-norm",
        "Clip gradient norm at",
        "",
        "Largest global norm of the gradient; 0 for no clipping",
    )
    .limits(Limits::real(0.0, 1e9), "1 is usual, 0 switches clipping off"),
    option(
        Card::Adapter,
        "rank",
        "--rank",
        "Rank r",
        "",
        "Inner dimension of the adapter's two matrices",
    )
    .limits(Limits::whole(1, 1024), "8 to 64 is usual"),
    option(
        Card::Adapter,
        "alpha",
        "--alpha",
        "alpha",
        "",
        "The adapter's output is scaled by alpha / r",
    )
    .limits(Limits::above(0.0, 1e5), "Twice the rank is usual"),
    option(
        Card::Adapter,
        "targets",
        "--targets",
        "Layers",
        "",
        "Linear layers that get an adapter: q, k, v, o, gate, up, down, separated by \
             commas, or all (Phi-3 has q, k and v in one layer and gate and up in another: together or not at all)",
    )
    .remedy("Choose at least one of q, k, v, o, gate, up, down"),
    option(
        Card::Adapter,
        "dropout",
        "--dropout",
        "Dropout",
        "",
        "Share of the adapter's inputs set to 0 in training",
    )
    .limits(Limits::below(0.0, 1.0), "0 is usual for preference losses"),
    option(
        Card::Adapter,
        "rslora",
        "--rslora",
        "rsLoRA",
        "",
        "Scale by alpha / sqrt(r) instead of alpha / r",
    ),
    option(
        Card::Adapter,
        "init_adapter",
        "--init-adapter",
        "Start from adapter",
        "",
        "Folder of a PEFT adapter to go on from; the reference stays the base model",
    ),
    option(Card::Budget, "steps", "--steps", "Steps", "steps", "Number of updates")
        .limits(Limits::whole(1, 10_000_000), "Give either steps or epochs"),
    option(
        Card::Budget,
        "epochs",
        "--epochs",
        "Epochs",
        "",
        "Passes over the training pairs; may be a fraction",
    )
    .limits(Limits::above(0.0, 1000.0), "1 to 3 is usual"),
    option(Card::Budget, "batch_pairs", "--batch-pairs", "Batch", "pairs", "Pairs in one update")
        .limits(Limits::whole(1, 4096), "4 to 32 is usual"),
    option(
        Card::Budget,
        "micro_batch_pairs",
        "--micro-batch-pairs",
        "Micro-batch",
        "pairs",
        "Pairs in one forward pass; smaller needs less memory and changes nothing else",
    )
    .limits(Limits::whole(1, 4096), "Take a divisor of the batch"),
    option(
        Card::Budget,
        "probe_pairs",
        "--probe-pairs",
        "Probe",
        "pairs",
        "Held-out pairs scored at every probe; 0 for no probe",
    )
    .limits(Limits::whole(0, 4096), "32 is usual"),
    option(
        Card::Budget,
        "eval_every",
        "--eval-every",
        "Probe every",
        "steps",
        "Steps between two probes",
    )
    .limits(Limits::whole(1, 1_000_000), "10 is usual"),
    option(
        Card::Budget,
        "forecast_pairs",
        "--forecast-pairs",
        "Forecast on",
        "pairs",
        "Probe pairs whose gradients tell at every probe what plain DPO would do next; 0 for none",
    )
    .limits(Limits::whole(0, 4096), "4 is usual"),
    option(
        Card::Budget,
        "stop_when",
        "--stop-when",
        "Stop early when",
        "",
        "Rules separated by commas: chosen-below-reference=NATS, margin-plateau=PROBES, nan; or none",
    )
    .remedy("The adapter is saved before the run ends"),
    option(
        Card::Budget,
        "save_every",
        "--save-every",
        "Checkpoint every",
        "steps",
        "Steps between two checkpoints; 0 for none before the end",
    )
    .limits(Limits::whole(0, 1_000_000), "100 is usual"),
    option(
        Card::Budget,
        "sample_prompts",
        "--sample-prompts",
        "Write answers to",
        "prompts",
        "Held-out prompts that every arm answers at the start and at every checkpoint; 0 for none",
    )
    .limits(Limits::whole(0, 64), "2 is usual"),
    option(
        Card::Budget,
        "sample_tokens",
        "--sample-tokens",
        "Longest answer",
        "tokens",
        "New tokens of one such answer at most",
    )
    .limits(Limits::whole(1, 4096), "64 is usual"),
    option(
        Card::Budget,
        "seed",
        "--seed",
        "Seed",
        "",
        "Start of all random numbers: the same seed gives the same run",
    )
    .limits(Limits::whole(0, 9_007_199_254_740_992), "42 is usual"),
];
