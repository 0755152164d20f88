// Turns a block of logits into d logp / d logits = onehot(target) - softmax, in place; one thread an element.
// info: rows, vocabulary
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
    let lse = forward[row * 2u + 1u];
    let wanted = u32(targets[row]);
    for (var v = tid; v < vocabulary; v += WG) {
        logits[base + v] = select(0.0, 1.0, v == wanted) - exp(logits[base + v] - lse);
    }
}
