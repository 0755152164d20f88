//! bitsandbytes: NF4 and FP4 (QLoRA, arXiv 2305.14314) and LLM.int8() (arXiv 2208.07339), as transformers saves them.
//!
//! Four bits: `weight` holds the codes of the flattened `[outputs, inputs]`, two a byte, high half first;
//! `weight.quant_map` float32 `[16]` what each code means; `weight.absmax` the scale of each block of `blocksize`. With
//! double quantisation absmax is bytes: `nested_quant_map[byte] * nested_absmax[block] + nested_offset`.
//! `weight.quant_state.bitsandbytes__nf4` (or `__fp4`) holds JSON with the block sizes, the shape and the offset.
//! Eight bits: `weight` int8 `[outputs, inputs]` and `SCB` float32 `[outputs]`: a weight is `code * SCB / 127`.
//!
//! Sources: `bitsandbytes/functional.py` (`QuantState.as_dict`, `from_dict`, `dequantize_4bit`), `csrc/kernels.cu`
//! (`kDequantizeBlockwise`) and `bitsandbytes/nn/modules.py` (`Linear8bitLt`) of bitsandbytes.

use rayon::prelude::*;
use safetensors::Dtype;
use serde_json::{Map, Value};

use super::Size;
use super::tensors::{Part, Tensors, problem};
use crate::model::checkpoint::files::Shard;
use crate::model::error::ModelError;

/// The tensors of one layer.
pub enum BitsAndBytes {
    Four(Box<Four>),
    Eight { size: Size, codes: Part, scales: Part },
}

/// A layer of 4-bit codes.
pub struct Four {
    size: Size,
    codes: Part,
    map: Part,
    absmax: Part,
    block: usize,
    nested: Option<Nested>,
}

/// How the scales are themselves quantised.
struct Nested {
    map: Part,
    absmax: Part,
    block: usize,
    offset: f32,
}

impl BitsAndBytes {
    pub fn claim(
        module: &str,
        size: Size,
        tensors: &mut Tensors,
    ) -> Result<Option<BitsAndBytes>, ModelError> {
        let kinds = ["nf4", "fp4"];
        let state = |kind| format!("{module}.weight.quant_state.bitsandbytes__{kind}");
        if let Some(state) = kinds.into_iter().find_map(|kind| tensors.optional(state(kind))) {
            let four = Four::claim(module, size, &state, tensors)?;
            return Ok(Some(BitsAndBytes::Four(Box::new(four))));
        }
        let Some(scales) = tensors.optional(format!("{module}.SCB")) else { return Ok(None) };
        let codes = tensors.needed(module, "weight")?;
        if codes.dtype() != Dtype::I8 {
            let found = codes.dtype();
            return Err(problem(
                &codes.name,
                format!("it is stored as {found} where I8 is expected"),
            ));
        }
        codes.expect_shape(&[size.outputs, size.inputs])?;
        scales.expect_floats()?;
        scales.expect_shape(&[size.outputs])?;
        if let Some(format) = tensors.optional(format!("{module}.weight_format"))
            && format.bytes(tensors.shards).iter().any(|byte| *byte != 0)
        {
            return Err(problem(&format.name, "the codes are not in rows"));
        }
        Ok(Some(BitsAndBytes::Eight { size, codes, scales }))
    }

    pub fn decode(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        match self {
            BitsAndBytes::Four(four) => four.decode(shards),
            BitsAndBytes::Eight { size, codes, scales } => {
                let (codes, scales) = (codes.bytes(shards), scales.floats(shards)?);
                let mut out = vec![0.0; codes.len()];
                let rows = out.par_chunks_mut(size.inputs).zip(codes.par_chunks(size.inputs));
                rows.zip(scales).for_each(|((out, codes), scale)| {
                    for (value, code) in out.iter_mut().zip(codes) {
                        *value = f32::from(*code as i8) * (scale / 127.0);
                    }
                });
                Ok(out)
            }
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            BitsAndBytes::Eight { codes, scales, .. } => codes.len() + scales.len(),
            BitsAndBytes::Four(four) => {
                let nested = four.nested.iter().flat_map(|nested| [&nested.map, &nested.absmax]);
                let parts = [&four.codes, &four.map, &four.absmax].into_iter().chain(nested);
                parts.map(Part::len).sum()
            }
        }
    }
}

impl Four {
    fn claim(
        module: &str,
        size: Size,
        state: &Part,
        tensors: &mut Tensors,
    ) -> Result<Four, ModelError> {
        state.expect_bytes()?;
        let bytes = state.bytes(tensors.shards);
        let json: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| problem(&state.name, format!("it holds no JSON object ({error})")))?;
        let whole = |field: &str| {
            let number = json.get(field).and_then(Value::as_u64).filter(|number| *number > 0);
            number
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| problem(&state.name, format!("it gives no {field}")))
        };
        let shape = serde_json::json!([size.outputs, size.inputs]);
        if json.get("shape") != Some(&shape) {
            let found = json.get("shape").unwrap_or(&Value::Null);
            return Err(problem(
                &state.name,
                format!("its shape is {found} where {shape} is expected"),
            ));
        }
        let block = whole("blocksize")?;
        let codes = tensors.needed(module, "weight")?;
        let count = size.outputs * size.inputs;
        // The codes may be disguised as another type (bnb_4bit_quant_storage): only their bytes count.
        if codes.len() != count.div_ceil(2) as u64 {
            let found = codes.len();
            return Err(problem(&codes.name, format!("it has {found} bytes for {count} codes")));
        }
        let map = tensors.needed(module, "weight.quant_map")?;
        map.expect_floats()?;
        map.expect_shape(&[16])?;
        let absmax = tensors.needed(module, "weight.absmax")?;
        absmax.expect_shape(&[count.div_ceil(block)])?;
        let nested = if absmax.dtype() == Dtype::U8 {
            let (map, inner) = (
                tensors.needed(module, "weight.nested_quant_map")?,
                tensors.needed(module, "weight.nested_absmax")?,
            );
            let block = whole("nested_blocksize")?;
            let offset = json.get("nested_offset").and_then(Value::as_f64);
            let missing = || problem(&state.name, "it gives no nested_offset");
            let offset = offset.ok_or_else(missing)? as f32;
            map.expect_floats()?;
            map.expect_shape(&[256])?;
            inner.expect_floats()?;
            inner.expect_shape(&[absmax.shape()[0].div_ceil(block)])?;
            Some(Nested { map, absmax: inner, block, offset })
        } else {
            absmax.expect_floats()?;
            None
        };
        Ok(Four { size, codes, map, absmax, block, nested })
    }

    fn decode(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        let (codes, map) = (self.codes.bytes(shards), self.map.floats(shards)?);
        let scales = match &self.nested {
            None => self.absmax.floats(shards)?,
            Some(nested) => nested.decode(self.absmax.bytes(shards), shards)?,
        };
        let mut out = vec![0.0; self.size.outputs * self.size.inputs];
        let blocks = out.par_chunks_mut(self.block).enumerate();
        blocks.zip(scales).for_each(|((number, out), scale)| {
            for (i, value) in out.iter_mut().enumerate() {
                let at = number * self.block + i;
                let byte = codes[at / 2];
                let code = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
                *value = map[usize::from(code)] * scale;
            }
        });
        Ok(out)
    }
}

impl Nested {
    fn decode(&self, bytes: &[u8], shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        let (map, absmax) = (self.map.floats(shards)?, self.absmax.floats(shards)?);
        let value = |(at, byte): (usize, &u8)| {
            map[usize::from(*byte)] * absmax[at / self.block] + self.offset
        };
        Ok(bytes.iter().enumerate().map(value).collect())
    }
}
