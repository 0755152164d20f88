//! Does this GPU compute what the CPU computes? One tiny LoRA-DPOP step on both, before any real training.
//!
//! Drivers differ, and a wrong gradient trains a wrong model without a word; a GPU that fails here is refused.

use burn::tensor::Device;

use crate::config::Target;
use crate::data::pair::TokenizedPair;
use crate::kernels::{Activation, Arithmetic};
use crate::lora::{LoraAdapter, LoraConfig};
use crate::loss::{Objective, PairLogps};
use crate::model::config::{Architecture, ModelConfig, Rope};
use crate::model::experts_config::ExpertsConfig;
use crate::model::layout::PackedBatch;
use crate::model::{LoadOptions, Model, entry_weights, pair_scores, read};

/// Largest difference of an adapter gradient, relative to the largest gradient of its matrix.
pub const TOLERANCE: f32 = 1e-3;

/// The same with products in f16: where f32 results differ in their last bit, factors may round to different neighbours
/// (1/2048 apart).
pub const HALF_TOLERANCE: f32 = 1e-2;

fn tolerance(arithmetic: Arithmetic) -> f32 {
    match arithmetic {
        Arithmetic::F32 => TOLERANCE,
        Arithmetic::F16 => HALF_TOLERANCE,
    }
}

/// Why a device was refused.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    #[error(
        "{device} computes wrong gradients ({site}: off by {error:.1e}, {allowed:.0e} is allowed). Its driver cannot \
         be trusted for training: update it, choose another adapter, or train on the CPU (--device cpu)."
    )]
    Wrong { device: String, site: String, error: f32, allowed: f32 },
    #[error(
        "{device} failed the start-up test ({message}). Update its driver, choose another adapter, or train on \
         the CPU (--device cpu)."
    )]
    Failed { device: String, message: String },
}

/// A model with the switches of Qwen, one with those of Gemma 2, and a mixture of experts.
fn configs() -> [ModelConfig; 3] {
    let qwen = qwen();
    let gemma = ModelConfig {
        architecture: Architecture::Gemma2,
        num_layers: 1,
        sliding_window: vec![None],
        activation: Activation::GeluTanh,
        attention_softcap: Some(2.0),
        logit_softcap: Some(3.0),
        embedding_scale: 8.0,
        unit_offset_norms: true,
        out_norms: true,
        qk_norm: false,
        ..qwen.clone()
    };
    let experts = ModelConfig {
        architecture: Architecture::Qwen3Moe,
        num_layers: 1,
        sliding_window: vec![None],
        experts: Some(ExpertsConfig {
            count: 3,
            chosen: 2,
            intermediate_size: 48,
            renormalise: true,
            layers: vec![true],
        }),
        ..qwen.clone()
    };
    [qwen, gemma, experts]
}

fn qwen() -> ModelConfig {
    let head_dim = 16;
    ModelConfig {
        architecture: Architecture::Qwen3,
        vocab_size: 199,
        hidden_size: 64,
        intermediate_size: 96,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim,
        rms_norm_eps: 1e-6,
        rope: Rope {
            inv_freq: (0..head_dim / 2)
                .map(|j| 10_000f32.powf(-(2.0 * j as f32) / head_dim as f32))
                .collect(),
            attention_scaling: 1.0,
            long: None,
        },
        sliding_window: vec![None, Some(5)],
        tie_word_embeddings: false,
        qkv_bias: true,
        o_bias: false,
        mlp_bias: false,
        qk_norm: true,
        fused_projections: false,
        activation: Activation::Silu,
        attention_scale: 0.25,
        attention_softcap: None,
        logit_softcap: None,
        embedding_scale: 1.0,
        unit_offset_norms: false,
        out_norms: false,
        experts: None,
        max_position_embeddings: 64,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    }
}

fn pairs() -> Vec<TokenizedPair> {
    let ids =
        |seed: u32, n: u32| (0..n).map(|i| 3 + (seed * 31 + i * 17) % 190).collect::<Vec<_>>();
    let pair = |row: usize, prompt: u32, shared: u32, chosen: u32, rejected: u32| {
        let seed = row as u32;
        let side = |own: u32, n: u32| [ids(seed + 5, shared), ids(seed + own, n), vec![2]].concat();
        TokenizedPair {
            row,
            prompt_ids: ids(seed, prompt),
            chosen_ids: side(7, chosen),
            rejected_ids: side(11, rejected),
        }
    };
    vec![pair(0, 5, 3, 4, 6), pair(1, 9, 0, 7, 3)]
}

/// Adapter gradients of one DPOP step with the penalty on, site by site.
fn gradients(
    config: &ModelConfig,
    device: &Device,
    arithmetic: Arithmetic,
) -> anyhow::Result<(LoraAdapter, Vec<f32>)> {
    let options = LoadOptions { arithmetic, ..LoadOptions::default() };
    let model = Model::random(config.clone(), device, options, 7, 0.08)?;
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let mut adapter = LoraAdapter::init(lora, &model.config, 3);
    for (i, value) in adapter.values.iter_mut().enumerate() {
        // B must not be zero, or the gradients by A are.
        *value += ((i * 7919) % 101) as f32 * 1e-3 - 0.05;
    }
    // Few rows would be multiplied in f32.
    let repeats = if arithmetic == Arithmetic::F16 { 4 } else { 1 };
    let packed = PackedBatch::new(&vec![pairs(); repeats].concat());
    let batch = model.upload(&packed);
    let updates = adapter.upload(model.config.num_layers, device, None);
    let (logps, saved) = model.forward(&batch, &updates)?;
    let scores = pair_scores(&packed, &read(logps)?);
    let objective = Objective::Dpop { beta: 0.3, lambda: 50.0 };
    let derivatives: Vec<(f64, f64)> = scores
        .iter()
        .map(|score| {
            let (chosen, rejected) = score.sums();
            // Fixed log-ratios, so that rounding cannot move a pair across the kink.
            let logps = PairLogps {
                chosen,
                rejected,
                ref_chosen: chosen + 1.0,
                ref_rejected: rejected - 0.5,
            };
            let out = objective.evaluate(&logps);
            (out.d_chosen, out.d_rejected)
        })
        .collect();
    let weights = entry_weights(&packed, &derivatives);
    let grads = model.backward(&batch, &updates, saved, &weights)?;
    let grads = adapter.read_grads(grads)?;
    Ok((adapter, grads))
}

/// The worst difference between two gradients, relative to its matrix' largest value, and where it is.
fn worst_difference(adapter: &LoraAdapter, got: &[f32], want: &[f32]) -> (f32, String) {
    let mut worst = (0.0, String::from("no matrix"));
    for site in &adapter.sites {
        let a = adapter.config.rank * site.input;
        let b = adapter.config.rank * site.output;
        for (name, range) in
            [("A", site.offset..site.offset + a), ("B", site.offset + a..site.offset + a + b)]
        {
            let (got, want) = (&got[range.clone()], &want[range]);
            let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
            let off = got.iter().zip(want).map(|(g, w)| (g - w).abs() / scale);
            // NaN must not pass for a small number.
            let off = off.fold(0.0, |m: f32, v| if v.is_nan() { f32::INFINITY } else { m.max(v) });
            if off > worst.0 {
                worst = (off, format!("{} {name}", site.module));
            }
        }
    }
    worst
}

/// Compares `device` with the CPU: in f32, and in f16 where a run asks for that.
///
/// # Errors
/// When a gradient differs by more than [`TOLERANCE`] (f16: [`HALF_TOLERANCE`]), or the device fails.
pub fn run(device: &Device, name: &str, arithmetic: Arithmetic) -> Result<(), SelfTestError> {
    configs().iter().try_for_each(|config| compare(config, device, name, Arithmetic::F32))?;
    match arithmetic {
        Arithmetic::F32 => Ok(()),
        Arithmetic::F16 => compare(&qwen(), device, name, arithmetic),
    }
}

fn compare(
    config: &ModelConfig,
    device: &Device,
    name: &str,
    arithmetic: Arithmetic,
) -> Result<(), SelfTestError> {
    let failed = |message: String| SelfTestError::Failed { device: name.to_owned(), message };
    // A driver that cannot run a kernel makes burn panic; that must not end the worker without a sentence.
    let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        gradients(config, device, arithmetic)
    }));
    let (adapter, got) = attempt
        .map_err(|_| failed("a kernel could not run".to_owned()))?
        .map_err(|e| failed(e.to_string()))?;
    let (_, want) =
        gradients(config, &Device::flex(), arithmetic).map_err(|e| failed(e.to_string()))?;
    let (error, site) = worst_difference(&adapter, &got, &want);
    let allowed = tolerance(arithmetic);
    if error > allowed {
        return Err(SelfTestError::Wrong { device: name.to_owned(), site, error, allowed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_passes_and_every_gradient_counts() {
        run(&Device::flex(), "CPU", Arithmetic::F16).unwrap();
        configs().iter().for_each(every_gradient_counts);
    }

    fn every_gradient_counts(config: &ModelConfig) {
        let (adapter, grads) = gradients(config, &Device::flex(), Arithmetic::F32).unwrap();
        for site in &adapter.sites {
            let mut wrong = grads.clone();
            wrong[site.offset] += 1.0 + wrong[site.offset].abs() * 10.0;
            assert!(worst_difference(&adapter, &wrong, &grads).0 > TOLERANCE);
            wrong[site.offset] = f32::NAN;
            assert!(worst_difference(&adapter, &wrong, &grads).0 > TOLERANCE);
        }
        let zeros = grads.iter().filter(|g| **g == 0.0).count();
        assert!(zeros * 20 < grads.len(), "{zeros} of {} gradients are zero", grads.len());
    }
}
