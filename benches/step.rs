//! One training step of a decoder with random weights, in the shapes of `benches/torch/lora_dpo.py` and larger.
//!
//! `cargo bench --profile dev --bench step -- --size 15m --steps 5 --arms 1` prints one JSON line:
//! seconds of a step with the reference pass (`first_visit`: pairs seen for the first time) and without it
//! (`cached`: every later epoch), tokens per second counted as 2 * pairs * sequence, and peak memory.
//! `--prefix none` makes prompts that differ within a pair impossible to share (the prompt is one token).
//!
//! The weights are written to a folder of their own first (bf16 safetensors) and read as a person's model would be;
//! peak memory counts from there. `--size 1b` is the shape of Llama 3.2 1B and needs 2.5 GB of disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use dpop_studio::config::{
    BasePrecision, Budget, ComputePrecision, EvalSource, ObjectiveKind, Recompute, RunConfig,
    Schedule, Target, WeightPlace,
};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::kernels::pace;
use dpop_studio::model::Model;
use dpop_studio::train::Trainer;
use dpop_studio::worker::device::choose;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

mod shapes;

#[derive(Parser)]
struct Args {
    /// 15m, 110m, 8x110m (experts) or 1b
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
    /// Pairs in a step.
    #[arg(long, default_value_t = 4)]
    pairs: usize,
    /// Tokens of prompt and answer; default: the size's own.
    #[arg(long)]
    length: Option<usize>,
    #[arg(long, value_enum, default_value = "f32")]
    base_precision: BasePrecision,
    #[arg(long, value_enum, default_value = "f32")]
    compute_precision: ComputePrecision,
    /// Blocks come to the device when they compute.
    #[arg(long)]
    stream: bool,
    /// Blocks are computed again on the way back.
    #[arg(long)]
    recompute: bool,
    /// Measure the device first and cut its work into short submissions, as a run on a GPU does; tells the longest.
    #[arg(long)]
    pace: bool,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
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

fn config(arms: usize, steps: usize, pairs: usize) -> RunConfig {
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
        batch_pairs: pairs,
        micro_batch_pairs: pairs,
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
        sample_prompts: 0,
        sample_tokens: 64,
        device: "cpu".to_owned(),
        base_precision: BasePrecision::F32,
        compute_precision: ComputePrecision::F32,
        weights: WeightPlace::Resident,
        recompute: Recompute::Off,
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

/// The value of a line of /proc/self/status, in MiB (Linux; elsewhere `None`).
fn status_mib(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024.0)
}

/// Largest resident set of this process so far, in MiB; where the system keeps none, the present one.
fn peak_mib() -> f64 {
    let now = || memory_stats::memory_stats().map_or(0.0, |m| m.physical_mem as f64 / 1048576.0);
    status_mib("VmHWM").unwrap_or_else(now)
}

/// Watches the memory that cannot be read again from a file, which mapped weights can; sampled every 5 ms.
fn watch_private_memory() -> Arc<AtomicU64> {
    let peak = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&peak);
    std::thread::spawn(move || {
        loop {
            let parts = ["RssAnon", "RssShmem"].map(|name| status_mib(name).unwrap_or(0.0));
            shared.fetch_max(parts.iter().sum::<f64>() as u64, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    peak
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (shape, usual) = shapes::model_config(&args.size)?;
    let sequence = args.length.unwrap_or(usual);
    let choice = choose(&args.device)?;
    let device = choice.open()?;
    let mut options = choice.load_options(args.base_precision);
    options.stream = args.stream.then(std::env::temp_dir);
    options.recompute = args.recompute;
    options.arithmetic = choice.arithmetic(args.compute_precision)?;
    let folder = tempfile::tempdir()?;
    shapes::write_model(folder.path(), &shape)?;
    // From here on the kernel's high-water mark counts anew (Linux).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let private = watch_private_memory();
    let model = Model::load(folder.path(), &device, options)?;
    let prompt = if args.prefix == "none" { 1 } else { sequence / 2 };
    let data = pairs(args.pairs * args.steps, sequence, prompt);
    let config = config(args.arms, 2 * args.steps, args.pairs);
    let mut trainer = Trainer::new(model, &config, data, Vec::new(), None, None)?;
    if args.pace {
        pace::calibrate(&device);
        pace::observe();
    }
    let mut times = Vec::new();
    for _ in 0..2 * args.steps {
        let start = Instant::now();
        trainer.step()?;
        times.push(start.elapsed().as_secs_f64());
    }
    // The first epoch computes references, the second has them; each epoch's first step warms up.
    let (first, cached) = times.split_at(args.steps);
    let (first, cached) = (median(&first[1.min(first.len() - 1)..]), median(cached));
    let tokens = (2 * args.pairs * sequence) as f64;
    let line = serde_json::json!({
        "size": args.size, "arms": args.arms, "prefix": args.prefix, "device": choice.label,
        "base": args.base_precision.name(), "computed": args.compute_precision.name(), "streamed": args.stream, "recomputed": args.recompute,
        "steps": args.steps, "tokens_per_step": tokens,
        "first_visit_s": first, "cached_s": cached,
        "tok_s_first_visit": tokens / first, "tok_s_cached": tokens / cached,
        "longest_submission_ms": args.pace.then(|| pace::longest().as_millis() as u64),
        "peak_rss_mb": peak_mib(), "peak_private_mb": private.load(Ordering::Relaxed),
    });
    println!("{line}");
    Ok(())
}
