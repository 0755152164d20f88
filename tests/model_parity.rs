//! Do our decoders answer what torch and transformers answer, on every architecture fixture?

use burn::tensor::{Device, Tensor};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::model::{LoadOptions, Model};
use safetensors::SafeTensors;

mod common;

const MODELS: [&str; 20] = [
    "llama_gqa_untied",
    "llama_tied_rope_llama3",
    "llama_rope_linear",
    "llama_rope_yarn",
    "llama_headdim32_bias",
    "llama_sharded",
    "llama_bf16",
    "llama_f16",
    "qwen2_bias_tied",
    "qwen3_qknorm",
    "mistral_swa8",
    "mistral_noswa",
    "phi3",
    "phi3_longrope",
    "gemma2",
    "gemma2_caps",
    "mixtral_4e_top2",
    "qwen3_moe",
    "mixtral_fused",
    "qwen3_moe_fused",
];

struct Expected {
    /// Two rows of 24 ids, right-padded.
    ids: Vec<Vec<u32>>,
    completion_start: Vec<usize>,
    logits: Vec<f32>,
    completion_logps: Vec<f64>,
}

fn numbers<const N: usize>(bytes: &[u8]) -> Vec<[u8; N]> {
    bytes.as_chunks::<N>().0.to_vec()
}

fn expected(name: &str) -> Expected {
    let bytes =
        std::fs::read(common::fixture(&format!("models/{name}/expected.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ints = |name: &str| -> Vec<i64> {
        numbers::<8>(file.tensor(name).unwrap().data())
            .into_iter()
            .map(i64::from_le_bytes)
            .collect()
    };
    let (ids, mask, completion) =
        (ints("input_ids"), ints("attention_mask"), ints("completion_mask"));
    let rows = 0..ids.len() / 24;
    let row = |all: &[i64], r: usize| all[r * 24..(r + 1) * 24].to_vec();
    let length = |r: usize| row(&mask, r).iter().sum::<i64>() as usize;
    Expected {
        ids: rows
            .clone()
            .map(|r| row(&ids, r)[..length(r)].iter().map(|&i| i as u32).collect())
            .collect(),
        completion_start: rows
            .map(|r| row(&completion, r).iter().position(|&m| m == 1).unwrap())
            .collect(),
        logits: numbers::<4>(file.tensor("logits").unwrap().data())
            .into_iter()
            .map(f32::from_le_bytes)
            .collect(),
        completion_logps: numbers::<8>(file.tensor("completion_logps").unwrap().data())
            .into_iter()
            .map(f64::from_le_bytes)
            .collect(),
    }
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn check(name: &str, device: &Device, tolerance: f32) {
    let want = expected(name);
    let model =
        Model::load(&common::fixture(&format!("models/{name}")), device, LoadOptions::default())
            .unwrap();
    for (row, ids) in want.ids.iter().enumerate() {
        let got = values(model.logits(ids, None).unwrap());
        let want = &want.logits[row * 24 * 512..][..ids.len() * 512];
        let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(got.len(), want.len());
        assert!(worst <= tolerance, "{name} row {row}: logits off by {worst:.2e}");
        assert!(want.iter().any(|v| v.abs() > 0.5), "{name}: nothing to compare");
    }
    // Row 0 as the chosen answer and row 1 as the rejected one have different prompts, so each is scored
    // against a variant of itself: the chosen side must not notice the other tail.
    for (row, ids) in want.ids.iter().enumerate() {
        let (prompt, answer) = ids.split_at(want.completion_start[row]);
        let mut other = answer.to_vec();
        let middle = other.len() / 2;
        other[middle] = (other[middle] + 1) % 500;
        other.truncate(middle + 3);
        let pair = TokenizedPair {
            row,
            prompt_ids: prompt.to_vec(),
            chosen_ids: answer.to_vec(),
            rejected_ids: other,
        };
        let scores = model.score(std::slice::from_ref(&pair), None).unwrap();
        let swapped = TokenizedPair {
            chosen_ids: pair.rejected_ids.clone(),
            rejected_ids: pair.chosen_ids.clone(),
            ..pair
        };
        let both = [scores[0].sums().0, model.score(&[swapped], None).unwrap()[0].sums().1];
        for sum in both {
            let off = (sum - want.completion_logps[row]).abs();
            assert!(off <= 1e-3, "{name} row {row}: summed log-probs off by {off:.2e}");
        }
    }
}

#[test]
fn all_models_match_torch_on_the_cpu() {
    for name in MODELS {
        check(name, &Device::flex(), 1e-4);
    }
}

#[test]
fn all_models_match_torch_on_wgpu() {
    let Some(device) = common::gpu() else { return };
    for name in MODELS {
        check(name, &device, 1e-3);
    }
}
