// Gradient of attention by q, and delta = sum(dout * out) for the key side. A workgroup takes a tile of queries of one head,
// and keys in tiles; probabilities come back from the log-sum-exp (FlashAttention, arXiv 2205.14135).
// info: tokens, heads, kv_heads, head_dim (<= WIDEST), window (0: none), bits of scale, bits of the cap on scores (0: none),
// first workgroup
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
const LANES = WG / OWN;
const CHANNELS_A_LANE = WIDEST / LANES;
// One more than the width, so that the threads of a row meet different banks.
const STRIDE = WIDEST + 1u;

var<workgroup> queries: array<f32, OWN * STRIDE>;
var<workgroup> gradients: array<f32, OWN * STRIDE>;
var<workgroup> keys: array<f32, OTHER * STRIDE>;
var<workgroup> values: array<f32, OTHER * STRIDE>;
var<workgroup> dscores: array<f32, OWN * (OTHER + 1u)>;
var<workgroup> part: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let tokens = info[0];
    let heads = info[1];
    let kv_heads = info[2];
    let dim = info[3];
    let window = info[4];
    let scale = bitcast<f32>(info[5]);
    let cap = bitcast<f32>(info[6]);
    let index = info[7] + wid.x + wid.y * nwg.x;
    let blocks = (tokens + OWN - 1u) / OWN;
    if index >= blocks * heads { return; }
    let start = (index / heads) * OWN;
    let head = index % heads;
    let kv_head = head / (heads / kv_heads);
    let row = tid / LANES;
    let lane = tid % LANES;
    let token = start + row;

    for (var i = 0u; i < OWN; i++) {
        for (var d = tid; d < dim; d += WG) {
            var value = 0.0;
            var gradient = 0.0;
            if start + i < tokens {
                let at = ((start + i) * heads + head) * dim + d;
                value = q[at];
                gradient = dout[at];
            }
            queries[i * STRIDE + d] = value;
            gradients[i * STRIDE + d] = gradient;
        }
    }
    // The keys that any query of the tile may see: two ranges.
    var prefix = vec2<u32>(0xffffffffu, 0u);
    var own = vec2<u32>(0xffffffffu, 0u);
    for (var i = 0u; i < OWN && start + i < tokens; i++) {
        let s = sight_of(start + i, tokens, window);
        let shared_keys = s.prefix_end - s.prefix_start;
        prefix = vec2<u32>(min(prefix.x, s.prefix_start + min(s.first, shared_keys)), max(prefix.y, s.prefix_end));
        own = vec2<u32>(min(own.x, s.own_start + max(s.first, shared_keys) - shared_keys), max(own.y, s.own_end));
    }
    let sight = sight_of(token, tokens, window);
    workgroupBarrier();
    var product = 0.0;
    var log_sum = 0.0;
    if token < tokens {
        log_sum = lse[token * heads + head];
        for (var d = lane; d < dim; d += LANES) {
            product += gradients[row * STRIDE + d] * attended[(token * heads + head) * dim + d];
        }
    }
    part[tid] = product;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) { sum += part[row * LANES + i]; }

    var acc: array<f32, CHANNELS_A_LANE>;
    for (var first = min(prefix.x, own.x); first < max(prefix.y, own.y); first += OTHER) {
        let reaches_prefix = first < prefix.y && first + OTHER > prefix.x;
        let reaches_own = first < own.y && first + OTHER > own.x;
        if !(reaches_prefix || reaches_own) { continue; }
        let count = min(OTHER, max(prefix.y, own.y) - first);
        for (var j = 0u; j < count; j++) {
            for (var d = tid; d < dim; d += WG) {
                let at = ((first + j) * kv_heads + kv_head) * dim + d;
                keys[j * STRIDE + d] = k[at];
                values[j * STRIDE + d] = v[at];
            }
        }
        workgroupBarrier();
        for (var j = lane; j < count; j += LANES) {
            var s = 0.0;
            var dp = 0.0;
            for (var d = 0u; d < dim; d++) {
                s += queries[row * STRIDE + d] * keys[j * STRIDE + d];
                dp += gradients[row * STRIDE + d] * values[j * STRIDE + d];
            }
            let capped = softcap(s * scale, cap);
            let dscore = exp(capped.x - log_sum) * (dp - sum) * capped.y * scale;
            dscores[row * (OTHER + 1u) + j] = select(0.0, dscore, sees(sight, first + j));
        }
        workgroupBarrier();
        for (var j = 0u; j < count; j++) {
            let dscore = dscores[row * (OTHER + 1u) + j];
            // Beyond `dim` lies nothing that is written.
            for (var i = 0u; i < CHANNELS_A_LANE; i++) { acc[i] += dscore * keys[j * STRIDE + lane + LANES * i]; }
        }
        workgroupBarrier();
    }
    if token >= tokens { return; }
    for (var i = 0u; i < CHANNELS_A_LANE; i++) {
        let d = lane + LANES * i;
        if d < dim { dq[(token * heads + head) * dim + d] = acc[i]; }
    }
    if lane == 0u { delta[token * heads + head] = sum; }
}
