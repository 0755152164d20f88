//! EXL2, ExLlamaV2's format: groups of inputs of 2, 3, 4, 5, 6 or 8 bits within one layer, sorted by how much they
//! matter.
//!
//! Of a layer `[outputs N, inputs K]`, with N rounded up to a multiple of 32: `q_weight` int32 `[words, N]` holds the
//! codes packed along the (sorted) inputs, each group beginning a new word; `q_groups` int16 `[2 groups]` alternates a
//! group's bits and the row of `q_weight` that it begins in; `q_scale` int32 `[groups, N / 8]` a scale of 4 bits a
//! group and output, `q_scale_max` float16 `[groups]`; `q_invperm` int32 `[K]` the row among the sorted inputs of each
//! input (`q_perm`, its inverse, where a file has that instead). A weight is
//! `(code - 2^(bits - 1)) * (scale + 1)^2 * scale_max / 256`.
//!
//! Sources: `conversion/adaptivegptq.py` and `conversion/compile.py` (what is stored), `cuda/pack_tensor.cu` (how it
//! is packed), `ext.py`, `cuda/q_matrix.cu` and `cuda/quant/qdq_util.cuh` (how it is read) of ExLlamaV2.

use super::Size;
use super::columns::{self, Row, code};
use super::tensors::{Part, Tensors, problem};
use crate::model::checkpoint::files::Shard;
use crate::model::error::ModelError;

const SCALE_BITS: usize = 4;

/// The tensors of one layer.
pub struct Exl2 {
    size: Size,
    /// Outputs with padding.
    width: usize,
    groups: usize,
    codes: Part,
    group_rows: Part,
    scales: Part,
    scale_max: Part,
    order: Order,
}

enum Order {
    /// Of each input its row.
    RowOf(Part),
    /// Of each row its input.
    InputOf(Part),
}

impl Exl2 {
    pub fn claim(
        module: &str,
        size: Size,
        tensors: &mut Tensors,
    ) -> Result<Option<Exl2>, ModelError> {
        let Some(codes) = tensors.optional(format!("{module}.q_weight")) else { return Ok(None) };
        let group_rows = tensors.needed(module, "q_groups")?;
        let scales = tensors.needed(module, "q_scale")?;
        let scale_max = tensors.needed(module, "q_scale_max")?;
        let input_of = tensors.optional(format!("{module}.q_perm"));
        let order = match (tensors.optional(format!("{module}.q_invperm")), input_of) {
            (Some(part), _) => Order::RowOf(part),
            (None, Some(part)) => Order::InputOf(part),
            (None, None) => Order::RowOf(tensors.needed(module, "q_invperm")?),
        };
        let width = size.outputs.next_multiple_of(32);
        let group_count = match *scale_max.shape() {
            [groups] if groups > 0 => groups,
            _ => return Err(problem(&scale_max.name, "it is no list of one number a group")),
        };
        codes.expect_words()?;
        let (words, _) = codes.matrix()?;
        codes.expect_shape(&[words, width])?;
        group_rows.expect_whole()?;
        group_rows.expect_shape(&[2 * group_count])?;
        scales.expect_words()?;
        scales.expect_shape(&[group_count, width * SCALE_BITS / 32])?;
        scale_max.expect_floats()?;
        let (Order::RowOf(part) | Order::InputOf(part)) = &order;
        part.expect_whole()?;
        part.expect_shape(&[size.inputs])?;
        let groups = group_count;
        Ok(Some(Exl2 { size, width, groups, codes, group_rows, scales, scale_max, order }))
    }

    pub fn decode(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        let rows = self.rows(shards)?;
        let (groups, outputs) = (self.groups, self.size.outputs);
        let (words, max) = (self.scales.words(shards), self.scale_max.floats(shards)?);
        let per_row = self.width * SCALE_BITS / 32;
        let scales: Vec<f32> = (0..groups * outputs)
            .map(|at| {
                let (group, output) = (at / outputs, at % outputs);
                let scale =
                    code(|word| words.at(group * per_row + word), SCALE_BITS, output) as f32 + 1.0;
                scale * scale * max[group] / 256.0
            })
            .collect();
        let mut middle = vec![0.0; groups];
        for row in &rows {
            middle[row.group] = (1 << (row.bits - 1)) as f32;
        }
        let value = |code: u32, group: usize, output: usize| {
            (code as f32 - middle[group]) * scales[group * outputs + output]
        };
        Ok(columns::decode(self.codes.words(shards), self.width, self.size, &rows, value))
    }

    /// Every sorted input: where its codes lie and which input it is.
    fn rows(&self, shards: &[Shard]) -> Result<Vec<Row>, ModelError> {
        let inputs = self.input_of_rows(shards)?;
        let listed = self.group_rows.whole(shards);
        let wrong = |problem_text: String| problem(&self.group_rows.name, problem_text);
        let words = self.codes.matrix()?.0;
        let mut rows: Vec<Row> = Vec::with_capacity(inputs.len());
        for group in 0..self.groups {
            let (bits, first) = (listed[2 * group], listed[2 * group + 1]);
            if ![2, 3, 4, 5, 6, 8].contains(&bits) {
                return Err(wrong(format!(
                    "group {group} has {bits} bits, not 2, 3, 4, 5, 6 or 8"
                )));
            }
            let last = group + 1 == self.groups;
            let end = if last { words as i64 } else { listed[2 * group + 3] };
            let (bits, first, end) = (bits as usize, first as usize, end as usize);
            if first > end || end > words {
                return Err(wrong(format!(
                    "group {group} goes from row {first} to {end} of {words}"
                )));
            }
            let (room, left) = ((end - first) * 32 / bits, inputs.len() - rows.len());
            // The last group may end within its last word, every other fills its words.
            let fits = if last {
                (left * bits).div_ceil(32) == end - first
            } else {
                room <= left && ((end - first) * 32).is_multiple_of(bits)
            };
            if !fits {
                let of = end - first;
                return Err(wrong(format!(
                    "group {group} has {of} words of {bits}-bit codes, and {left} inputs are left"
                )));
            }
            for number in 0..room.min(left) {
                let input = inputs[rows.len()];
                rows.push(Row { first, bits, number, group, input });
            }
        }
        Ok(rows)
    }

    /// Of each row its input.
    fn input_of_rows(&self, shards: &[Shard]) -> Result<Vec<usize>, ModelError> {
        let count = self.size.inputs;
        let (part, inverse) = match &self.order {
            Order::RowOf(part) => (part, true),
            Order::InputOf(part) => (part, false),
        };
        let mut seen = vec![None; count];
        let mut inputs = vec![0; count];
        for (at, other) in part.whole(shards).into_iter().enumerate() {
            let known = usize::try_from(other).ok().filter(|other| *other < count);
            let Some(other) = known else {
                return Err(problem(
                    &part.name,
                    format!("entry {at} is {other}, outside 0 to {count}"),
                ));
            };
            if let Some(earlier) = seen[other].replace(at) {
                return Err(problem(
                    &part.name,
                    format!("entries {earlier} and {at} are both {other}"),
                ));
            }
            let (row, input) = if inverse { (other, at) } else { (at, other) };
            inputs[row] = input;
        }
        Ok(inputs)
    }

    pub fn bytes(&self) -> u64 {
        let (Order::RowOf(order) | Order::InputOf(order)) = &self.order;
        let parts = [&self.codes, &self.group_rows, &self.scales, &self.scale_max, order];
        parts.into_iter().map(Part::len).sum()
    }
}
