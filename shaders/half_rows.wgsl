// output[n] = x[n] / factors[n] in f16, where the factor is the power of two at or below the row's largest magnitude: the
// division is exact, and neither large activations nor small gradients leave f16's range. One workgroup a row.
// info: rows, width
enable f16;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f16>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const WG = 64u;
var<workgroup> part: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = wid.x + wid.y * nwg.x;
    if row >= info[0] { return; }
    let width = info[1];
    let base = row * width;
    var largest = 0.0;
    for (var d = tid; d < width; d += WG) { largest = max(largest, abs(x[base + d])); }
    part[tid] = largest;
    workgroupBarrier();
    for (var k = WG / 2u; k > 0u; k = k / 2u) {
        if tid < k { part[tid] = max(part[tid], part[tid + k]); }
        workgroupBarrier();
    }
    // The exponent alone, away from the ends where the factor or its inverse would be subnormal or infinite.
    let exponent = clamp(bitcast<u32>(part[0]) >> 23u, 27u, 227u);
    let inverse = bitcast<f32>((254u - exponent) << 23u);
    for (var d = tid; d < width; d += WG) { output[base + d] = f16(x[base + d] * inverse); }
    if tid == 0u { factors[row] = bitcast<f32>(exponent << 23u); }
}
