//! Is the right device chosen, and is the device opened the one that was listed?

use burn::tensor::Tensor;
use dpop_studio::config::ComputePrecision;
use dpop_studio::kernels::Arithmetic;
use dpop_studio::worker::device::{
    AdapterInfo, AdapterKind, ChoiceKind, DeviceError, choose, choose_from, list,
};
use serde_json::{Value, json};

/// Adapters as a machine might list them.
fn machine(adapters: &[(&str, AdapterKind)]) -> Vec<AdapterInfo> {
    adapters
        .iter()
        .enumerate()
        .map(|(index, (name, kind))| AdapterInfo::imagined(index, name, *kind))
        .collect()
}

const LAVAPIPE: (&str, AdapterKind) = ("llvmpipe (LLVM 15.0.6, 256 bits)", AdapterKind::Cpu);

fn label(spec: &str, adapters: &[AdapterInfo]) -> String {
    let choice = choose_from(spec, adapters).unwrap_or_else(|e| panic!("{spec}: {e}"));
    choice.adapter.map_or("cpu".to_owned(), |adapter| adapter.name)
}

#[test]
fn auto_takes_discrete_then_integrated_then_the_cpu() {
    use AdapterKind::{Discrete, Integrated, Virtual};
    let laptop = [LAVAPIPE, ("Iris", Integrated), ("RTX", Discrete), ("RX", Discrete)];
    assert_eq!(label("auto", &machine(&laptop)), "RTX");
    assert_eq!(label("auto", &machine(&laptop[..2])), "Iris");
    assert_eq!(label("auto", &machine(&[LAVAPIPE])), "cpu");
    assert_eq!(label("auto", &machine(&[("virtio", Virtual)])), "cpu");
    assert_eq!(label("auto", &[]), "cpu");
}

#[test]
fn wgpu_takes_a_real_gpu_or_says_that_there_is_none() {
    use AdapterKind::{Discrete, Integrated, Virtual};
    let all = [LAVAPIPE, ("virtio", Virtual), ("Iris", Integrated), ("RTX", Discrete)];
    assert_eq!(label("wgpu", &machine(&all)), "RTX");
    assert_eq!(label("wgpu", &machine(&all[..3])), "Iris");
    assert_eq!(label("wgpu", &machine(&all[..2])), "virtio");
    let refused = choose_from("wgpu", &machine(&all[..1])).unwrap_err();
    assert!(matches!(refused, DeviceError::NoGpu) && refused.to_string().contains("choose cpu"));
}

#[test]
fn products_in_f16_need_an_adapter_that_has_it() {
    let mut adapters = machine(&[("RTX", AdapterKind::Discrete)]);
    for (has, spec) in [(true, "wgpu"), (false, "wgpu"), (true, "cpu")] {
        adapters[0].f16 = has;
        let choice = choose_from(spec, &adapters).unwrap();
        assert_eq!(choice.arithmetic(ComputePrecision::F32).unwrap(), Arithmetic::F32);
        match choice.arithmetic(ComputePrecision::F16) {
            Ok(arithmetic) => assert_eq!((arithmetic, has, spec), (Arithmetic::F16, true, "wgpu")),
            Err(refused) => {
                assert!(!has || spec == "cpu");
                assert!(refused.to_string().contains("--compute-precision f32"), "{refused}");
            }
        }
    }
}

#[test]
fn a_software_adapter_is_taken_only_by_name_or_index() {
    use AdapterKind::Discrete;
    let adapters = machine(&[("RTX 3060", Discrete), LAVAPIPE, ("RTX 4090", Discrete)]);
    assert_eq!(label("wgpu:llvmpipe", &adapters), LAVAPIPE.0);
    assert_eq!(label("wgpu:LLVMpipe ", &adapters), LAVAPIPE.0);
    assert_eq!(label("wgpu:1", &adapters), LAVAPIPE.0);
    assert_eq!(label("wgpu:2", &adapters), "RTX 4090");
    assert_eq!(label("wgpu:4090", &adapters), "RTX 4090", "no such index, so a part of the name");
    assert_eq!(label("wgpu:rtx", &adapters), "RTX 3060");
    assert_eq!(label("cpu", &adapters), "cpu");
}

#[test]
fn what_is_no_device_is_refused_with_the_list() {
    let adapters = machine(&[("RTX", AdapterKind::Discrete), LAVAPIPE]);
    let missing = choose_from("wgpu:radeon", &adapters).unwrap_err().to_string();
    assert!(missing.contains("0 (RTX)") && missing.contains("1 (llvmpipe"), "{missing}");
    let none = choose_from("wgpu:7", &[]).unwrap_err().to_string();
    assert!(none.contains("There are none"), "{none}");
    for spec in ["", "gpu", "wgpu:", "wgpu: ", "cuda"] {
        let refused = choose_from(spec, &adapters).unwrap_err();
        assert!(matches!(refused, DeviceError::BadSpec { .. }), "{spec}: {refused}");
    }
}

#[test]
fn the_list_is_in_order_and_serialises() {
    let adapters = list();
    if adapters.is_empty() {
        eprintln!("SKIPPED: no Vulkan, Metal or DX12 adapter on this machine");
    }
    for (i, adapter) in adapters.iter().enumerate() {
        eprintln!("{adapter:?}");
        assert_eq!(adapter.index, i);
        assert!(!adapter.name.is_empty() && adapter.max_binding_bytes >= 128 << 20);
        assert!(adapter.max_buffer_bytes >= adapter.max_binding_bytes);
        let json = serde_json::to_value(adapter).unwrap();
        assert_eq!(json["index"], json!(i));
        assert!(
            ["discrete", "integrated", "virtual", "cpu", "other"]
                .map(Value::from)
                .contains(&json["kind"])
        );
        assert!(["vulkan", "metal", "dx12"].map(Value::from).contains(&json["api"]));
    }
    assert_eq!(adapters, list(), "the same list twice");
}

/// An elementwise kernel: it runs at once, where a reduction would first be tuned for seconds.
fn works(device: &burn::tensor::Device) {
    let values = (Tensor::<1>::from_floats([1.0, 2.5, -0.5], device) * 2.0 + 1.0).into_data();
    assert_eq!(values.try_to_vec::<f32>().unwrap(), [3.0, 6.0, 0.0]);
}

#[test]
fn the_cpu_opens() {
    let choice = choose("cpu").unwrap();
    assert_eq!(choice.kind, ChoiceKind::Cpu);
    assert!(choice.label.starts_with("CPU, "));
    works(&choice.open().unwrap());
}

#[test]
fn every_listed_adapter_opens_as_itself() {
    let mut opened = 0;
    let mut software = 0;
    for adapter in list() {
        let first_of_software = adapter.kind != AdapterKind::Cpu || software == 0;
        software += usize::from(adapter.kind == AdapterKind::Cpu);
        if adapter.kind == AdapterKind::Other || !first_of_software {
            continue;
        }
        let choice = choose(&format!("wgpu:{}", adapter.index)).unwrap();
        assert_eq!(choice.adapter.as_ref(), Some(&adapter));
        // `open` compares the adapter that wgpu handed out with the one that was listed.
        works(&choice.open().unwrap());
        works(&choice.open().expect("a second time in the same process"));
        opened += 1;
    }
    if opened == 0 {
        eprintln!("SKIPPED: no adapter to open on this machine");
    }
}
