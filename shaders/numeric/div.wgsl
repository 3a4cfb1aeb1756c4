// The IEEE quotient of two f32, rounded to nearest even, subnormals included. Needs f32.wgsl and division.wgsl.

fn f32_div(a: u32, b: u32) -> u32 {
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let e = (ua >> 23u) - (ub >> 23u);
    // The common case is two normal numbers, or zero by a normal number, and a quotient that is normal, or too large by its
    // rounding alone: straight line.
    if (ub - F32_HIDDEN >= F32_INF - F32_HIDDEN ||
        (ua != 0u && (ua - F32_HIDDEN >= F32_INF - F32_HIDDEN || e + 125u > 252u))) {
        return f32_div_rare(a, b);
    }
    let m = significand_quotient((ua & F32_FRACTION) | F32_HIDDEN, (ub & F32_FRACTION) | F32_HIDDEN);
    return ((a ^ b) & F32_SIGN) | select(f32_pack_normal(m, e + 127u), 0u, ua == 0u);
}

// a / b * 2^30 with a sticky lowest bit, in [2^29, 2^31), for a and b in [2^23, 2^24).
fn significand_quotient(a: u32, b: u32) -> u32 {
    // a and b as floats in [1, 2), and 2^14 / b: what estimates both steps (case 1). Their quotients are below
    // 2^15, so that they may be off by 2^-16 of themselves.
    let scale = 16384.0 / bitcast<f32>(b + 0x3f000000u);
    let first = division_step(a << 14u, b, bitcast<f32>(a + 0x3f000000u) * scale);
    // rest * 2^13 / b: the float of b is b / 2^23.
    let second = division_step(first.rest << 13u, b, f32(first.rest) * 5.9604644775390625e-8 * scale);
    return (first.q << 16u) | (second.q << 3u) | u32(second.rest != 0u);
}

// Everything: NaN, infinities, zeros, subnormals, overflow.
fn f32_div_rare(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & F32_SIGN;
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    if (max(ua, ub) > F32_INF || (ua == ub && (ua == 0u || ua == F32_INF))) {
        return F32_NAN;
    }
    if (ua == F32_INF || ub == 0u) {
        return sign | F32_INF;
    }
    if (ua == 0u || ub == F32_INF) {
        return sign;
    }
    let pa = f32_unpack(ua);
    let pb = f32_unpack(ub);
    return sign | f32_nearest(significand_quotient(pa.m, pb.m), pa.e - pb.e + 127);
}
