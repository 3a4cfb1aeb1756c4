//! What the scalar twins of several ops share, as `shaders/numeric` is for the WGSL.

/// The NaN that ops compute: quiet, positive, no payload.
pub(crate) const NAN: f32 = f32::from_bits(0x7fc0_0000);

/// The integer nearest to `v`, a 24-bit number or below 2^28, in arithmetic that every target vectorises.
#[inline]
pub(crate) fn round_f64(v: f64) -> f64 {
    // From 2^51 on a 24-bit number is an integer; below, the sum's unit is 1.
    const ALIGN: f64 = 1.5 * (1_u64 << 52) as f64;
    if v.abs() < (1_u64 << 51) as f64 { (v + ALIGN) - ALIGN } else { v }
}
