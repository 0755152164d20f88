//! Which tokens go to which experts, with what weight, and the gradient of those weights.
//!
//! The choice is made on the host from the router's logits: one read a layer, which waits for the device, and from
//! then on every expert's rows are known and its matrices see nothing else.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::error::ModelError;
use super::load::read;
use crate::kernels::{Weight, combine_rows};

/// A frozen router: `softmax(W x)`, of which the `chosen` largest count.
pub struct Router {
    /// `[E, D]`, always in f32: its differences decide which experts are computed.
    pub weight: Weight,
    pub chosen: usize,
    /// Whether the chosen probabilities are scaled to a sum of 1.
    pub renormalise: bool,
}

/// The tokens that go to one expert, or all tokens as they are.
pub struct Share {
    pub expert: Option<usize>,
    rows: Option<Rows>,
}

struct Rows {
    /// `[R]`
    tokens: Tensor<1, Int>,
    /// `[R, 1]`
    weights: Tensor<2>,
}

/// What binds the experts' rows (those of the first expert, then those of the next, ..) to their tokens.
pub struct Routing {
    /// `[N, chosen]`: the rows of each token.
    map: Tensor<2, Int>,
    rows: usize,
    choice: Choice,
}

/// Tokens and weights by expert, on the host.
struct Choice {
    experts: usize,
    /// For each expert its tokens, ascending, and their weights.
    tokens: Vec<Vec<i32>>,
    weights: Vec<Vec<f32>>,
    /// `[N, E]`: the softmax whose derivative the weights have. Over the chosen experts alone where they are
    /// renormalised, for `p_i / sum p_j = exp(l_i) / sum exp(l_j)`.
    softmax: Vec<f32>,
}

impl Choice {
    /// From logits `[N, E]`. Equal probabilities go to the lower expert (torch's top-k leaves their order open).
    fn new(logits: &[f32], experts: usize, chosen: usize, renormalise: bool) -> Choice {
        let mut choice = Choice {
            experts,
            tokens: vec![Vec::new(); experts],
            weights: vec![Vec::new(); experts],
            softmax: Vec::with_capacity(logits.len()),
        };
        for (token, logits) in logits.chunks_exact(experts).enumerate() {
            let mut probabilities = softmax(logits);
            let largest = largest(&probabilities, chosen);
            if renormalise {
                let sum: f32 = largest.iter().map(|&expert| probabilities[expert]).sum();
                for (expert, p) in probabilities.iter_mut().enumerate() {
                    *p = if largest.contains(&expert) { *p / sum } else { 0.0 };
                }
            }
            for expert in largest {
                choice.tokens[expert].push(token as i32);
                choice.weights[expert].push(probabilities[expert]);
            }
            choice.softmax.extend(probabilities);
        }
        choice
    }

    /// Calls with every row, its token and its expert, in the order of the rows.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let rows = self.tokens.iter().enumerate();
        rows.flat_map(|(expert, tokens)| tokens.iter().map(move |&token| (token as usize, expert)))
            .enumerate()
            .map(|(row, (token, expert))| (row, token, expert))
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut values: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

/// Indices of the `count` largest values.
fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a])); // stable: the lower index first
    order.truncate(count);
    order
}

fn ints<const D: usize>(values: Vec<i32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Router {
    /// Sends x `[N, D]` to the experts. Experts that no token goes to have no share.
    ///
    /// # Errors
    /// When the device fails to hand back the logits.
    pub fn route(&self, x: &Tensor<2>) -> Result<(Routing, Vec<Share>), ModelError> {
        let [tokens, _] = x.dims();
        let [experts, _] = self.weight.dims();
        let device = x.device();
        let logits = read(self.weight.forward(x))
            .map_err(|error| ModelError::Device { message: error.to_string() })?;
        let choice = Choice::new(&logits, experts, self.chosen, self.renormalise);
        let mut map = vec![Vec::with_capacity(self.chosen); tokens];
        for (row, token, _) in choice.rows() {
            map[token].push(row as i32);
        }
        let shares = choice.tokens.iter().zip(&choice.weights).enumerate();
        let shares = shares.filter(|(_, (tokens, _))| !tokens.is_empty());
        let shares = shares.map(|(expert, (tokens, weights))| {
            let count = tokens.len();
            let weights = TensorData::new(weights.clone(), [count, 1]);
            let rows = Rows {
                tokens: ints(tokens.clone(), [count], &device),
                weights: Tensor::from_data(weights, &device),
            };
            Share { expert: Some(expert), rows: Some(rows) }
        });
        let shares = shares.collect();
        let map = ints(map.concat(), [tokens, self.chosen], &device);
        Ok((Routing { map, rows: tokens * self.chosen, choice }, shares))
    }

    /// Adds to dx `[N, D]` what reaches x through the weights, given the gradients by each share's weights `[R, 1]`.
    pub fn backward(&self, routing: Routing, dweights: Vec<Tensor<2>>, dx: Tensor<2>) -> Tensor<2> {
        let device = dx.device();
        let Choice { experts, softmax, .. } = &routing.choice;
        let (cells, shape) = (softmax.len(), [softmax.len() / experts, *experts]);
        let mut places = vec![-1; cells];
        for (row, token, expert) in routing.choice.rows() {
            places[token * experts + expert] = row as i32;
        }
        let ones = Tensor::ones([routing.rows], &device);
        let places = ints(places, [cells, 1], &device);
        let dweights = combine_rows(Tensor::cat(dweights, 0), ones, &places).reshape(shape); // [N, E]
        let softmax = Tensor::from_data(TensorData::new(softmax.clone(), shape), &device);
        let weighed: Tensor<2> = softmax.clone() * dweights;
        let dlogits = weighed.clone() - softmax * weighed.sum_dim(1);
        self.weight.backward_add(&dlogits, Some(dx))
    }
}

impl Routing {
    /// The experts' rows `[R, D]` -> their sum for each token `[N, D]`.
    pub fn combine(&self, rows: Tensor<2>) -> Tensor<2> {
        let ones = Tensor::ones([self.rows], &rows.device());
        combine_rows(rows, ones, &self.map)
    }
}

impl Share {
    /// All tokens, with no weight.
    pub fn whole() -> Share {
        Share { expert: None, rows: None }
    }

    /// Its rows of `[N, D]`: `[R, D]`.
    pub fn gather(&self, x: &Tensor<2>) -> Tensor<2> {
        match &self.rows {
            Some(rows) => x.clone().select(0, rows.tokens.clone()),
            None => x.clone(),
        }
    }

    /// Rows `[R, F]` by their weights.
    pub fn weigh(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.rows {
            Some(rows) => x * rows.weights.clone(),
            None => x,
        }
    }

    /// The gradients of [`Self::weigh`] by its rows and by the weights `[R, 1]`.
    pub fn weigh_backward(&self, x: Tensor<2>, dy: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
        match &self.rows {
            Some(rows) => {
                let dweights = (x * dy.clone()).sum_dim(1);
                (dy * rows.weights.clone(), Some(dweights))
            }
            None => (dy, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_chosen_and_ties_go_to_the_lower_expert() {
        assert_eq!(largest(&[0.1, 0.4, 0.2, 0.3], 2), [1, 3]);
        assert_eq!(largest(&[0.25; 4], 2), [0, 1]);
        assert_eq!(largest(&[0.1, 0.3, 0.3, 0.3], 2), [1, 2]);
    }

    #[test]
    fn weights_are_the_chosen_probabilities() {
        let logits = [1.0, 3.0, 2.0, 0.0, 0.0, 0.0];
        let plain = Choice::new(&logits, 3, 2, false);
        assert_eq!(plain.tokens, [vec![1], vec![0, 1], vec![0]]);
        let sum = 1f32.exp() + 3f32.exp() + 2f32.exp();
        assert!((plain.weights[1][0] - 3f32.exp() / sum).abs() < 1e-6);
        assert!((plain.softmax[0] - 1f32.exp() / sum).abs() < 1e-6);
        let scaled = Choice::new(&logits, 3, 2, true);
        assert!((scaled.weights[1][0] + scaled.weights[2][0] - 1.0).abs() < 1e-6);
        assert_eq!(scaled.weights[0], [0.5]);
        assert_eq!(scaled.softmax[0], 0.0);
        let rows: Vec<_> = scaled.rows().collect();
        assert_eq!(rows, [(0, 1, 0), (1, 0, 1), (2, 1, 1), (3, 0, 2)]);
    }

    #[test]
    fn logits_that_are_no_numbers_choose_as_many() {
        assert_eq!(Choice::new(&[f32::NAN; 4], 4, 2, true).tokens.concat().len(), 2);
    }
}
