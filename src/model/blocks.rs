//! The decoder's blocks: all on the device, or each brought there when it computes.

use super::block::Block;
use super::error::ModelError;
use super::load::Loader;

/// Blocks in the order of the forward pass.
pub enum Blocks {
    Resident(Vec<Block>),
    /// At most two on the device: one computing, one on its way.
    Streamed(Box<Loader<'static>>),
}

/// Which end a pass starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Forward,
    Backward,
}

impl Blocks {
    /// Passes a value through every block in turn; `compute` also gets the block's layer.
    ///
    /// # Errors
    /// Those of `compute`, and when a streamed block cannot be read.
    pub fn fold<T>(
        &self,
        order: Order,
        start: T,
        mut compute: impl FnMut(T, usize, &Block) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let layers = |count: usize| -> Box<dyn Iterator<Item = usize>> {
            match order {
                Order::Forward => Box::new(0..count),
                Order::Backward => Box::new((0..count).rev()),
            }
        };
        let mut value = start;
        match self {
            Blocks::Resident(blocks) => {
                for layer in layers(blocks.len()) {
                    value = compute(value, layer, &blocks[layer])?;
                }
            }
            Blocks::Streamed(loader) => {
                let mut layers = layers(loader.config().num_layers).peekable();
                let mut ahead = None;
                while let Some(layer) = layers.next() {
                    let block = match ahead.take() {
                        Some(block) => block,
                        None => loader.block(layer)?,
                    };
                    value = compute(value, layer, &block)?;
                    // A GPU only queued that work: the next block uploads meanwhile.
                    ahead = layers.peek().map(|&next| loader.block(next)).transpose()?;
                }
            }
        }
        Ok(value)
    }
}
