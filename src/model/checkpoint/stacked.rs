//! Experts that lie in one tensor a layer, as transformers 5 holds them in memory and saves them when asked to
//! (`save_original_format=False`): found under the names that each expert has in the original format.

use std::collections::BTreeMap;

use super::files::Entry;
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use crate::model::place::{LinearSpec, Place, STACKS};

/// Puts an entry for each expert's matrix in the place of those that hold all experts.
pub(super) fn take_apart(
    config: &ModelConfig,
    found: &mut BTreeMap<String, Entry>,
) -> Result<(), ModelError> {
    for layer in 0..config.num_layers {
        let Some(count) = config.experts_of(layer) else { continue };
        for (stack, targets) in STACKS {
            let name = format!("model.layers.{layer}.mlp.{stack}");
            let Some(entry) = found.remove(&name) else { continue };
            let matrices: Vec<LinearSpec> = (0..count)
                .flat_map(|expert| targets.iter().map(move |&target| (Some(expert), target)))
                .map(|(expert, target)| config.linear(layer, Place { expert, target }))
                .collect();
            let rows: usize = matrices.iter().map(|matrix| matrix.output).sum();
            let columns = matrices.first().map_or(0, |matrix| matrix.input);
            let expected = vec![count, rows / count, columns];
            if entry.shape != expected {
                return Err(ModelError::Shape { tensor: name, found: entry.shape, expected });
            }
            let row = entry.range.len() / rows;
            let mut start = entry.range.start;
            for LinearSpec { module, output, input, .. } in matrices {
                let end = start + output * row;
                let own = Entry {
                    shard: entry.shard,
                    dtype: entry.dtype,
                    shape: vec![output, input],
                    range: start..end,
                };
                found.insert(format!("{module}.weight"), own);
                start = end;
            }
        }
        // The router's module has another name there, too, in Mixtral.
        if let Some(router) = found.remove(&format!("model.layers.{layer}.mlp.gate.weight")) {
            found.insert(format!("{}.weight", config.router_module(layer)), router);
        }
    }
    Ok(())
}
