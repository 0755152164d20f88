//! Weights in 16, 8 or 4 bits: rows cut into blocks along the input dimension, one f16 scale a block.
//!
//! Host side only: encoding, and the decoding that defines what the kernels of `kernels::quantised` must compute.

mod codebook;

use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use codebook::NF4;

/// More weights than a row has.
const WHOLE_ROW: usize = 1 << 30;

/// How a weight matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantFormat {
    /// Signed 8-bit integers, blocks of 32: `w = code * scale`.
    Int8,
    /// Signed 4-bit integers, blocks of 32: `w = (code - 8) * scale`.
    Int4,
    /// 4-bit NormalFloat (QLoRA, arXiv 2305.14314, Appendix E), blocks of 64: `w = NF4[code] * scale`.
    Nf4,
    /// bfloat16, as most checkpoints are stored. The whole row is one block of scale 1.
    Bf16,
    /// IEEE half precision, likewise.
    F16,
}

impl QuantFormat {
    pub const ALL: [QuantFormat; 5] = [
        QuantFormat::Int8,
        QuantFormat::Int4,
        QuantFormat::Nf4,
        QuantFormat::Bf16,
        QuantFormat::F16,
    ];

    pub fn name(self) -> &'static str {
        match self {
            QuantFormat::Int8 => "int8",
            QuantFormat::Int4 => "int4",
            QuantFormat::Nf4 => "nf4",
            QuantFormat::Bf16 => "bf16",
            QuantFormat::F16 => "f16",
        }
    }

    /// The format of embedding and head beside linear layers in this one: they are looked up or decide every
    /// probability, and keep 8 bits at least.
    pub fn of_tables(self) -> QuantFormat {
        match self {
            QuantFormat::Int8 | QuantFormat::Int4 | QuantFormat::Nf4 => QuantFormat::Int8,
            QuantFormat::Bf16 | QuantFormat::F16 => self,
        }
    }

    /// Bits of one code.
    pub fn bits(self) -> usize {
        match self {
            QuantFormat::Bf16 | QuantFormat::F16 => 16,
            QuantFormat::Int8 => 8,
            QuantFormat::Int4 | QuantFormat::Nf4 => 4,
        }
    }

    /// Weights that share a scale.
    pub fn block(self) -> usize {
        match self {
            QuantFormat::Int8 | QuantFormat::Int4 => 32,
            QuantFormat::Nf4 => 64,
            QuantFormat::Bf16 | QuantFormat::F16 => WHOLE_ROW,
        }
    }

    /// 32-bit words of one row's codes; the last one may be partly unused.
    pub fn code_words(self, cols: usize) -> usize {
        (cols * self.bits()).div_ceil(32)
    }

    /// 32-bit words of one row's scales, two f16 each.
    pub fn scale_words(self, cols: usize) -> usize {
        cols.div_ceil(self.block()).div_ceil(2)
    }

    /// Bytes of a `rows x cols` matrix on the device.
    pub fn bytes(self, rows: usize, cols: usize) -> u64 {
        (rows * (self.code_words(cols) + self.scale_words(cols)) * 4) as u64
    }

    /// The code nearest to `value` (already divided by the block's scale).
    fn encode(self, value: f32) -> u32 {
        match self {
            QuantFormat::Int8 => value.round().clamp(-127.0, 127.0) as i32 as u8 as u32,
            QuantFormat::Int4 => (value.round().clamp(-8.0, 7.0) as i32 + 8) as u32,
            QuantFormat::Nf4 => codebook::nearest(value),
            QuantFormat::Bf16 => u32::from(bf16::from_f32(value).to_bits()),
            // What f16 cannot reach becomes its largest number, not an infinity.
            QuantFormat::F16 => {
                let top = f16::MAX.to_f32();
                u32::from(f16::from_f32(value.clamp(-top, top)).to_bits())
            }
        }
    }

    /// The scale that lets the block's largest weight be met exactly (up to the scale's own rounding).
    fn scale(self, block: &[f32]) -> f16 {
        let largest =
            block.iter().copied().fold(0.0f32, |m, v| if v.abs() > m.abs() { v } else { m });
        f16::from_f32(match self {
            QuantFormat::Int8 => largest.abs() / 127.0,
            // The integers reach -8 but only 7: give the longer side to the largest weight.
            QuantFormat::Int4 => largest / -8.0,
            QuantFormat::Nf4 => largest.abs(),
            QuantFormat::Bf16 | QuantFormat::F16 => 1.0,
        })
    }
}

/// A quantised matrix `[rows, cols]`: each row's codes, then nothing; each row's scales, then nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantMatrix {
    pub format: QuantFormat,
    pub rows: usize,
    pub cols: usize,
    /// `[rows, code_words]`; code `j` of a row lies in the bits from `j * bits` of that row, low bits first.
    pub codes: Vec<u32>,
    /// `[rows, scale_words]`; the f16 of block `j` is the low (even `j`) or high half of word `j / 2`.
    pub scales: Vec<u32>,
}

impl QuantMatrix {
    /// A matrix whose rows [`Self::encode_rows`] is to fill.
    pub fn empty(rows: usize, cols: usize, format: QuantFormat) -> QuantMatrix {
        let codes = vec![0u32; rows * format.code_words(cols)];
        let scales = vec![0u32; rows * format.scale_words(cols)];
        QuantMatrix { format, rows, cols, codes, scales }
    }

    /// Quantises row-major `values`.
    pub fn encode(values: &[f32], rows: usize, cols: usize, format: QuantFormat) -> QuantMatrix {
        let mut matrix = QuantMatrix::empty(rows, cols, format);
        matrix.encode_rows(0, values);
        matrix
    }

    /// Quantises the rows from row `first` on, each of them once.
    pub fn encode_rows(&mut self, first: usize, values: &[f32]) {
        let QuantMatrix { format, cols, .. } = *self;
        let (code_words, scale_words) = (format.code_words(cols), format.scale_words(cols));
        self.codes[first * code_words..]
            .par_chunks_mut(code_words.max(1))
            .zip(self.scales[first * scale_words..].par_chunks_mut(scale_words.max(1)))
            .zip(values.par_chunks(cols.max(1)))
            .for_each(|((codes, scales), row)| encode_row(row, format, codes, scales));
    }

    /// All values, row-major.
    pub fn decode(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        decode_rows(&self.codes, &self.scales, self.format, self.cols, &mut out);
        out
    }
}

fn encode_row(row: &[f32], format: QuantFormat, codes: &mut [u32], scales: &mut [u32]) {
    let per_word = 32 / format.bits();
    for (at, block) in row.chunks(format.block()).enumerate() {
        let scale = format.scale(block);
        scales[at / 2] |= u32::from(scale.to_bits()) << (16 * (at % 2));
        let scale = scale.to_f32();
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        for (i, &value) in block.iter().enumerate() {
            let j = at * format.block() + i;
            codes[j / per_word] |=
                format.encode(value * inverse) << (format.bits() * (j % per_word));
        }
    }
}

/// Decodes whole rows into `out` (row-major), on the calling thread.
#[inline(always)]
pub fn decode_rows(
    codes: &[u32],
    scales: &[u32],
    format: QuantFormat,
    cols: usize,
    out: &mut [f32],
) {
    let rows = out.chunks_exact_mut(cols.max(1));
    let codes = codes.chunks_exact(format.code_words(cols).max(1));
    let scales = scales.chunks_exact(format.scale_words(cols).max(1));
    // One loop a format, so that what a code stands for is a few instructions inside it, not a call.
    for ((out, codes), scales) in rows.zip(codes).zip(scales) {
        let block = format.block();
        match format {
            QuantFormat::Int8 => {
                decode_row::<4>(out, codes, scales, block, |code| f32::from(code as u8 as i8))
            }
            QuantFormat::Int4 => {
                decode_row::<8>(out, codes, scales, block, |code| code as i32 as f32 - 8.0)
            }
            QuantFormat::Nf4 => {
                decode_row::<8>(out, codes, scales, block, |code| NF4[code as usize & 15])
            }
            QuantFormat::Bf16 => {
                decode_row::<2>(out, codes, scales, block, |code| f32::from_bits(code << 16))
            }
            QuantFormat::F16 => decode_row::<2>(out, codes, scales, block, finite_f16),
        }
    }
}

/// The f16 of these bits, which is finite: its exponent is moved to where f32 has it, and the bias made up for by a
/// factor. Exact, subnormal numbers included.
#[inline(always)]
fn finite_f16(bits: u32) -> f32 {
    const BIAS: f32 = f32::from_bits((127 + 112) << 23); // 2^112
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * BIAS;
    f32::from_bits(magnitude.to_bits() | ((bits & 0x8000) << 16))
}

#[inline(always)]
fn decode_row<const PER_WORD: usize>(
    out: &mut [f32],
    codes: &[u32],
    scales: &[u32],
    block: usize,
    decode: impl Fn(u32) -> f32,
) {
    let bits = 32 / PER_WORD;
    let mask = u32::MAX >> (32 - bits);
    let blocks = out.chunks_mut(block).zip(codes.chunks(block / PER_WORD));
    for (at, (out, codes)) in blocks.enumerate() {
        let scale = f16::from_bits((scales[at / 2] >> (16 * (at % 2))) as u16).to_f32();
        // Whole words have a constant length, which the compiler vectorises.
        let (whole, rest) = out.as_chunks_mut::<PER_WORD>();
        for (out, &word) in whole.iter_mut().zip(codes) {
            for (i, v) in out.iter_mut().enumerate() {
                *v = decode((word >> (bits * i)) & mask) * scale;
            }
        }
        for (i, v) in rest.iter_mut().enumerate() {
            *v = decode((codes[whole.len()] >> (bits * i)) & mask) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_f16_is_decoded_exactly() {
        let finite = (0..=u16::MAX).map(f16::from_bits).filter(|value| value.is_finite());
        for value in finite {
            let got = finite_f16(u32::from(value.to_bits()));
            assert_eq!(got.to_bits(), value.to_f32().to_bits(), "{value}");
        }
    }
}
