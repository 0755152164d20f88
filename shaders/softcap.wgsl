// Soft-capping: cap tanh(x / cap), with derivative 1 - tanh(x / cap)^2; a cap of 0 leaves x as it is.

// WGSL allows its own tanh an absolute error of 1e-5, which a cap of 50 would multiply.
fn accurate_tanh(x: f32) -> f32 {
    let magnitude = min(abs(x), 15.0);
    let square = x * x;
    let series = x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0 - square * (62.0 / 2835.0)))));
    let ratio = sign(x) * (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0));
    return select(ratio, series, magnitude < 0.25);
}

// (capped, derivative)
fn softcap(x: f32, cap: f32) -> vec2<f32> {
    if cap == 0.0 { return vec2<f32>(x, 1.0); }
    let t = accurate_tanh(x / cap);
    return vec2<f32>(cap * t, 1.0 - t * t);
}
