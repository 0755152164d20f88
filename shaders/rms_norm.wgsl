// out[n, d] = x[n, d] / sqrt(mean(x[n]^2) + eps) * weight[d]; one workgroup a row.
// info: rows, width, bits of eps
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const WG = 64u;
var<workgroup> part: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = wid.x + wid.y * nwg.x;
    if row >= info[0] { return; }
    let width = info[1];
    let base = row * width;
    var sum = 0.0;
    for (var d = tid; d < width; d += WG) { sum += x[base + d] * x[base + d]; }
    part[tid] = sum;
    workgroupBarrier();
    for (var k = WG / 2u; k > 0u; k = k / 2u) {
        if tid < k { part[tid] += part[tid + k]; }
        workgroupBarrier();
    }
    let r = 1.0 / sqrt(part[0] / f32(width) + bitcast<f32>(info[2]));
    for (var d = tid; d < width; d += WG) { output[base + d] = x[base + d] * r * weight[d]; }
}
