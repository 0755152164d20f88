// Causal attention over packed rows, for many queries: a workgroup takes a tile of queries of one head, and keys in tiles
// with a running softmax (FlashAttention, arXiv 2205.14135). Key and value rows are read once a tile of queries.
// spans[n]: prefix start, prefix end, own start, query end, position (model::layout).
// info: tokens, heads, kv_heads, head_dim (<= WIDEST), window (0: none), bits of scale, bits of the cap on scores (0: none),
// first workgroup
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> spans: array<i32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> info: array<u32>;

const WG = 64u;
// 16 rows of threads, 4 threads a row; a thread has the queries of its row, 16 apart.
const LANES = 4u;
const QUERIES = 16u * PER_THREAD;
const KEYS_A_LANE = KEYS / LANES;
const CHANNELS_A_LANE = WIDEST / LANES;
// One more than the width, so that the threads of a row meet different banks.
const STRIDE = WIDEST + 1u;
const LOWEST = -3.0e38;

var<workgroup> queries: array<f32, QUERIES * STRIDE>;
// Keys, then values.
var<workgroup> tile: array<f32, KEYS * STRIDE>;
var<workgroup> probs: array<f32, QUERIES * (KEYS + 1u)>;

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
    let blocks = (tokens + QUERIES - 1u) / QUERIES;
    if index >= blocks * heads { return; }
    let start = (index / heads) * QUERIES;
    let head = index % heads;
    let kv_head = head / (heads / kv_heads);
    let row = tid / LANES;
    let lane = tid % LANES;

    for (var i = 0u; i < QUERIES; i++) {
        for (var d = tid; d < dim; d += WG) {
            var value = 0.0;
            if start + i < tokens { value = q[((start + i) * heads + head) * dim + d]; }
            queries[i * STRIDE + d] = value;
        }
    }
    // The keys that any query of the tile may see: two ranges.
    var prefix = vec2<u32>(0xffffffffu, 0u);
    var own = vec2<u32>(0xffffffffu, 0u);
    for (var i = 0u; i < QUERIES && start + i < tokens; i++) {
        let s = sight_of(start + i, tokens, window);
        let shared_keys = s.prefix_end - s.prefix_start;
        prefix = vec2<u32>(min(prefix.x, s.prefix_start + min(s.first, shared_keys)), max(prefix.y, s.prefix_end));
        own = vec2<u32>(min(own.x, s.own_start + max(s.first, shared_keys) - shared_keys), max(own.y, s.own_end));
    }
    var sights: array<Sight, PER_THREAD>;
    var top: array<f32, PER_THREAD>;
    var total: array<f32, PER_THREAD>;
    var acc: array<array<f32, CHANNELS_A_LANE>, PER_THREAD>;
    for (var a = 0u; a < PER_THREAD; a++) {
        sights[a] = sight_of(start + row + 16u * a, tokens, window);
        top[a] = LOWEST;
    }
    workgroupBarrier();

    for (var first = min(prefix.x, own.x); first < max(prefix.y, own.y); first += KEYS) {
        let reaches_prefix = first < prefix.y && first + KEYS > prefix.x;
        let reaches_own = first < own.y && first + KEYS > own.x;
        if !(reaches_prefix || reaches_own) { continue; }
        let count = min(KEYS, max(prefix.y, own.y) - first);
        for (var j = 0u; j < count; j++) {
            for (var d = tid; d < dim; d += WG) { tile[j * STRIDE + d] = k[((first + j) * kv_heads + kv_head) * dim + d]; }
        }
        workgroupBarrier();
        var scores = array<array<f32, KEYS_A_LANE>, PER_THREAD>();
        for (var d = 0u; d < dim; d++) {
            for (var a = 0u; a < PER_THREAD; a++) {
                let value = queries[(row + 16u * a) * STRIDE + d];
                for (var b = 0u; b < KEYS_A_LANE; b++) { scores[a][b] += value * tile[(lane + LANES * b) * STRIDE + d]; }
            }
        }
        for (var a = 0u; a < PER_THREAD; a++) {
            for (var b = 0u; b < KEYS_A_LANE; b++) {
                let j = lane + LANES * b;
                let visible = j < count && sees(sights[a], first + j);
                probs[(row + 16u * a) * (KEYS + 1u) + j] = select(LOWEST, softcap(scores[a][b] * scale, cap).x, visible);
            }
        }
        workgroupBarrier();
        var highest = array<f32, PER_THREAD>();
        for (var a = 0u; a < PER_THREAD; a++) {
            highest[a] = top[a];
            for (var j = 0u; j < KEYS; j++) { highest[a] = max(highest[a], probs[(row + 16u * a) * (KEYS + 1u) + j]); }
        }
        // Every thread has read the scores and the keys: both make room.
        workgroupBarrier();
        for (var a = 0u; a < PER_THREAD; a++) {
            for (var b = 0u; b < KEYS_A_LANE; b++) {
                let place = (row + 16u * a) * (KEYS + 1u) + lane + LANES * b;
                let score = probs[place];
                probs[place] = select(exp(score - highest[a]), 0.0, score <= LOWEST);
            }
        }
        for (var j = 0u; j < count; j++) {
            for (var d = tid; d < dim; d += WG) { tile[j * STRIDE + d] = v[((first + j) * kv_heads + kv_head) * dim + d]; }
        }
        workgroupBarrier();
        for (var a = 0u; a < PER_THREAD; a++) {
            let correction = exp(top[a] - highest[a]);
            top[a] = highest[a];
            total[a] *= correction;
            for (var i = 0u; i < CHANNELS_A_LANE; i++) { acc[a][i] *= correction; }
        }
        for (var j = 0u; j < count; j++) {
            var p = array<f32, PER_THREAD>();
            for (var a = 0u; a < PER_THREAD; a++) {
                p[a] = probs[(row + 16u * a) * (KEYS + 1u) + j];
                total[a] += p[a];
            }
            for (var i = 0u; i < CHANNELS_A_LANE; i++) {
                // Beyond `dim` lies nothing that is written.
                let value = tile[j * STRIDE + lane + LANES * i];
                for (var a = 0u; a < PER_THREAD; a++) { acc[a][i] += p[a] * value; }
            }
        }
        workgroupBarrier();
    }
    for (var a = 0u; a < PER_THREAD; a++) {
        let token = start + row + 16u * a;
        if token >= tokens { continue; }
        for (var i = 0u; i < CHANNELS_A_LANE; i++) {
            let d = lane + LANES * i;
            if d < dim { output[(token * heads + head) * dim + d] = acc[a][i] / total[a]; }
        }
        if lane == 0u { lse[token * heads + head] = top[a] + log(total[a]); }
    }
}
