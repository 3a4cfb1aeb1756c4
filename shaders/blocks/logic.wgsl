// IEEE comparisons: false if an operand is NaN. Twin of src/blocks/logic.rs.

fn either_is_nan(a: u32, b: u32) -> bool {
    return max(a & F32_MAGNITUDE, b & F32_MAGNITUDE) > F32_INF;
}

// An integer for each number, in the same order. Both zeros give 0.
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

fn native_lt(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) < bitcast<f32>(b);
}

fn native_le(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) <= bitcast<f32>(b);
}

fn native_eq(a: u32, b: u32) -> bool {
    return bitcast<f32>(a) == bitcast<f32>(b);
}

// v, but +0 where v is NaN and g a zero.
fn f32_guard(g: u32, v: u32) -> u32 {
    return select(v, 0u, (g & F32_MAGNITUDE) == 0u && (v & F32_MAGNITUDE) > F32_INF);
}

// A device may not compute the NaN of 0 times infinity.
fn native_guard(g: u32, v: u32) -> u32 {
    return select(v, 0u, (g & F32_MAGNITUDE) == 0u);
}

// 0, since one of two neighbours is even. A compiler does not see that. Mesa's turns select(0.0, -1.0, c) on bits into
// the negative of the float of c, which is -0 where c is false; with a constant that it does not know it selects.
fn hidden_zero(v: u32) -> u32 {
    return (v * (v + 1u)) & 1u;
}
