//! The WGSL sources, by name; the naga test validates each without a GPU.

/// One compute shader with entry point `main` and a workgroup of [`WORKGROUP`] threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    pub name: &'static str,
    pub source: &'static str,
}

/// Threads of one workgroup, in every shader.
pub const WORKGROUP: u32 = 64;

macro_rules! source {
    ($name:literal) => {
        include_str!(concat!("../../shaders/", $name, ".wgsl"))
    };
    ($name:literal after $shared:literal) => {
        concat!(source!($shared), source!($name))
    };
}

macro_rules! shaders {
    ($($constant:ident = $name:literal $(after $shared:literal)?),* $(,)?) => {
        $(pub(super) const $constant: Shader = Shader {
            name: $name,
            source: source!($name $(after $shared)?),
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
    ATTENTION_BACKWARD_Q = "attention_backward_q" after "softcap",
    ATTENTION_BACKWARD_KV = "attention_backward_kv" after "softcap",
    HEAD_LOG_PROBS = "head_log_probs" after "softcap",
    HEAD_LOG_PROBS_BACKWARD = "head_log_probs_backward" after "softcap",
    COMBINE_ROWS = "combine_rows",
    DROPOUT = "dropout",
    QUANTISED_MATMUL = "quantised_matmul" after "quantised",
    QUANTISED_MATMUL_TRANSPOSED = "quantised_matmul_transposed" after "quantised",
    QUANTISED_ROWS = "quantised_rows" after "quantised",
}
