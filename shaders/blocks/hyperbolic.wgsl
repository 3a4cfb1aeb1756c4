// Hyperbolic functions and their inverses in the device's own floats. exponential.wgsl says what they rely on.

// e^x / 2, as bits, for x from 0 to 105.
fn near_half_exp(x: u32) -> u32 {
    let parts = near_exponent(x);
    return scaled_by_power_of_2(bitcast<u32>(1.0 + near_expm1_of_rest(parts.r)), parts.k - 1);
}

fn native_sinh(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > 0x42b40000u) { // 90
        return select((a & F32_SIGN) | F32_INF, F32_NAN, magnitude > F32_INF);
    }
    if (magnitude < 0x39000000u) { // 2^-13
        return a;
    }
    let x = bitcast<f32>(magnitude);
    let z = x * x;
    // Up to 1, off by at most 2^-27.7 of itself.
    let p = ((2.8062803e-6 * z + 0.00019838102) * z + 0.0083333394) * z + 0.16666667;
    let near = bitcast<u32>(x + x * z * p);
    let half = near_half_exp(magnitude);
    let far = bitcast<u32>(bitcast<f32>(half) - 0.25 / bitcast<f32>(half));
    let value = select(select(near, far, magnitude > F32_ONE), half, magnitude > 0x41200000u); // 10
    return value | (a & F32_SIGN);
}

fn native_cosh(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > 0x42b40000u) { // 90
        return select(F32_INF, F32_NAN, magnitude > F32_INF);
    }
    let half = near_half_exp(magnitude);
    let both = bitcast<u32>(bitcast<f32>(half) + 0.25 / bitcast<f32>(half));
    return select(both, half, magnitude > 0x41200000u); // 10
}

fn native_tanh(a: u32) -> u32 {
    // From 9.1 on it is 1, to half an ULP.
    let magnitude = min(a & F32_MAGNITUDE, 0x4111999au);
    let x = bitcast<f32>(magnitude);
    let z = x * x;
    // Up to 0.65, off by at most 2^-25 of itself.
    let p = (((-0.0059237261 * z + 0.020873461) * z - 0.053823758) * z + 0.13332583) * z - 0.33333328;
    let near = x + x * z * p;
    // 1 - 2 / (e^(2 x) + 1).
    let power = near_half_exp(magnitude + (1u << 23u));
    let far = 1.0 - 1.0 / (bitcast<f32>(power) + 0.5);
    let value = bitcast<u32>(select(near, far, x > 0.65)) | (a & F32_SIGN);
    let finite = select(value, a, magnitude < 0x39000000u); // 2^-13
    return select(finite, F32_NAN, (a & F32_MAGNITUDE) > F32_INF);
}

// ln(2 x) for a large finite x.
fn near_log_of_double(x: u32) -> f32 {
    let parts = near_logarithm(x);
    return f32(parts.k + 1) * 0.69314718 + near_log_of_rest(parts.f);
}

fn native_asinh(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude >= F32_INF || magnitude < 0x39000000u) { // 2^-13
        return select(a, F32_NAN, magnitude > F32_INF);
    }
    let sign = a & F32_SIGN;
    if (magnitude > 0x45800000u) { // 4096: the square of it is too large to matter, or to be computed.
        return sign | bitcast<u32>(near_log_of_double(magnitude));
    }
    let x = bitcast<f32>(magnitude);
    let square = x * x;
    return sign | bitcast<u32>(near_log1p(x + square / (1.0 + sqrt(1.0 + square))));
}

fn native_acosh(a: u32) -> u32 {
    if (a - F32_ONE >= F32_INF - F32_ONE) {
        return select(F32_NAN, F32_INF, a == F32_INF);
    }
    if (a > 0x45800000u) { // 4096
        return bitcast<u32>(near_log_of_double(a));
    }
    if (a == F32_ONE) {
        return 0u; // A device may say anything of the root of 0.
    }
    let over = bitcast<f32>(a) - 1.0;
    return bitcast<u32>(near_log1p(over + sqrt(over * (over + 2.0))));
}

fn native_atanh(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude >= F32_ONE) {
        return select(F32_NAN, (a & F32_SIGN) | F32_INF, magnitude == F32_ONE);
    }
    if (magnitude < 0x39000000u) { // 2^-13
        return a;
    }
    let x = bitcast<f32>(magnitude);
    return (a & F32_SIGN) | bitcast<u32>(0.5 * near_log1p((x + x) / (1.0 - x)));
}
