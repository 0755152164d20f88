//! Is the forecast within 15 % of what a training step really allocates? Counted by this program's own allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use dpop_studio::config::{BasePrecision, Budget, ObjectiveKind, Target};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::generate::GenerateOptions;
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::memory::{MemoryInput, PassSize, forecast};
use dpop_studio::model::sampling::Sampling;
use dpop_studio::model::{LoadOptions, Model, SCORE_TOKENS, quant_format};
use dpop_studio::train::Trainer;

mod common;
mod shapes;

const MODELS: [&str; 8] = [
    "llama_gqa_untied",
    "qwen3_qknorm",
    "qwen2_bias_tied",
    "mistral_swa8",
    "mixtral_4e_top2",
    "qwen3_moe",
    "phi3",
    "gemma2",
];

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: hands every request on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Peak bytes above the start while `work` runs.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let value = work();
    (value, PEAK.load(Ordering::Relaxed) - before)
}

#[derive(Clone, Copy)]
struct Case {
    pairs: usize,
    prompt: usize,
    answer: usize,
    rank: usize,
    arms: usize,
    precision: BasePrecision,
    streamed: bool,
    recompute: bool,
}

fn pairs(case: &Case, vocabulary: usize) -> Vec<TokenizedPair> {
    let ids = |n: usize, salt: usize| {
        (0..n).map(|i| ((i * 31 + salt) % (vocabulary - 3)) as u32 + 3).collect::<Vec<_>>()
    };
    (0..case.pairs)
        .map(|row| TokenizedPair {
            row,
            prompt_ids: ids(case.prompt, row),
            chosen_ids: ids(case.answer, row + 1),
            rejected_ids: ids(case.answer, row + 5),
        })
        .collect()
}

/// Measured and forecast bytes of one step of every arm, the weights included.
fn compare(load: impl Fn(LoadOptions) -> Model, case: &Case) -> (usize, u64) {
    let mut config = common::config(Path::new("none"));
    config.budget = Budget::Steps(4);
    config.batch_pairs = case.pairs;
    config.micro_batch_pairs = case.pairs;
    config.rank = case.rank;
    config.targets = Target::ALL.to_vec();
    config.objective = ObjectiveKind::Dpop;
    config.twin = (case.arms > 1).then_some(ObjectiveKind::Dpo);
    config.shuffle = false;
    let format = quant_format(case.precision);
    let run = || {
        let stream = case.streamed.then(std::env::temp_dir);
        let model = load(LoadOptions {
            format,
            stream,
            recompute: case.recompute,
            ..LoadOptions::default()
        });
        let data = pairs(case, model.config.vocab_size);
        let packed = PackedBatch::new(&data);
        let size = PassSize { tokens: packed.tokens(), entries: packed.targets.len() };
        let shape = model.config.clone();
        let mut trainer = Trainer::new(model, &config, data, Vec::new(), None, None).unwrap();
        trainer.step().unwrap();
        trainer.step().unwrap();
        (shape, size)
    };
    // Once for thread pools and other things that are allocated once.
    run();
    let ((shape, size), measured) = peak(run);
    let lora = LoraConfig {
        rank: case.rank,
        alpha: 16.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let input = MemoryInput {
        format,
        streamed: case.streamed,
        recompute: case.recompute,
        training: size,
        scoring: PassSize::default(),
        answers: PassSize::default(),
        cached_tokens: 0,
        arms: case.arms,
        adapter_parameters: LoraAdapter::zeros(lora, &shape).values.len(),
        rank: case.rank,
        on_host: true,
        half: false,
    };
    let parts = forecast(&shape, &input);
    println!("{parts:?}");
    (measured, parts.total())
}

/// Measured and forecast bytes of answers to `prompts` prompts, the weights included.
fn compare_answers(
    load: impl Fn() -> Model,
    [prompts, prompt, answer]: [usize; 3],
) -> (usize, u64) {
    let run = || {
        let model = load();
        let ids = |salt: usize| (0..prompt).map(move |i| (3 + (i * 31 + salt) % 400) as u32);
        let all: Vec<Vec<u32>> = (0..prompts).map(|salt| ids(salt).collect()).collect();
        let options = GenerateOptions {
            max_new_tokens: answer,
            sampling: Sampling::GREEDY,
            end_ids: Vec::new(),
        };
        let go_on = |_, _| ControlFlow::Continue(());
        model.generate(&all, None, &options, go_on).unwrap();
        model.config.clone()
    };
    run();
    let (shape, measured) = peak(run);
    let input = MemoryInput {
        format: None,
        streamed: false,
        recompute: false,
        training: PassSize::default(),
        scoring: PassSize::default(),
        answers: PassSize { tokens: (prompts * prompt).min(SCORE_TOKENS), entries: prompts },
        cached_tokens: prompts * (prompt + answer),
        arms: 0,
        adapter_parameters: 0,
        rank: 0,
        on_host: true,
        half: false,
    };
    (measured, forecast(&shape, &input).total())
}

#[track_caller]
fn close(what: &str, (measured, forecast): (usize, u64)) {
    let ratio = forecast as f64 / measured as f64;
    println!("{what}: measured {measured}, forecast {forecast}, ratio {ratio:.3}");
    assert!((ratio - 1.0).abs() <= 0.15, "{what}: forecast {forecast}, measured {measured} bytes");
}

/// One test, because the allocator counts the whole program.
#[test]
fn the_forecast_is_near_the_peak() {
    let small = |precision, streamed, arms| Case {
        pairs: 4,
        prompt: 60,
        answer: 40,
        rank: 8,
        arms,
        precision,
        streamed,
        recompute: false,
    };
    for name in MODELS {
        let folder = common::fixture(&format!("models/{name}"));
        let load = |options| open(&folder, options);
        for (arms, streamed) in [(1, false), (2, false), (1, true)] {
            let case = small(BasePrecision::F32, streamed, arms);
            close(&format!("{name}, {arms} arms, streamed {streamed}"), compare(load, &case));
        }
        let case = Case { recompute: true, ..small(BasePrecision::F32, false, 1) };
        close(&format!("{name}, recomputed"), compare(load, &case));
    }
    let fixture = common::fixture("models/llama_gqa_untied");
    let load = || open(&fixture, LoadOptions::default());
    close("answers, the prompts decide", compare_answers(load, [3, 80, 2]));
    // The shapes of the benchmarks; the larger one with one short pair, so that weights decide.
    let stories =
        Case { pairs: 2, prompt: 40, answer: 60, rank: 16, ..small(BasePrecision::F32, false, 1) };
    let folder = random([288, 768, 6, 6]);
    let load = |options| open(folder.path(), options);
    for precision in
        [BasePrecision::F32, BasePrecision::Bf16, BasePrecision::Int8, BasePrecision::Nf4]
    {
        close(&format!("15M, {}", precision.name()), compare(load, &Case { precision, ..stories }));
    }
    let full = || load(LoadOptions::default());
    close("15M, answers", compare_answers(full, [8, 100, 100]));
    close("15M, many answers, the cache decides", compare_answers(full, [40, 100, 400]));
    // Many tokens, so that activations decide.
    let long = Case { pairs: 4, prompt: 100, answer: 100, recompute: true, ..stories };
    close("15M, recomputed", compare(load, &long));
    close("15M, kept", compare(load, &Case { recompute: false, ..long }));
    let folder = random([768, 2048, 12, 12]);
    for precision in [BasePrecision::F32, BasePrecision::Nf4] {
        let load = |options| open(folder.path(), options);
        let case = Case { pairs: 1, precision, ..stories };
        close(&format!("110M, {}", precision.name()), compare(load, &case));
    }
    // Few wide experts as in Mixtral, many narrow ones as in Qwen3-MoE.
    for (experts, chosen, inner) in [(8, 2, 448), (32, 4, 96)] {
        let change = serde_json::json!({
            "architectures": ["Qwen3MoeForCausalLM"], "num_experts": experts,
            "num_experts_per_tok": chosen, "moe_intermediate_size": inner, "norm_topk_prob": true,
        });
        let long = Case { prompt: 200, answer: 100, ..stories };
        let folder = changed([128, 448, 6, 4], &change);
        for precision in [BasePrecision::F32, BasePrecision::Nf4] {
            let load = |options| open(folder.path(), options);
            let what = format!("{chosen} of {experts} experts, {}", precision.name());
            close(&what, compare(load, &Case { precision, ..long }));
        }
    }
}

fn open(folder: &Path, options: LoadOptions) -> Model {
    Model::load(folder, &Device::flex(), options).unwrap()
}

/// The folder of a model of random weights: hidden and inner size, layers, heads.
fn random(sizes: [usize; 4]) -> tempfile::TempDir {
    changed(sizes, &serde_json::json!({}))
}

/// The same with other fields in its config.json.
fn changed(
    [hidden, inner, layers, heads]: [usize; 4],
    change: &serde_json::Value,
) -> tempfile::TempDir {
    let head_dim = hidden / heads;
    let mut config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000,
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": head_dim,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 1024,
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    });
    for (field, value) in change.as_object().unwrap() {
        config[field] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    shapes::write(folder.path(), &config);
    folder
}
