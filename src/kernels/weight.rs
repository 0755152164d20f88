//! A frozen matrix on the device, in full or quantised, in as many pieces as the adapter's bindings need.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{Arithmetic, DecoderOps, Dispatch, QuantSpec, matmul, matmul_add, wrap};
use crate::quant::{QuantFormat, QuantMatrix};

/// A frozen weight matrix `[O, I]`, as checkpoints store linear layers and embeddings.
///
/// Rows are cut into parts so that no buffer exceeds what one shader binding may see (128 MiB on some drivers).
#[derive(Clone)]
pub struct Weight {
    parts: Vec<Part>,
    rows: usize,
    cols: usize,
    arithmetic: Arithmetic,
}

/// Rows of the input up to which a product is always in f32: it takes as long as reading the matrix does, and rounding would
/// only cost precision.
const FEW_ROWS: usize = 64;

#[derive(Clone)]
struct Part {
    first: usize,
    rows: usize,
    values: Values,
}

#[derive(Clone)]
enum Values {
    Full(Box<Tensor<2>>),
    Quantised(Box<Quantised>),
}

/// Codes `[rows, code_words]` and scales `[rows, scale_words]`.
#[derive(Clone)]
struct Quantised {
    codes: Tensor<2, Int>,
    scales: Tensor<2, Int>,
    spec: QuantSpec,
}

/// Parts of `at_once` rows, each from its first row and count.
fn row_blocks(rows: usize, at_once: usize, values: impl Fn(usize, usize) -> Values) -> Vec<Part> {
    let parts = (0..rows).step_by(at_once).map(|first| {
        let count = at_once.min(rows - first);
        Part { first, rows: count, values: values(first, count) }
    });
    parts.collect()
}

/// Words as the device's 32-bit integers: the bits are what counts.
fn words(values: Vec<u32>, rows: usize, device: &Device) -> Tensor<2, Int> {
    let width = values.len() / rows.max(1);
    let data = TensorData::new(bytemuck::cast_vec::<u32, i32>(values), [rows, width]);
    Tensor::from_data(data, (device, DType::I32))
}

/// A matrix on the host in the form in which the device is to hold it.
#[derive(Clone, Debug, PartialEq)]
pub enum HostMatrix {
    Full { values: Vec<f32>, rows: usize, cols: usize },
    Quantised(QuantMatrix),
}

impl HostMatrix {
    /// Row-major values, quantised where `format` says so.
    pub fn encode(values: Vec<f32>, [rows, cols]: [usize; 2], format: Option<QuantFormat>) -> Self {
        match format {
            None => HostMatrix::Full { values, rows, cols },
            Some(format) => HostMatrix::Quantised(QuantMatrix::encode(&values, rows, cols, format)),
        }
    }

    fn dims(&self) -> [usize; 2] {
        match self {
            HostMatrix::Full { rows, cols, .. } => [*rows, *cols],
            HostMatrix::Quantised(matrix) => [matrix.rows, matrix.cols],
        }
    }

    fn row_bytes(&self) -> u64 {
        match self {
            HostMatrix::Full { cols, .. } => 4 * *cols as u64,
            HostMatrix::Quantised(matrix) => matrix.format.bytes(1, matrix.cols),
        }
    }
}

impl Weight {
    /// Uploads a matrix in parts of at most `limit` bytes.
    pub fn upload(matrix: HostMatrix, limit: u64, device: &Device) -> Weight {
        let [rows, cols] = matrix.dims();
        let fit = usize::try_from(limit / matrix.row_bytes().max(1)).unwrap_or(usize::MAX);
        let at_once = fit.clamp(1, rows.max(1));
        // The usual case: one part, and the vectors move.
        let whole = at_once >= rows;
        let parts = match matrix {
            HostMatrix::Full { values, .. } if whole => {
                let data = TensorData::new(values, [rows, cols]);
                return Weight::from(Tensor::from_data(data, device));
            }
            HostMatrix::Full { values, .. } => row_blocks(rows, at_once, |first, count| {
                let own = values[first * cols..(first + count) * cols].to_vec();
                let data = TensorData::new(own, [count, cols]);
                Values::Full(Box::new(Tensor::from_data(data, device)))
            }),
            HostMatrix::Quantised(QuantMatrix { format, codes, scales, .. }) => {
                let (code_words, scale_words) = (format.code_words(cols), format.scale_words(cols));
                let upload = |codes, scales, count| {
                    Values::Quantised(Box::new(Quantised {
                        codes: words(codes, count, device),
                        scales: words(scales, count, device),
                        spec: QuantSpec { format, rows: count, cols },
                    }))
                };
                if whole {
                    vec![Part { first: 0, rows, values: upload(codes, scales, rows) }]
                } else {
                    row_blocks(rows, at_once, |first, count| {
                        let own = |all: &[u32], width| {
                            all[first * width..(first + count) * width].to_vec()
                        };
                        upload(own(&codes, code_words), own(&scales, scale_words), count)
                    })
                }
            }
        };
        Weight { parts, rows, cols, arithmetic: Arithmetic::F32 }
    }

    /// The same matrix, with products of many rows in `arithmetic`.
    pub fn computing_in(self, arithmetic: Arithmetic) -> Weight {
        Weight { arithmetic, ..self }
    }

    fn arithmetic(&self, x: &Tensor<2>) -> Arithmetic {
        if x.dims()[0] > FEW_ROWS { self.arithmetic } else { Arithmetic::F32 }
    }

    /// Output and input width.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// `x W^T`: x `[N, I]` -> `[N, O]`.
    pub fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        let arithmetic = self.arithmetic(x);
        join(self.parts.iter().map(|part| part.forward(x, arithmetic)).collect(), 1)
    }

    /// `dy W`: dy `[N, O]` -> `[N, I]`.
    pub fn backward(&self, dy: &Tensor<2>) -> Tensor<2> {
        self.backward_add(dy, None)
    }

    /// `dx + dy W`; `None` starts from zero.
    pub fn backward_add(&self, dy: &Tensor<2>, dx: Option<Tensor<2>>) -> Tensor<2> {
        let n = dy.dims()[0];
        let arithmetic = self.arithmetic(dy);
        let mut sum = dx;
        for part in &self.parts {
            let own = part.first..part.first + part.rows;
            let own =
                if part.rows == self.rows { dy.clone() } else { dy.clone().slice([0..n, own]) };
            sum = Some(part.backward(&own, sum, arithmetic));
        }
        sum.unwrap_or_else(|| Tensor::zeros([n, self.cols], &dy.device()))
    }

    /// The rows `ids` name: `[N]` -> `[N, I]`.
    pub fn rows(&self, ids: &Tensor<1, Int>) -> Tensor<2> {
        let mut sum: Option<Tensor<2>> = None;
        for part in &self.parts {
            let own = part.lookup(ids, self.parts.len() > 1);
            sum = Some(match sum {
                None => own,
                Some(sum) => sum + own,
            });
        }
        sum.unwrap_or_else(|| Tensor::zeros([ids.dims()[0], self.cols], &ids.device()))
    }
}

impl From<Tensor<2>> for Weight {
    fn from(tensor: Tensor<2>) -> Weight {
        let [rows, cols] = tensor.dims();
        Weight {
            parts: vec![Part { first: 0, rows, values: Values::Full(Box::new(tensor)) }],
            rows,
            cols,
            arithmetic: Arithmetic::F32,
        }
    }
}

fn half_matmul(x: &Tensor<2>, w: &Tensor<2>, tb: bool) -> Tensor<2> {
    wrap(Dispatch::half_mm(x.clone().into_dispatch(), w.clone().into_dispatch(), tb))
}

fn join(mut parts: Vec<Tensor<2>>, axis: usize) -> Tensor<2> {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, axis) }
}

impl Quantised {
    /// `x W^T`, or `x W` where `transposed`, decoding W tile by tile inside the product.
    fn matmul(&self, x: &Tensor<2>, transposed: bool, arithmetic: Arithmetic) -> Tensor<2> {
        wrap(Dispatch::quantised_mm(
            x.clone().into_dispatch(),
            self.codes.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            self.spec,
            transposed,
            arithmetic,
        ))
    }

    fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        wrap(Dispatch::quantised_rows(
            self.codes.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            ids.into_dispatch(),
            self.spec,
        ))
    }
}

impl Part {
    fn forward(&self, x: &Tensor<2>, arithmetic: Arithmetic) -> Tensor<2> {
        match (&self.values, arithmetic) {
            (Values::Full(w), Arithmetic::F32) => matmul(x, w, false, true),
            (Values::Full(w), Arithmetic::F16) => half_matmul(x, w, true),
            (Values::Quantised(w), _) => w.matmul(x, false, arithmetic),
        }
    }

    fn backward(&self, dy: &Tensor<2>, dx: Option<Tensor<2>>, arithmetic: Arithmetic) -> Tensor<2> {
        let own = match (&self.values, arithmetic) {
            (Values::Full(w), Arithmetic::F32) => {
                return match dx {
                    None => matmul(dy, w, false, false),
                    Some(dx) => matmul_add(dx, dy, w, false, false, 1.0),
                };
            }
            (Values::Full(w), Arithmetic::F16) => half_matmul(dy, w, false),
            (Values::Quantised(w), _) => w.matmul(dy, true, arithmetic),
        };
        match dx {
            None => own,
            Some(dx) => dx + own,
        }
    }

    /// Rows of this part; zeros for ids of another part, where there is one.
    fn lookup(&self, ids: &Tensor<1, Int>, others: bool) -> Tensor<2> {
        let local = ids.clone() - self.first as i64;
        match &self.values {
            Values::Quantised(w) => w.rows(local),
            Values::Full(w) if !others => Tensor::clone(w).select(0, local),
            Values::Full(w) => {
                let inside = local.clone().clamp(0, self.rows as i64 - 1);
                let mine: Tensor<2> = local.equal(inside.clone()).float().unsqueeze_dim(1);
                Tensor::clone(w).select(0, inside) * mine
            }
        }
    }
}
