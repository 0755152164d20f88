// Gradients of attention by k and v; one workgroup a (key, kv head), over all queries that see the key.
// No atomics: the sum runs in a fixed order, so two runs give the same bits.
// info: tokens, heads, kv_heads, head_dim (<= 256), window (0: none), bits of scale, bits of the cap on scores (0: none)
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> dout: array<f32>;
@group(0) @binding(6) var<storage, read_write> spans: array<i32>;
@group(0) @binding(7) var<storage, read_write> dk: array<f32>;
@group(0) @binding(8) var<storage, read_write> dv: array<f32>;
@group(0) @binding(9) var<storage, read_write> info: array<u32>;

const WG = 64u;
const QUERIES = 256u;
var<workgroup> own_key: array<f32, 256>;
var<workgroup> own_value: array<f32, 256>;
var<workgroup> probs: array<f32, QUERIES>;
var<workgroup> dscores: array<f32, QUERIES>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let index = wid.x + wid.y * nwg.x;
    let heads = info[1];
    let kv_heads = info[2];
    let dim = info[3];
    if index >= info[0] * kv_heads { return; }
    let token = index / kv_heads;
    let kv_head = index % kv_heads;
    let group = heads / kv_heads;
    let scale = bitcast<f32>(info[5]);
    let cap = bitcast<f32>(info[6]);
    let position = spans[token * 5u + 4u];
    let query_end = u32(spans[token * 5u + 3u]);
    let row = (token * kv_heads + kv_head) * dim;
    for (var d = tid; d < dim; d += WG) {
        own_key[d] = k[row + d];
        own_value[d] = v[row + d];
    }
    workgroupBarrier();

    var key_acc = array<f32, 4>(0.0, 0.0, 0.0, 0.0);
    var value_acc = array<f32, 4>(0.0, 0.0, 0.0, 0.0);
    for (var g = 0u; g < group; g++) {
        let head = kv_head * group + g;
        for (var start = token; start < query_end; start += QUERIES) {
            let count = min(QUERIES, query_end - start);
            for (var i = tid; i < count; i += WG) {
                let query = start + i;
                let base = (query * heads + head) * dim;
                var s = 0.0;
                var dp = 0.0;
                for (var d = 0u; d < dim; d++) {
                    s += q[base + d] * own_key[d];
                    dp += dout[base + d] * own_value[d];
                }
                let capped = softcap(s * scale, cap);
                var p = exp(capped.x - lse[query * heads + head]);
                if info[4] > 0u && spans[query * 5u + 4u] - position >= i32(info[4]) { p = 0.0; }
                probs[i] = p;
                dscores[i] = p * (dp - delta[query * heads + head]) * capped.y * scale;
            }
            workgroupBarrier();
            for (var slot = 0u; slot < 4u; slot++) {
                let d = tid + slot * WG;
                if d < dim {
                    var key_sum = key_acc[slot];
                    var value_sum = value_acc[slot];
                    for (var i = 0u; i < count; i++) {
                        let at = ((start + i) * heads + head) * dim + d;
                        key_sum += dscores[i] * q[at];
                        value_sum += probs[i] * dout[at];
                    }
                    key_acc[slot] = key_sum;
                    value_acc[slot] = value_sum;
                }
            }
            workgroupBarrier();
        }
    }
    for (var slot = 0u; slot < 4u; slot++) {
        let d = tid + slot * WG;
        if d < dim {
            dk[row + d] = key_acc[slot];
            dv[row + d] = value_acc[slot];
        }
    }
}
