// Rows of a quantised table: W [M, K] as codes and scales, ids [N] -> out [N, K]; an id outside 0..M gives zeros.

@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> info: array<u32>; // N, M, K, format

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n = info[0];
    let m = info[1];
    let k = info[2];
    let format = info[3];
    let place = (group.y * groups.x + group.x) * 64u + thread;
    if (place >= n * k) {
        return;
    }
    let row = ids[place / k];
    let column = place % k;
    if (row < 0 || u32(row) >= m) {
        out[place] = 0.0;
        return;
    }
    let per_word = codes_per_word(format);
    let block = block_size(format);
    let code_words = (k + per_word - 1u) / per_word;
    let scale_words = ((k + block - 1u) / block + 1u) / 2u;
    let word = codes[u32(row) * code_words + column / per_word];
    let at = column / block;
    let scale = decode_scale(scales[u32(row) * scale_words + at / 2u], at);
    out[place] = decode(word, column % per_word, format) * scale;
}
