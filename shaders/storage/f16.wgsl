// Storage that holds f16, IEEE's binary16: what a kernel loads is widened, what it stores is rounded. WGSL's own
// conversions may round and flush as they like.

// Significant bits of a number.
const STORAGE_DIGITS: u32 = 11u;
// The largest number below 0.5, widened.
const BELOW_HALF: u32 = 0x3effe000u;

// The f32 exponent of 2^-14, the least normal f16; subnormal ones have its unit.
const F16_LEAST_EXPONENT: u32 = 113u;
// From one exponent field to the other: the biases differ by 112. Infinity and NaN have the last exponent of each, and
// lie as far apart again.
const F16_BIAS: u32 = 0x38000000u;
const F16_INF: u32 = 0x7c00u;

// The f32 equal to the f16 in the low half of h; a NaN keeps its payload.
fn storage_widen(h: u32) -> u32 {
    let magnitude = h & 0x7fffu;
    let normal = (magnitude << 13u) + select(F16_BIAS, 2u * F16_BIAS, magnitude >= F16_INF);
    // 2^-14 and the fraction, minus 2^-14. Both are in [2^-14, 2^-13) and multiples of 2^-24, so the difference is exact,
    // and 0 or at least 2^-24: nothing is subnormal (case 2). A zero's sign is what the device likes.
    let above = (magnitude << 13u) + (F16_LEAST_EXPONENT << 23u);
    let subnormal = bitcast<u32>(bitcast<f32>(above) - 0x1p-14f);
    return ((h << 16u) & F32_SIGN) | (select(normal, subnormal, magnitude < 0x400u) & F32_MAGNITUDE);
}

// The f16 nearest to an f32, ties to even, in the low half. A NaN keeps the top of its payload.
fn storage_round(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    let small = magnitude < F16_LEAST_EXPONENT << 23u;
    // Below 2^-14 the common case is a multiple of 2^-24, an f16: sums and integer multiples of f16 are. Then the sum with
    // 0.5 is exact, and so is the way back; of anything else the way back, a multiple, is something else (case 2,
    // and what is not exact is discarded).
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
    // No NaN becomes infinity by what it loses.
    let nan = max((magnitude >> 13u) - (F16_BIAS >> 12u), F16_INF + 1u);
    // Below 2^-14: the significand in units of 2^-13 of the result's. From a shift of 18 on nothing of it is left, and the
    // hidden bit of a zero or subnormal, which has none, does no harm.
    let m = (magnitude & F32_FRACTION) | F32_HIDDEN;
    let shift = min(F16_LEAST_EXPONENT - (magnitude >> 23u), 18u);
    let odd = (m >> (shift + 13u)) & 1u;
    let subnormal = (m + (0x1000u << shift) - 1u + odd) >> (shift + 13u);
    return ((v >> 16u) & 0x8000u) | select(subnormal, nan, magnitude > F32_INF);
}

// The one that is this type's.
fn storage_pick(of_f32: u32, of_f16: u32, of_bf16: u32) -> u32 {
    return of_f16;
}
