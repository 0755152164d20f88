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
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

/// Type, ggml's number, name, weights in a block, bytes of a block.
const TYPES: [(BlockType, u32, &str, usize, usize); 15] = [
    (BlockType::F32, 0, "F32", 1, 4),
    (BlockType::F16, 1, "F16", 1, 2),
    (BlockType::Bf16, 30, "BF16", 1, 2),
    (BlockType::Q8_0, 8, "Q8_0", 32, 34),
    (BlockType::Q6K, 14, "Q6_K", 256, 210),
    (BlockType::Q5K, 13, "Q5_K", 256, 176),
    (BlockType::Q5_1, 7, "Q5_1", 32, 24),
    (BlockType::Q5_0, 6, "Q5_0", 32, 22),
    (BlockType::Q4K, 12, "Q4_K", 256, 144),
    (BlockType::Q4_1, 3, "Q4_1", 32, 20),
    (BlockType::Q4_0, 2, "Q4_0", 32, 18),
    (BlockType::Iq4Xs, 23, "IQ4_XS", 256, 136),
    (BlockType::Iq4Nl, 20, "IQ4_NL", 32, 18),
    (BlockType::Q3K, 11, "Q3_K", 256, 110),
    (BlockType::Q2K, 10, "Q2_K", 256, 84),
];

/// Names of types that are not read, for messages.
const OTHERS: [(u32, &str); 18] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

/// What people call ggml's type `id`, or the number where it is unknown.
pub(super) fn name_of(id: u32) -> String {
    let other = || OTHERS.iter().find(|(other, _)| *other == id).map(|(_, name)| *name);
    match BlockType::from_id(id).map(BlockType::name).or_else(other) {
        Some(name) => name.to_owned(),
        None => id.to_string(),
    }
}

impl BlockType {
    /// From ggml's number; `None` for types that cannot be read.
    pub fn from_id(id: u32) -> Option<BlockType> {
        TYPES.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// Names of all types that can be read, for messages.
    pub fn readable() -> String {
        TYPES.map(|row| row.2).join(", ")
    }

    fn row(self) -> (BlockType, u32, &'static str, usize, usize) {
        TYPES.into_iter().find(|row| row.0 == self).unwrap_or(TYPES[0])
    }

    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Weights in a block.
    pub fn elements(self) -> usize {
        self.row().3
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.row().4
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
            BlockType::Q2K => decode_q2_k(block, out),
            BlockType::Q3K => decode_q3_k(block, out),
            BlockType::Q4K => decode_k(block, &block[16..], None, out),
            BlockType::Q5K => decode_k(block, &block[48..], Some(&block[16..48]), out),
            BlockType::Q6K => decode_q6_k(block, out),
            BlockType::Iq4Nl => {
                nibbles(&block[2..], out, |code, _| half(block, 0) * IQ4[usize::from(code)]);
            }
            BlockType::Iq4Xs => decode_iq4_xs(block, out),
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

/// The two low bits of element `i`: 128 elements lie in 32 bytes, a quarter of them in each pair of bits.
fn two_bits(codes: &[u8], i: usize) -> u8 {
    (codes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3
}

/// Q2_K: sixteen sub-blocks of 16, a scale and a minimum of 4 bits each, two f16.
fn decode_q2_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(block, 80), half(block, 82));
    for (j, out) in out.chunks_exact_mut(16).enumerate() {
        let factor = scale * f32::from(block[j] & 15);
        let offset = minimum * f32::from(block[j] >> 4);
        for (i, value) in out.iter_mut().enumerate() {
            *value = factor * f32::from(two_bits(&block[16..80], 16 * j + i)) - offset;
        }
    }
}

/// Q3_K: a third bit that is subtracted where it is 0, sixteen signed scales of 6 bits, one f16.
fn decode_q3_k(block: &[u8], out: &mut [f32]) {
    let (high, low, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half(block, 108);
    for (j, out) in out.chunks_exact_mut(16).enumerate() {
        let four = (scales[j % 8] >> (4 * (j / 8))) & 15;
        let two = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
        let factor = scale * (f32::from(four | two << 4) - 32.0);
        for (i, value) in out.iter_mut().enumerate() {
            let at = 16 * j + i;
            let third = (high[at % 32] >> (at / 32)) & 1;
            *value = factor * (f32::from(two_bits(low, at) | third << 2) - 4.0);
        }
    }
}

/// The values of IQ4_NL and IQ4_XS, unevenly spaced.
const IQ4: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// IQ4_XS: eight sub-blocks of 32 with signed scales of 6 bits (four and two apart), one f16.
fn decode_iq4_xs(block: &[u8], out: &mut [f32]) {
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let four = (block[4 + j / 2] >> (4 * (j % 2))) & 15;
        let two = (high >> (2 * j) & 3) as u8;
        let factor = half(block, 0) * (f32::from(four | two << 4) - 32.0);
        nibbles(&block[8 + 16 * j..][..16], out, |code, _| factor * IQ4[usize::from(code)]);
    }
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
