// Storage of f32: kernels compute with the bits as they are stored.

// Significant bits of a number.
const STORAGE_DIGITS: u32 = 24u;
// The largest number below 0.5.
const BELOW_HALF: u32 = 0x3effffffu;

fn storage_widen(h: u32) -> u32 {
    return h;
}

fn storage_round(v: u32) -> u32 {
    return v;
}

// The argument for this storage type.
fn storage_pick(of_f32: u32, of_f16: u32, of_bf16: u32) -> u32 {
    return of_f32;
}
