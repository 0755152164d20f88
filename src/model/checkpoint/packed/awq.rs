//! AWQ (arXiv 2306.00978) as AutoAWQ saves it for its GEMM kernels, 4 bits.
//!
//! Of a layer `[outputs N, inputs K]`: `qweight` int32 `[K, N / 8]` and `qzeros` int32 `[groups, N / 8]` hold eight
//! outputs a word in the order 0, 2, 4, 6, 1, 3, 5, 7 from the low bits up, `scales` `[groups, N]`. A weight is
//! `scales[k / group, n] * (code - zero)`.
//!
//! Sources: `awq/modules/linear/gemm.py` (packing) and `awq/utils/packing_utils.py` (its inverse) of AutoAWQ.

use rayon::prelude::*;

use super::Size;
use super::tensors::{Part, Tensors, Words, problem};
use crate::model::checkpoint::files::Shard;
use crate::model::config::unsupported;
use crate::model::error::ModelError;
use crate::model::json_fields::Fields;

const PER_WORD: usize = 8;

/// Which four bits of a word hold output `n % 8`.
const PLACE: [usize; PER_WORD] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Outputs that a task decodes.
const TILE: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwqScheme {
    /// `None`: one group for all inputs.
    group_size: Option<usize>,
}

impl AwqScheme {
    /// In transformers' spelling (`bits`, `group_size`) or AutoAWQ's own (`w_bit`, `q_group_size`).
    pub fn parse(fields: &Fields) -> Result<AwqScheme, ModelError> {
        let bits = fields.size("bits")?.or(fields.size("w_bit")?);
        match bits {
            Some(4) => {}
            Some(other) => return Err(unsupported(fields, "bits", &other.to_string(), "4")),
            None => return Err(fields.error("bits", "is missing")),
        }
        let version =
            fields.text("version")?.or(fields.text("checkpoint_format")?).unwrap_or("gemm");
        if !version.eq_ignore_ascii_case("gemm") {
            return Err(unsupported(fields, "version", version, "gemm"));
        }
        let name = if fields.get("group_size").is_some() { "group_size" } else { "q_group_size" };
        let group_size = match fields.number(name)? {
            Some(-1.0) => None,
            Some(_) => fields.size(name)?,
            None => return Err(fields.error("group_size", "is missing")),
        };
        Ok(AwqScheme { group_size })
    }
}

/// The tensors of one layer.
pub struct Awq {
    size: Size,
    group_size: usize,
    codes: Part,
    zeros: Part,
    scales: Part,
}

impl Awq {
    pub fn claim(
        scheme: &AwqScheme,
        module: &str,
        size: Size,
        tensors: &mut Tensors,
    ) -> Result<Option<Awq>, ModelError> {
        let Some(codes) = tensors.optional(format!("{module}.qweight")) else { return Ok(None) };
        let zeros = tensors.needed(module, "qzeros")?;
        let scales = tensors.needed(module, "scales")?;
        let Size { outputs, inputs } = size;
        if !outputs.is_multiple_of(PER_WORD) {
            return Err(problem(&codes.name, format!("{outputs} outputs do not fill whole words")));
        }
        let group_size = scheme.group_size.unwrap_or(inputs);
        let groups = inputs.div_ceil(group_size);
        codes.expect_words()?;
        codes.expect_shape(&[inputs, outputs / PER_WORD])?;
        zeros.expect_words()?;
        zeros.expect_shape(&[groups, outputs / PER_WORD])?;
        scales.expect_floats()?;
        scales.expect_shape(&[groups, outputs])?;
        Ok(Some(Awq { size, group_size, codes, zeros, scales }))
    }

    pub fn decode(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        let Size { outputs, inputs } = self.size;
        let (codes, zeros) = (self.codes.words(shards), self.zeros.words(shards));
        let scales = self.scales.floats(shards)?;
        let mut out = vec![0.0; outputs * inputs];
        out.par_chunks_mut(TILE * inputs).enumerate().for_each(|(tile, out)| {
            for input in 0..inputs {
                let group = input / self.group_size;
                for (i, out) in out.chunks_exact_mut(inputs).enumerate() {
                    let output = tile * TILE + i;
                    let zero = four_bits(zeros, group, output, outputs);
                    let code = four_bits(codes, input, output, outputs);
                    out[input] = scales[group * outputs + output] * (code - zero);
                }
            }
        });
        Ok(out)
    }

    pub fn bytes(&self) -> u64 {
        [&self.codes, &self.zeros, &self.scales].into_iter().map(Part::len).sum()
    }
}

fn four_bits(words: Words, row: usize, output: usize, outputs: usize) -> f32 {
    let word = words.at(row * (outputs / PER_WORD) + output / PER_WORD);
    ((word >> (4 * PLACE[output % PER_WORD])) & 15) as f32
}
