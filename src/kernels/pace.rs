//! Keeps a GPU's submissions short: a driver resets a GPU that works on one for too long (Windows after 2 s), and the
//! run is lost with it.
//!
//! Kernels are queued and handed over together. How long each will take is known from its work and from the speed
//! that the device showed when it was [measured](calibrate); a submission ends before it grows past [`LIMIT`], and a
//! kernel that alone would is cut into rows. Without a measurement (CPU, software adapters) nothing is cut.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_cubecl::tensor::CubeTensor;
use cubecl::future::block_on;

use super::{AttentionSpec, HostMatrix, SPAN_COLUMNS, Weight, attention, matmul};
use crate::quant::QuantFormat;

/// What one submission is planned to take at most. A measurement can be off by a factor of two before 500 ms are
/// reached, and by eight before Windows acts.
pub const LIMIT: Duration = Duration::from_millis(250);

/// A measurement is long enough to be trusted.
const MEASURED: Duration = Duration::from_millis(20);

/// Kinds of kernels, each with a speed of its own, in floating-point operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A product of two f32 matrices.
    Product,
    /// A product with a matrix that is decoded on the way.
    Decoding,
    /// Attention, forward or backward.
    Attention,
}

/// Operations a second by [`Work`]; 0: not measured.
static SPEED: [AtomicU64; 3] = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
/// Nanoseconds of work queued since the last submission.
static QUEUED: AtomicU64 = AtomicU64::new(0);
static OBSERVED: AtomicBool = AtomicBool::new(false);
/// Nanoseconds of the longest submission while observed.
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Planned duration of some work in nanoseconds; 0 where the speed is not known.
fn nanoseconds(work: Work, operations: u64) -> u64 {
    match SPEED[work as usize].load(Ordering::Relaxed) {
        0 => 0,
        speed => (operations as f64 / speed as f64 * 1e9) as u64,
    }
}

/// Counts a kernel that is about to be queued, and first hands over what would grow too long with it.
pub(super) fn count(tensor: &CubeTensor, work: Work, operations: u64) {
    let own = nanoseconds(work, operations);
    let queued = QUEUED.load(Ordering::Relaxed);
    if own == 0 || queued + own <= LIMIT.as_nanos() as u64 {
        QUEUED.store(queued + own, Ordering::Relaxed);
        return;
    }
    QUEUED.store(own, Ordering::Relaxed);
    // A failed device speaks up when its results are read.
    if OBSERVED.load(Ordering::Relaxed) {
        let start = Instant::now();
        let _ = block_on(tensor.client.sync());
        LONGEST.fetch_max(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    } else {
        let _ = tensor.client.flush();
    }
}

/// How many rows (or groups) of a kernel may run at once.
pub(super) fn at_once(work: Work, rows: usize, operations_a_row: u64) -> usize {
    match nanoseconds(work, operations_a_row) {
        0 => rows.max(1),
        row => (LIMIT.as_nanos() as u64 / row).clamp(1, rows.max(1) as u64) as usize,
    }
}

/// Waits for every submission from now on, and notes how long the longest took: for benchmarks and tests.
pub fn observe() {
    LONGEST.store(0, Ordering::Relaxed);
    OBSERVED.store(true, Ordering::Relaxed);
}

/// The longest submission since [`observe`].
pub fn longest() -> Duration {
    Duration::from_nanos(LONGEST.load(Ordering::Relaxed))
}

/// Takes the speeds (operations a second: products, decoding products, attention) as given; zeros switch pacing off.
pub fn set_speeds(speeds: [u64; 3]) {
    for (own, speed) in SPEED.iter().zip(speeds) {
        own.store(speed, Ordering::Relaxed);
    }
    QUEUED.store(0, Ordering::Relaxed);
}

/// Measures how fast `device` computes, on growing pieces until one takes long enough.
pub fn calibrate(device: &Device) {
    set_speeds([0; 3]);
    set_speeds([product_speed(device), decoding_speed(device), attention_speed(device)]);
}

/// Operations a second of `run(n)`, which does `operations(n)`; each size once before it is timed.
fn speed(largest: usize, operations: impl Fn(usize) -> u64, run: impl Fn(usize)) -> u64 {
    let mut n = 64;
    loop {
        run(n);
        let start = Instant::now();
        run(n);
        let took = start.elapsed();
        if took >= MEASURED || n >= largest {
            return ((operations(n) as f64 / took.as_secs_f64()) as u64).max(1);
        }
        n *= 4;
    }
}

const WIDTH: usize = 1024;

fn random(shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

/// Waits until the values are there.
fn finish(tensor: Tensor<2>) {
    // Reading is lazy until the bytes are touched.
    let _ = tensor.slice([0..1, 0..1]).try_into_data().map(|data| data.try_to_vec::<f32>());
}

fn product_speed(device: &Device) -> u64 {
    let w = random([WIDTH, WIDTH], device);
    speed(
        4096,
        |n| 2 * (n * WIDTH * WIDTH) as u64,
        |n| finish(matmul(&random([n, WIDTH], device), &w, false, true)),
    )
}

fn decoding_speed(device: &Device) -> u64 {
    let values = (0..WIDTH * WIDTH).map(|i| (i % 251) as f32 - 125.0).collect();
    let matrix = HostMatrix::encode(values, [WIDTH, WIDTH], Some(QuantFormat::Nf4));
    let w = Weight::upload(matrix, u64::MAX, device);
    speed(
        4096,
        |n| 2 * (n * WIDTH * WIDTH) as u64,
        |n| finish(w.forward(&random([n, WIDTH], device))),
    )
}

/// Forward attention of one sequence, every token on all before it.
fn attention_speed(device: &Device) -> u64 {
    let spec = AttentionSpec {
        heads: 8,
        kv_heads: 8,
        head_dim: 64,
        window: None,
        scale: 0.125,
        softcap: None,
    };
    let width = spec.heads * spec.head_dim;
    speed(
        4096,
        |n| attention_operations(spec, n) * (n * spec.heads) as u64 / 2,
        |n| {
            let [q, k, v] = [(); 3].map(|()| random([n, width], device));
            let spans = (0..n as i32).flat_map(|i| [0, 0, 0, n as i32, i]).collect::<Vec<_>>();
            let spans = TensorData::new(spans, [n, SPAN_COLUMNS]);
            let spans: Tensor<2, Int> = Tensor::from_data(spans, device);
            finish(attention(&q, &k, &v, &spans, spec).0);
        },
    )
}

/// Operations of the forward pass for one query and head over `keys` keys.
pub(super) fn attention_operations(spec: AttentionSpec, keys: usize) -> u64 {
    4 * (spec.head_dim * keys) as u64
}
