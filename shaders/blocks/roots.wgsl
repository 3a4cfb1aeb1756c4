// Roots in the device's own floats. exponential.wgsl says what they rely on.

// A number above 0 that is not subnormal, as a float: v, or a subnormal v times 2^150.
fn near_root_operand(v: u32) -> f32 {
    return select(bitcast<f32>(v), f32(v & F32_FRACTION) * 2.0, v < F32_HIDDEN);
}

fn native_sqrt(a: u32) -> u32 {
    if (a - 1u >= F32_INF - 1u) {
        // Zeros and infinity are their own roots. NaN and negative numbers have none.
        return select(F32_NAN, a, (a & F32_MAGNITUDE) == 0u || a == F32_INF);
    }
    let scale = select(1.0, 2.6469779601696886e-23, a < F32_HIDDEN); // 2^-75
    return bitcast<u32>(sqrt(near_root_operand(a)) * scale);
}

fn native_inverseSqrt(a: u32) -> u32 {
    if (a - 1u >= F32_INF - 1u) {
        return select(select(F32_NAN, 0u, a == F32_INF), a | F32_INF, (a & F32_MAGNITUDE) == 0u);
    }
    let scale = select(1.0, 3.777893186295716e22, a < F32_HIDDEN); // 2^75
    return bitcast<u32>(inverseSqrt(near_root_operand(a)) * scale);
}

fn native_cbrt(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude == 0u || magnitude >= F32_INF) {
        return select(a, F32_NAN, magnitude > F32_INF);
    }
    // m * 2^(3 q) with m from 1 to 8.
    let number = bitcast<u32>(near_root_operand(magnitude));
    let e = (number >> 23u) + 2u;
    let third = (e * 171u) >> 9u;
    let rest = e - 3u * third;
    let unit = (number & F32_FRACTION) | F32_ONE;
    let m = bitcast<f32>(unit + (rest << 23u));
    // The inverse of the root, within 2^-16.8 of itself. One step of Newton's method repairs the root itself.
    let u = bitcast<f32>(unit);
    let p = ((((-0.016511679 * u + 0.15224956) * u - 0.58651417) * u + 1.2271496) * u - 1.5540274) * u + 1.7776471;
    let inverse = p * select(select(0.62996054, 0.79370052, rest == 1u), 1.0, rest == 0u);
    let near = m * inverse * inverse;
    let root = near + near * (1.0 - near * inverse) * 0.66666669;
    let q = third - 43u - select(0u, 50u, magnitude < F32_HIDDEN);
    return (bitcast<u32>(root) + (q << 23u)) | (a & F32_SIGN);
}

fn native_hypot(a: u32, b: u32) -> u32 {
    let large = max(a & F32_MAGNITUDE, b & F32_MAGNITUDE);
    let small = min(a & F32_MAGNITUDE, b & F32_MAGNITUDE);
    if (large >= F32_INF) {
        // Infinite even beside NaN.
        return select(F32_NAN, F32_INF, large == F32_INF || small == F32_INF);
    }
    if (small == 0u) {
        return large;
    }
    let x = f32_unpack(large);
    let y = f32_unpack(small);
    let apart = x.e - y.e;
    if (apart > 13) {
        return large; // The other is below 2^-13 of it, and adds at most 2^-27.
    }
    // Both over the power of two in the larger.
    let run = bitcast<f32>((x.m & F32_FRACTION) | F32_ONE);
    let rise = bitcast<f32>((y.m & F32_FRACTION) | (bitcast<u32>(127 - apart) << 23u));
    return scaled_by_power_of_2(bitcast<u32>(sqrt(run * run + rise * rise)), x.e - 127);
}
