//! Greedy generation with a decoder of known shape and random weights (written to a folder of its own first).
//!
//! `cargo bench --profile dev --bench generate -- --size 15m --prompt 128 --tokens 128` prints one JSON line: tokens a
//! second of the prompt's pass, and of the steps after it (all sequences together), with keys and values cached.
//! `--recompute` times the same text without the cache, for comparison.

use std::ops::ControlFlow;
use std::time::Instant;

use clap::Parser;
use dpop_studio::config::BasePrecision;
use dpop_studio::model::generate::GenerateOptions;
use dpop_studio::model::sampling::Sampling;
use dpop_studio::model::{Model, read};
use dpop_studio::worker::device::choose;

mod shapes;

#[derive(Parser)]
struct Args {
    /// 15m, 110m or 1b
    #[arg(long, default_value = "15m")]
    size: String,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 128)]
    prompt: usize,
    /// New tokens of each sequence
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Sequences side by side
    #[arg(long, default_value_t = 1)]
    sequences: usize,
    #[arg(long, default_value = "f32")]
    base_precision: BasePrecision,
    #[arg(long, default_value = "cpu")]
    device: String,
    #[arg(long)]
    recompute: bool,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (shape, _) = shapes::model_config(&args.size)?;
    let choice = choose(&args.device)?;
    let folder = tempfile::tempdir()?;
    shapes::write_model(folder.path(), &shape)?;
    let load = choice.load_options(args.base_precision);
    let model = Model::load(folder.path(), &choice.open()?, load)?;
    let prompt =
        |s: usize| (0..args.prompt).map(move |i| (3 + (i * 7919 + s * 31) % 31_000) as u32);
    let prompts: Vec<Vec<u32>> = (0..args.sequences).map(|s| prompt(s).collect()).collect();
    let options = GenerateOptions {
        max_new_tokens: args.tokens,
        sampling: Sampling::GREEDY,
        end_ids: Vec::new(),
    };
    // Twice: the first round warms up.
    let mut times = (0.0, 0.0);
    for _ in 0..2 {
        let start = Instant::now();
        let (mut seen, mut first) = (0, start);
        model.generate(&prompts, None, &options, |_, _| {
            seen += 1;
            if seen == args.sequences {
                first = Instant::now();
            }
            ControlFlow::Continue(())
        })?;
        times = ((first - start).as_secs_f64(), first.elapsed().as_secs_f64());
    }
    let recomputed =
        if args.recompute { Some(recompute(&model, &prompts[0], args.tokens)?) } else { None };
    let steps = (args.sequences * (args.tokens - 1)) as f64;
    let line = serde_json::json!({
        "size": args.size, "prompt": args.prompt, "tokens": args.tokens, "sequences": args.sequences,
        "base_precision": args.base_precision.name(), "device": args.device,
        "prompt_tok_s": (args.sequences * args.prompt) as f64 / times.0,
        "tok_s": steps / times.1,
        "tok_s_recomputed": recomputed,
    });
    println!("{line}");
    Ok(())
}

/// Tokens a second when every step computes the whole sequence.
fn recompute(model: &Model, prompt: &[u32], tokens: usize) -> anyhow::Result<f64> {
    let mut ids = prompt.to_vec();
    let start = Instant::now();
    for _ in 0..tokens {
        let logits = model.logits(&ids, None)?;
        let [n, v] = logits.dims();
        let last = read(logits.slice([n - 1..n, 0..v]))?;
        let best = (0..v).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap_or_default();
        ids.push(best as u32);
    }
    Ok(tokens as f64 / start.elapsed().as_secs_f64())
}
