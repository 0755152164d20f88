//! The trainable updates of a block's linear layers, and what a forward pass keeps of them for the backward one.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::linear::{Linear, LowRank, LowRankGrads};
use super::place::Place;

/// The trainable updates of one block.
pub type BlockUpdates = BTreeMap<Place, LowRank>;

/// Gradients of one block's updates.
pub type BlockGrads = BTreeMap<Place, LowRankGrads>;

/// `A x` `[N, r]` of each updated layer, which the backward pass needs.
pub type LowRankInputs = BTreeMap<Place, Tensor<2>>;

/// Linear layers with their updates, forward.
pub struct ForwardPass<'a> {
    updates: Option<&'a BlockUpdates>,
    kept: LowRankInputs,
}

impl<'a> ForwardPass<'a> {
    /// `None`: the frozen model alone.
    pub fn new(updates: Option<&'a BlockUpdates>) -> Self {
        ForwardPass { updates, kept: LowRankInputs::new() }
    }

    /// x `[N, I]` -> `[N, O]`, through the layer at `place`.
    pub fn linear(&mut self, place: impl Into<Place>, linear: &Linear, x: &Tensor<2>) -> Tensor<2> {
        let place = place.into();
        let update = self.updates.and_then(|all| all.get(&place));
        let (y, low_rank) = linear.forward(x, update);
        self.kept.extend(low_rank.map(|low_rank| (place, low_rank)));
        y
    }

    pub fn finish(self) -> LowRankInputs {
        self.kept
    }
}

/// Linear layers with their updates, backward.
pub struct BackwardPass<'a> {
    updates: &'a BlockUpdates,
    kept: LowRankInputs,
    grads: BlockGrads,
}

impl<'a> BackwardPass<'a> {
    /// `kept` is what the forward pass of the same updates finished with.
    pub fn new(updates: &'a BlockUpdates, kept: LowRankInputs) -> Self {
        BackwardPass { updates, kept, grads: BlockGrads::new() }
    }

    /// Adds the gradient by x to `dx` (`None`: starts from zero), given x and dy `[N, O]`.
    pub fn linear(
        &mut self,
        place: impl Into<Place>,
        linear: &Linear,
        x: &Tensor<2>,
        dy: &Tensor<2>,
        dx: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let place = place.into();
        let update = self.updates.get(&place).zip(self.kept.remove(&place));
        let (dx, grads) = linear.backward(x, dy, update, dx);
        self.grads.extend(grads.map(|grads| (place, grads)));
        dx
    }

    /// An expert that no token went to has gradients of zero.
    pub fn finish(mut self) -> BlockGrads {
        for (&place, LowRank { a, b, .. }) in self.updates {
            if place.expert.is_some() {
                let zeros = || LowRankGrads { a: a.zeros_like(), b: b.zeros_like() };
                self.grads.entry(place).or_insert_with(zeros);
            }
        }
        self.grads
    }
}
