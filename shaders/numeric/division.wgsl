// Long division, shared by floored modulo and the quotient of two f32.

// One step: `shifted` = q * divisor + rest with 0 <= rest < divisor.
struct DivisionStep {
    q: u32,
    rest: u32,
}

// `shifted` is the dividend in wrapping arithmetic. `divisor` is below 2^30, and the quotient is below 2^20. `ratio`
// is the quotient as a float, within 7 ULP: an estimate (case 1). The addition leaves its floor, or one more or less,
// in the low bits, whichever way the sum is rounded. The true value of the remainder fits in 32 bits, so it survives
// the wrap. It says which way to repair.
fn division_step(shifted: u32, divisor: u32, ratio: f32) -> DivisionStep {
    let q = bitcast<u32>(ratio + 8388607.5) - 0x4b000000u;
    let rest = shifted - q * divisor;
    // One of the three is in [0, divisor). As unsigned numbers, the other two are larger.
    let repaired = min(rest, min(rest + divisor, rest - divisor));
    return DivisionStep(q + u32(i32(rest) >= i32(divisor)) - (rest >> 31u), repaired);
}
