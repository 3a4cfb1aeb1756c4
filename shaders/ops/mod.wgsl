// mod(x, y) = x - y*floor(x/y), whose value and quotient come from f32_floor_mod.

// The gradient with respect to y: dz * -floor(x/y).
fn mod_dy(q: u32, dz: u32) -> u32 {
    return f32_product(dz, f32_negate(q));
}
