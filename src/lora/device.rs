//! Adapters on the device: the host's flat buffer up, gradients down.

use burn::tensor::{Device, Tensor, TensorData};

use super::{LoraAdapter, Site};
use crate::model::linear::LowRank;
use crate::model::updates::{BlockGrads, BlockUpdates};
use crate::model::{Updates, read};

/// Seed of one site's dropout mask in one step.
fn mask_seed(seed: u32, site: usize) -> u32 {
    seed.wrapping_mul(0x85EB_CA6B).wrapping_add(site as u32).wrapping_mul(0xC2B2_AE35)
}

impl LoraAdapter {
    /// Copies the parameters to `device`. `dropout_seed` switches dropout on (training); `None` leaves it off.
    pub fn upload(&self, num_layers: usize, device: &Device, dropout_seed: Option<u32>) -> Updates {
        let scale = self.config.scale() as f32;
        let probability = self.config.dropout as f32;
        let seed = dropout_seed.filter(|_| probability > 0.0);
        let mut blocks: Vec<_> = (0..num_layers).map(|_| BlockUpdates::new()).collect();
        for (i, site) in self.sites.iter().enumerate() {
            let Some(block) = blocks.get_mut(site.layer) else { continue };
            let (a, b) = self.parts(site);
            let r = self.config.rank;
            let update = LowRank {
                a: Tensor::from_data(TensorData::new(a.to_vec(), [r, site.input]), device),
                b: Tensor::from_data(TensorData::new(b.to_vec(), [site.output, r]), device),
                scale,
                dropout: seed.map(|seed| (probability, mask_seed(seed, i))),
            };
            block.insert(site.place, update);
        }
        Updates(blocks)
    }

    /// Reads a backward pass's gradients into the order of [`LoraAdapter::values`], in one transfer.
    ///
    /// # Errors
    /// When the device fails, or a site got no gradient.
    pub fn read_grads(&self, mut grads: Vec<BlockGrads>) -> anyhow::Result<Vec<f32>> {
        let mut parts = Vec::with_capacity(2 * self.sites.len());
        for site in &self.sites {
            let taken = grads.get_mut(site.layer).and_then(|block| block.remove(&site.place));
            let Some(site_grads) = taken else {
                anyhow::bail!("{} got no gradient", site.module);
            };
            parts.push(site_grads.a.reshape([self.config.rank * site.input]));
            parts.push(site_grads.b.reshape([self.config.rank * site.output]));
        }
        read(Tensor::cat(parts, 0))
    }

    /// A `[rank, input]` and B `[output, rank]` of one site.
    pub fn parts(&self, site: &Site) -> (&[f32], &[f32]) {
        let r = self.config.rank;
        let a = r * site.input;
        let b = r * site.output;
        self.values[site.offset..site.offset + a + b].split_at(a)
    }
}
