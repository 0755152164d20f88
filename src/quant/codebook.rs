//! The sixteen values of 4-bit NormalFloat (QLoRA, arXiv 2305.14314, Appendix E).

/// Quantiles of the standard normal distribution, scaled to -1..1, with an exact zero.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Index of the value nearest to `value`; ties go to the lower.
pub fn nearest(value: f32) -> u32 {
    let above = NF4.partition_point(|&v| v < value).clamp(1, 15);
    let below = above - 1;
    let code = if value - NF4[below] <= NF4[above] - value { below } else { above };
    code as u32
}
