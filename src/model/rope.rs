//! Frequencies of the rotary embedding: default, linear, llama3, YaRN and LongRoPE.
//!
//! Follows transformers' `modeling_rope_utils` (5.23) operation by operation in f32, so that positions far
//! out see the same angles: `inv_freq` errors are multiplied by the position.

use std::f64::consts::PI;

use super::config::{LongRope, Rope};

/// Which frequencies, with the parameters of config.json.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scaling {
    Default,
    /// Positions divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max: f64,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn(Yarn),
    /// LongRoPE (arXiv 2402.13753): a divisor for every frequency, another one in long sequences.
    LongRope {
        short_factor: Vec<f64>,
        long_factor: Vec<f64>,
        original_max: usize,
        attention_factor: f64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Yarn {
    pub factor: f64,
    pub original_max: f64,
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub attention_factor: Option<f64>,
    pub mscale: Option<f64>,
    pub mscale_all_dim: Option<f64>,
    /// Round the ramp's ends to whole dimensions (the default).
    pub truncate: bool,
}

/// `inv_freq` of length `head_dim / 2` and the attention factor; `head_dim` counts the channels that turn.
pub(super) fn frequencies(head_dim: usize, theta: f64, scaling: &Scaling) -> Rope {
    // theta^(2j / head_dim); the power in f64 so that the f32 result is correctly rounded.
    let powers = (0..head_dim / 2).map(|j| {
        let exponent = (2 * j) as f32 / head_dim as f32;
        f64::from(theta as f32).powf(f64::from(exponent)) as f32
    });
    match scaling {
        Scaling::Default => unscaled(powers.map(|p| 1.0 / p)),
        Scaling::Linear { factor } => unscaled(powers.map(|p| 1.0 / p / *factor as f32)),
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max } => {
            unscaled(powers.map(|p| {
                llama3(1.0 / p, *factor, *low_freq_factor, *high_freq_factor, *original_max)
            }))
        }
        Scaling::Yarn(yarn) => yarn_frequencies(head_dim, theta, powers, yarn),
        Scaling::LongRope { short_factor, long_factor, original_max, attention_factor } => {
            let divided = |factors: &[f64]| {
                powers.clone().zip(factors).map(|(p, &factor)| 1.0 / (factor as f32 * p)).collect()
            };
            let long = LongRope { beyond: *original_max, inv_freq: divided(long_factor) };
            Rope {
                inv_freq: divided(short_factor),
                attention_scaling: *attention_factor as f32,
                long: Some(long),
            }
        }
    }
}

fn unscaled(inv_freq: impl Iterator<Item = f32>) -> Rope {
    Rope { inv_freq: inv_freq.collect(), attention_scaling: 1.0, long: None }
}

fn llama3(inv_freq: f32, factor: f64, low: f64, high: f64, original_max: f64) -> f32 {
    let wavelength = (2.0 * PI) as f32 / inv_freq;
    if wavelength > (original_max / low) as f32 {
        return inv_freq / factor as f32;
    }
    if wavelength < (original_max / high) as f32 {
        return inv_freq;
    }
    let smooth = (original_max as f32 / wavelength - low as f32) / (high - low) as f32;
    (1.0 - smooth) * inv_freq / factor as f32 + smooth * inv_freq
}

fn yarn_frequencies(
    head_dim: usize,
    theta: f64,
    powers: impl Iterator<Item = f32>,
    yarn: &Yarn,
) -> Rope {
    // The (real-valued) dimension whose wavelength turns `rotations` times within the original context.
    let dimension = |rotations: f64| {
        head_dim as f64 * (yarn.original_max / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln())
    };
    let (mut low, mut high) = (dimension(yarn.beta_fast), dimension(yarn.beta_slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
    if low == high {
        high += 0.001; // transformers' guard against a division by zero
    }
    let inv_freq = powers
        .enumerate()
        .map(|(j, power)| {
            let ramp = ((j as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let extrapolated = 1.0 - ramp;
            let interpolation = 1.0 / (yarn.factor as f32 * power);
            interpolation * (1.0 - extrapolated) + (1.0 / power) * extrapolated
        })
        .collect();
    Rope { inv_freq, attention_scaling: yarn.attention_scaling() as f32, long: None }
}

impl Yarn {
    fn attention_scaling(&self) -> f64 {
        let mscale =
            |m: f64| if self.factor <= 1.0 { 1.0 } else { 0.1 * m * self.factor.ln() + 1.0 };
        // A zero counts as absent, as in Python.
        match (self.attention_factor, self.mscale, self.mscale_all_dim) {
            (Some(given), _, _) => given,
            (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => mscale(m) / mscale(all),
            _ => mscale(1.0),
        }
    }
}
