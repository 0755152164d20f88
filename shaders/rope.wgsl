// Rotary embedding, half-split pairs (j, j + half) of the first 2 half channels of a head, the rest as they are; one
// thread a pair of channels.
// info: tokens, heads, head_dim, half, 1 to rotate back
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
    let dim = info[2];
    let half = info[3];
    let pairs = dim / 2u;
    if index >= info[0] * heads * pairs { return; }
    let j = index % pairs;
    let token = index / (pairs * heads);
    let head = (index / pairs) * dim;
    if j >= half {
        output[head + 2u * j] = x[head + 2u * j];
        output[head + 2u * j + 1u] = x[head + 2u * j + 1u];
        return;
    }
    let at = head + j;
    let c = cosines[token * half + j];
    var s = sines[token * half + j];
    if info[4] == 1u { s = -s; }
    let a = x[at];
    let b = x[at + half];
    output[at] = a * c - b * s;
    output[at + half] = b * c + a * s;
}
