// mod(x, y) = x - y*floor(x/y), whose value and quotient come from f32_floor_mod.

// The gradient with respect to y: dz * -floor(x/y).
fn mod_dy(m: F32FloorMod, dz: u32) -> u32 {
    let ug = dz & F32_MAGNITUDE;
    if (STORAGE_DIGITS <= 11u) {
        // Here q is the bits of a float. Up to 2^13 or 2^16, times a zero or a normal number of the storage type, it has at
        // most 24 bits, and the product is zero or normal: exact (case 2).
        if (m.q > ((151u - STORAGE_DIGITS) << 23u) || (ug - F32_HIDDEN >= 233u << 23u && ug != 0u)) {
            return f32_mul_rare(dz, f32_neg(m.q | m.sign));
        }
        let exact = bitcast<u32>(bitcast<f32>(ug) * bitcast<f32>(m.q)) & F32_MAGNITUDE;
        return exact | (~(m.sign ^ dz) & F32_SIGN);
    }
    return mod_dy_wide(m, dz);
}

// mod_dy from f32_floor_mod_wide, for every dz.
fn mod_dy_wide(m: F32FloorMod, dz: u32) -> u32 {
    let ug = dz & F32_MAGNITUDE;
    // The common case is |q| < 2^20 and a dz of zero or with 2^-126 <= |dz| < 2^107: straight line, and a product that is
    // zero or normal.
    if (m.q >= 0x100000u || (ug - F32_HIDDEN >= 233u << 23u && ug != 0u)) {
        return f32_mul_rare(dz, f32_neg(f32_floor_quotient(m)));
    }
    // q normalised to 20 bits; its product with the significand of dz is `high` * 2^12 + the low bits of `low`, with
    // `high` in [2^30, 2^32 - 2^12).
    let zeros = countLeadingZeros(m.q);
    let digits = m.q << ((zeros - 12u) & 31u);
    let low = digits * (ug & 0xfffu);
    let high = digits * (((ug >> 12u) & 0x7ffu) | 0x800u) + (low >> 12u);
    // To 24 bits, ties to even; their leading one and a carry out of the rounding add to the exponent.
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
