// What is done to the sign alone. Needs f32.wgsl.

fn f32_neg(v: u32) -> u32 {
    return select(v ^ F32_SIGN, F32_NAN, (v & F32_MAGNITUDE) > F32_INF);
}

fn f32_abs(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    return select(magnitude, F32_NAN, magnitude > F32_INF);
}
