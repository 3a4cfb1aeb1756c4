//! Scalar arithmetic shared by everything above, as `shaders/numeric` is by the WGSL.

pub(crate) mod division;

/// The NaN that ops compute: quiet, positive, no payload.
pub(crate) const NAN: f32 = f32::from_bits(0x7fc0_0000);

/// The value, with every NaN replaced by the canonical one.
#[inline(always)]
pub(crate) fn canonical(value: f32) -> f32 {
    // This compares bits: for LLVM, any NaN that an operation gives is as good as another, so it may remove the
    // choice of one.
    let bits = value.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 { NAN } else { value }
}

/// The IEEE sum. A NaN is the canonical one.
#[inline(always)]
pub(crate) fn sum(a: f32, b: f32) -> f32 {
    canonical(a + b)
}

/// The sum of terms by a binary tree that only depends on their number. Neighbours are added first, and a missing
/// leaf adds nothing.
///
/// No terms give +0. A single term is copied.
pub(crate) fn tree_sum(terms: &[f32]) -> f32 {
    match terms {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (first, second) = terms.split_at(terms.len().next_power_of_two() / 2);
            sum(tree_sum(first), tree_sum(second))
        }
    }
}

/// The integer nearest to `v`, in arithmetic that every target vectorises. `v` is a 24-bit number or below 2^28.
#[inline(always)]
pub(crate) fn round_f64(v: f64) -> f64 {
    // From 2^51 on, a 24-bit number is an integer. Below, the sum's unit is 1.
    const ALIGN: f64 = 1.5 * (1_u64 << 52) as f64;
    if v.abs() < (1_u64 << 51) as f64 { (v + ALIGN) - ALIGN } else { v }
}

/// 2^n, a normal number.
#[inline]
pub(crate) fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}
