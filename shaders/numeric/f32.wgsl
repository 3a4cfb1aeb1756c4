// f32 as bits: the parts of an IEEE number, in u32 arithmetic, which every device does alike.
//
// A device may divide, round and flush as WGSL lets it, so floats take part in two cases only. Case 1: an estimate,
// which integers repair. Case 2: operands and results are exact, and zero or normal, so the device has no choice.

const F32_SIGN: u32 = 0x80000000u;
const F32_MAGNITUDE: u32 = 0x7fffffffu;
const F32_INF: u32 = 0x7f800000u;
const F32_NAN: u32 = 0x7fc00000u;
const F32_ONE: u32 = 0x3f800000u;
const F32_HALF: u32 = 0x3f000000u;
const F32_HIDDEN: u32 = 0x00800000u;
const F32_FRACTION: u32 = 0x007fffffu;

// A finite non-zero magnitude m * 2^(e - 150) with m in [2^23, 2^24). e is below 1 if the number was subnormal.
struct F32Parts {
    m: u32,
    e: i32,
}

fn f32_unpack(magnitude: u32) -> F32Parts {
    let e = magnitude >> 23u;
    if (e == 0u) {
        let shift = countLeadingZeros(magnitude) - 8u;
        return F32Parts(magnitude << shift, 1 - i32(shift));
    }
    return F32Parts((magnitude & F32_FRACTION) | F32_HIDDEN, i32(e));
}

// m >> k, for any k. The lowest bit is also set if a one was shifted out.
fn shift_right_sticky(m: u32, k: u32) -> u32 {
    let s = min(k, 31u);
    return (m >> s) | u32((m & ((1u << s) - 1u)) != 0u);
}

// The f32 nearest to m * 2^(e - 157), ties to even, as a magnitude. m is below 2^31. Its lowest bit may be sticky if
// m is 2^26 or more. Overflow gives infinity. Below 2^-126 the result is subnormal.
fn f32_nearest(m: u32, e: i32) -> u32 {
    let n = select(m, shift_right_sticky(m, u32(1 - e)), e < 1);
    return select(f32_pack(n, u32(max(e, 1))), 0u, n == 0u);
}

// f32_nearest for m != 0 and e >= 1: no bit has to be dropped before the rounding.
fn f32_pack(m: u32, e: u32) -> u32 {
    // After the shift, a normal result has its leading one at bit 31. A subnormal result stops at exponent 1.
    let shift = min(countLeadingZeros(m), e);
    let scaled = m << (shift & 31u);
    let kept = scaled >> 8u;
    let round_up = u32((scaled & 0xffu) + (kept & 1u) > 0x80u);
    // The leading one of `kept` adds 1 to the exponent field, and so does a carry out of the rounding.
    return min(((e - shift) << 23u) + kept + round_up, F32_INF);
}

// f32_nearest for m >= 2^29 and a result that, before rounding, is neither subnormal nor too large. The leading one
// is in one of two places, so no zeros are counted.
fn f32_pack_normal(m: u32, e: u32) -> u32 {
    let low = 1u - (m >> 30u);
    let scaled = m << (1u + low);
    let kept = scaled >> 8u;
    let round_up = u32((scaled & 0xffu) + (kept & 1u) > 0x80u);
    return ((e - 1u - low) << 23u) + kept + round_up;
}
