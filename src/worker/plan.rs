//! Will a run fit? The forecast of its memory, what there is, and which change would make it fit.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::device::Choice;
use super::memory_limit::{MemoryLimit, memory_limit};
use crate::config::{BasePrecision, ComputePrecision, Recompute, RunConfig, WeightPlace};
use crate::data::pair::TokenizedPair;
use crate::lora::{LoraAdapter, LoraConfig};
use crate::model::config::ModelConfig;
use crate::model::layout::PackedBatch;
use crate::model::memory::{
    MemoryForecast, MemoryInput, PassSize, WeightBytes, forecast, largest_activation,
};
use crate::model::{SCORE_TOKENS, quant_format};

/// What a run needs and whether it gets it. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub device: String,
    /// Where the blocks will lie: `auto` is decided.
    pub weights: WeightPlace,
    /// Whether blocks are computed again on the way back: `auto` is decided.
    pub recompute: bool,
    pub base_precision: BasePrecision,
    /// Why the device cannot compute as asked; `None` where it can.
    pub unsupported: Option<String>,
    pub micro_batch_pairs: usize,
    pub max_length: usize,
    /// The largest training pass.
    pub tokens: usize,
    pub entries: usize,
    pub forecast: MemoryForecast,
    pub total: u64,
    /// `None` where the system does not say.
    pub limit: Option<MemoryLimit>,
    /// The largest activation, and what one shader binding of the device may see; `None` on the CPU.
    pub largest_activation: u64,
    pub binding_limit: Option<u64>,
    /// `None` without a limit.
    pub fits: Option<bool>,
    /// Changes, each of which makes the run fit; or one that needs them all. Empty where it fits.
    pub remedies: Vec<Remedy>,
}

/// A change of settings that makes a run fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    /// As typed on the command line.
    pub options: String,
    pub total: u64,
}

/// The settings that a remedy may change.
#[derive(Clone, Copy, PartialEq)]
struct Settings {
    micro: usize,
    length: usize,
    precision: BasePrecision,
    streamed: bool,
    recompute: bool,
    /// A twin or sweep is trained beside the kept arm.
    others: bool,
}

/// Everything a forecast depends on.
struct Run<'a> {
    config: &'a RunConfig,
    model: &'a ModelConfig,
    train: &'a [TokenizedPair],
    probe: &'a [TokenizedPair],
    adapter_parameters: usize,
    on_host: bool,
}

/// Plans a run on `choice`.
pub fn plan(
    config: &RunConfig,
    model: &ModelConfig,
    train: &[TokenizedPair],
    probe: &[TokenizedPair],
    choice: &Choice,
) -> Plan {
    let lora = LoraConfig {
        rank: config.rank,
        alpha: config.alpha,
        targets: config.targets.clone(),
        dropout: config.dropout,
        rslora: config.rslora,
    };
    let adapter_parameters = LoraAdapter::zeros(lora, model).values.len();
    let on_host = choice.adapter.is_none();
    let run = Run { config, model, train, probe, adapter_parameters, on_host };
    let limit = memory_limit(config.memory_limit, choice);
    let binding_limit = choice.adapter.as_ref().map(|_| choice.binding_limit());
    let fits = |settings: Settings| {
        if binding_limit.is_some_and(|limit| run.largest_activation(settings) > limit) {
            return Some(false);
        }
        limit.as_ref().map(|l| run.forecast(settings).total() <= l.bytes)
    };
    let mut now = Settings {
        micro: config.micro_batch_pairs,
        length: config.max_length,
        precision: config.base_precision,
        streamed: config.weights == WeightPlace::Stream,
        recompute: config.recompute == Recompute::On,
        others: config.arms().len() > 1,
    };
    if fits(now) == Some(false) {
        let fitting = run.automatic(now).into_iter().find(|s| fits(*s) == Some(true));
        now = fitting.unwrap_or(now);
    }
    let parts = run.forecast(now);
    let size = run.size(now);
    let fits_now = fits(now);
    let remedies = match fits_now {
        Some(false) => run.remedies(now, |settings| fits(settings) == Some(true)),
        _ => Vec::new(),
    };
    Plan {
        device: choice.label.clone(),
        weights: if now.streamed { WeightPlace::Stream } else { WeightPlace::Resident },
        recompute: now.recompute,
        base_precision: now.precision,
        unsupported: choice.arithmetic(config.compute_precision).err().map(|e| e.to_string()),
        micro_batch_pairs: now.micro,
        max_length: now.length,
        tokens: size.tokens,
        entries: size.entries,
        total: parts.total(),
        forecast: parts,
        limit,
        largest_activation: run.largest_activation(now),
        binding_limit,
        fits: fits_now,
        remedies,
    }
}

/// A pair as `max_length` would cut it; `None` where nothing is left to answer.
fn cut(pair: &TokenizedPair, length: usize) -> Option<TokenizedPair> {
    let left = length.checked_sub(pair.prompt_ids.len()).filter(|left| *left > 0)?;
    let mut pair = pair.clone();
    pair.chosen_ids.truncate(left);
    pair.rejected_ids.truncate(left);
    Some(pair)
}

/// Sizes of the pairs when packed alone, largest first.
fn sizes(pairs: &[TokenizedPair], length: usize) -> Vec<PassSize> {
    let cut = pairs.iter().filter_map(|pair| cut(pair, length));
    let mut sizes: Vec<PassSize> = cut
        .map(|pair| {
            let packed = PackedBatch::new([&pair]);
            PassSize { tokens: packed.tokens(), entries: packed.targets.len() }
        })
        .collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(size.tokens));
    sizes
}

fn sum(sizes: &[PassSize]) -> PassSize {
    sizes.iter().fold(PassSize::default(), |sum, size| PassSize {
        tokens: sum.tokens + size.tokens,
        entries: sum.entries + size.entries,
    })
}

impl Run<'_> {
    /// The largest micro-batch that an order of the pairs can make.
    fn size(&self, settings: Settings) -> PassSize {
        let sizes = sizes(self.train, settings.length);
        sum(&sizes[..settings.micro.min(sizes.len())])
    }

    /// The largest scoring pass of the probe: filled up to a number of tokens, or one longer pair alone.
    fn scoring(&self, settings: Settings) -> PassSize {
        let sizes = sizes(self.probe, settings.length);
        let all = sum(&sizes);
        let largest = sizes.first().copied().unwrap_or_default();
        if all.tokens <= SCORE_TOKENS {
            return all;
        }
        let share = SCORE_TOKENS.max(largest.tokens);
        PassSize { tokens: share, entries: (all.entries * share).div_ceil(all.tokens.max(1)) }
    }

    /// The largest pass of prompts that are answered, and all tokens of these prompts and answers.
    fn answers(&self, settings: Settings) -> (PassSize, usize) {
        if settings.streamed {
            return Default::default(); // none are written then
        }
        let probe = self.probe.iter().take(self.config.sample_prompts);
        let prompts: Vec<usize> = probe
            .map(|pair| pair.prompt_ids.len())
            .filter(|&prompt| prompt < settings.length)
            .collect();
        let (all, longest) = (prompts.iter().sum(), prompts.iter().max().copied().unwrap_or(0));
        let pass = PassSize { tokens: longest.max(SCORE_TOKENS.min(all)), entries: prompts.len() };
        (pass, all + prompts.len() * self.config.sample_tokens)
    }

    fn largest_activation(&self, settings: Settings) -> u64 {
        let sizes = [self.size(settings), self.scoring(settings)];
        sizes.map(|size| largest_activation(self.model, size)).into_iter().max().unwrap_or(0)
    }

    fn forecast(&self, settings: Settings) -> MemoryForecast {
        let (answers, cached_tokens) = self.answers(settings);
        let input = MemoryInput {
            format: quant_format(settings.precision),
            streamed: settings.streamed,
            recompute: settings.recompute,
            training: self.size(settings),
            scoring: self.scoring(settings),
            answers,
            cached_tokens,
            arms: if settings.others { self.config.arms().len() } else { 1 },
            adapter_parameters: self.adapter_parameters,
            rank: self.config.rank,
            on_host: self.on_host,
            half: self.config.compute_precision == ComputePrecision::F16,
        };
        forecast(self.model, &input)
    }

    /// What `auto` may choose, cheapest in speed first: computing blocks again costs a third of a step, streaming
    /// the passage of all weights.
    fn automatic(&self, now: Settings) -> Vec<Settings> {
        let recompute = self.config.recompute == Recompute::Auto;
        let stream = self.config.weights == WeightPlace::Auto;
        let choices = [(true, false), (false, true), (true, true)];
        choices
            .into_iter()
            .filter(|&(again, streamed)| (recompute || !again) && (stream || !streamed))
            .map(|(again, streamed)| Settings {
                recompute: now.recompute || again,
                streamed: now.streamed || streamed,
                ..now
            })
            .collect()
    }

    /// Single changes that fit, cheapest in speed first; else all of them together, with ever shorter sequences.
    fn remedies(&self, now: Settings, fits: impl Fn(Settings) -> bool) -> Vec<Remedy> {
        let mut single = vec![
            Settings { micro: 1, ..now },
            Settings { recompute: true, ..now },
            Settings { precision: BasePrecision::Bf16, ..now },
            Settings { precision: BasePrecision::Int8, ..now },
            Settings { precision: BasePrecision::Nf4, ..now },
            Settings { streamed: true, ..now },
            Settings { length: now.length / 2, ..now },
        ];
        // Quantising in memory needs the f32 matrix beside it; never propose more bits than there are.
        single.retain(|settings| *settings != now && self.saves(now, *settings));
        let fitting: Vec<Remedy> =
            single.into_iter().filter(|s| fits(*s)).map(|s| self.remedy(now, s)).collect();
        if !fitting.is_empty() {
            return fitting;
        }
        let mut all = now;
        let steps: [fn(&mut Settings); 5] = [
            |s| s.micro = 1,
            |s| s.recompute = true,
            |s| s.precision = BasePrecision::Nf4,
            |s| s.streamed = true,
            |s| s.others = false,
        ];
        for step in steps {
            step(&mut all);
            if fits(all) {
                return vec![self.remedy(now, all)];
            }
        }
        while all.length > 64 {
            all.length /= 2;
            if fits(all) {
                return vec![self.remedy(now, all)];
            }
        }
        Vec::new()
    }

    fn saves(&self, now: Settings, then: Settings) -> bool {
        self.forecast(then).total() < self.forecast(now).total()
    }

    fn remedy(&self, now: Settings, then: Settings) -> Remedy {
        let mut options = Vec::new();
        if then.micro != now.micro {
            options.push(format!("--micro-batch-pairs {}", then.micro));
        }
        if then.precision != now.precision {
            options.push(format!("--base-precision {}", then.precision.name()));
        }
        if then.recompute != now.recompute {
            options.push("--recompute on".to_owned());
        }
        if then.streamed != now.streamed {
            options.push("--weights stream".to_owned());
        }
        if then.others != now.others {
            let sweep = if self.config.sweep.is_some() { " --sweep none" } else { "" };
            options.push(format!("--twin none{sweep}"));
        }
        if then.length != now.length {
            options.push(format!("--max-length {}", then.length));
        }
        Remedy { options: options.join(" "), total: self.forecast(then).total() }
    }
}

/// Bytes for people.
pub fn bytes_text(bytes: u64) -> String {
    const GIB: f64 = (1u64 << 30) as f64;
    const MIB: f64 = (1u64 << 20) as f64;
    let bytes = bytes as f64;
    if bytes >= 0.95 * GIB {
        format!("{:.1} GiB", bytes / GIB)
    } else {
        format!("{:.1} MiB", bytes / MIB)
    }
}

impl Plan {
    /// Why the run is refused, with what would help; `None` where it may start.
    pub fn refusal(&self) -> Option<String> {
        if self.unsupported.is_some() {
            return self.unsupported.clone();
        }
        if self.fits != Some(false) {
            return None;
        }
        let mut text = String::new();
        if let Some(limit) = self.limit.as_ref().filter(|limit| self.total > limit.bytes) {
            let (total, has) = (bytes_text(self.total), bytes_text(limit.bytes));
            let _ = write!(
                text,
                "This run needs about {total}, and there is {has} on {} ({}). ",
                self.device, limit.source
            );
        }
        if let Some(limit) = self.binding_limit.filter(|limit| self.largest_activation > *limit) {
            let (largest, sees) = (bytes_text(self.largest_activation), bytes_text(limit));
            let _ = write!(
                text,
                "A pass of {} tokens has a tensor of {largest} and a shader of {} sees {sees} at a time. ",
                self.tokens, self.device
            );
        }
        match self.remedies.as_slice() {
            [] => {
                text.push_str("No such setting makes it fit: choose a smaller model, fewer --targets, a lower --rank or a larger device.")
            }
            remedies => {
                text.push_str("It would fit with ");
                for (i, remedy) in remedies.iter().enumerate() {
                    let or = if i == 0 { "" } else { ", or with " };
                    let _ = write!(text, "{or}{} ({})", remedy.options, bytes_text(remedy.total));
                }
                text.push('.');
            }
        }
        Some(text)
    }

    /// Bytes of a model's weights as this plan stores them, resident.
    pub fn resident_weights(&self, model: &ModelConfig) -> u64 {
        let bytes = WeightBytes::of(model, quant_format(self.base_precision));
        bytes.tables + bytes.blocks
    }
}
