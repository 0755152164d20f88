// Gradient of attention by q, and delta = sum(dout * out) for the key side; one workgroup a (query, head).
// info: tokens, heads, kv_heads, head_dim (<= 256), window (0: none), bits of scale, bits of the cap on scores (0: none)
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> attended: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> dout: array<f32>;
@group(0) @binding(6) var<storage, read_write> spans: array<i32>;
@group(0) @binding(7) var<storage, read_write> dq: array<f32>;
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;
@group(0) @binding(9) var<storage, read_write> info: array<u32>;

const WG = 64u;
const KEYS = 256u;
var<workgroup> query: array<f32, 256>;
var<workgroup> gradient: array<f32, 256>;
var<workgroup> dscores: array<f32, KEYS>;
var<workgroup> part: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let index = wid.x + wid.y * nwg.x;
    let heads = info[1];
    let kv_heads = info[2];
    let dim = info[3];
    if index >= info[0] * heads { return; }
    let token = index / heads;
    let head = index % heads;
    let kv_head = head / (heads / kv_heads);
    let scale = bitcast<f32>(info[5]);
    let cap = bitcast<f32>(info[6]);
    let prefix_start = u32(spans[token * 5u]);
    let shared_keys = u32(spans[token * 5u + 1u]) - prefix_start;
    let own_start = u32(spans[token * 5u + 2u]);
    // Prefix and own keys are consecutive positions.
    let end = u32(spans[token * 5u + 4u]) + 1u;
    var first = 0u;
    if info[4] > 0u && end > info[4] { first = end - info[4]; }
    let row = (token * heads + head) * dim;

    var product = 0.0;
    for (var d = tid; d < dim; d += WG) {
        query[d] = q[row + d];
        gradient[d] = dout[row + d];
        product += dout[row + d] * attended[row + d];
    }
    part[tid] = product;
    workgroupBarrier();
    for (var h = WG / 2u; h > 0u; h = h / 2u) {
        if tid < h { part[tid] += part[tid + h]; }
        workgroupBarrier();
    }
    let total = part[0];
    let log_sum = lse[token * heads + head];

    var acc = array<f32, 4>(0.0, 0.0, 0.0, 0.0);
    for (var start = first; start < end; start += KEYS) {
        let count = min(KEYS, end - start);
        for (var j = tid; j < count; j += WG) {
            let c = start + j;
            let key = select(own_start + c - shared_keys, prefix_start + c, c < shared_keys);
            let base = (key * kv_heads + kv_head) * dim;
            var s = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < dim; d++) {
                s += query[d] * k[base + d];
                dp += gradient[d] * v[base + d];
            }
            let capped = softcap(s * scale, cap);
            dscores[j] = exp(capped.x - log_sum) * (dp - total) * capped.y * scale;
        }
        workgroupBarrier();
        for (var slot = 0u; slot < 4u; slot++) {
            let d = tid + slot * WG;
            if d < dim {
                var sum = acc[slot];
                for (var j = 0u; j < count; j++) {
                    let c = start + j;
                    let key = select(own_start + c - shared_keys, prefix_start + c, c < shared_keys);
                    sum += dscores[j] * k[(key * kv_heads + kv_head) * dim + d];
                }
                acc[slot] = sum;
            }
        }
        workgroupBarrier();
    }
    for (var slot = 0u; slot < 4u; slot++) {
        let d = tid + slot * WG;
        if d < dim { dq[row + d] = acc[slot]; }
    }
    if tid == 0u { delta[token * heads + head] = total; }
}
