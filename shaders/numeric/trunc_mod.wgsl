// x - y*trunc(x/y), which is exact: C's fmod. Needs f32.wgsl, division.wgsl and floor_mod.wgsl.

fn f32_trunc_mod(x: u32, y: u32) -> u32 {
    // Of magnitudes the two quotients are one.
    let z = f32_floor_mod_wide(x & F32_MAGNITUDE, y & F32_MAGNITUDE).z;
    return select(z | (x & F32_SIGN), F32_NAN, z > F32_INF);
}
