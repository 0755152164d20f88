//! One training step of a 15M or 110M decoder with random weights, the shapes of `benches/torch/lora_dpo.py`.
//!
//! `cargo bench --profile dev --bench step -- --size 15m --steps 5 --arms 1` prints one JSON line:
//! seconds of a step with the reference pass (`first_visit`: pairs seen for the first time) and without it
//! (`cached`: every later epoch), tokens per second counted as 2 * pairs * sequence, and peak memory.
//! `--prefix none` makes prompts that differ within a pair impossible to share (the prompt is one token).

use std::time::Instant;

use burn::tensor::Device;
use clap::Parser;
use dpop_studio::config::{
    BasePrecision, Budget, EvalSource, ObjectiveKind, RunConfig, Schedule, Target, WeightPlace,
};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::model::config::{Architecture, ModelConfig, Rope};
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::train::Trainer;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const PAIRS: usize = 4;

#[derive(Parser)]
struct Args {
    /// 15m or 110m
    #[arg(long, default_value = "15m")]
    size: String,
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// 1: DPO alone; 2: DPOP and its DPO twin
    #[arg(long, default_value_t = 1)]
    arms: usize,
    /// shared: half the sequence is a prompt that both answers share; none: a prompt of one token
    #[arg(long, default_value = "shared")]
    prefix: String,
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn model_config(size: &str) -> (ModelConfig, usize) {
    let (hidden, inner, layers, heads, sequence) = match size {
        "110m" => (768, 2048, 12, 12, 512),
        _ => (288, 768, 6, 6, 256),
    };
    let head_dim = hidden / heads;
    let config = ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 32_000,
        hidden_size: hidden,
        intermediate_size: inner,
        num_layers: layers,
        num_heads: heads,
        num_kv_heads: heads,
        head_dim,
        rms_norm_eps: 1e-6,
        rope: Rope {
            inv_freq: (0..head_dim / 2)
                .map(|j| 10_000f32.powf(-2.0 * j as f32 / head_dim as f32))
                .collect(),
            attention_scaling: 1.0,
        },
        sliding_window: vec![None; layers],
        tie_word_embeddings: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
        max_position_embeddings: 1024,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    };
    (config, sequence)
}

/// Fresh random pairs for every step, so that each step sees its pairs for the first time.
fn pairs(count: usize, sequence: usize, prompt: usize) -> Vec<TokenizedPair> {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut ids = |n: usize| (0..n).map(|_| rng.random_range(3..32_000u32)).collect::<Vec<_>>();
    (0..count)
        .map(|row| TokenizedPair {
            row,
            prompt_ids: ids(prompt),
            chosen_ids: ids(sequence - prompt),
            rejected_ids: ids(sequence - prompt),
        })
        .collect()
}

fn config(arms: usize, steps: usize) -> RunConfig {
    RunConfig {
        model: "random".into(),
        data: "random".into(),
        objective: if arms > 1 { ObjectiveKind::Dpop } else { ObjectiveKind::Dpo },
        twin: (arms > 1).then_some(ObjectiveKind::Dpo),
        sweep: None,
        beta: 0.1,
        lambda: 50.0,
        label_smoothing: 0.0,
        learning_rate: 1e-4,
        schedule: Schedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.0,
        max_grad_norm: None,
        budget: Budget::Steps(steps),
        batch_pairs: PAIRS,
        micro_batch_pairs: PAIRS,
        max_length: 1024,
        rank: 16,
        alpha: 32.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
        init_adapter: None,
        eval: EvalSource::Fraction(0.0),
        probe_pairs: 0,
        eval_every: usize::MAX,
        forecast_pairs: 0,
        stop_when: Default::default(),
        save_every: usize::MAX,
        device: "cpu".to_owned(),
        base_precision: BasePrecision::F32,
        weights: WeightPlace::Resident,
        memory_limit: None,
        seed: 0,
        shuffle: false,
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Largest resident set of this process so far, in MiB (Linux; elsewhere the present one).
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|v| v.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let now = || memory_stats::memory_stats().map_or(0.0, |m| m.physical_mem as f64 / 1024.0);
    kib.unwrap_or_else(now) / 1024.0
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (shape, sequence) = model_config(&args.size);
    let device = match args.device.as_str() {
        "cpu" => Device::flex(),
        name => dpop_studio::worker::device::choose(name)?.open()?,
    };
    let model = Model::random(shape, &device, LoadOptions::default(), 0, 0.02)?;
    let prompt = if args.prefix == "none" { 1 } else { sequence / 2 };
    let data = pairs(PAIRS * args.steps, sequence, prompt);
    let config = config(args.arms, 2 * args.steps);
    let mut trainer = Trainer::new(model, &config, data, Vec::new(), None, None)?;
    let mut times = Vec::new();
    for _ in 0..2 * args.steps {
        let start = Instant::now();
        trainer.step()?;
        times.push(start.elapsed().as_secs_f64());
    }
    // The first epoch computes references, the second has them; each epoch's first step warms up.
    let (first, cached) = times.split_at(args.steps);
    let (first, cached) = (median(&first[1.min(first.len() - 1)..]), median(cached));
    let tokens = (2 * PAIRS * sequence) as f64;
    let line = serde_json::json!({
        "size": args.size, "arms": args.arms, "prefix": args.prefix, "device": args.device,
        "steps": args.steps, "tokens_per_step": tokens,
        "first_visit_s": first, "cached_s": cached,
        "tok_s_first_visit": tokens / first, "tok_s_cached": tokens / cached,
        "peak_rss_mb": peak_mib(),
    });
    println!("{line}");
    Ok(())
}
