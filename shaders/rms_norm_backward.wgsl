// dx = r w dy - x r^3 mean(w dy x), with r = 1 / sqrt(mean(x^2) + eps); one workgroup a row.
// info: rows, width, bits of eps
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
@group(0) @binding(4) var<storage, read_write> info: array<u32>;

const WG = 64u;
var<workgroup> squares: array<f32, WG>;
var<workgroup> products: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = wid.x + wid.y * nwg.x;
    if row >= info[0] { return; }
    let width = info[1];
    let base = row * width;
    var square = 0.0;
    var product = 0.0;
    for (var d = tid; d < width; d += WG) {
        let v = x[base + d];
        square += v * v;
        product += weight[d] * dy[base + d] * v;
    }
    squares[tid] = square;
    products[tid] = product;
    workgroupBarrier();
    for (var k = WG / 2u; k > 0u; k = k / 2u) {
        if tid < k {
            squares[tid] += squares[tid + k];
            products[tid] += products[tid + k];
        }
        workgroupBarrier();
    }
    let r = 1.0 / sqrt(squares[0] / f32(width) + bitcast<f32>(info[2]));
    let shared_term = r * r * r * products[0] / f32(width);
    for (var d = tid; d < width; d += WG) {
        output[base + d] = weight[d] * dy[base + d] * r - x[base + d] * shared_term;
    }
}
