//! Keys and values of the tokens that text generation has put through the model, so that each is computed once.
//!
//! Every sequence has a run of rows of its own in one buffer a layer, long enough for all it may become; the span
//! table (`model::layout`) says which rows a token sees. So sequences of different lengths go on side by side, and
//! those that have ended simply send no more tokens.

use std::ops::Range;

use burn::tensor::Tensor;

use super::layout::Continuation;

/// One sequence's rows.
#[derive(Clone, Debug)]
struct Rows {
    reserved: Range<usize>,
    /// Tokens so far.
    length: usize,
}

/// Tokens of the batch at hand, and the row of the first of them.
type Place = (Range<usize>, usize);

/// The caches of all layers.
pub struct Cache {
    /// Keys and values `[rows, KV * head_dim]`, made when the first token comes.
    layers: Vec<Option<(Tensor<2>, Tensor<2>)>>,
    sequences: Vec<Rows>,
    /// Where the batch at hand goes.
    places: Vec<Place>,
}

/// One layer's part, while its block computes.
pub struct CachedLayer<'a> {
    tensors: &'a mut Option<(Tensor<2>, Tensor<2>)>,
    places: &'a [Place],
    rows: usize,
}

impl Cache {
    /// Room for sequences of the given numbers of tokens.
    pub fn new(layers: usize, tokens: &[usize]) -> Cache {
        let mut end = 0;
        let sequences = tokens.iter().map(|&tokens| {
            let start = end;
            end += tokens;
            Rows { reserved: start..end, length: 0 }
        });
        Cache {
            sequences: sequences.collect(),
            layers: (0..layers).map(|_| None).collect(),
            places: Vec::new(),
        }
    }

    /// Tokens of a sequence so far.
    pub fn length(&self, sequence: usize) -> usize {
        self.sequences[sequence].length
    }

    /// Takes the next tokens of some sequences; `None` where there is no room for them.
    pub(super) fn place<'b>(
        &mut self,
        new: &[(usize, &'b [u32])],
    ) -> Option<Vec<Continuation<'b>>> {
        self.places.clear();
        let mut first = 0;
        let mut placed = Vec::with_capacity(new.len());
        for &(sequence, ids) in new {
            let rows = self.sequences.get_mut(sequence)?;
            let (position, row) = (rows.length, rows.reserved.start);
            rows.length += ids.len();
            if rows.length > rows.reserved.len() {
                return None;
            }
            placed.push(Continuation { ids, position, row, longest: rows.reserved.len() });
            self.places.push((first..first + ids.len(), row + position));
            first += ids.len();
        }
        Some(placed)
    }

    pub(super) fn layer(&mut self, layer: usize) -> CachedLayer<'_> {
        let rows = self.sequences.last().map_or(0, |last| last.reserved.end);
        CachedLayer { tensors: &mut self.layers[layer], places: &self.places, rows }
    }
}

impl CachedLayer<'_> {
    /// Writes the batch's keys and values `[N, KV * head_dim]` to their rows; answers all of the cache.
    pub(super) fn join(self, k: Tensor<2>, v: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let width = k.dims()[1];
        let (mut keys, mut values) = self.tensors.take().unwrap_or_else(|| {
            let empty = || Tensor::zeros([self.rows, width], &k.device());
            (empty(), empty())
        });
        for (tokens, row) in self.places {
            let from = [tokens.clone(), 0..width];
            let to = [*row..row + tokens.len(), 0..width];
            // The only owner of its buffer writes in place.
            keys = keys.slice_assign(to.clone(), k.clone().slice(from.clone()));
            values = values.slice_assign(to, v.clone().slice(from));
        }
        *self.tensors = Some((keys.clone(), values.clone()));
        (keys, values)
    }
}
