// IEEE comparisons, false where one is NaN, and IEEE 754-2019 minimum and maximum. Needs f32.wgsl.

fn either_is_nan(a: u32, b: u32) -> bool {
    return max(a & F32_MAGNITUDE, b & F32_MAGNITUDE) > F32_INF;
}

// An integer that is ordered as the numbers are; zeros are equal.
fn f32_ordinal(v: u32) -> i32 {
    let magnitude = i32(v & F32_MAGNITUDE);
    return select(magnitude, -magnitude, v >= F32_SIGN);
}

fn f32_lt(a: u32, b: u32) -> bool {
    return f32_ordinal(a) < f32_ordinal(b) && !either_is_nan(a, b);
}

fn f32_le(a: u32, b: u32) -> bool {
    return f32_ordinal(a) <= f32_ordinal(b) && !either_is_nan(a, b);
}

fn f32_eq(a: u32, b: u32) -> bool {
    return f32_ordinal(a) == f32_ordinal(b) && !either_is_nan(a, b);
}

// f32_ordinal but for -0, which is below +0.
fn f32_total_ordinal(v: u32) -> i32 {
    return f32_ordinal(v) - i32(v >> 31u);
}

fn f32_min(a: u32, b: u32) -> u32 {
    let lesser = select(b, a, f32_total_ordinal(a) < f32_total_ordinal(b));
    return select(lesser, F32_NAN, either_is_nan(a, b));
}

fn f32_max(a: u32, b: u32) -> u32 {
    let greater = select(b, a, f32_total_ordinal(a) > f32_total_ordinal(b));
    return select(greater, F32_NAN, either_is_nan(a, b));
}
