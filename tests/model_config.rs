//! Is config.json understood in both spellings, and are the rotary frequencies transformers' own?

use std::path::{Path, PathBuf};

use dpop_studio::kernels::Activation;
use dpop_studio::model::config::{Architecture, ModelConfig};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn parse_file(path: &Path) -> ModelConfig {
    ModelConfig::parse(&std::fs::read_to_string(path).unwrap(), path)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// A small valid config with `change` laid over it.
fn parse(change: Value) -> Result<ModelConfig, String> {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 64,
        "intermediate_size": 160, "num_attention_heads": 4, "num_hidden_layers": 3,
        "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 256,
    });
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    ModelConfig::parse(&config.to_string(), Path::new("config.json")).map_err(|e| e.to_string())
}

#[test]
fn both_spellings_of_every_fixture_mean_the_same() {
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures().join("models")).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        let new = ModelConfig::read(&dir).unwrap();
        let old = parse_file(&dir.join("config_v4.json"));
        assert_eq!(new, old, "{}", dir.display());
        let turning = if dir.ends_with("phi3_longrope") { new.head_dim / 2 } else { new.head_dim };
        assert_eq!(new.rope.inv_freq.len(), turning / 2);
        assert_eq!(new.sliding_window.len(), new.num_layers);
        seen += 1;
    }
    assert!(seen >= 16, "only {seen} fixtures found");
}

#[test]
fn the_switches_of_each_family() {
    let read = |name: &str| ModelConfig::read(&fixtures().join("models").join(name)).unwrap();

    let llama = read("llama_headdim32_bias");
    assert_eq!(
        (llama.architecture, llama.head_dim, llama.num_kv_heads),
        (Architecture::Llama, 32, 1)
    );
    assert!(llama.qkv_bias && llama.o_bias && llama.mlp_bias && !llama.qk_norm);
    assert_eq!((llama.bos_token_id, llama.eos_token_ids.as_slice()), (Some(1), [2].as_slice()));

    let qwen2 = read("qwen2_bias_tied");
    assert!(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.mlp_bias && qwen2.tie_word_embeddings);
    assert_eq!(qwen2.sliding_window, [None, None]);
    assert_eq!(qwen2.rope.inv_freq[1], 1.0 / 1e6f64.powf(2.0 / 16.0) as f32, "theta is 1e6");

    let qwen3 = read("qwen3_qknorm");
    assert!(qwen3.qk_norm && !qwen3.qkv_bias);
    assert_eq!(qwen3.head_dim, 32);

    assert_eq!(read("mistral_swa8").sliding_window, [Some(8), Some(8)]);
    assert_eq!(read("mistral_noswa").sliding_window, [None, None]);

    let phi3 = read("phi3_longrope");
    assert!(phi3.fused_projections && !phi3.qkv_bias);
    assert_eq!(phi3.sliding_window, [Some(6), Some(6)]);
    let long = phi3.rope.long.as_ref().unwrap();
    assert_eq!((long.beyond, long.inv_freq[0]), (20, phi3.rope.inv_freq[0]));
    assert!(long.inv_freq[3] < phi3.rope.inv_freq[3] / 6.0);
    assert_eq!(phi3.rope.inv_freq(20), phi3.rope.inv_freq);
    assert_eq!(phi3.rope.inv_freq(21), long.inv_freq);

    let gemma2 = read("gemma2_caps");
    assert_eq!(gemma2.activation, Activation::GeluTanh);
    assert_eq!((gemma2.attention_softcap, gemma2.logit_softcap), (Some(0.7), Some(1.2)));
    assert_eq!(gemma2.sliding_window, [Some(5), None, Some(5)]);
    assert!(gemma2.unit_offset_norms && gemma2.out_norms && gemma2.tie_word_embeddings);
    assert!(gemma2.qkv_bias && gemma2.o_bias && !gemma2.mlp_bias);
    assert_eq!(gemma2.embedding_scale, 72f32.sqrt());
    assert_eq!(gemma2.attention_scale, 1.0 / 20f32.sqrt());
}

#[test]
fn rotary_frequencies_are_transformers_own() {
    let text = std::fs::read_to_string(fixtures().join("rope/rope_table.json")).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let cases = table["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let config = parse(json!({
            "head_dim": case["head_dim"],
            "max_position_embeddings": case["max_position_embeddings"],
            "rope_parameters": case["rope_parameters"],
        }))
        .unwrap();
        let what = &case["rope_parameters"];
        let expected = case["inv_freq"].as_array().unwrap();
        assert_eq!(config.rope.inv_freq.len(), expected.len(), "{what}");
        for (j, (got, expected)) in config.rope.inv_freq.iter().zip(expected).enumerate() {
            let expected = expected.as_f64().unwrap();
            let off = (f64::from(*got) - expected).abs() / expected;
            // Two units in the last place of f32: the power function differs between libraries.
            assert!(off <= 2.4e-7, "{what} [{j}]: {got} is not {expected}");
        }
        let scaling = case["attention_scaling"].as_f64().unwrap() as f32;
        assert_eq!(config.rope.attention_scaling, scaling, "{what}");
    }
}

#[test]
fn qwens_window_counts_from_max_window_layers_or_by_layer_type() {
    let qwen = |change: Value| {
        let mut base = json!({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 16});
        for (key, value) in change.as_object().unwrap() {
            base[key] = value.clone();
        }
        parse(base)
    };
    let windows = |change: Value| qwen(change).unwrap().sliding_window;
    let off = json!({"use_sliding_window": false, "max_window_layers": 1});
    assert_eq!(windows(off), [None, None, None]);
    let on = json!({"use_sliding_window": true, "max_window_layers": 1});
    assert_eq!(windows(on), [None, Some(16), Some(16)]);
    let types = ["sliding_attention", "full_attention", "sliding_attention"];
    let typed = json!({"use_sliding_window": true, "layer_types": types});
    assert_eq!(windows(typed), [Some(16), None, Some(16)]);
    assert_eq!(windows(json!({"layer_types": types})), [None, None, None], "the switch is off");

    let short = qwen(json!({"layer_types": ["full_attention"]})).unwrap_err();
    assert!(short.contains("layer_types has 1 entries for 3 layers"), "{short}");
    let odd = json!({"layer_types": ["full_attention", "linear_attention", "full_attention"]});
    let odd = qwen(odd).unwrap_err();
    assert!(odd.contains("linear_attention"), "{odd}");
}

#[test]
fn absent_fields_take_transformers_defaults() {
    let llama = parse(json!({"num_key_value_heads": null, "head_dim": null})).unwrap();
    assert_eq!((llama.num_kv_heads, llama.head_dim), (4, 16));
    assert_eq!((llama.bos_token_id, llama.eos_token_ids), (Some(1), vec![2]));
    assert_eq!(llama.rms_norm_eps, 1e-6);
    assert_eq!(llama.rope.inv_freq[1], 1.0 / 10_000f64.powf(2.0 / 16.0) as f32);

    let mistral = parse(json!({"architectures": ["MistralForCausalLM"]})).unwrap();
    assert_eq!(mistral.sliding_window, [Some(4096); 3]);

    let phi3 = parse(json!({"architectures": ["Phi3ForCausalLM"]})).unwrap();
    assert_eq!((phi3.sliding_window, phi3.rms_norm_eps), (vec![None; 3], 1e-5));
    assert_eq!((phi3.bos_token_id, phi3.eos_token_ids), (Some(1), vec![32_000]));

    let gemma2 = parse(json!({"architectures": ["Gemma2ForCausalLM"]})).unwrap();
    assert_eq!(gemma2.sliding_window, [Some(4096), None, Some(4096)]);
    assert_eq!((gemma2.attention_softcap, gemma2.logit_softcap), (Some(50.0), Some(30.0)));
    assert_eq!((gemma2.head_dim, gemma2.attention_scale), (256, 1.0 / 16.0));
    assert_eq!((gemma2.bos_token_id, gemma2.eos_token_ids), (Some(2), vec![1]));
    let uncapped = json!({"architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": null});
    assert_eq!(parse(uncapped).unwrap().attention_softcap, None);

    let several = parse(json!({"eos_token_id": [7, 9], "bos_token_id": null})).unwrap();
    assert_eq!((several.bos_token_id, several.eos_token_ids), (None, vec![7, 9]));

    let by_type = parse(json!({"architectures": null, "model_type": "qwen3"})).unwrap();
    assert_eq!((by_type.architecture, by_type.head_dim), (Architecture::Qwen3, 128));
}

#[test]
fn what_cannot_be_trained_is_named_with_what_can() {
    let cases = [
        (json!({"architectures": ["FalconForCausalLM"]}), "FalconForCausalLM"),
        (json!({"architectures": null}), "architectures is missing"),
        (json!({"hidden_act": "gelu"}), "hidden_act is gelu"),
        (json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}), "rope_type is dynamic"),
        (
            json!({"rope_parameters": {"rope_type": "longrope"}}),
            "rope_parameters.original_max_position_embeddings is missing",
        ),
        (
            json!({"original_max_position_embeddings": 64, "rope_scaling":
                {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            "short_factor has 1 numbers where 8 are expected",
        ),
        (json!({"rope_scaling": {"type": "linear"}}), "rope_scaling.factor is missing"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor is 0.5"),
        (
            json!({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.1}),
            "partial_rotary_factor is 0.1",
        ),
        (
            json!({"architectures": ["Gemma2ForCausalLM"], "hidden_activation": "gelu"}),
            "hidden_activation is gelu",
        ),
        (
            json!({"architectures": ["Gemma2ForCausalLM"], "use_bidirectional_attention": true}),
            "use_bidirectional_attention is true",
        ),
        (json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}), "nested"),
        (json!({"num_key_value_heads": 3}), "does not divide num_attention_heads (4)"),
        (json!({"hidden_size": 66}), "not a multiple of num_attention_heads"),
        (json!({"head_dim": 15}), "head_dim is 15"),
        (json!({"hidden_size": -1}), "hidden_size is -1"),
        (json!({"vocab_size": "many"}), "vocab_size is \"many\""),
        (json!({"num_hidden_layers": 100_000_000}), "num_hidden_layers is 100000000"),
        (json!({"intermediate_size": null}), "intermediate_size is missing"),
        (json!({"eos_token_id": "two"}), "eos_token_id"),
        (json!({"tie_word_embeddings": "yes"}), "tie_word_embeddings"),
    ];
    for (change, part) in cases {
        let message = parse(change.clone()).expect_err(&change.to_string());
        assert!(message.contains(part), "{change}: {message}");
        assert!(message.contains("config.json") && message.ends_with('.'), "{message}");
    }
    let falcon = parse(json!({"architectures": ["FalconForCausalLM"]})).unwrap_err();
    for known in ["LlamaForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM", "Gemma2ForCausalLM"] {
        assert!(falcon.contains(known), "{falcon}");
    }
}

#[test]
fn the_experts_of_each_family() {
    let read = |change: Value| parse(change).unwrap().experts.unwrap();
    // Absent fields take the defaults of transformers; both names of the count are in use.
    let mixtral = read(json!({"architectures": ["MixtralForCausalLM"]}));
    assert_eq!((mixtral.count, mixtral.chosen, mixtral.intermediate_size), (8, 2, 160));
    assert!(mixtral.renormalise && mixtral.layers == [true; 3]);
    let named =
        |field: &str| read(json!({"model_type": "qwen3_moe", "architectures": null, field: 16}));
    assert_eq!((named("num_experts").count, named("num_local_experts").count), (16, 16));
    let qwen = read(json!({"architectures": ["Qwen3MoeForCausalLM"]}));
    assert_eq!((qwen.count, qwen.chosen, qwen.intermediate_size), (128, 8, 768));
    assert!(!qwen.renormalise && qwen.layers == [true; 3]);
    let layers = |change: Value| {
        let mut config = json!({"architectures": ["Qwen3MoeForCausalLM"]});
        change.as_object().unwrap().iter().for_each(|(k, v)| config[k] = v.clone());
        read(config).layers
    };
    assert_eq!(layers(json!({"decoder_sparse_step": 2})), [false, true, false]);
    assert_eq!(layers(json!({"mlp_only_layers": [0, 2]})), [false, true, false]);
    assert_eq!(layers(json!({"mlp_only_layers": [1], "decoder_sparse_step": 2})), [false; 3]);
    // Mixtral's base of the rotary embedding, and no window where nothing is said.
    let config = parse(json!({"architectures": ["MixtralForCausalLM"]})).unwrap();
    assert!((config.rope.inv_freq[1] - 1e6f32.powf(-2.0 / 16.0)).abs() < 1e-6);
    assert_eq!(config.sliding_window, [None; 3]);
    let heads =
        parse(json!({"architectures": ["Qwen3MoeForCausalLM"], "num_key_value_heads": null}));
    assert_eq!(heads.unwrap().num_kv_heads, 4);

    for (change, part) in [
        (json!({"router_jitter_noise": 0.1}), "router_jitter_noise is 0.1"),
        (json!({"num_experts_per_tok": 9}), "more than there are experts (8)"),
        (json!({"num_local_experts": 0}), "num_local_experts is 0"),
        (
            json!({"architectures": ["Qwen3MoeForCausalLM"], "mlp_only_layers": ["all"]}),
            "mlp_only_layers",
        ),
    ] {
        let mut config = json!({"architectures": ["MixtralForCausalLM"]});
        change.as_object().unwrap().iter().for_each(|(k, v)| config[k] = v.clone());
        let message = parse(config).unwrap_err();
        assert!(message.contains(part), "{change}: {message}");
    }
}

#[test]
fn published_configurations_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/configs");
    if !dir.exists() {
        eprintln!("SKIPPED: {} is not there", dir.display());
        return;
    }
    let read = |name: &str| parse_file(&dir.join(name));

    let llama = read("aiconfigurator/meta-llama--Meta-Llama-3.1-8B_config.json");
    assert_eq!((llama.num_layers, llama.num_kv_heads, llama.head_dim), (32, 8, 128));
    assert!(llama.rope.inv_freq[63] < 1e-6, "llama3 scaling slows the last channel eightfold");

    let small = read("llama-3.2-1b-finetune/config.json");
    assert!(small.tie_word_embeddings);
    assert_eq!(small.eos_token_ids, [128_001]);

    let qwen = read("aiconfigurator/Qwen--Qwen3-0.6B_config.json");
    assert_eq!((qwen.architecture, qwen.head_dim, qwen.num_heads), (Architecture::Qwen3, 128, 16));
    assert!(
        qwen.qk_norm && qwen.tie_word_embeddings && qwen.sliding_window.iter().all(Option::is_none)
    );

    assert_eq!(read("vicuna-13b-llama/config.json").num_kv_heads, 40);
    assert_eq!(read("atom-7b-llama2/config.json").vocab_size, 65_000);

    let mixtral = read("aiconfigurator/mistralai--Mixtral-8x7B-v0.1_config.json");
    let experts = mixtral.experts.unwrap();
    assert_eq!((experts.count, experts.chosen, experts.intermediate_size), (8, 2, 14_336));
}
