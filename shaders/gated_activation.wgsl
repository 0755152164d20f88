// out = act(gate) * up; one thread an element.
// info: elements, activation (0 SiLU, 1 GELU in its tanh form)
@group(0) @binding(0) var<storage, read_write> gate: array<f32>;
@group(0) @binding(1) var<storage, read_write> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const WG = 64u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let i = (wid.x + wid.y * nwg.x) * WG + tid;
    if i >= info[0] { return; }
    let g = gate[i];
    output[i] = g * gate_sigmoid(g, info[1] == 1u).x * up[i];
}
