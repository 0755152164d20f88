// The gate of a gated activation: gate * s with s = sigmoid(u). u is the gate itself (SiLU), or
// 2 sqrt(2 / pi) (gate + 0.044715 gate^3), which makes it the tanh form of GELU.

const GELU_SCALE = 1.5957691216057308;
const GELU_CUBE = 0.044715;

// (s, du / dgate)
fn gate_sigmoid(gate: f32, gelu: bool) -> vec2<f32> {
    var u = gate;
    var slope = 1.0;
    if gelu {
        let square = gate * gate;
        // Clamped: the cube must not overflow the exponential.
        u = clamp(GELU_SCALE * gate * (1.0 + GELU_CUBE * square), -80.0, 80.0);
        slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * square);
    }
    return vec2<f32>(1.0 / (1.0 + exp(-u)), slope);
}
