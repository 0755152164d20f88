//! GPTQ (arXiv 2210.17323) as AutoGPTQ, GPTQModel and transformers save it, 2, 3, 4 or 8 bits.
//!
//! Of a layer `[outputs N, inputs K]` in groups of inputs: `qweight` int32 `[K bits / 32, N]` holds the codes packed
//! along the inputs, `qzeros` int32 `[groups, N bits / 32]` the zero points packed along the outputs, `scales`
//! `[groups, N]`, and `g_idx` int32 `[K]` the group of each input (with act-order not in sequence). A weight is
//! `scales[g, n] * (code - zero)`. Zero points are stored less one in the format `gptq`, as they are in `gptq_v2`.
//!
//! Sources: `qlinear_cuda.py` of AutoGPTQ (packing and its inverse), `convert_gptq_v1_to_v2_format` of both,
//! `ext.py` of ExLlamaV2 (a `g_idx` of zeros means none).

use super::Size;
use super::columns::{self, Row, code};
use super::tensors::{Part, Tensors, problem};
use crate::model::checkpoint::files::Shard;
use crate::model::config::unsupported;
use crate::model::error::ModelError;
use crate::model::json_fields::Fields;

/// What `quantization_config` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GptqScheme {
    pub bits: usize,
    /// `None`: one group for all inputs.
    group_size: Option<usize>,
    symmetric: bool,
    /// Zero points are stored as they are.
    version_2: bool,
    /// Layers may have other bits and groups than these (`dynamic`): their shapes tell.
    varied: bool,
}

impl GptqScheme {
    pub fn parse(fields: &Fields) -> Result<GptqScheme, ModelError> {
        let bits = fields.required_size("bits")?;
        if ![2, 3, 4, 8].contains(&bits) {
            return Err(unsupported(fields, "bits", &bits.to_string(), "2, 3, 4 or 8"));
        }
        let group_size = match fields.number("group_size")? {
            Some(-1.0) => None,
            Some(_) => fields.size("group_size")?,
            None => return Err(fields.error("group_size", "is missing")),
        };
        let format = fields.text("checkpoint_format")?.or(fields.text("format")?);
        let version_2 = match format {
            None | Some("gptq") => false,
            Some("gptq_v2") => true,
            Some(other) => {
                return Err(unsupported(fields, "checkpoint_format", other, "gptq or gptq_v2"));
            }
        };
        if fields.flag("is_marlin_format")?.unwrap_or(false) {
            return Err(unsupported(fields, "is_marlin_format", "true", "false"));
        }
        match fields.text("pack_dtype")? {
            None | Some("int32" | "torch.int32") => {}
            Some(other) => return Err(unsupported(fields, "pack_dtype", other, "int32")),
        }
        let symmetric = fields.flag("sym")?.unwrap_or(true);
        let varied = fields.object("dynamic", "quantization_config.dynamic.")?.is_some();
        Ok(GptqScheme { bits, group_size, symmetric, version_2, varied })
    }
}

/// The tensors of one layer.
pub struct Gptq {
    weight: String,
    size: Size,
    bits: usize,
    group_size: usize,
    groups: usize,
    symmetric: bool,
    version_2: bool,
    codes: Part,
    zeros: Part,
    scales: Part,
    group_of: Option<Part>,
}

impl Gptq {
    pub fn claim(
        scheme: &GptqScheme,
        module: &str,
        size: Size,
        tensors: &mut Tensors,
    ) -> Result<Option<Gptq>, ModelError> {
        let Some(codes) = tensors.optional(format!("{module}.qweight")) else { return Ok(None) };
        let zeros = tensors.needed(module, "qzeros")?;
        let scales = tensors.needed(module, "scales")?;
        let group_of = tensors.optional(format!("{module}.g_idx"));
        let Size { outputs, inputs } = size;
        let bits = bits_of(scheme, &codes, size)?;
        for (count, what) in [(inputs, "inputs"), (outputs, "outputs")] {
            if !(count * bits).is_multiple_of(32) {
                let problem_text =
                    format!("{count} {what} of {bits} bits do not fill whole 32-bit words");
                return Err(problem(&codes.name, problem_text));
            }
        }
        codes.expect_words()?;
        codes.expect_shape(&[inputs * bits / 32, outputs])?;
        scales.expect_floats()?;
        let (groups, _) = scales.matrix()?;
        let group_size = match scheme.group_size {
            Some(size) if !scheme.varied => size,
            None if !scheme.varied => inputs,
            _ => inputs.div_ceil(groups.max(1)),
        };
        let expected = inputs.div_ceil(group_size);
        scales.expect_shape(&[expected, outputs])?;
        zeros.expect_words()?;
        zeros.expect_shape(&[groups, outputs * bits / 32])?;
        if let Some(part) = &group_of {
            part.expect_whole()?;
            part.expect_shape(&[inputs])?;
        }
        let weight = format!("{module}.weight");
        let (symmetric, version_2) = (scheme.symmetric, scheme.version_2);
        Ok(Some(Gptq {
            weight,
            size,
            bits,
            group_size,
            groups,
            symmetric,
            version_2,
            codes,
            zeros,
            scales,
            group_of,
        }))
    }

    pub fn decode(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        let Size { outputs, inputs } = self.size;
        let zeros = self.zero_points(shards);
        let scales = self.scales.floats(shards)?;
        let rows: Vec<Row> = self
            .group_of_inputs(shards)?
            .into_iter()
            .enumerate()
            .map(|(input, group)| Row { first: 0, bits: self.bits, number: input, group, input })
            .collect();
        debug_assert_eq!(rows.len(), inputs);
        let value = |code: u32, group: usize, output: usize| {
            let at = group * outputs + output;
            scales[at] * (code as f32 - zeros[at])
        };
        Ok(columns::decode(self.codes.words(shards), outputs, self.size, &rows, value))
    }

    /// `[groups, outputs]`.
    fn zero_points(&self, shards: &[Shard]) -> Vec<f32> {
        let words = self.zeros.words(shards);
        let (outputs, bits) = (self.size.outputs, self.bits);
        let width = outputs * bits / 32;
        let stored: Vec<u32> = (0..self.groups * outputs)
            .map(|at| {
                let (group, output) = (at / outputs, at % outputs);
                code(|word| words.at(group * width + word), bits, output)
            })
            .collect();
        // Symmetric codes have their zero in the middle. Some quantisers store it as it is and call the format gptq.
        let middle = 1 << (bits - 1);
        let as_it_is = self.symmetric && stored.iter().all(|zero| *zero == middle);
        let offset = if self.version_2 || as_it_is { 0.0 } else { 1.0 };
        stored.into_iter().map(|zero| zero as f32 + offset).collect()
    }

    /// The group of every input.
    fn group_of_inputs(&self, shards: &[Shard]) -> Result<Vec<usize>, ModelError> {
        let in_sequence = || (0..self.size.inputs).map(|input| input / self.group_size).collect();
        let Some(part) = &self.group_of else { return Ok(in_sequence()) };
        let groups = part.whole(shards);
        // Exporters that know no act-order leave it at zero.
        if groups.iter().all(|group| *group == 0) {
            return Ok(in_sequence());
        }
        let known = |group: i64| usize::try_from(group).ok().filter(|group| *group < self.groups);
        let outside = |input: usize, group: i64| {
            let count = self.groups;
            let place = format!(
                "it puts input {input} into group {group}, and {} has {count}",
                self.weight
            );
            problem(&part.name, place)
        };
        let checked = groups.into_iter().enumerate();
        checked.map(|(input, group)| known(group).ok_or_else(|| outside(input, group))).collect()
    }

    pub fn bytes(&self) -> u64 {
        let parts = [&self.codes, &self.zeros, &self.scales].into_iter().chain(&self.group_of);
        parts.map(Part::len).sum()
    }
}

/// The bits of one layer: as the configuration says, or where layers vary as its shape tells.
fn bits_of(scheme: &GptqScheme, codes: &Part, size: Size) -> Result<usize, ModelError> {
    if !scheme.varied {
        return Ok(scheme.bits);
    }
    let (words, _) = codes.matrix()?;
    let bits = words * 32 / size.inputs.max(1);
    if [2, 3, 4, 8].contains(&bits) && words * 32 == bits * size.inputs {
        return Ok(bits);
    }
    let inputs = size.inputs;
    Err(problem(
        &codes.name,
        format!("{words} words for {inputs} inputs are not 2, 3, 4 or 8 bits each"),
    ))
}
