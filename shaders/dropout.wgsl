// Inverted dropout; the mask is a hash of position and seed (kernels::hash), so the backward pass draws the same.
// info: elements, seed, bits of the probability
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<storage, read_write> info: array<u32>;

const WG = 64u;

fn hash(position: u32, seed: u32) -> u32 {
    let state = (position ^ (seed * 0x9E3779B9u)) * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let i = (wid.x + wid.y * nwg.x) * WG + tid;
    if i >= info[0] { return; }
    let probability = bitcast<f32>(info[2]);
    let uniform_value = f32(hash(i, info[1]) >> 8u) / 16777216.0;
    output[i] = select(x[i] / (1.0 - probability), 0.0, uniform_value < probability);
}
