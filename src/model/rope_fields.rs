//! The rotary embedding as config.json describes it.

use serde_json::Value;

use super::config::{Architecture, Rope, unsupported};
use super::error::ModelError;
use super::json_fields::Fields;
use super::rope::{Scaling, Yarn, frequencies};

/// The rotary embedding of a config.json, in either spelling.
pub(super) fn read_rope(
    fields: &Fields,
    architecture: Architecture,
    head_dim: usize,
    max_positions: usize,
) -> Result<Rope, ModelError> {
    // transformers 4 writes rope_scaling beside a top-level rope_theta, transformers 5 one rope_parameters.
    let scaling = match fields.object("rope_scaling", "rope_scaling.")? {
        Some(object) => Some(object),
        None => fields.object("rope_parameters", "rope_parameters.")?,
    };
    let absent = if architecture == Architecture::Mixtral { 1e6 } else { 1e4 };
    let outer_theta = fields.positive("rope_theta")?.unwrap_or(absent);
    let outer_partial = fields.number("partial_rotary_factor")?;
    let Some(rope) = scaling else {
        let width = rotary_width(fields, architecture, head_dim, outer_partial)?;
        return Ok(frequencies(width, outer_theta, &Scaling::Default));
    };
    if rope.map.values().any(Value::is_object) {
        return Err(unsupported(
            &rope,
            "(one set per layer type)",
            "nested",
            "one set for all layers",
        ));
    }
    let partial = rope.number("partial_rotary_factor")?.or(outer_partial);
    let width = rotary_width(&rope, architecture, head_dim, partial)?;
    let theta = rope.positive("rope_theta")?.unwrap_or(outer_theta);
    let outer_original = fields.size("original_max_position_embeddings")?;
    let original = match outer_original {
        Some(outer) => Some(outer),
        None => rope.size("original_max_position_embeddings")?,
    };
    let original_max = original.unwrap_or(max_positions) as f64;
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or("default"),
    };
    // Early Phi-3 files call LongRoPE by the names of two others.
    let phi3 = architecture == Architecture::Phi3;
    let scaling = match kind {
        "default" => Scaling::Default,
        "longrope" => read_longrope(&rope, width, original, max_positions)?,
        "su" | "yarn" if phi3 => read_longrope(&rope, width, original, max_positions)?,
        "linear" => Scaling::Linear { factor: rope.required_positive("factor")? },
        "llama3" => read_llama3(&rope, original_max)?,
        "yarn" => Scaling::Yarn(read_yarn(&rope, original_max, max_positions)?),
        other => {
            let known = "default, linear, llama3, yarn or longrope";
            return Err(unsupported(&rope, "rope_type", other, known));
        }
    };
    Ok(frequencies(width, theta, &scaling))
}

/// How many channels of a head turn.
fn rotary_width(
    fields: &Fields,
    architecture: Architecture,
    head_dim: usize,
    partial: Option<f64>,
) -> Result<usize, ModelError> {
    let Some(part) = partial.filter(|part| *part != 1.0) else { return Ok(head_dim) };
    if architecture != Architecture::Phi3 {
        return Err(unsupported(fields, "partial_rotary_factor", &part.to_string(), "1"));
    }
    let width = (head_dim as f64 * part) as usize;
    if !(0.0..1.0).contains(&part) || width == 0 || !width.is_multiple_of(2) {
        let problem =
            format!("is {part}, which leaves no even number of a head's {head_dim} channels");
        return Err(fields.error("partial_rotary_factor", problem));
    }
    Ok(width)
}

fn read_longrope(
    rope: &Fields,
    width: usize,
    original: Option<usize>,
    max_positions: usize,
) -> Result<Scaling, ModelError> {
    let Some(original) = original else {
        return Err(rope.error("original_max_position_embeddings", "is missing"));
    };
    let factors = |field: &str| {
        let factors = rope.required_numbers(field)?;
        if factors.len() != width / 2 {
            let problem = format!("has {} numbers where {} are expected", factors.len(), width / 2);
            return Err(rope.error(field, problem));
        }
        Ok(factors)
    };
    let factor = rope.positive("factor")?.unwrap_or(max_positions as f64 / original as f64);
    let attention_factor = match rope.positive("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(Scaling::LongRope {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        original_max: original,
        attention_factor,
    })
}

fn read_llama3(rope: &Fields, original_max: f64) -> Result<Scaling, ModelError> {
    let low_freq_factor = rope.required_positive("low_freq_factor")?;
    let high_freq_factor = rope.required_positive("high_freq_factor")?;
    if high_freq_factor <= low_freq_factor {
        let problem =
            format!("is {high_freq_factor}, not above low_freq_factor ({low_freq_factor})");
        return Err(rope.error("high_freq_factor", problem));
    }
    let factor = rope.required_positive("factor")?;
    Ok(Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max })
}

fn read_yarn(rope: &Fields, original_max: f64, max_positions: usize) -> Result<Yarn, ModelError> {
    let nonzero = |field: &str, default: f64| -> Result<f64, ModelError> {
        Ok(rope.number(field)?.filter(|x| *x != 0.0).unwrap_or(default))
    };
    Ok(Yarn {
        factor: rope.positive("factor")?.unwrap_or(max_positions as f64 / original_max),
        original_max,
        beta_fast: nonzero("beta_fast", 32.0)?,
        beta_slow: nonzero("beta_slow", 1.0)?,
        attention_factor: rope.number("attention_factor")?,
        mscale: rope.number("mscale")?,
        mscale_all_dim: rope.number("mscale_all_dim")?,
        truncate: rope.flag("truncate")?.unwrap_or(true),
    })
}
