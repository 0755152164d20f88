//! Are the gradients of adapters in a mixture of experts those of the model's own log-probabilities, through the experts
//! and through the router?

use burn::tensor::Device;
use central::{adapter, check, config, fixture, gradient, pairs};
use dpop_studio::config::Target;
use dpop_studio::lora::LoraAdapter;
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::{LoadOptions, Model, read};

mod central;

const FIXTURES: [&str; 2] = ["mixtral_4e_top2", "qwen3_moe"];
const ATTENTION: [Target; 4] = [Target::Q, Target::K, Target::V, Target::O];
const EXPERTS: [Target; 3] = [Target::Gate, Target::Up, Target::Down];

#[test]
fn adapter_gradients_are_central_differences() {
    for name in FIXTURES {
        let model = fixture(name, |_| {});
        check(&format!("{name}, attention"), &model, &ATTENTION);
        check(&format!("{name}, experts"), &model, &EXPERTS);
        check(&format!("{name}, all"), &model, &Target::ALL);
        check(&format!("{name}, mixed"), &model, &[Target::V, Target::Down]);
    }
}

/// Without scaling to a sum of 1 the unchosen experts' logits count too.
#[test]
fn gradients_flow_through_a_router_that_does_not_renormalise() {
    let model = fixture("qwen3_moe", |config| {
        config.experts.as_mut().unwrap().renormalise = false;
    });
    check("not renormalised, attention", &model, &ATTENTION);
    check("not renormalised, all", &model, &Target::ALL);
}

/// Dense layers among sparse ones, three of five experts, some without a token.
#[test]
fn gradients_in_a_decoder_with_dense_and_sparse_layers() {
    let mut config = config("qwen3_moe");
    config.num_layers = 3;
    config.sliding_window = vec![None; 3];
    let experts = config.experts.as_mut().unwrap();
    (experts.count, experts.chosen, experts.layers) = (20, 3, vec![true, false, true]);
    let model = Model::random(config, &Device::flex(), LoadOptions::default(), 9, 0.1).unwrap();
    check("dense and sparse layers", &model, &Target::ALL);
    let adapter = adapter(&model, &EXPERTS, 0);
    let grads = gradient(&model, &adapter);
    let idle = adapter.sites.iter().filter(|site| {
        let count = adapter.config.rank * (site.input + site.output);
        grads[site.offset..site.offset + count].iter().all(|g| *g == 0.0)
    });
    let idle = idle.count();
    assert!(idle.is_multiple_of(3) && idle > 0, "every expert was used: {idle} sites are idle");
    let places: Vec<_> = adapter.sites.iter().filter(|site| site.layer == 1).collect();
    assert_eq!(places.len(), 3, "the dense layer has one MLP");
}

#[test]
fn the_same_bits_on_every_visit() {
    let model = fixture("mixtral_4e_top2", |_| {});
    let packed = PackedBatch::new(&pairs());
    let batch = model.upload(&packed);
    let adapter = LoraAdapter::init(adapter(&model, &EXPERTS, 0).config, &model.config, 3);
    let updates = adapter.upload(model.config.num_layers, model.device(), None);
    let reference = read(model.log_probs(&batch, None).unwrap()).unwrap();
    let policy = read(model.forward(&batch, &updates).unwrap().0).unwrap();
    assert_eq!(reference, policy, "an adapter whose B is zero changes nothing");
}
