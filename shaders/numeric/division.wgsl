// Long division, which floored modulo and the quotient of two f32 share.

// One step: `shifted` = q * divisor + rest with 0 <= rest < divisor.
struct DivisionStep {
    q: u32,
    rest: u32,
}

// `shifted` is the dividend in wrapping arithmetic, `divisor` is below 2^30, the quotient is below 2^20, and `ratio` is
// the quotient as a float, within 7 ULP: an estimate (case 1). The addition leaves its floor, or one more or
// less, in the low bits, whichever neighbour of the sum it is rounded to. The remainder's true value fits in 32 bits, so
// it survives the wrap, and it says which way to repair.
fn division_step(shifted: u32, divisor: u32, ratio: f32) -> DivisionStep {
    let q = bitcast<u32>(ratio + 8388607.5) - 0x4b000000u;
    let rest = shifted - q * divisor;
    // As unsigned numbers, the two of these that are not in [0, divisor) are larger.
    let repaired = min(rest, min(rest + divisor, rest - divisor));
    return DivisionStep(q + u32(i32(rest) >= i32(divisor)) - (rest >> 31u), repaired);
}
