// One block of logit rows: out[row] = (logits[row, target] - lse, lse); one workgroup a row.
// info: rows, vocabulary, bits of the cap on logits (0: none)
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const WG = 64u;
var<workgroup> tops: array<f32, WG>;
var<workgroup> sums: array<f32, WG>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = wid.x + wid.y * nwg.x;
    if row >= info[0] { return; }
    let vocabulary = info[1];
    let base = row * vocabulary;
    let cap = bitcast<f32>(info[2]);
    var top = -3.0e38;
    var sum = 0.0;
    for (var v = tid; v < vocabulary; v += WG) {
        let logit = softcap(logits[base + v], cap).x;
        if logit > top {
            sum = sum * exp(top - logit) + 1.0;
            top = logit;
        } else {
            sum += exp(logit - top);
        }
    }
    tops[tid] = top;
    sums[tid] = sum;
    workgroupBarrier();
    for (var k = WG / 2u; k > 0u; k = k / 2u) {
        if tid < k {
            let both = max(tops[tid], tops[tid + k]);
            sums[tid] = sums[tid] * exp(tops[tid] - both) + sums[tid + k] * exp(tops[tid + k] - both);
            tops[tid] = both;
        }
        workgroupBarrier();
    }
    if tid == 0u {
        let lse = tops[0] + log(sums[0]);
        let target_logit = softcap(logits[base + u32(targets[row])], cap).x;
        // Differences first: lse may be large against the log-probability.
        output[row * 2u] = (target_logit - tops[0]) - log(sums[0]);
        output[row * 2u + 1u] = lse;
    }
}
