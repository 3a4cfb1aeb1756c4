// Functions for the mod(x, y) = x - y*floor(x/y) that src/compile/idioms.rs finds in expressions. Its value and
// quotient come from one division.

// x mod 1 = x - floor(x), rounded once; integers and -0 give +0.
fn f32_fraction(x: u32) -> u32 {
    let magnitude = x & F32_MAGNITUDE;
    let e = i32(magnitude >> 23u);
    let negative = x >= F32_SIGN;
    let small = magnitude < F32_HALF;
    // The fraction of |x| in units of 2^-24. It is exact from 0.5 on, and 0 from 2^23 on, where every number is an
    // integer. Below 0.5 it is rounded to nearest even. This also rounds 1 - |x|, which is in [0.5, 1] and has the
    // same unit. Zeros and subnormals have no leading one, but they round to 0 all the same.
    let m = (magnitude & F32_FRACTION) | F32_HIDDEN;
    let right = u32(clamp(126 - e, 0, 25));
    let left = u32(clamp(e - 126, 0, 24));
    let half = ((1u << right) - 1u + ((m >> right) & 1u)) >> 1u;
    let fraction = (((m + half) >> right) << left) & 0xffffffu;
    // If x is negative and not an integer, the fraction is subtracted from 1.
    let nonzero = select(fraction, magnitude, small) != 0u;
    let r = select(fraction, select(0u, 0x1000000u - fraction, nonzero), negative);
    // r is at most 2^24, so its conversion is exact. The factor 2^-24 changes only the exponent (case 2).
    let scaled = bitcast<u32>(f32(r) * 5.9604644775390625e-8);
    // A positive x below 0.5 is its own fraction.
    return select(select(scaled, x, small && !negative), F32_NAN, magnitude >= F32_INF);
}

// The gradient with respect to y: dz * -floor(x/y).
fn mod_dy(m: F32FloorMod, dz: u32) -> u32 {
    let ug = dz & F32_MAGNITUDE;
    if (STORAGE_DIGITS <= 11u) {
        // Here q is the bits of a float. If it is at most 2^13 or 2^16, its product with a zero or a normal number of
        // the storage type has at most 24 bits and is zero or normal: exact (case 2).
        if (m.q > ((151u - STORAGE_DIGITS) << 23u) || (ug - F32_HIDDEN >= 233u << 23u && ug != 0u)) {
            return f32_mul_rare(dz, f32_neg(m.q | m.sign));
        }
        let exact = bitcast<u32>(bitcast<f32>(ug) * bitcast<f32>(m.q)) & F32_MAGNITUDE;
        return exact | (~(m.sign ^ dz) & F32_SIGN);
    }
    return mod_dy_wide(m, dz);
}

// mod_dy for a result of f32_floor_mod_wide, for every dz.
fn mod_dy_wide(m: F32FloorMod, dz: u32) -> u32 {
    let ug = dz & F32_MAGNITUDE;
    // The common case is |q| < 2^20, with dz = 0 or 2^-126 <= |dz| < 2^107. It is straight-line code, and the product
    // is zero or normal.
    if (m.q >= 0x100000u || (ug - F32_HIDDEN >= 233u << 23u && ug != 0u)) {
        return f32_mul_rare(dz, f32_neg(f32_floor_quotient(m)));
    }
    // q is normalised to 20 bits. Its product with the significand of dz is `high` * 2^12 + the low bits of `low`,
    // with `high` in [2^30, 2^32 - 2^12).
    let zeros = countLeadingZeros(m.q);
    let digits = m.q << ((zeros - 12u) & 31u);
    let low = digits * (ug & 0xfffu);
    let high = digits * (((ug >> 12u) & 0x7ffu) | 0x800u) + (low >> 12u);
    // Round to 24 bits, ties to even. The leading one and a carry out of the rounding add to the exponent field.
    let wide = high >> 31u;
    let shift = wide + 7u;
    let not_down = ((high >> shift) & 1u) | u32((low & 0xfffu) != 0u);
    let kept = (high + wide * 64u + 63u + not_down) >> shift;
    let product = (ug & F32_INF) + ((30u - zeros + wide) << 23u) + kept;
    return select(product, 0u, ug == 0u || m.q == 0u) | (~(m.sign ^ dz) & F32_SIGN);
}

// floor(x/y) as an f32.
fn mod_q(m: F32FloorMod) -> u32 {
    if (STORAGE_DIGITS <= 11u) {
        return m.q | m.sign;
    }
    return f32_floor_quotient(m);
}
