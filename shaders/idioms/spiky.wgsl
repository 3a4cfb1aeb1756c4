// The function for the spiky(x) that src/compile/idioms.rs finds in expressions: r if r = x mod 1 <= 0.5, else +0.

struct Spiky {
    z: u32,
    mask: bool, // r <= 0.5, where the gradient passes
}

fn spiky(x: u32) -> Spiky {
    let magnitude = x & F32_MAGNITUDE;
    let e = magnitude >> 23u;
    let negative = x >= F32_SIGN;
    let small = e < 126u;
    // The fraction of |x| in units of 2^-24, for |x| >= 0.5. It is 0 from 2^23 on, where every number is an integer.
    let significand = (magnitude & F32_FRACTION) | F32_HIDDEN;
    let fraction = (significand << min(e - 126u, 31u)) & 0xffffffu;
    // |x| < 0.5 matters if x is negative. Then r = 1 - |x| > 0.5, and any fraction below a half stands for it. There
    // are two exceptions: -0, whose r is +0, and the number of the storage type just above -0.5, whose r is a tie
    // that rounds to 0.5. No other r rounds to 0.5.
    let tie = magnitude == BELOW_HALF;
    let nonzero = u32(magnitude != 0u);
    let counted = select(fraction, select(nonzero, 0x800000u, tie), small);
    let r = select(counted, (0u - counted) & 0xffffffu, negative);
    let mask = r <= 0x800000u && e < 255u;
    // r is below 2^24, so its conversion is exact. The factor 2^-24 changes only the exponent (case 2).
    let scaled = bitcast<u32>(f32(r) * 5.9604644775390625e-8);
    // A positive x below 0.5 is its own r.
    return Spiky(select(0u, select(scaled, x, small && !negative), mask), mask);
}
