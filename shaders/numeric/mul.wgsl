// The IEEE product of two f32, rounded to nearest even, subnormals included. Needs f32.wgsl.

fn f32_mul(a: u32, b: u32) -> u32 {
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let small = min(ua, ub);
    let e = (ua >> 23u) + (ub >> 23u);
    // The common case is a zero times a finite number, or two normal numbers and a product that is normal, or too large by
    // its rounding alone: straight line.
    if (max(ua, ub) >= F32_INF || (small != 0u && (small < F32_HIDDEN || e - 128u > 252u))) {
        return f32_mul_rare(a, b);
    }
    let m = significand_product((ua & F32_FRACTION) | F32_HIDDEN, (ub & F32_FRACTION) | F32_HIDDEN);
    return ((a ^ b) & F32_SIGN) | select(f32_pack_normal(m, e - 126u), 0u, small == 0u);
}

// a * b / 2^17 with a sticky lowest bit, in [2^29, 2^31), for a and b in [2^23, 2^24).
fn significand_product(a: u32, b: u32) -> u32 {
    // a and b as floats in [2^10, 2^11): the product is in [2^20, 2^22), in units of 2^26, and the addition leaves it,
    // rounded, in the low bits: an estimate (case 1). Integers find what it misses, in wrapping arithmetic; that
    // survives the wrap while it is below 2^31, up to an estimate that is off by 31.
    let estimate = bitcast<f32>(a + 0x44000000u) * bitcast<f32>(b + 0x44000000u) + 8388608.0;
    let top = bitcast<u32>(estimate) - 0x4b000000u;
    let missed = a * b - (top << 26u);
    return ((top << 9u) + u32(i32(missed) >> 17u)) | u32((missed & 0x1ffffu) != 0u);
}

// Everything: NaN, infinities, subnormals, overflow.
fn f32_mul_rare(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & F32_SIGN;
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let large = max(ua, ub);
    let small = min(ua, ub);
    if (large >= F32_INF) {
        return select(sign | F32_INF, F32_NAN, large > F32_INF || small == 0u);
    }
    if (small == 0u) {
        return sign;
    }
    let pa = f32_unpack(ua);
    let pb = f32_unpack(ub);
    return sign | f32_nearest(significand_product(pa.m, pb.m), pa.e + pb.e - 126);
}
