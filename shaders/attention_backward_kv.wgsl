// Gradients of attention by k and v. A workgroup takes a tile of keys of one kv head, and all queries that see them in tiles.
// No atomics: the sum runs in a fixed order, so two runs give the same bits.
// info: tokens, heads, kv_heads, head_dim (<= WIDEST), window (0: none), bits of scale, bits of the cap on scores (0: none),
// first workgroup
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
const LANES = WG / OWN;
const CHANNELS_A_LANE = WIDEST / LANES;
// One more than the width, so that the threads of a row meet different banks.
const STRIDE = WIDEST + 1u;

var<workgroup> keys: array<f32, OWN * STRIDE>;
var<workgroup> values: array<f32, OWN * STRIDE>;
var<workgroup> queries: array<f32, OTHER * STRIDE>;
var<workgroup> gradients: array<f32, OTHER * STRIDE>;
var<workgroup> probs: array<f32, OWN * (OTHER + 1u)>;
var<workgroup> dscores: array<f32, OWN * (OTHER + 1u)>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let tokens = info[0];
    let heads = info[1];
    let kv_heads = info[2];
    let dim = info[3];
    let window = i32(info[4]);
    let scale = bitcast<f32>(info[5]);
    let cap = bitcast<f32>(info[6]);
    let index = info[7] + wid.x + wid.y * nwg.x;
    let blocks = (tokens + OWN - 1u) / OWN;
    if index >= blocks * kv_heads { return; }
    let start = (index / kv_heads) * OWN;
    let kv_head = index % kv_heads;
    let group = heads / kv_heads;
    let row = tid / LANES;
    let lane = tid % LANES;
    let token = start + row;

    // Queries that see the own key, and those that see any key of the tile, end here.
    var own_end = 0u;
    var position = 0;
    if token < tokens {
        own_end = u32(spans[token * 5u + 3u]);
        position = spans[token * 5u + 4u];
    }
    var end = 0u;
    for (var i = 0u; i < OWN; i++) {
        if start + i < tokens { end = max(end, u32(spans[(start + i) * 5u + 3u])); }
        for (var d = tid; d < dim; d += WG) {
            var key = 0.0;
            var value = 0.0;
            if start + i < tokens {
                let at = ((start + i) * kv_heads + kv_head) * dim + d;
                key = k[at];
                value = v[at];
            }
            keys[i * STRIDE + d] = key;
            values[i * STRIDE + d] = value;
        }
    }
    var key_acc: array<f32, CHANNELS_A_LANE>;
    var value_acc: array<f32, CHANNELS_A_LANE>;
    for (var g = 0u; g < group; g++) {
        let head = kv_head * group + g;
        for (var first = start; first < end; first += OTHER) {
            let count = min(OTHER, end - first);
            workgroupBarrier();
            for (var j = 0u; j < count; j++) {
                for (var d = tid; d < dim; d += WG) {
                    let at = ((first + j) * heads + head) * dim + d;
                    queries[j * STRIDE + d] = q[at];
                    gradients[j * STRIDE + d] = dout[at];
                }
            }
            workgroupBarrier();
            for (var j = lane; j < count; j += LANES) {
                let query = first + j;
                var s = 0.0;
                var dp = 0.0;
                for (var d = 0u; d < dim; d++) {
                    s += queries[j * STRIDE + d] * keys[row * STRIDE + d];
                    dp += gradients[j * STRIDE + d] * values[row * STRIDE + d];
                }
                let capped = softcap(s * scale, cap);
                let near = window == 0 || spans[query * 5u + 4u] - position < window;
                let visible = query >= token && query < own_end && near;
                let p = select(0.0, exp(capped.x - lse[query * heads + head]), visible);
                probs[row * (OTHER + 1u) + j] = p;
                dscores[row * (OTHER + 1u) + j] = p * (dp - delta[query * heads + head]) * capped.y * scale;
            }
            workgroupBarrier();
            for (var j = 0u; j < count; j++) {
                let p = probs[row * (OTHER + 1u) + j];
                let dscore = dscores[row * (OTHER + 1u) + j];
                // Beyond `dim` lies nothing that is written.
                for (var i = 0u; i < CHANNELS_A_LANE; i++) {
                    let at = j * STRIDE + lane + LANES * i;
                    key_acc[i] += dscore * queries[at];
                    value_acc[i] += p * gradients[at];
                }
            }
        }
    }
    if token >= tokens { return; }
    for (var i = 0u; i < CHANNELS_A_LANE; i++) {
        let d = lane + LANES * i;
        if d < dim {
            dk[(token * kv_heads + kv_head) * dim + d] = key_acc[i];
            dv[(token * kv_heads + kv_head) * dim + d] = value_acc[i];
        }
    }
}
