// spiky(x) = r where r = x mod 1 <= 0.5, else +0.

struct Spiky {
    z: u32,
    mask: bool, // r <= 0.5, where the gradient passes
}

fn spiky(x: u32) -> Spiky {
    let magnitude = x & F32_MAGNITUDE;
    let e = magnitude >> 23u;
    let negative = x >= F32_SIGN;
    if (e < 126u) {
        // |x| < 0.5. Positive: r is x itself. Negative: r = 1 - |x| > 0.5, but for -0, whose r is +0, and for the
        // number of the storage type just above -0.5, whose r is a tie that rounds to 0.5. No other r is rounded to 0.5.
        let tie = magnitude == BELOW_HALF;
        let zero = magnitude == 0u;
        return Spiky(select(x, select(0u, F32_HALF, tie), negative), !negative || tie || zero);
    }
    // The fraction of |x| in units of 2^-24; none from 2^23 on, where every number is an integer.
    let significand = (magnitude & F32_FRACTION) | F32_HIDDEN;
    let fraction = select(0u, (significand << (e - 126u)) & 0xffffffu, e < 150u);
    let r = select(fraction, (0u - fraction) & 0xffffffu, negative);
    let mask = e < 255u && r <= 0x800000u;
    // r is below 2^24, so its conversion is exact, and 2^-24 scales it by the exponent alone (numerics: case 2).
    let scaled = bitcast<u32>(f32(r)) - (24u << 23u);
    return Spiky(select(0u, scaled, mask && r != 0u), mask);
}
