// dx = dy W with a quantised W: dy [N, M] f32, W [M, K] as codes and scales -> dx [N, K].
// A workgroup computes a 64 x 64 tile of dx, a thread 8 x 8 of it; W is decoded into workgroup memory 16 rows at a time.

@group(0) @binding(0) var<storage, read_write> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var<storage, read_write> info: array<u32>; // N, M, K, format

const DEPTH = 16u;

var<workgroup> tile_dy: array<f32, 1024>; // [DEPTH, 64]
var<workgroup> tile_w: array<f32, 1024>; // [DEPTH, 64]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n = info[0];
    let m = info[1];
    let k = info[2];
    let format = info[3];
    let tiles_k = (k + 63u) / 64u;
    let tiles_n = (n + 63u) / 64u;
    let tile = group.y * groups.x + group.x;
    if (tile >= tiles_n * tiles_k) {
        return;
    }
    let first_n = (tile / tiles_k) * 64u;
    let first_k = (tile % tiles_k) * 64u;
    let per_word = codes_per_word(format);
    let block = block_size(format);
    let code_words = (k + per_word - 1u) / per_word;
    let scale_words = ((k + block - 1u) / block + 1u) / 2u;
    let row_dy = first_n + thread;
    // Neighbouring threads decode neighbouring columns of one row.
    let column = first_k + thread;
    let at = column / block;
    let part_n = (thread / 8u) * 8u;
    let part_k = (thread % 8u) * 8u;
    var sums: array<f32, 64>;

    for (var first_m = 0u; first_m < m; first_m += DEPTH) {
        for (var i = 0u; i < DEPTH; i++) {
            let row = first_m + i;
            var value_dy = 0.0;
            var value_w = 0.0;
            if (row < m) {
                if (row_dy < n) {
                    value_dy = dy[row_dy * m + row];
                }
                if (column < k) {
                    let word = codes[row * code_words + column / per_word];
                    let scale = decode_scale(scales[row * scale_words + at / 2u], at);
                    value_w = decode(word, column % per_word, format) * scale;
                }
            }
            tile_dy[i * 64u + thread] = value_dy;
            tile_w[i * 64u + thread] = value_w;
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            for (var a = 0u; a < 8u; a++) {
                let value = tile_dy[i * 64u + part_n + a];
                for (var b = 0u; b < 8u; b++) {
                    sums[a * 8u + b] += value * tile_w[i * 64u + part_k + b];
                }
            }
        }
        workgroupBarrier();
    }
    for (var a = 0u; a < 8u; a++) {
        for (var b = 0u; b < 8u; b++) {
            let row = first_n + part_n + a;
            let place = first_k + part_k + b;
            if (row < n && place < k) {
                dx[row * k + place] = sums[a * 8u + b];
            }
        }
    }
}
