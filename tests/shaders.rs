//! Is every shader valid WGSL? Needs no GPU.

use dpop_studio::kernels::SHADERS;

#[test]
fn every_shader_is_valid() {
    assert!(!SHADERS.is_empty());
    for shader in SHADERS {
        let module = naga::front::wgsl::parse_str(shader.source)
            .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(shader.source)));
        let mut validator = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            // f16 scales are unpacked; every Vulkan, Metal and DX12 adapter can (OpenGL ES may not). The one shader
            // with f16 values runs only where the adapter has them.
            naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32
                | if shader.name == "half_rows" {
                    naga::valid::Capabilities::SHADER_FLOAT16
                } else {
                    naga::valid::Capabilities::empty()
                },
        );
        validator
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(shader.source)));
        let entry = module.entry_points.iter().find(|e| e.name == "main");
        let entry = entry.unwrap_or_else(|| panic!("{}: no entry point main", shader.name));
        assert_eq!(entry.workgroup_size, [64, 1, 1], "{}", shader.name);
    }
}

#[test]
fn every_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut listed: Vec<String> = SHADERS.iter().map(|s| s.name.to_owned()).collect();
    // No shaders of their own: what others share.
    let shared = ["gated", "head_64", "head_128", "head_256", "quantised", "sight", "softcap"];
    listed.extend(shared.map(str::to_owned));
    listed.sort();
    listed.dedup();
    assert_eq!(files, listed);
}

#[test]
fn a_broken_shader_is_caught() {
    assert!(naga::front::wgsl::parse_str("fn main() { let x: f32 = true; }").is_err());
}
