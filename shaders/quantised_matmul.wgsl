// y = x W^T with a quantised W: x [N, K] f32, W [M, K] as codes and scales -> y [N, M].
// A workgroup computes a 64 x 64 tile of y, a thread 8 x 8 of it; W is decoded into workgroup memory 16 columns at a time.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> info: array<u32>; // N, M, K, format

const DEPTH = 16u;

var<workgroup> tile_x: array<f32, 1024>; // [DEPTH, 64]
var<workgroup> tile_w: array<f32, 1024>; // [DEPTH, 64]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n = info[0];
    let m = info[1];
    let k = info[2];
    let format = info[3];
    let tiles_m = (m + 63u) / 64u;
    let tiles_n = (n + 63u) / 64u;
    let tile = group.y * groups.x + group.x;
    if (tile >= tiles_n * tiles_m) {
        return;
    }
    let first_n = (tile / tiles_m) * 64u;
    let first_m = (tile % tiles_m) * 64u;
    let per_word = codes_per_word(format);
    let block = block_size(format);
    let code_words = (k + per_word - 1u) / per_word;
    let scale_words = ((k + block - 1u) / block + 1u) / 2u;
    let row_x = first_n + thread;
    let row_w = first_m + thread;
    let part_n = (thread / 8u) * 8u;
    let part_m = (thread % 8u) * 8u;
    var sums: array<f32, 64>;

    for (var first_k = 0u; first_k < k; first_k += DEPTH) {
        // 16 columns never straddle a block of 32 or 64.
        let at = first_k / block;
        var scale = 0.0;
        if (row_w < m) {
            scale = decode_scale(scales[row_w * scale_words + at / 2u], at);
        }
        for (var i = 0u; i < DEPTH; i++) {
            let column = first_k + i;
            var value_x = 0.0;
            var value_w = 0.0;
            if (column < k) {
                if (row_x < n) {
                    value_x = x[row_x * k + column];
                }
                if (row_w < m) {
                    let word = codes[row_w * code_words + column / per_word];
                    value_w = decode(word, column % per_word, format) * scale;
                }
            }
            tile_x[i * 64u + thread] = value_x;
            tile_w[i * 64u + thread] = value_w;
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            for (var a = 0u; a < 8u; a++) {
                let value = tile_x[i * 64u + part_n + a];
                for (var b = 0u; b < 8u; b++) {
                    sums[a * 8u + b] += value * tile_w[i * 64u + part_m + b];
                }
            }
        }
        workgroupBarrier();
    }
    for (var a = 0u; a < 8u; a++) {
        for (var b = 0u; b < 8u; b++) {
            let row = first_n + part_n + a;
            let column = first_m + part_m + b;
            if (row < n && column < m) {
                y[row * m + column] = sums[a * 8u + b];
            }
        }
    }
}
