// The IEEE square root of an f32, rounded to nearest even. Needs f32.wgsl.

fn f32_sqrt(v: u32) -> u32 {
    if (v - 1u >= F32_INF - 1u) {
        // Zeros and infinity are their own roots; NaN and what is negative have none.
        return select(F32_NAN, v, (v & F32_MAGNITUDE) == 0u || v == F32_INF);
    }
    let p = f32_unpack(v);
    let odd = u32(p.e) & 1u;
    // v is n * 4^k with n in [2^46, 2^48), of which wrapping arithmetic has the low half. The root of n, in [2^23, 2^24), is
    // estimated from n / 2^46 in [1, 4) (case 1).
    let n = p.m << (24u - odd);
    let f = bitcast<f32>((p.m & F32_FRACTION) | ((128u - odd) << 23u));
    let inverse = inverseSqrt(f);
    let estimate = bitcast<u32>(f * inverse) - 0x3f000000u;
    // n - estimate^2 is below 2^31, and survives the wrap, while the estimate is off by less than 60, which is 2^-17 of it.
    // Over twice the root it is what the estimate is off by; the addition leaves one neighbour of that in the low bits.
    let missed = n - estimate * estimate;
    let off = bitcast<u32>(f32(i32(missed)) * (inverse * 5.9604644775390625e-8) + 12582912.0) - 0x4b400000u;
    let near = estimate + off;
    let rest = i32(missed - off * (estimate + near));
    // `near` is the root, or one more or less, and nearest where n is above near^2 - near and at most near^2 + near: the
    // square of what lies halfway is no integer, so there are no ties.
    let root = near + u32(rest > i32(near)) - u32(rest <= -i32(near));
    // The leading one of the root adds 1 to the exponent field.
    return (u32((p.e + 125) >> 1u) << 23u) + root;
}
