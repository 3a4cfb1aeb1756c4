// Storage of f16, IEEE's binary16. A kernel widens what it loads and rounds what it stores. WGSL's own conversions
// may round and flush as they like, so they are not used.

// Significant bits of a number.
const STORAGE_DIGITS: u32 = 11u;
// The largest number below 0.5, widened.
const BELOW_HALF: u32 = 0x3effe000u;

// The f32 exponent of 2^-14, the smallest normal f16. Subnormal f16 have the same unit.
const F16_LEAST_EXPONENT: u32 = 113u;
// From an f16 exponent field to an f32 one: the biases differ by 112. Infinity and NaN have the last exponent of each
// type, which is another 112 away.
const F16_BIAS: u32 = 0x38000000u;
const F16_INF: u32 = 0x7c00u;

// The f32 equal to the f16 in the low half of h; a NaN keeps its payload.
fn storage_widen(h: u32) -> u32 {
    let magnitude = h & 0x7fffu;
    let normal = (magnitude << 13u) + select(F16_BIAS, 2u * F16_BIAS, magnitude >= F16_INF);
    // 2^-14 plus the fraction, minus 2^-14. Both operands are in [2^-14, 2^-13) and multiples of 2^-24, so the
    // difference is exact, and 0 or at least 2^-24: nothing is subnormal (case 2). The device chooses the sign of a
    // zero.
    let above = (magnitude << 13u) + (F16_LEAST_EXPONENT << 23u);
    let subnormal = bitcast<u32>(bitcast<f32>(above) - 0x1p-14f);
    return ((h << 16u) & F32_SIGN) | (select(normal, subnormal, magnitude < 0x400u) & F32_MAGNITUDE);
}

// The f16 nearest to an f32, ties to even, in the low half. A NaN keeps the top of its payload.
fn storage_round(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    let small = magnitude < F16_LEAST_EXPONENT << 23u;
    // Below 2^-14, the common case is a multiple of 2^-24, which is an f16. Sums and integer multiples of f16 are
    // such multiples. For them, adding 0.5 and subtracting it again is exact. For any other number, this gives a
    // multiple of 2^-24, so a different number, and the inexact result is discarded (case 2).
    let units = bitcast<f32>(magnitude) + 0.5;
    let back = bitcast<u32>(bitcast<f32>(min(bitcast<u32>(units), F32_ONE)) - 0.5) & F32_MAGNITUDE;
    if ((small && back != magnitude) || magnitude > F32_INF) {
        return storage_round_rare(v);
    }
    // A carry adds 1 to the exponent.
    let rounded = (magnitude - F16_BIAS + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
    let number = select(min(rounded, F16_INF), bitcast<u32>(units) - F32_HALF, small);
    return ((v >> 16u) & 0x8000u) | number;
}

fn storage_round_rare(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    // Dropping payload bits must not turn a NaN into infinity.
    let nan = max((magnitude >> 13u) - (F16_BIAS >> 12u), F16_INF + 1u);
    // Below 2^-14: the significand, in 2^-13 of the result's unit. From a shift of 18 on, nothing of it is left. That
    // is why the hidden bit does no harm for a zero or subnormal, which has none.
    let m = (magnitude & F32_FRACTION) | F32_HIDDEN;
    let shift = min(F16_LEAST_EXPONENT - (magnitude >> 23u), 18u);
    let odd = (m >> (shift + 13u)) & 1u;
    let subnormal = (m + (0x1000u << shift) - 1u + odd) >> (shift + 13u);
    return ((v >> 16u) & 0x8000u) | select(subnormal, nan, magnitude > F32_INF);
}

// The argument for this storage type.
fn storage_pick(of_f32: u32, of_f16: u32, of_bf16: u32) -> u32 {
    return of_f16;
}
