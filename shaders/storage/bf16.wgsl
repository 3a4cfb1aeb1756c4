// Storage of bf16, the upper half of an f32. A kernel widens what it loads and rounds what it stores.

// Significant bits of a number.
const STORAGE_DIGITS: u32 = 8u;
// The largest number below 0.5, widened.
const BELOW_HALF: u32 = 0x3eff0000u;

// The f32 equal to the bf16 in the low half of h; a NaN keeps its payload.
fn storage_widen(h: u32) -> u32 {
    return h << 16u;
}

// The bf16 nearest to an f32, ties to even, in the low half. A NaN keeps the top of its payload.
fn storage_round(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    let kept = magnitude >> 16u;
    // A carry adds 1 to the exponent. This turns a number that is too large into infinity.
    let rounded = (magnitude + 0x7fffu + (kept & 1u)) >> 16u;
    // Dropping payload bits must not turn a NaN into infinity.
    let nan = max(kept, 0x7f81u);
    return ((v >> 16u) & 0x8000u) | select(rounded, nan, magnitude > F32_INF);
}

// The argument for this storage type.
fn storage_pick(of_f32: u32, of_f16: u32, of_bf16: u32) -> u32 {
    return of_bf16;
}
