// Decoding of weights in 16, 8 or 4 bits; prepended to every shader that reads them (see src/quant for the layout).
// FORMAT 0: int8, blocks of 32. 1: int4, blocks of 32. 2: NF4, blocks of 64. 3: bfloat16, 4: f16, the row one block.

const NF4 = array<f32, 16>(
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
);

fn block_size(format: u32) -> u32 {
    if (format > 2u) {
        return 1u << 30u;
    }
    return select(32u, 64u, format == 2u);
}

fn codes_per_word(format: u32) -> u32 {
    if (format > 2u) {
        return 2u;
    }
    return select(8u, 4u, format == 0u);
}

// Code `index` of a word, before the scale.
fn decode(word: u32, index: u32, format: u32) -> f32 {
    if (format == 0u) {
        return f32(extractBits(bitcast<i32>(word), 8u * index, 8u));
    }
    if (format == 3u) {
        return bitcast<f32>(extractBits(word, 16u * index, 16u) << 16u);
    }
    if (format == 4u) {
        let both = unpack2x16float(word);
        return select(both.x, both.y, index == 1u);
    }
    let code = extractBits(word, 4u * index, 4u);
    if (format == 1u) {
        return f32(code) - 8.0;
    }
    var values = NF4;
    return values[code];
}

// Scale `index` of a row, given the word that holds it.
fn decode_scale(word: u32, index: u32) -> f32 {
    let both = unpack2x16float(word);
    return select(both.x, both.y, (index & 1u) == 1u);
}
