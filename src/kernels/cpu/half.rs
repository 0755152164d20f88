//! What products in f16 compute ([`crate::kernels::Arithmetic::F16`]), in f32: the twin of `shaders/half_rows.wgsl`. For
//! comparison with a GPU; there is nothing to gain on a CPU.

use half::f16;

/// Values as f16 has them.
pub fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| f16::from_f32(*value).to_f32()).collect()
}

/// Rows of `width` values, each rounded to f16 after division by the power of two at or below its largest magnitude.
pub fn scaled_rows(values: &[f32], width: usize) -> Vec<f32> {
    let rows = values.chunks_exact(width.max(1));
    rows.flat_map(|row| {
        let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let exponent = (largest.to_bits() >> 23).clamp(27, 227);
        let factor = f32::from_bits(exponent << 23);
        row.iter().map(move |value| f16::from_f32(value / factor).to_f32() * factor)
    })
    .collect()
}
