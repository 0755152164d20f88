//! Vector helpers: written so that the compiler vectorises them for the processor at hand.

use pulp::Arch;

/// Lanes of the partial sums; one AVX-512 register.
const LANES: usize = 16;

/// Runs `f` compiled for the best instruction set of this processor. Bodies must be small and inlined.
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(f)
}

/// `e^x` within 2 ulp for x in -87..88, flushed to about 1e-38 below (Cephes' polynomial, no branches).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(0x4B40_0000) + 127;
    mantissa * f32::from_bits((exponent << 23) as u32)
}

/// `tanh x` to a relative 4e-7: a series near 0, where the quotient of exponentials cancels (no branches).
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let square = x * x;
    let series = x
        * (1.0
            - square
                * (1.0 / 3.0
                    - square * (2.0 / 15.0 - square * (17.0 / 315.0 - square * (62.0 / 2835.0)))));
    let magnitude = x.abs().min(15.0);
    let ratio = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    if magnitude < 0.25 { series } else { ratio }
}

/// Soft-capping `cap tanh(x / cap)`, and its derivative.
#[inline(always)]
pub fn softcap(x: f32, cap: f32) -> (f32, f32) {
    let t = tanh(x / cap);
    (cap * t, 1.0 - t * t)
}

#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let head = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    rest.iter().copied().fold(head, f32::max)
}

/// Replaces every value by `e^(value - shift)` and answers the sum.
#[inline(always)]
pub fn exp_shifted(values: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *v = exp(*v - shift);
            *lane += *v;
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for v in rest {
        *v = exp(*v - shift);
        sum += *v;
    }
    sum
}

/// `sum f(a, b)` with partial sums in lanes.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    let tail: f32 = a_rest.iter().zip(b_rest).map(|(&x, &y)| f(x, y)).sum();
    lanes.iter().sum::<f32>() + tail
}

#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum2(a, b, |x, y| x * y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        for i in -8000..8000 {
            let x = i as f32 * 0.01;
            let want = (x as f64).exp();
            let got = exp(x) as f64;
            assert!(((got - want) / want).abs() < 3e-7, "exp({x}) = {got}, not {want}");
        }
    }

    #[test]
    fn tanh_is_accurate() {
        for i in -40_000..40_000 {
            let x = i as f32 * 0.0005;
            let want = (x as f64).tanh();
            let off = (tanh(x) as f64 - want).abs();
            assert!(off <= 4e-7 * want.abs(), "tanh({x}) = {}, not {want}", tanh(x));
        }
        assert_eq!((tanh(1e30), tanh(-1e30)), (1.0, -1.0));
    }

    #[test]
    fn sums_take_every_element() {
        let values: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&values, &values), (0..37).map(|i| (i * i) as f32).sum::<f32>());
        assert_eq!(max(&values), 36.0);
        let mut zeros = vec![2.0f32; 19];
        assert!((exp_shifted(&mut zeros, 2.0) - 19.0).abs() < 1e-5);
    }
}
