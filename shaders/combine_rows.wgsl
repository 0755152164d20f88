// out[n, d] = sum of weights[r] * rows[r, d] over the rows that map[n] names (-1: none).
// info: tokens, width, rows a token names at most
@group(0) @binding(0) var<storage, read_write> rows: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> row_map: array<i32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
@group(0) @binding(4) var<storage, read_write> info: array<u32>;

const WG = 64u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let index = (wid.x + wid.y * nwg.x) * WG + tid;
    let width = info[1];
    if index >= info[0] * width { return; }
    let token = index / width;
    let d = index % width;
    var sum = 0.0;
    let slots = info[2];
    for (var slot = 0u; slot < slots; slot++) {
        let row = row_map[token * slots + slot];
        if row >= 0 { sum += weights[row] * rows[u32(row) * width + d]; }
    }
    output[index] = sum;
}
