// Rounding to integers; a zero keeps the sign of what became zero. Needs f32.wgsl.

// The bits of a magnitude that stand for less than 1; all of the fraction below 1.
fn fraction_bits(magnitude: u32) -> u32 {
    return (1u << u32(clamp(150 - i32(magnitude >> 23u), 0, 23))) - 1u;
}

fn round_down(magnitude: u32) -> u32 {
    return select(magnitude & ~fraction_bits(magnitude), 0u, magnitude < F32_ONE);
}

fn round_up(magnitude: u32) -> u32 {
    let below = fraction_bits(magnitude);
    // A carry out of the fraction adds 1 to the exponent.
    return select((magnitude + below) & ~below, min(magnitude, 1u) * F32_ONE, magnitude < F32_ONE);
}

fn round_even(magnitude: u32) -> u32 {
    let below = fraction_bits(magnitude);
    // Whether the integer is odd: in [1, 2) that is the lowest bit of the exponent, which is 1. Where all bits are integer
    // `below` is 0, and nothing is added.
    let odd = u32((magnitude & (below + 1u)) != 0u);
    return select((magnitude + ((below + odd) >> 1u)) & ~below, u32(magnitude > F32_HALF) * F32_ONE, magnitude < F32_ONE);
}

// A rounded magnitude with the sign of v; NaN where v is.
fn rounded_like(v: u32, magnitude: u32) -> u32 {
    return select((v & F32_SIGN) | magnitude, F32_NAN, (v & F32_MAGNITUDE) > F32_INF);
}

fn f32_trunc(v: u32) -> u32 {
    return rounded_like(v, round_down(v & F32_MAGNITUDE));
}

fn f32_floor(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    return rounded_like(v, select(round_down(magnitude), round_up(magnitude), v >= F32_SIGN));
}

fn f32_ceil(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    return rounded_like(v, select(round_up(magnitude), round_down(magnitude), v >= F32_SIGN));
}

// To nearest, ties to even.
fn f32_round(v: u32) -> u32 {
    return rounded_like(v, round_even(v & F32_MAGNITUDE));
}
