//! The WGSL sources, by name; the naga test validates each without a GPU.

/// One compute shader with entry point `main` and a workgroup of [`WORKGROUP`] threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    /// Its file in `shaders/`.
    pub name: &'static str,
    /// One file may make several shaders, by what stands before it.
    pub id: &'static str,
    pub source: &'static str,
}

/// Threads of one workgroup, in every shader.
pub const WORKGROUP: u32 = 64;

macro_rules! source {
    ($name:literal) => {
        include_str!(concat!("../../shaders/", $name, ".wgsl"))
    };
}

macro_rules! shaders {
    ($($constant:ident = $name:literal $(after $shared:literal)*),* $(,)?) => {
        $(pub(super) const $constant: Shader = Shader {
            name: $name,
            id: stringify!($constant),
            source: concat!($(source!($shared),)* source!($name)),
        };)*
        /// Every shader of the product.
        pub const SHADERS: &[Shader] = &[$($constant),*];
    };
}

shaders! {
    RMS_NORM = "rms_norm",
    RMS_NORM_BACKWARD = "rms_norm_backward",
    ROPE = "rope",
    GATED_ACTIVATION = "gated_activation" after "gated",
    GATED_ACTIVATION_BACKWARD = "gated_activation_backward" after "gated",
    ATTENTION = "attention" after "softcap",
    ATTENTION_TILED_64 = "attention_tiled" after "head_64" after "sight" after "softcap",
    ATTENTION_TILED_128 = "attention_tiled" after "head_128" after "sight" after "softcap",
    ATTENTION_TILED_256 = "attention_tiled" after "head_256" after "sight" after "softcap",
    ATTENTION_BACKWARD_Q_64 = "attention_backward_q" after "head_64" after "sight" after "softcap",
    ATTENTION_BACKWARD_Q_128 = "attention_backward_q" after "head_128" after "sight" after "softcap",
    ATTENTION_BACKWARD_Q_256 = "attention_backward_q" after "head_256" after "sight" after "softcap",
    ATTENTION_BACKWARD_KV_64 = "attention_backward_kv" after "head_64" after "softcap",
    ATTENTION_BACKWARD_KV_128 = "attention_backward_kv" after "head_128" after "softcap",
    ATTENTION_BACKWARD_KV_256 = "attention_backward_kv" after "head_256" after "softcap",
    HEAD_LOG_PROBS = "head_log_probs" after "softcap",
    HEAD_LOG_PROBS_BACKWARD = "head_log_probs_backward" after "softcap",
    HALF_ROWS = "half_rows",
    COMBINE_ROWS = "combine_rows",
    DROPOUT = "dropout",
    QUANTISED_MATMUL = "quantised_matmul" after "quantised",
    QUANTISED_MATMUL_TRANSPOSED = "quantised_matmul_transposed" after "quantised",
    QUANTISED_ROWS = "quantised_rows" after "quantised",
}

/// Shaders for heads of up to 64, 128 and 256 channels.
pub(super) type ByHead = [Shader; 3];

pub(super) const ATTENTION_TILED: ByHead =
    [ATTENTION_TILED_64, ATTENTION_TILED_128, ATTENTION_TILED_256];
pub(super) const ATTENTION_BACKWARD_Q: ByHead =
    [ATTENTION_BACKWARD_Q_64, ATTENTION_BACKWARD_Q_128, ATTENTION_BACKWARD_Q_256];
pub(super) const ATTENTION_BACKWARD_KV: ByHead =
    [ATTENTION_BACKWARD_KV_64, ATTENTION_BACKWARD_KV_128, ATTENTION_BACKWARD_KV_256];

/// Rows that a workgroup takes, as `shaders/head_*.wgsl` has them.
pub(super) struct Tiles {
    /// Which of [`ByHead`].
    pub width: usize,
    /// Forward: queries.
    pub queries: usize,
    /// Backward: queries or keys.
    pub own: usize,
}

impl Tiles {
    pub fn of(head_dim: usize) -> Tiles {
        match head_dim {
            0..=64 => Tiles { width: 0, queries: 32, own: 16 },
            65..=128 => Tiles { width: 1, queries: 32, own: 16 },
            _ => Tiles { width: 2, queries: 16, own: 8 },
        }
    }
}
