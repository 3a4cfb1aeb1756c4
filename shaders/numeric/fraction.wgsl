// x mod 1 = x - floor(x), rounded once; integers and -0 give +0. Needs f32.wgsl.

fn f32_fraction(x: u32) -> u32 {
    let magnitude = x & F32_MAGNITUDE;
    let e = i32(magnitude >> 23u);
    let negative = x >= F32_SIGN;
    let small = magnitude < F32_HALF;
    // The fraction of |x| in units of 2^-24: exact from 0.5 on, and none from 2^23 on, where every number is an integer.
    // Below 0.5 it is rounded to nearest even, and with it 1 - |x|, which is in [0.5, 1] and has that unit. A zero or
    // subnormal, which has no leading one, rounds to none all the same.
    let m = (magnitude & F32_FRACTION) | F32_HIDDEN;
    let right = u32(clamp(126 - e, 0, 25));
    let left = u32(clamp(e - 126, 0, 24));
    let half = ((1u << right) - 1u + ((m >> right) & 1u)) >> 1u;
    let fraction = (((m + half) >> right) << left) & 0xffffffu;
    // Where x is negative it is taken from 1, unless x is an integer.
    let nonzero = select(fraction, magnitude, small) != 0u;
    let r = select(fraction, select(0u, 0x1000000u - fraction, nonzero), negative);
    // r is at most 2^24, so its conversion is exact, and 2^-24 scales it by the exponent alone (case 2).
    let scaled = bitcast<u32>(f32(r) * 5.9604644775390625e-8);
    // A positive x below 0.5 is its own fraction.
    return select(select(scaled, x, small && !negative), F32_NAN, magnitude >= F32_INF);
}
