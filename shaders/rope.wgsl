// Rotary embedding, half-split pairs (j, j + half); one thread a pair.
// info: tokens, heads, half of head_dim, 1 to rotate back
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> cosines: array<f32>;
@group(0) @binding(2) var<storage, read_write> sines: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
@group(0) @binding(4) var<storage, read_write> info: array<u32>;

const WG = 64u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let index = (wid.x + wid.y * nwg.x) * WG + tid;
    let heads = info[1];
    let half = info[2];
    if index >= info[0] * heads * half { return; }
    let j = index % half;
    let token = index / (half * heads);
    let at = (index / half) * 2u * half + j;
    let c = cosines[token * half + j];
    var s = sines[token * half + j];
    if info[3] == 1u { s = -s; }
    let a = x[at];
    let b = x[at + half];
    output[at] = a * c - b * s;
    output[at + half] = b * c + a * s;
}
