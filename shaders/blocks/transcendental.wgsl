// Exponentials, logarithms, circular and hyperbolic functions in the device's own floats. Twin of
// src/blocks/transcendental.rs.

fn native_exp(a: u32) -> u32 {
    return bitcast<u32>(exp(bitcast<f32>(a)));
}

fn native_log(a: u32) -> u32 {
    return bitcast<u32>(log(bitcast<f32>(a)));
}

// x reduced to [-pi, pi]: WGSL bounds the error of sin and cos only there. 2 pi is subtracted in three parts. The
// first two have so few bits that their products with up to 2^11 whole turns are exact. Rounding the turns may leave
// something beyond pi, which is cut off.
fn native_turn(x: f32) -> f32 {
    let turns = round(x * 0.15915494);
    let rest = ((x - turns * 6.28125) - turns * 0.0019350051879882812) - turns * 3.0199159819e-7;
    return clamp(rest, -3.1415925, 3.1415925);
}

fn native_sin(a: u32) -> u32 {
    return bitcast<u32>(clamp(sin(native_turn(bitcast<f32>(a))), -1.0, 1.0));
}

fn native_cos(a: u32) -> u32 {
    return bitcast<u32>(clamp(cos(native_turn(bitcast<f32>(a))), -1.0, 1.0));
}

// A device may compute tanh from exponentials that overflow. From 10 on, tanh is 1, so the argument is clamped.
fn native_tanh(a: u32) -> u32 {
    return bitcast<u32>(tanh(clamp(bitcast<f32>(a), -10.0, 10.0)));
}

// WGSL derives pow from the logarithm of a, times b. Zero has no logarithm, so the powers of zero are given here.
fn native_pow(a: u32, b: u32) -> u32 {
    let power = bitcast<u32>(pow(bitcast<f32>(a), bitcast<f32>(b)));
    let of_zero = select(0u, F32_INF, b > F32_SIGN);
    let finite_log = select(power, of_zero, (a & F32_MAGNITUDE) == 0u);
    return select(finite_log, F32_ONE, (b & F32_MAGNITUDE) == 0u);
}
