//! ggml's block types, decoded to f32. Layouts: ggml-common.h and ggml-quants.c of llama.cpp.

use half::{bf16, f16};
use rayon::prelude::*;

/// Blocks that a task decodes.
const GRAIN: usize = 1024;

/// How a block of weights is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl BlockType {
    /// From ggml's number; `None` for types that cannot be read.
    pub fn from_id(id: u32) -> Option<BlockType> {
        Some(match id {
            0 => BlockType::F32,
            1 => BlockType::F16,
            2 => BlockType::Q4_0,
            3 => BlockType::Q4_1,
            6 => BlockType::Q5_0,
            7 => BlockType::Q5_1,
            8 => BlockType::Q8_0,
            12 => BlockType::Q4K,
            13 => BlockType::Q5K,
            14 => BlockType::Q6K,
            30 => BlockType::Bf16,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            BlockType::F32 => "F32",
            BlockType::F16 => "F16",
            BlockType::Bf16 => "BF16",
            BlockType::Q4_0 => "Q4_0",
            BlockType::Q4_1 => "Q4_1",
            BlockType::Q5_0 => "Q5_0",
            BlockType::Q5_1 => "Q5_1",
            BlockType::Q8_0 => "Q8_0",
            BlockType::Q4K => "Q4_K",
            BlockType::Q5K => "Q5_K",
            BlockType::Q6K => "Q6_K",
        }
    }

    /// Weights in a block.
    pub fn elements(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => 1,
            BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => 256,
            _ => 32,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::Bf16 => 2,
            BlockType::Q4_0 => 18,
            BlockType::Q4_1 => 20,
            BlockType::Q5_0 => 22,
            BlockType::Q5_1 => 24,
            BlockType::Q8_0 => 34,
            BlockType::Q4K => 144,
            BlockType::Q5K => 176,
            BlockType::Q6K => 210,
        }
    }

    /// Decodes whole blocks.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let (size, count) = (self.bytes(), self.elements());
        let mut out = vec![0.0; bytes.len() / size * count];
        out.par_chunks_mut(count * GRAIN).zip(bytes.par_chunks(size * GRAIN)).for_each(
            |(out, bytes)| {
                for (out, block) in out.chunks_exact_mut(count).zip(bytes.chunks_exact(size)) {
                    self.decode_block(block, out);
                }
            },
        );
        out
    }

    fn decode_block(self, block: &[u8], out: &mut [f32]) {
        match self {
            BlockType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            BlockType::F16 => out[0] = half(block, 0),
            BlockType::Bf16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            BlockType::Q8_0 => {
                let scale = half(block, 0);
                for (value, &code) in out.iter_mut().zip(&block[2..]) {
                    *value = scale * f32::from(code as i8);
                }
            }
            BlockType::Q4_0 => {
                nibbles(&block[2..], out, |code, _| half(block, 0) * (f32::from(code) - 8.0))
            }
            BlockType::Q4_1 => {
                nibbles(&block[4..], out, |code, _| {
                    half(block, 0) * f32::from(code) + half(block, 2)
                });
            }
            BlockType::Q5_0 => nibbles(&block[6..], out, |code, i| {
                half(block, 0) * (f32::from(code | fifth_bit(&block[2..6], i)) - 16.0)
            }),
            BlockType::Q5_1 => nibbles(&block[8..], out, |code, i| {
                half(block, 0) * f32::from(code | fifth_bit(&block[4..8], i)) + half(block, 2)
            }),
            BlockType::Q4K => decode_k(block, &block[16..], None, out),
            BlockType::Q5K => decode_k(block, &block[48..], Some(&block[16..48]), out),
            BlockType::Q6K => decode_q6_k(block, out),
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 32 codes of 4 bits: the low halves of 16 bytes, then the high halves. `decode` gets the code and its position.
fn nibbles(codes: &[u8], out: &mut [f32], decode: impl Fn(u8, usize) -> f32) {
    for (i, &byte) in codes.iter().take(16).enumerate() {
        out[i] = decode(byte & 15, i);
        out[i + 16] = decode(byte >> 4, i + 16);
    }
}

/// The fifth bit of code `i`, in its place.
fn fifth_bit(bits: &[u8], i: usize) -> u8 {
    (bits[i / 8] >> (i % 8) & 1) << 4
}

/// Scale and minimum of sub-block `j`, 6 bits each, from 12 packed bytes.
fn scale_and_minimum(j: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            (packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4),
            (packed[j + 4] >> 4) | (packed[j] >> 6 << 4),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// Q4_K, and Q5_K with a fifth bit a code: eight sub-blocks of 32, two to 32 bytes of codes.
fn decode_k(block: &[u8], codes: &[u8], fifth: Option<&[u8]>, out: &mut [f32]) {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (own_scale, own_minimum) = scale_and_minimum(j, &block[4..16]);
        let (factor, offset) = (scale * own_scale, minimum * own_minimum);
        let codes = &codes[j / 2 * 32..][..32];
        for (i, (value, &byte)) in out.iter_mut().zip(codes).enumerate() {
            let low = if j.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
            let high = fifth.map_or(0, |bits| (bits[i] >> j & 1) << 4);
            *value = factor * f32::from(low | high) - offset;
        }
    }
}

/// Q6_K: low four bits, high two bits, sixteen signed scales, one f16.
fn decode_q6_k(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 208);
    for (n, out) in out.chunks_exact_mut(128).enumerate() {
        let low = &block[64 * n..][..64];
        let high = &block[128 + 32 * n..][..32];
        let scales = &block[192 + 8 * n..][..8];
        for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
            for (i, value) in out.iter_mut().enumerate() {
                let byte = low[i + 32 * (quarter % 2)];
                let four = if quarter < 2 { byte & 15 } else { byte >> 4 };
                let code = four | (high[i] >> (2 * quarter) & 3) << 4;
                let own = f32::from(scales[2 * quarter + i / 16] as i8);
                *value = scale * own * (f32::from(code) - 32.0);
            }
        }
    }
}
