// The IEEE product of two f32, rounded to nearest even, subnormals included.

fn f32_product(a: u32, b: u32) -> u32 {
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
    // 24 x 24 bits from 12-bit halves: `high` * 2^24 + `low`, `high` in [2^22, 2^24).
    let ah = pa.m >> 12u;
    let al = pa.m & 0xfffu;
    let bh = pb.m >> 12u;
    let bl = pb.m & 0xfffu;
    let middle = ah * bl + al * bh;
    let lower = ((middle & 0xfffu) << 12u) + al * bl;
    let high = ah * bh + (middle >> 12u) + (lower >> 24u);
    let low = lower & 0xffffffu;
    let m = (high << 7u) | shift_right_sticky(low, 17u);
    return sign | f32_round(m, pa.e + pb.e - 126);
}

// -v: the sign bit of anything but NaN is flipped.
fn f32_negate(v: u32) -> u32 {
    return select(v ^ F32_SIGN, v, (v & F32_MAGNITUDE) > F32_INF);
}
