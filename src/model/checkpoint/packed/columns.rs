//! Codes packed along the inputs, as GPTQ and EXL2 have them: each output's codes are one stream of bits that goes
//! down a column of 32-bit words, low bits first.

use rayon::prelude::*;

use super::Size;
use super::tensors::Words;

/// Outputs that a task decodes: their words of one row fill a cache line.
const TILE: usize = 16;

/// Code `i` of a stream of codes of `bits` bits (at most 16) whose words are `word(0)`, `word(1)`, ..
pub fn code(word: impl Fn(usize) -> u32, bits: usize, i: usize) -> u32 {
    let (at, shift) = (i * bits / 32, i * bits % 32);
    let low = word(at) >> shift;
    // A code may begin in one word and end in the next.
    let high = if shift + bits > 32 { word(at + 1) << (32 - shift) } else { 0 };
    (low | high) & (u32::MAX >> (32 - bits))
}

/// Inputs that share bits, scale and zero.
pub struct Row {
    /// The first row of words of the stream that this input's codes lie in.
    pub first: usize,
    pub bits: usize,
    /// The number of its code in that stream.
    pub number: usize,
    pub group: usize,
    /// Which input it is.
    pub input: usize,
}

/// Decodes a weight `[outputs, inputs]`: `value(code, group, output)` for every code of every row.
pub fn decode(
    words: Words,
    width: usize,
    size: Size,
    rows: &[Row],
    value: impl Fn(u32, usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; size.outputs * size.inputs];
    out.par_chunks_mut(TILE * size.inputs).enumerate().for_each(|(tile, out)| {
        for row in rows {
            for (i, out) in out.chunks_exact_mut(size.inputs).enumerate() {
                let output = tile * TILE + i;
                let word = |at: usize| words.at((row.first + at) * width + output);
                let code = code(word, row.bits, row.number);
                out[row.input] = value(code, row.group, output);
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn codes_cross_words() {
        // 3-bit codes 0..8 four times over: 96 bits in three words.
        let codes: Vec<u32> = (0..32).map(|i| i % 8).collect();
        let mut stream = 0u128;
        for (i, code) in codes.iter().enumerate() {
            stream |= u128::from(*code) << (3 * i);
        }
        let word = |at: usize| (stream >> (32 * at)) as u32;
        let read: Vec<u32> = (0..32).map(|i| code(word, 3, i)).collect();
        assert_eq!(read, codes);
    }
}
