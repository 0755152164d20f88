//! `dpop-studio devices`: what can train here, and what would.

use serde_json::{Value, json};

use super::args::JsonArgs;
use super::output::{CliError, Out};
use crate::worker::device::{self, AdapterInfo, AdapterKind, Choice};

pub fn run(args: &JsonArgs) -> Result<(), CliError> {
    let adapters = device::list();
    let taken = device::choose_from("auto", &adapters).map_err(CliError::failure)?;
    let cpu = Choice::cpu();
    let mut out = Out::new();
    if args.json {
        let mut list = Vec::new();
        for adapter in &adapters {
            let mut value = serde_json::to_value(adapter).map_err(CliError::failure)?;
            add(&mut value, &format!("wgpu:{}", adapter.index), is_taken(&taken, Some(adapter)));
            list.push(value);
        }
        let mut value = json!({"name": cpu.label, "kind": "native", "api": "flex"});
        add(&mut value, "cpu", is_taken(&taken, None));
        list.push(value);
        out.json(&list)?;
        return out.finish();
    }
    for adapter in &adapters {
        let spec = format!("wgpu:{}", adapter.index);
        out.line(&format!("{} {spec:<7} {}", mark(is_taken(&taken, Some(adapter))), adapter.name))?;
        out.line(&format!(
            "          {}, {}, driver {}",
            kind(adapter.kind),
            adapter.api,
            adapter.driver
        ))?;
        out.line(&format!("          {}", limits(adapter)))?;
    }
    out.line(&format!("{} {:<7} {}", mark(is_taken(&taken, None)), "cpu", cpu.label))?;
    out.line("")?;
    out.line("* is taken by --device auto. A software adapter is used only when it is named.")?;
    out.finish()
}

fn is_taken(taken: &Choice, adapter: Option<&AdapterInfo>) -> bool {
    taken.adapter.as_ref() == adapter
}

fn mark(taken: bool) -> char {
    if taken { '*' } else { ' ' }
}

fn add(value: &mut Value, spec: &str, taken: bool) {
    if let Some(object) = value.as_object_mut() {
        object.insert("option".into(), json!(spec));
        object.insert("taken".into(), json!(taken));
    }
}

fn kind(kind: AdapterKind) -> &'static str {
    match kind {
        AdapterKind::Discrete => "discrete GPU",
        AdapterKind::Integrated => "integrated GPU",
        AdapterKind::Virtual => "virtual GPU",
        AdapterKind::Cpu => "software",
        AdapterKind::Other => "of unknown kind",
    }
}

fn limits(adapter: &AdapterInfo) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let yes = |flag| if flag { "yes" } else { "no" };
    format!(
        "memory {}, buffer {} MiB, binding {} MiB, workgroup {} invocations and {} KiB, f16 {}, subgroups {}",
        adapter.memory_bytes.map_or("unknown".to_owned(), |bytes| format!("{} MiB", mib(bytes))),
        mib(adapter.max_buffer_bytes),
        mib(adapter.max_binding_bytes),
        adapter.max_workgroup_invocations,
        adapter.max_workgroup_memory_bytes >> 10,
        yes(adapter.f16),
        yes(adapter.subgroups)
    )
}
