// Causal attention over packed rows, for few queries; one workgroup a (query, head), keys in blocks with a running softmax.
// spans[n]: prefix start, prefix end, own start, query end, position (model::layout).
// info: tokens, heads, kv_heads, head_dim (<= 256), window (0: none), bits of scale, bits of the cap on scores (0: none),
// first workgroup
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> spans: array<i32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> info: array<u32>;

const WG = 64u;
const KEYS = 256u;
var<workgroup> query: array<f32, 256>;
var<workgroup> probs: array<f32, KEYS>;
var<workgroup> part: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let index = info[7] + wid.x + wid.y * nwg.x;
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

    for (var d = tid; d < dim; d += WG) { query[d] = q[(token * heads + head) * dim + d]; }
    workgroupBarrier();

    var acc = array<f32, 4>(0.0, 0.0, 0.0, 0.0);
    var top = -3.0e38;
    var total = 0.0;
    for (var start = first; start < end; start += KEYS) {
        let count = min(KEYS, end - start);
        var local_top = -3.0e38;
        for (var j = tid; j < count; j += WG) {
            let c = start + j;
            let key = select(own_start + c - shared_keys, prefix_start + c, c < shared_keys);
            let base = (key * kv_heads + kv_head) * dim;
            var s = 0.0;
            for (var d = 0u; d < dim; d++) { s += query[d] * k[base + d]; }
            s = softcap(s * scale, cap).x;
            probs[j] = s;
            local_top = max(local_top, s);
        }
        part[tid] = local_top;
        workgroupBarrier();
        for (var h = WG / 2u; h > 0u; h = h / 2u) {
            if tid < h { part[tid] = max(part[tid], part[tid + h]); }
            workgroupBarrier();
        }
        let new_top = max(top, part[0]);
        workgroupBarrier();
        var local_sum = 0.0;
        for (var j = tid; j < count; j += WG) {
            let p = exp(probs[j] - new_top);
            probs[j] = p;
            local_sum += p;
        }
        part[tid] = local_sum;
        workgroupBarrier();
        for (var h = WG / 2u; h > 0u; h = h / 2u) {
            if tid < h { part[tid] += part[tid + h]; }
            workgroupBarrier();
        }
        let correction = exp(top - new_top);
        total = total * correction + part[0];
        top = new_top;
        for (var slot = 0u; slot < 4u; slot++) {
            let d = tid + slot * WG;
            if d < dim {
                var sum = acc[slot] * correction;
                for (var j = 0u; j < count; j++) {
                    let c = start + j;
                    let key = select(own_start + c - shared_keys, prefix_start + c, c < shared_keys);
                    sum += probs[j] * v[(key * kv_heads + kv_head) * dim + d];
                }
                acc[slot] = sum;
            }
        }
        workgroupBarrier();
    }
    for (var slot = 0u; slot < 4u; slot++) {
        let d = tid + slot * WG;
        if d < dim { output[(token * heads + head) * dim + d] = acc[slot] / total; }
    }
    if tid == 0u { lse[token * heads + head] = top + log(total); }
}
