// Turns a block of logits into d logp / d logits = onehot(target) - softmax, times the derivative of the cap, in place; one workgroup a row.
// info: rows, vocabulary, bits of the cap on logits (0: none)
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> forward: array<f32>;
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const WG = 64u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = wid.x + wid.y * nwg.x;
    if row >= info[0] { return; }
    let vocabulary = info[1];
    let base = row * vocabulary;
    let cap = bitcast<f32>(info[2]);
    let lse = forward[row * 2u + 1u];
    let wanted = u32(targets[row]);
    for (var v = tid; v < vocabulary; v += WG) {
        let capped = softcap(logits[base + v], cap);
        logits[base + v] = (select(0.0, 1.0, v == wanted) - exp(capped.x - lse)) * capped.y;
    }
}
