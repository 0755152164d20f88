//! Adapters that PEFT makes on experts which transformers 5 holds in one tensor (`target_parameters`), as adapters of
//! each expert's own matrices.
//!
//! A stacked adapter has one A `[E r, in]` and one B `[out, r E]` for all experts (A's rows by expert, B's columns by
//! rank and then by expert) and one for gate and up together, whose A both share.

use std::collections::BTreeMap;
use std::path::Path;

use super::PeftError;
use super::tensor_file::LoadedTensor;
use crate::lora::LoraConfig;
use crate::model::config::ModelConfig;
use crate::model::place::{LinearSpec, Place, STACKS};

/// How the stacked adapters of a file are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacked {
    /// PEFT before 0.19.1 took a stacked matrix `[out, in]` for `[in, out]`: its A lies on the output's side.
    pub swapped: bool,
}

/// One expert's update of one stacked matrix: A `[r, input]`, B `[output, r]`.
struct Update {
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Stacked {
    /// Puts tensors for each expert in the place of those for all experts of a layer. Layers that have no experts were
    /// not adapted there: an A and a B of zero leave them so, for neither gets a gradient.
    pub fn take_apart(
        self,
        path: &Path,
        model: &ModelConfig,
        config: &LoraConfig,
        tensors: &mut BTreeMap<String, LoadedTensor>,
    ) -> Result<(), PeftError> {
        let rank = config.rank;
        for layer in 0..model.num_layers {
            let Some(count) = model.experts_of(layer) else {
                leave_out(model, layer, config, tensors);
                continue;
            };
            // PEFT wraps one stack and then the wrapper: which is the inner one depends on its configuration.
            for inner in ["", "base_layer."] {
                let name = |part: &str| {
                    format!(
                        "base_model.model.model.layers.{layer}.mlp.experts.{inner}lora_{part}.weight"
                    )
                };
                let Some(a) = tensors.remove(&name("A")) else { continue };
                let Some(b) = tensors.remove(&name("B")) else {
                    return Err(PeftError::Missing { path: path.into(), names: name("B") });
                };
                self.split(model, layer, [count, rank], (a, b), tensors).map_err(|found| {
                    let expected = vec![count * rank, model.hidden_size];
                    PeftError::Shape { path: path.into(), name: name("A"), found, expected }
                })?;
            }
        }
        Ok(())
    }

    /// `Err` with A's shape where neither stack has such an adapter.
    fn split(
        self,
        model: &ModelConfig,
        layer: usize,
        [count, rank]: [usize; 2],
        (a, b): (LoadedTensor, LoadedTensor),
        tensors: &mut BTreeMap<String, LoadedTensor>,
    ) -> Result<(), Vec<usize>> {
        let own = |expert: usize, stack: usize| {
            let places =
                STACKS[stack].1.iter().map(move |&target| Place { expert: Some(expert), target });
            places.map(|place| model.linear(layer, place)).collect::<Vec<LinearSpec>>()
        };
        let fits = |stack: usize| {
            let matrices = own(0, stack);
            let output: usize = matrices.iter().map(|matrix| matrix.output).sum();
            let input = matrices.first()?.input;
            let (on_a, on_b) = if self.swapped { (output, input) } else { (input, output) };
            let fits = a.shape == [count * rank, on_a] && b.shape == [on_b, rank * count];
            fits.then_some((stack, input, output))
        };
        let Some((stack, input, output)) = (0..STACKS.len()).find_map(fits) else {
            return Err(a.shape);
        };
        for expert in 0..count {
            let Update { a, b } = self.update([expert, count, rank, input, output], &a, &b);
            let mut first = 0;
            for LinearSpec { module, output, .. } in own(expert, stack) {
                let b = b[first * rank..(first + output) * rank].to_vec();
                first += output;
                let name = |part: &str| format!("base_model.model.{module}.lora_{part}.weight");
                let a = LoadedTensor { shape: vec![rank, input], values: a.clone() };
                tensors.insert(name("A"), a);
                tensors.insert(name("B"), LoadedTensor { shape: vec![output, rank], values: b });
            }
        }
        Ok(())
    }

    fn update(
        self,
        [expert, count, rank, input, output]: [usize; 5],
        a: &LoadedTensor,
        b: &LoadedTensor,
    ) -> Update {
        // Of expert e: A's rows e r .. e r + r, and of B the columns k E + e for every k of the rank.
        let width = a.values.len() / (count * rank);
        let from_a = |k: usize, i: usize| a.values[(expert * rank + k) * width + i];
        let from_b = |o: usize, k: usize| b.values[(o * rank + k) * count + expert];
        let at = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f32| {
            let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            cells.map(|(row, column)| value(row, column)).collect()
        };
        if self.swapped {
            let a = at(rank, input, &|k, i| from_b(i, k));
            Update { a, b: at(output, rank, &|o, k| from_a(k, o)) }
        } else {
            Update { a: at(rank, input, &from_a), b: at(output, rank, &from_b) }
        }
    }
}

fn leave_out(
    model: &ModelConfig,
    layer: usize,
    config: &LoraConfig,
    tensors: &mut BTreeMap<String, LoadedTensor>,
) {
    let rank = config.rank;
    for LinearSpec { place, module, input, output, .. } in model.linears(layer) {
        if !place.target.is_mlp() || !config.targets.contains(&place.target) {
            continue;
        }
        for (part, shape) in [("A", [rank, input]), ("B", [output, rank])] {
            let name = format!("base_model.model.{module}.lora_{part}.weight");
            let zeros = vec![0.0; shape[0] * shape[1]];
            tensors.entry(name).or_insert(LoadedTensor { shape: shape.to_vec(), values: zeros });
        }
    }
}
