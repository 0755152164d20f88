//! Does generation with a cache say what the model says of the whole sequence: on every architecture, with adapters,
//! quantised, streamed, and for sequences of different lengths side by side?

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dpop_studio::config::Target;
use dpop_studio::data::tokenizer::Tokenizer;
use dpop_studio::data::{self, pair::Text};
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::cache::Cache;
use dpop_studio::model::generate::{Finish, GenerateOptions, Generated};
use dpop_studio::model::sampling::Sampling;
use dpop_studio::model::{LoadOptions, Model, Updates, read};
use dpop_studio::quant::QuantFormat;

mod common;

const MODELS: [&str; 11] = [
    "llama_gqa_untied",
    "llama_rope_yarn",
    "llama_headdim32_bias",
    "qwen2_bias_tied",
    "qwen3_qknorm",
    "mistral_swa8",
    "mixtral_4e_top2",
    "qwen3_moe",
    "phi3",
    "gemma2",
    "gemma2_caps",
];

fn load(name: &str, device: &Device, options: LoadOptions) -> Model {
    Model::load(&common::fixture(&format!("models/{name}")), device, options).unwrap()
}

fn adapter(model: &Model) -> Updates {
    let config = LoraConfig {
        rank: 4,
        alpha: 8.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let mut adapter = LoraAdapter::init(config, &model.config, 3);
    for (i, value) in adapter.values.iter_mut().enumerate() {
        *value += ((i * 7919) % 101) as f32 * 1e-3 - 0.05;
    }
    adapter.upload(model.config.num_layers, model.device(), None)
}

fn ids(count: u32, salt: u32) -> Vec<u32> {
    (0..count).map(|i| 3 + (i * 31 + salt * 17) % 90).collect()
}

/// Logits at the last token, from the whole sequence.
fn whole(model: &Model, ids: &[u32], updates: Option<&Updates>) -> Vec<f32> {
    let logits = model.logits(ids, updates).unwrap();
    let [n, v] = logits.dims();
    read(logits.slice([n - 1..n, 0..v])).unwrap()
}

/// Feeds three sequences through the cache, in uneven portions and not all of them each time, and holds the logits at
/// every last token against those of the whole sequence.
fn check(what: &str, model: &Model, updates: Option<&Updates>) {
    let sequences = [ids(19, 1), ids(30, 2), ids(5, 3)];
    // Tokens that each takes at once; 0: it stays out.
    let portions = [[9, 14, 3], [1, 1, 1], [1, 0, 1], [1, 9, 0], [7, 6, 0]];
    let room: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let mut cache = Cache::new(model.config.num_layers, &room);
    let mut worst = 0.0f32;
    for portion in portions {
        let new: Vec<(usize, &[u32])> = (0..3)
            .filter(|&s| portion[s] > 0)
            .map(|s| {
                let from = cache.length(s);
                (s, &sequences[s][from..from + portion[s]])
            })
            .collect();
        let logits = model.extend(&mut cache, &new, updates).unwrap();
        let [rows, v] = logits.dims();
        assert_eq!((rows, v), (new.len(), model.config.vocab_size));
        for (&(s, _), got) in new.iter().zip(read(logits).unwrap().chunks_exact(v)) {
            let want = whole(model, &sequences[s][..cache.length(s)], updates);
            assert!(want.iter().any(|v| v.abs() > 0.5), "{what}: nothing to compare");
            worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
    }
    assert!(worst <= 1e-4, "{what}: logits off by {worst:.1e}");
    let more = model.extend(&mut cache, &[(0, &[3]), (2, &[3])], updates);
    assert!(more.is_err(), "{what}: a sequence outgrew its rows");
}

#[test]
fn cached_logits_are_those_of_the_whole_sequence() {
    let mut devices = vec![Device::flex()];
    devices.extend(common::gpu());
    for device in devices {
        for name in MODELS {
            let model = load(name, &device, LoadOptions::default());
            check(name, &model, None);
            check(&format!("{name} with an adapter"), &model, Some(&adapter(&model)));
        }
    }
}

#[test]
fn quantised_and_streamed_weights_generate_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let mut devices = vec![Device::flex()];
    devices.extend(common::gpu());
    for device in devices {
        for format in
            [None, Some(QuantFormat::Int8), Some(QuantFormat::Int4), Some(QuantFormat::Nf4)]
        {
            let load = |stream| {
                let options = LoadOptions { format, stream, ..LoadOptions::default() };
                load("qwen3_qknorm", &device, options)
            };
            let (resident, streamed) = (load(None), load(Some(scratch.path().to_owned())));
            check(&format!("{format:?}"), &resident, Some(&adapter(&resident)));
            let prompts = [ids(6, 1), ids(11, 2)];
            let text = |model: &Model| greedy(model, &prompts, Some(&adapter(model)), 8);
            assert_eq!(text(&resident), text(&streamed), "{format:?}");
        }
    }
}

fn greedy(
    model: &Model,
    prompts: &[Vec<u32>],
    updates: Option<&Updates>,
    max_new_tokens: usize,
) -> Vec<Generated> {
    let options =
        GenerateOptions { max_new_tokens, sampling: Sampling::GREEDY, end_ids: Vec::new() };
    model.generate(prompts, updates, &options, |_, _| ControlFlow::Continue(())).unwrap()
}

/// What greedy generation would be without a cache.
fn greedy_recomputed(
    model: &Model,
    prompt: &[u32],
    updates: Option<&Updates>,
    n: usize,
) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    for _ in 0..n {
        let logits = whole(model, &ids, updates);
        let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        ids.push(best.unwrap() as u32);
    }
    ids.split_off(prompt.len())
}

#[test]
fn greedy_tokens_are_those_of_recomputation_alone_and_side_by_side() {
    for name in MODELS {
        let model = load(name, &Device::flex(), LoadOptions::default());
        let updates = adapter(&model);
        let prompts = [ids(3, 4), ids(17, 5), ids(1, 6), ids(9, 7)];
        let together = greedy(&model, &prompts, Some(&updates), 24);
        for (prompt, text) in prompts.iter().zip(&together) {
            let want = greedy_recomputed(&model, prompt, Some(&updates), 24);
            assert_eq!((&text.ids, text.finish), (&want, Finish::Length), "{name}");
        }
        assert_ne!(
            together,
            greedy(&model, &prompts, None, 24),
            "{name}: the adapter says nothing"
        );
    }
}

#[test]
fn texts_end_where_they_should() {
    let model = load("llama_gqa_untied", &Device::flex(), LoadOptions::default());
    let prompts = [ids(3, 4), ids(17, 5)];
    let free = greedy(&model, &prompts, None, 12);
    // A token that the first text says and the second does not: the first ends before it.
    let end = free[0].ids.iter().position(|id| !free[1].ids.contains(id)).unwrap();
    let options = GenerateOptions {
        max_new_tokens: 12,
        sampling: Sampling::GREEDY,
        end_ids: vec![free[0].ids[end]],
    };
    let mut heard = [Vec::new(), Vec::new()];
    let texts = model
        .generate(&prompts, None, &options, |sequence, id| {
            heard[sequence].push(id);
            if sequence == 1 && heard[1].len() == 5 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let first = free[0].ids.iter().position(|id| *id == options.end_ids[0]).unwrap();
    assert_eq!((&texts[0].ids[..], texts[0].finish), (&free[0].ids[..first], Finish::End));
    assert_eq!((&texts[1].ids[..], texts[1].finish), (&free[1].ids[..5], Finish::Stopped));
    assert_eq!(heard.map(|ids| ids.len()), [first, 5]);
    assert!(greedy(&model, &prompts, None, 0).iter().all(|text| text.ids.is_empty()));
}

#[test]
fn the_context_bounds_prompt_and_text() {
    let model = load("llama_gqa_untied", &Device::flex(), LoadOptions::default());
    let limit = model.config.max_position_embeddings;
    let long = ids(limit as u32 - 4, 1);
    let texts = greedy(&model, &[long.clone(), ids(2, 1)], None, 10);
    assert_eq!((texts[0].ids.len(), texts[0].finish), (4, Finish::Context));
    assert_eq!((texts[1].ids.len(), texts[1].finish), (10, Finish::Length));
    assert_eq!(texts[0].ids, greedy_recomputed(&model, &long, None, 4));

    let refused = |prompt: Vec<u32>| {
        let options =
            GenerateOptions { max_new_tokens: 1, sampling: Sampling::GREEDY, end_ids: Vec::new() };
        let outcome = model.generate(&[prompt], None, &options, |_, _| ControlFlow::Continue(()));
        outcome.unwrap_err().to_string()
    };
    let message = refused(ids(limit as u32, 1));
    assert!(message.contains(&format!("{limit} tokens")), "{message}");
    assert!(message.contains("Shorten the prompt"), "{message}");
    assert!(refused(Vec::new()).contains("no tokens"));
    assert!(refused(vec![1, 512]).contains("token id 512"));
}

#[test]
fn sampling_depends_on_the_seed_and_not_on_the_neighbours() {
    let model = load("llama_gqa_untied", &Device::flex(), LoadOptions::default());
    let sample = |prompts: &[Vec<u32>], seed| {
        let sampling = Sampling { temperature: 1.0, top_k: 50, top_p: 0.95, seed };
        let options = GenerateOptions { max_new_tokens: 12, sampling, end_ids: Vec::new() };
        model.generate(prompts, None, &options, |_, _| ControlFlow::Continue(())).unwrap()
    };
    let prompts = [ids(3, 4), ids(17, 5)];
    let texts = sample(&prompts, 1);
    assert_eq!(texts, sample(&prompts, 1));
    assert_ne!(texts, sample(&prompts, 2));
    assert_eq!(texts[0], sample(&prompts[..1], 1)[0]);
    assert_ne!(texts[0].ids, greedy(&model, &prompts, None, 12)[0].ids);
}

/// The first text of llama2.c's doc/stories260K.md.
#[test]
fn the_real_model_tells_its_published_story() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/models");
    let (hf, published) = (models.join("stories260K-hf"), models.join("stories260K-llama2c"));
    if !hf.is_dir() || !published.is_dir() {
        eprintln!("SKIPPED: {} is not here", hf.display());
        return;
    }
    let document = std::fs::read_to_string(published.join("stories260K.md")).unwrap();
    let (_, story) = document.split_once("-t 0.0\n").unwrap();
    let (story, _) = story.split_once("\n```").unwrap();
    let expected = std::fs::read(published.join("expected_greedy_ids.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let expected: Vec<u32> = serde_json::from_value(expected["generated"].clone()).unwrap();

    let tokenizer = Tokenizer::open(&hf).unwrap();
    let prompt = tokenizer.encode_prompt(&Text::Plain(String::new())).unwrap();
    assert_eq!(prompt, expected[..1], "the prompt is BOS alone");
    let model = Model::load(&hf, &Device::flex(), LoadOptions::default()).unwrap();
    let text = greedy(&model, &[prompt], None, expected.len() - 1);
    assert_eq!(text[0].ids, expected[1..]);
    assert_eq!(tokenizer.decode_answer(&text[0].ids).unwrap(), story);
    assert_eq!(tokenizer.end_ids(), [2]);
}

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo").join(file)
}

/// Torch answers 95 % of these to the letter (assets/demo/README.md).
#[test]
fn the_demo_answers_as_torch_says() {
    let held_out = data::load(&demo("pairs_eval.jsonl")).unwrap();
    let folder = demo("tiny-math-llama");
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let model = Model::load(&folder, &Device::flex(), LoadOptions::default()).unwrap();
    let pairs = &held_out.pairs[..40];
    let prompts: Vec<Vec<u32>> =
        pairs.iter().map(|pair| tokenizer.encode_prompt(&pair.prompt).unwrap()).collect();
    let options = GenerateOptions {
        max_new_tokens: 90,
        sampling: Sampling::GREEDY,
        end_ids: tokenizer.end_ids().to_vec(),
    };
    let texts = model.generate(&prompts, None, &options, |_, _| ControlFlow::Continue(())).unwrap();
    let right = pairs.iter().zip(&texts).filter(|(pair, text)| {
        let Text::Plain(chosen) = &pair.chosen else { panic!("demo rows are text") };
        text.finish == Finish::End
            && tokenizer.decode_answer(&text.ids).unwrap().trim() == chosen.trim()
    });
    assert_eq!(right.count(), 38, "95 % of 40");
}
