//! Are the adapter gradients of every dense architecture those of the model's own log-probabilities? Kernels may be right
//! and be put together wrongly.

use central::{check, config, fixture};
use dpop_studio::config::Target;

mod central;

const FIXTURES: [&str; 8] = [
    "llama_headdim32_bias",
    "qwen2_bias_tied",
    "qwen3_qknorm",
    "mistral_swa8",
    "phi3",
    "phi3_longrope",
    "gemma2",
    "gemma2_caps",
];

#[test]
fn adapter_gradients_are_central_differences() {
    for name in FIXTURES {
        let model = fixture(name, |_| {});
        check(&format!("{name}, all"), &model, &Target::ALL);
        let half = [Target::Q, Target::K, Target::V];
        check(&format!("{name}, attention"), &model, &half);
        check(&format!("{name}, MLP"), &model, &[Target::Gate, Target::Up]);
    }
}

#[test]
fn a_part_of_a_fused_layer_is_refused_by_name() {
    let phi3 = config("phi3");
    let refused = phi3.check_targets(&[Target::Q, Target::V]).unwrap_err().to_string();
    for part in ["Phi3", "q,k,v", "qkv_proj", "--targets q,v"] {
        assert!(refused.contains(part), "{refused}");
    }
    let refused = phi3.check_targets(&[Target::O, Target::Up]).unwrap_err().to_string();
    assert!(refused.contains("gate,up in one layer (gate_up_proj)"), "{refused}");
    for whole in [&Target::ALL[..], &[Target::K, Target::V, Target::Q], &[Target::Down]] {
        phi3.check_targets(whole).unwrap();
    }
    config("gemma2").check_targets(&[Target::Q, Target::V]).unwrap();
}
