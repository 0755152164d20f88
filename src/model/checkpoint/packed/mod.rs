//! Linear layers that a quantiser left packed in safetensors, decoded to f32 one at a time.
//!
//! Each format's layout and where it is published stand at the head of its file. Every value is computed in f32 from
//! what is stored; the quantisers' own kernels round to f16 on the way.

mod awq;
mod bitsandbytes;
mod columns;
mod exl2;
mod gptq;
mod tensors;

use std::path::Path;

use serde_json::{Map, Value};

use super::files::{Shard, read_text};
use crate::model::config::unsupported;
use crate::model::error::ModelError;
use crate::model::json_fields::Fields;
use awq::{Awq, AwqScheme};
use bitsandbytes::BitsAndBytes;
use exl2::Exl2;
use gptq::{Gptq, GptqScheme};

pub use tensors::Tensors;

/// The configuration of AutoGPTQ's and AutoAWQ's own folders, before transformers knew them.
const OWN_CONFIGS: [(&str, &str); 2] =
    [("quantize_config.json", "gptq"), ("quant_config.json", "awq")];

/// How the linear layers of a folder are packed, from `quantization_config`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheme {
    Gptq(GptqScheme),
    Awq(AwqScheme),
    /// Bits a weight as asked for, where the folder says so: each layer tells its own.
    Exl2(Option<f64>),
    BitsAndBytes {
        four_bits: bool,
    },
}

impl Scheme {
    /// What config.json says, or a file of the quantiser's own; `None` for a folder of plain numbers.
    ///
    /// Fails for a method that cannot be decoded, and for fields that no decoder here obeys.
    pub fn read(dir: &Path) -> Result<Option<Scheme>, ModelError> {
        let path = dir.join("config.json");
        let config = if path.exists() { read_map(&path)? } else { Map::new() };
        if let Some(Value::Object(map)) = config.get("quantization_config") {
            let fields = Fields { path: &path, prefix: "quantization_config.", map };
            return Scheme::parse(&fields, None).map(Some);
        }
        for (name, method) in OWN_CONFIGS {
            let path = dir.join(name);
            if path.exists() {
                let map = read_map(&path)?;
                let fields = Fields { path: &path, prefix: "", map: &map };
                return Scheme::parse(&fields, Some(method)).map(Some);
            }
        }
        Ok(is_early_exl2(dir)?.then_some(Scheme::Exl2(None)))
    }

    fn parse(fields: &Fields, absent: Option<&str>) -> Result<Scheme, ModelError> {
        // bitsandbytes' first configurations name no method.
        let flag = |field| Ok::<_, ModelError>(fields.flag(field)?.unwrap_or(false));
        let loaded = flag("load_in_4bit")? || flag("load_in_8bit")?;
        let method = fields.text("quant_method")?.or(absent);
        match method.or(loaded.then_some("bitsandbytes")) {
            Some("gptq") => Ok(Scheme::Gptq(GptqScheme::parse(fields)?)),
            Some("awq") => Ok(Scheme::Awq(AwqScheme::parse(fields)?)),
            Some("exl2") => Ok(Scheme::Exl2(fields.positive("bits")?)),
            Some("bitsandbytes") => Ok(Scheme::BitsAndBytes { four_bits: !flag("load_in_8bit")? }),
            Some(other) => Err(unsupported(fields, "quant_method", other, SUPPORTED)),
            None => Err(fields.error("quant_method", "is missing")),
        }
    }

    /// Takes the tensors that make up the weight `name` of that shape; `None` where it is not packed.
    pub fn claim(
        &self,
        name: &str,
        shape: &[usize],
        tensors: &mut Tensors,
    ) -> Result<Option<Packed>, ModelError> {
        let (Some(module), &[outputs, inputs]) = (name.strip_suffix(".weight"), shape) else {
            return Ok(None);
        };
        let size = Size { outputs, inputs };
        Ok(match self {
            Scheme::Gptq(scheme) => Gptq::claim(scheme, module, size, tensors)?.map(Packed::Gptq),
            Scheme::Awq(scheme) => Awq::claim(scheme, module, size, tensors)?.map(Packed::Awq),
            Scheme::Exl2(_) => Exl2::claim(module, size, tensors)?.map(Packed::Exl2),
            Scheme::BitsAndBytes { .. } => {
                BitsAndBytes::claim(module, size, tensors)?.map(Packed::BitsAndBytes)
            }
        })
    }

    /// `GPTQ 4-bit`, `AWQ 4-bit`, `EXL2 3.5 bits`, `bitsandbytes 4-bit`.
    pub fn name(&self) -> String {
        match self {
            Scheme::Gptq(scheme) => format!("GPTQ {}-bit", scheme.bits),
            Scheme::Awq(_) => "AWQ 4-bit".to_owned(),
            Scheme::Exl2(Some(bits)) => format!("EXL2 {bits} bits"),
            Scheme::Exl2(None) => "EXL2".to_owned(),
            Scheme::BitsAndBytes { four_bits: true } => "bitsandbytes 4-bit".to_owned(),
            Scheme::BitsAndBytes { four_bits: false } => "bitsandbytes 8-bit".to_owned(),
        }
    }
}

/// Early versions of ExLlamaV2 left config.json as it was: their name for files and their names of tensors tell.
fn is_early_exl2(dir: &Path) -> Result<bool, ModelError> {
    let names =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with("output") && name.ends_with(".safetensors"));
    let Some(first) = names.into_iter().min() else { return Ok(false) };
    let entries = Shard::open(&dir.join(first))?.entries(0)?;
    Ok(entries.iter().any(|(name, _)| name.ends_with(".q_weight")))
}

const SUPPORTED: &str = "gptq, awq, exl2 or bitsandbytes";

fn read_map(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let json = |source| ModelError::Json { path: path.to_path_buf(), source };
    serde_json::from_str(&read_text(path)?).map_err(json)
}

/// The size of a linear layer's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    outputs: usize,
    inputs: usize,
}

/// The tensors that one weight is made of, with their shapes checked.
pub enum Packed {
    Gptq(Gptq),
    Awq(Awq),
    Exl2(Exl2),
    BitsAndBytes(BitsAndBytes),
}

impl Packed {
    /// The weight, `[outputs, inputs]` row-major.
    pub fn decode(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        match self {
            Packed::Gptq(packed) => packed.decode(shards),
            Packed::Awq(packed) => packed.decode(shards),
            Packed::Exl2(packed) => packed.decode(shards),
            Packed::BitsAndBytes(packed) => packed.decode(shards),
        }
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        match self {
            Packed::Gptq(packed) => packed.bytes(),
            Packed::Awq(packed) => packed.bytes(),
            Packed::Exl2(packed) => packed.bytes(),
            Packed::BitsAndBytes(packed) => packed.bytes(),
        }
    }
}
