//! The model card beside an exported adapter: what was done and what came out, from the run's own record.

use std::fmt::Write;
use std::path::Path;

use super::folder::RunRecord;
use crate::config::{Budget, ComputePrecision, EvalSource, ObjectiveKind, RunConfig};
use crate::gguf;
use crate::lora::Site;
use crate::train::event::{ArmInfo, Event, Metrics};

/// What a card is made of.
pub struct CardInput<'a> {
    pub record: &'a RunRecord,
    /// Name of the arm whose adapter it is.
    pub arm: &'a str,
    pub arms: &'a [ArmInfo],
    /// The run's whole log.
    pub events: &'a [Event],
    /// Updates done.
    pub step: usize,
    /// Where the kept adapter sits.
    pub sites: &'a [Site],
}

/// Probe figures shown: metric and column title.
const COLUMNS: [(&str, &str); 6] = [
    ("logps_per_token/chosen", "chosen, nats/token"),
    ("reference_per_token/chosen", "reference chosen"),
    ("logps_per_token/rejected", "rejected, nats/token"),
    ("reference_per_token/rejected", "reference rejected"),
    ("rewards/margins", "margin"),
    ("rewards/accuracies", "accuracy"),
];

/// The text of `README.md` in Markdown.
pub fn model_card(input: &CardInput<'_>) -> String {
    let own = input.record.config.arms().into_iter().find(|arm| arm.name == input.arm);
    let config = &own.map_or_else(|| input.record.config.clone(), |arm| arm.config);
    let name = file_name(&config.model);
    let mut card = String::new();
    let _ = writeln!(
        card,
        "---\nlibrary_name: peft\ntags:\n- lora\n- preference-optimization\n- {}\n---\n",
        config.objective.name()
    );
    let _ = writeln!(card, "# LoRA adapter for {name}, trained with {}\n", title(config.objective));
    let _ = writeln!(
        card,
        "Made by DPOP Studio {} in {} updates on {}.\n",
        input.record.versions.program, input.step, input.record.created
    );
    write_inputs(&mut card, input.record);
    write_method(&mut card, config, input);
    write_parameters(&mut card, config, input.record);
    write_results(&mut card, input);
    write_usage(&mut card, config);
    write_experts(&mut card, input);
    card
}

fn write_inputs(card: &mut String, record: &RunRecord) {
    let config = &record.config;
    let _ = writeln!(card, "## Base model and data\n\n| | | SHA-256 |\n|---|---|---|");
    let _ = writeln!(
        card,
        "| base model | {} | `{}` |",
        cell(&file_name(&config.model)),
        record.inputs.model
    );
    let _ = writeln!(
        card,
        "| preference pairs | {} | `{}` |",
        cell(&file_name(&config.data)),
        record.inputs.data
    );
    match &config.eval {
        EvalSource::File(path) => {
            let hash = record.inputs.eval_data.as_deref().unwrap_or("not recorded");
            let _ = writeln!(card, "| held-out pairs | {} | `{hash}` |", cell(&file_name(path)));
        }
        EvalSource::Fraction(share) => {
            let _ = writeln!(card, "| held-out pairs | {share} of the pairs, not trained on | |");
        }
    }
    let _ = writeln!(card);
    if let Some(format) =
        record.inputs.model_format.as_deref().filter(|format| is_quantised(format))
    {
        let _ = writeln!(
            card,
            "The base model's files are quantised ({format}), and the adapter was trained on the values that they \
             stand for. On the unquantised model, or on another quantisation of it, its effect is a little different.\n"
        );
    }
}

/// Whether files of that format store other than plain numbers.
fn is_quantised(format: &str) -> bool {
    let plain = ["F32", "F16", "BF16"];
    !plain.contains(&format.trim_start_matches("GGUF "))
}

fn write_method(card: &mut String, config: &RunConfig, input: &CardInput<'_>) {
    let _ = writeln!(
        card,
        "## Method\n\n{}, mean over the pairs of a batch:\n\n```\n{}\n```\n\n\
         `lw`, `ll`: summed log-probability (nats) of the chosen and the rejected completion, end-of-sequence \
         token included; `rw = lw - lw_ref`, `rl = ll - ll_ref`; the reference is the base model without an adapter.",
        title(config.objective),
        crate::loss::formula(config.objective)
    );
    let others = input.arms.iter().filter(|arm| arm.name != input.arm);
    let others: Vec<&str> = others.map(|arm| arm.objective.as_str()).collect();
    if !others.is_empty() {
        let _ = writeln!(
            card,
            "\nFor comparison other adapters were trained on the same batches, which are not part of this folder: {}.",
            others.join("; ")
        );
    }
    let _ = writeln!(card);
}

/// `config` is the arm's own.
fn write_parameters(card: &mut String, config: &RunConfig, record: &RunRecord) {
    let targets: Vec<&str> = config.targets.iter().map(|target| target.name()).collect();
    let budget = match config.budget {
        Budget::Steps(steps) => ("steps", steps.to_string()),
        Budget::Epochs(epochs) => ("epochs", epochs.to_string()),
    };
    let clip = config.max_grad_norm.map_or("none".into(), |norm| norm.to_string());
    let init = config.init_adapter.as_deref().map_or("none".into(), file_name);
    let rows: [(&str, String); 23] = [
        ("objective", config.objective.name().into()),
        ("beta", config.beta.to_string()),
        ("lambda", or_unused(config.lambda, config.objective == ObjectiveKind::Dpop)),
        (
            "label smoothing",
            or_unused(config.label_smoothing, config.objective == ObjectiveKind::Cdpo),
        ),
        ("learning rate", config.learning_rate.to_string()),
        ("schedule", format!("{:?}", config.schedule).to_lowercase()),
        ("warmup steps", config.warmup_steps.to_string()),
        ("weight decay", config.weight_decay.to_string()),
        ("max grad norm", clip),
        budget,
        ("batch pairs", config.batch_pairs.to_string()),
        ("micro batch pairs", config.micro_batch_pairs.to_string()),
        ("max length", config.max_length.to_string()),
        ("rank", config.rank.to_string()),
        ("alpha", config.alpha.to_string()),
        ("targets", targets.join(", ")),
        ("dropout", config.dropout.to_string()),
        ("rslora", config.rslora.to_string()),
        ("init adapter", init),
        ("base weights", base_weights(record)),
        ("seed", config.seed.to_string()),
        ("shuffle", config.shuffle.to_string()),
        ("optimiser", "AdamW (beta1 0.9, beta2 0.999, epsilon 1e-8)".into()),
    ];
    let _ = writeln!(card, "## Hyper-parameters\n\n| | |\n|---|---|");
    for (name, value) in rows {
        let _ = writeln!(card, "| {name} | {} |", cell(&value));
    }
    let _ = writeln!(card);
}

/// How the base weights were stored, on disk and while training.
fn base_weights(record: &RunRecord) -> String {
    let held = match record.config.compute_precision {
        ComputePrecision::F32 => record.config.base_precision.name().to_owned(),
        ComputePrecision::F16 => {
            format!("{}, multiplied in f16", record.config.base_precision.name())
        }
    };
    match &record.inputs.model_format {
        Some(format) => format!("{format} in the files, {held} in training"),
        None => held,
    }
}

/// A parameter's value, or a dash where the objective has no such parameter.
fn or_unused(value: f64, used: bool) -> String {
    if used { value.to_string() } else { "-".into() }
}

fn write_results(card: &mut String, input: &CardInput<'_>) {
    let probe = input.events.iter().rev().find_map(|event| match event {
        Event::Probe { step, arms, .. } => Some((*step, arms)),
        _ => None,
    });
    let _ = writeln!(card, "## Results on the held-out pairs\n");
    let Some((step, arms)) = probe else {
        let _ = writeln!(card, "The run measured no held-out pairs.\n");
        return;
    };
    let _ = write!(card, "After {step} updates:\n\n| arm |");
    for (_, title) in COLUMNS {
        let _ = write!(card, " {title} |");
    }
    let _ = writeln!(card, "\n|---|{}", "---|".repeat(COLUMNS.len()));
    for arm in input.arms {
        let note = if arm.name == input.arm { " (this adapter)" } else { "" };
        let _ = write!(card, "| {}{note} |", cell(&arm.objective));
        let metrics = arms.get(&arm.name);
        for (metric, _) in COLUMNS {
            let _ = write!(card, " {} |", figure(metrics, metric));
        }
        let _ = writeln!(card);
    }
    let _ = writeln!(
        card,
        "\nMargin: mean of `beta * (rw - rl)`. Accuracy: share of pairs with `rw > rl`.\n"
    );
    for event in input.events {
        if let Event::Collapse { message, .. } = event {
            let _ = writeln!(card, "- {message}");
        }
    }
    if input.events.iter().any(|event| matches!(event, Event::Collapse { .. })) {
        let _ = writeln!(card);
    }
}

fn figure(metrics: Option<&Metrics>, name: &str) -> String {
    metrics
        .and_then(|metrics| metrics.get(name))
        .map_or("not measured".into(), |value| format!("{value:.4}"))
}

fn write_usage(card: &mut String, config: &RunConfig) {
    let quoted = |path: &Path| file_name(path).replace('\\', "\\\\").replace('"', "\\\"");
    let model = if gguf::is_gguf(&config.model) {
        let folder = config.model.parent().map(quoted).unwrap_or_default();
        format!("{folder}\", gguf_file=\"{}", quoted(&config.model))
    } else {
        quoted(&config.model)
    };
    let _ = writeln!(
        card,
        "## Use\n\n```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
         base = AutoModelForCausalLM.from_pretrained(\"path/to/{model}\")\n\
         model = PeftModel.from_pretrained(base, \".\")  # this folder\n```"
    );
}

/// Which versions load an adapter on experts (docs/EXPERTS.md says how that was found).
fn write_experts(card: &mut String, input: &CardInput<'_>) {
    let on = |expert: bool| {
        let mut sites = input.sites.iter().filter(|site| site.place.target.is_mlp());
        sites.any(|site| site.place.expert.is_some() == expert)
    };
    if !on(true) {
        return;
    }
    let _ = writeln!(
        card,
        "\nThe base is a mixture of experts, and the adapter sits on every expert, under the names of transformers 4. It \
         loads with transformers 4 and PEFT 0.5 or newer, and with transformers 5.4 or newer and PEFT 0.20 or newer. PEFT \
         0.18 with transformers 5 leaves the experts' part out without a word. What PEFT cannot join there (rsLoRA, \
         dropout, gate or up alone) is written as the same function without it; an added layer has a B of zero."
    );
    if on(false) {
        let _ = writeln!(
            card,
            "\nWith transformers 5 PEFT leaves out the part on the MLP of those layers that have no experts: use \
             transformers 4."
        );
    }
}

/// The last part of a path: a card may be published, and home folders do not belong in it.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Text for a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn title(objective: ObjectiveKind) -> &'static str {
    match objective {
        ObjectiveKind::Dpop => "DPO-Positive (DPOP, arXiv 2402.13228 v2, Eq. 3)",
        ObjectiveKind::Dpo => "DPO (arXiv 2305.18290)",
        ObjectiveKind::Ipo => "IPO (arXiv 2310.12036)",
        ObjectiveKind::Hinge => "the SLiC hinge loss (arXiv 2305.10425)",
        ObjectiveKind::Cdpo => "conservative DPO (cDPO)",
        ObjectiveKind::Sft => "supervised fine-tuning on the chosen completions",
    }
}
