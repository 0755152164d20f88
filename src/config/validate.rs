//! From a draft to a configuration, with all complaints at once.

use std::path::{Path, PathBuf};

use super::{
    Budget, Complaint, EvalSource, ObjectiveKind, RunConfig, RunDraft, StopRules, Sweep,
    SweepParameter, Target, defaults, field,
};

/// Collects complaints while values pass through.
#[derive(Default)]
struct Check {
    complaints: Vec<Complaint>,
}

impl Check {
    fn complain(&mut self, name: &'static str, problem: impl AsRef<str>) {
        let field = field(name);
        let remedy =
            if field.remedy.is_empty() { String::new() } else { format!(" {}.", field.remedy) };
        let message = format!("{} ({}): {}.{remedy}", field.label, field.flag, problem.as_ref());
        self.complaints.push(Complaint { field: name, message });
    }

    fn real(&mut self, name: &'static str, value: f64) -> f64 {
        let limits = field(name).limits;
        if !limits.allow(value) {
            self.complain(
                name,
                format!("{value} is not allowed; it must be {}", limits.describe()),
            );
        }
        value
    }

    fn whole(&mut self, name: &'static str, value: usize) -> usize {
        let limits = field(name).limits;
        if !limits.allow(value as f64) {
            self.complain(
                name,
                format!("{value} is not allowed; it must be {}", limits.describe()),
            );
        }
        value
    }

    fn required(&mut self, name: &'static str, path: Option<&Path>) -> PathBuf {
        match path {
            Some(path) if !path.as_os_str().is_empty() => path.to_path_buf(),
            _ => {
                self.complain(name, "nothing is chosen");
                PathBuf::new()
            }
        }
    }
}

impl RunDraft {
    /// The configuration, or every complaint in the order of the options. Looks at values only, not at files.
    pub fn validate(&self) -> Result<RunConfig, Vec<Complaint>> {
        let mut check = Check::default();
        let c = &mut check;
        let objective = self.objective.unwrap_or(defaults::OBJECTIVE);
        let batch_pairs = c.whole("batch_pairs", self.batch_pairs.unwrap_or(defaults::BATCH_PAIRS));
        let rank = c.whole("rank", self.rank.unwrap_or(defaults::RANK));
        let budget = self.budget(c);
        let config = RunConfig {
            model: c.required("model", self.model.as_deref()),
            data: c.required("data", self.data.as_deref()),
            objective,
            twin: self.twin(objective, c),
            sweep: self.sweep(objective, c),
            beta: c.real("beta", self.beta.unwrap_or(defaults::BETA)),
            lambda: c.real("lambda", self.lambda.unwrap_or(defaults::LAMBDA)),
            label_smoothing: c
                .real("label_smoothing", self.label_smoothing.unwrap_or(defaults::LABEL_SMOOTHING)),
            learning_rate: c
                .real("learning_rate", self.learning_rate.unwrap_or(defaults::LEARNING_RATE)),
            schedule: self.schedule.unwrap_or(defaults::SCHEDULE),
            warmup_steps: self.warmup_steps(budget, c),
            weight_decay: c
                .real("weight_decay", self.weight_decay.unwrap_or(defaults::WEIGHT_DECAY)),
            max_grad_norm: Some(
                c.real("max_grad_norm", self.max_grad_norm.unwrap_or(defaults::MAX_GRAD_NORM)),
            )
            .filter(|norm| *norm != 0.0),
            budget,
            batch_pairs,
            micro_batch_pairs: self.micro_batch_pairs(batch_pairs, c),
            max_length: c.whole("max_length", self.max_length.unwrap_or(defaults::MAX_LENGTH)),
            rank,
            alpha: c.real("alpha", self.alpha.unwrap_or(defaults::ALPHA_PER_RANK * rank as f64)),
            targets: self.targets(c),
            dropout: c.real("dropout", self.dropout.unwrap_or(defaults::DROPOUT)),
            rslora: self.rslora.unwrap_or(false),
            init_adapter: self.init_adapter.clone().filter(|path| !path.as_os_str().is_empty()),
            eval: self.eval(c),
            probe_pairs: c.whole("probe_pairs", self.probe_pairs.unwrap_or(defaults::PROBE_PAIRS)),
            eval_every: c.whole("eval_every", self.eval_every.unwrap_or(defaults::EVAL_EVERY)),
            forecast_pairs: c
                .whole("forecast_pairs", self.forecast_pairs.unwrap_or(defaults::FORECAST_PAIRS)),
            stop_when: self.stop_when(c),
            save_every: c.whole("save_every", self.save_every.unwrap_or(defaults::SAVE_EVERY)),
            sample_prompts: c
                .whole("sample_prompts", self.sample_prompts.unwrap_or(defaults::SAMPLE_PROMPTS)),
            sample_tokens: c
                .whole("sample_tokens", self.sample_tokens.unwrap_or(defaults::SAMPLE_TOKENS)),
            device: self.device(c),
            base_precision: self.base_precision.unwrap_or_default(),
            compute_precision: self.compute_precision.unwrap_or_default(),
            weights: self.weights.unwrap_or_default(),
            recompute: self.recompute.unwrap_or_default(),
            memory_limit: self
                .memory_limit
                .map(|limit| c.real("memory_limit", limit))
                .filter(|limit| *limit != 0.0),
            seed: self.seed(c),
            shuffle: self.shuffle.unwrap_or(true),
        };
        let order =
            |complaint: &Complaint| super::FIELDS.iter().position(|f| f.name == complaint.field);
        check.complaints.sort_by_key(order);
        if check.complaints.is_empty() { Ok(config) } else { Err(check.complaints) }
    }

    /// Unless told otherwise a run is compared with plain DPO, and plain DPO with nothing.
    fn twin(&self, objective: ObjectiveKind, c: &mut Check) -> Option<ObjectiveKind> {
        let usual = Some(ObjectiveKind::Dpo).filter(|dpo| *dpo != objective);
        let twin = self.twin.map_or(usual, |twin| twin.0);
        if twin == Some(objective) {
            c.complain("twin", format!("it is {}, the same as the objective", objective.label()));
        }
        twin
    }

    /// A sweep must be of a parameter that the objective has, and hold the value of the arm that is kept.
    fn sweep(&self, objective: ObjectiveKind, c: &mut Check) -> Option<Sweep> {
        let text = self.sweep.as_deref().unwrap_or_default().trim();
        if matches!(text, "" | "none") {
            return None;
        }
        let sweep: Sweep = match text.parse() {
            Ok(sweep) => sweep,
            Err(problem) => {
                let problem: String = problem;
                c.complain("sweep", problem);
                return None;
            }
        };
        let (name, flag) = (sweep.parameter.name(), sweep.parameter.field().flag);
        let kept = match sweep.parameter {
            SweepParameter::Beta => self.beta.unwrap_or(defaults::BETA),
            SweepParameter::Lambda => self.lambda.unwrap_or(defaults::LAMBDA),
        };
        if !sweep.parameter.belongs_to(objective) {
            c.complain("sweep", format!("{} has no {name}", objective.label()));
        } else if !sweep.values.contains(&kept) {
            let list = sweep.values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
            c.complain(
                "sweep",
                format!("{flag} is {kept}, which is none of {list}: no arm would be kept"),
            );
        }
        Some(sweep)
    }

    fn budget(&self, c: &mut Check) -> Budget {
        match (self.steps, self.epochs) {
            (Some(steps), None) => Budget::Steps(c.whole("steps", steps)),
            (None, epochs) => Budget::Epochs(c.real("epochs", epochs.unwrap_or(defaults::EPOCHS))),
            (Some(steps), Some(_)) => {
                c.complain("steps", "steps and epochs are both given");
                Budget::Steps(steps)
            }
        }
    }

    fn warmup_steps(&self, budget: Budget, c: &mut Check) -> usize {
        let before = c.complaints.len();
        let warmup = c.whole("warmup_steps", self.warmup_steps.unwrap_or(defaults::WARMUP_STEPS));
        let allowed = c.complaints.len() == before;
        match budget {
            Budget::Steps(steps) if allowed && warmup > 0 && warmup >= steps => {
                c.complain("warmup_steps", format!("{warmup} warm-up steps leave none of {steps}"));
            }
            _ => {}
        }
        warmup
    }

    fn micro_batch_pairs(&self, batch: usize, c: &mut Check) -> usize {
        let fits = |micro: usize| micro > 0 && batch.is_multiple_of(micro);
        let Some(given) = self.micro_batch_pairs else {
            let usual = (1..=defaults::MICRO_BATCH_PAIRS).rev().find(|micro| fits(*micro));
            return usual.unwrap_or(1);
        };
        let before = c.complaints.len();
        let micro = c.whole("micro_batch_pairs", given);
        if c.complaints.len() == before && !fits(micro) {
            c.complain(
                "micro_batch_pairs",
                format!("{micro} does not divide the batch of {batch}"),
            );
        }
        micro
    }

    /// In the order of the forward pass, each once.
    fn targets(&self, c: &mut Check) -> Vec<Target> {
        let Some(given) = &self.targets else { return Target::ALL.to_vec() };
        if given.0.is_empty() {
            c.complain("targets", "no layer is chosen");
        }
        Target::ALL.into_iter().filter(|target| given.0.contains(target)).collect()
    }

    fn eval(&self, c: &mut Check) -> EvalSource {
        let file = self.eval_data.clone().filter(|path| !path.as_os_str().is_empty());
        match (file, self.eval_fraction) {
            (Some(file), None) => EvalSource::File(file),
            (Some(file), Some(_)) => {
                c.complain("eval_data", "a held-out file and a held-out share are both given");
                EvalSource::File(file)
            }
            (None, share) => EvalSource::Fraction(
                c.real("eval_fraction", share.unwrap_or(defaults::EVAL_FRACTION)),
            ),
        }
    }

    fn stop_when(&self, c: &mut Check) -> StopRules {
        let rules = self.stop_when.as_deref().unwrap_or_default().parse();
        rules.unwrap_or_else(|problem: String| {
            c.complain("stop_when", problem);
            StopRules::default()
        })
    }

    fn device(&self, c: &mut Check) -> String {
        let device = self.device.as_deref().unwrap_or(defaults::DEVICE).trim();
        let named = device.strip_prefix("wgpu:").is_some_and(|name| !name.trim().is_empty());
        if !named && !["auto", "cpu", "wgpu"].contains(&device) {
            c.complain(
                "device",
                format!("{device:?} is none of auto, cpu, wgpu, wgpu:NAME-OR-INDEX"),
            );
        }
        device.to_owned()
    }

    /// Up to 2^53, so that any JSON reader keeps it.
    fn seed(&self, c: &mut Check) -> u64 {
        let seed = self.seed.unwrap_or(defaults::SEED);
        let limits = field("seed").limits;
        if !matches!(limits, super::Limits::Whole { low, high } if (low..=high).contains(&seed)) {
            c.complain("seed", format!("{seed} is not allowed; it must be {}", limits.describe()));
        }
        seed
    }
}

impl From<&RunConfig> for RunDraft {
    fn from(config: &RunConfig) -> RunDraft {
        let (steps, epochs) = match config.budget {
            Budget::Steps(steps) => (Some(steps), None),
            Budget::Epochs(epochs) => (None, Some(epochs)),
        };
        let (eval_data, eval_fraction) = match &config.eval {
            EvalSource::File(path) => (Some(path.clone()), None),
            EvalSource::Fraction(share) => (None, Some(*share)),
        };
        RunDraft {
            model: Some(config.model.clone()),
            data: Some(config.data.clone()),
            objective: Some(config.objective),
            twin: Some(super::Twin(config.twin)),
            sweep: Some(config.sweep.as_ref().map_or_else(|| "none".to_owned(), Sweep::to_string)),
            beta: Some(config.beta),
            lambda: Some(config.lambda),
            label_smoothing: Some(config.label_smoothing),
            learning_rate: Some(config.learning_rate),
            schedule: Some(config.schedule),
            warmup_steps: Some(config.warmup_steps),
            weight_decay: Some(config.weight_decay),
            max_grad_norm: Some(config.max_grad_norm.unwrap_or(0.0)),
            steps,
            epochs,
            batch_pairs: Some(config.batch_pairs),
            micro_batch_pairs: Some(config.micro_batch_pairs),
            max_length: Some(config.max_length),
            rank: Some(config.rank),
            alpha: Some(config.alpha),
            targets: Some(super::Targets(config.targets.clone())),
            dropout: Some(config.dropout),
            rslora: Some(config.rslora),
            init_adapter: config.init_adapter.clone(),
            eval_data,
            eval_fraction,
            probe_pairs: Some(config.probe_pairs),
            eval_every: Some(config.eval_every),
            forecast_pairs: Some(config.forecast_pairs),
            stop_when: Some(config.stop_when.to_string()),
            save_every: Some(config.save_every),
            sample_prompts: Some(config.sample_prompts),
            sample_tokens: Some(config.sample_tokens),
            device: Some(config.device.clone()),
            base_precision: Some(config.base_precision),
            compute_precision: Some(config.compute_precision),
            weights: Some(config.weights),
            recompute: Some(config.recompute),
            memory_limit: Some(config.memory_limit.unwrap_or(0.0)),
            seed: Some(config.seed),
            shuffle: Some(config.shuffle),
        }
    }
}

impl From<RunConfig> for RunDraft {
    fn from(config: RunConfig) -> RunDraft {
        RunDraft::from(&config)
    }
}
