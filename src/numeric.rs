//! What the scalar twins of several ops share, as `shaders/numeric` is for the WGSL.

use crate::cpu::simd::Vectors;

/// The NaN that ops compute: quiet, positive, no payload.
pub(crate) const NAN: f32 = f32::from_bits(0x7fc0_0000);

/// The number; of NaN, the canonical one.
#[inline(always)]
pub(crate) fn canonical(value: f32) -> f32 {
    // On bits: to LLVM one NaN that an operation gives is as good as another, and so the choice of one may go.
    let bits = value.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 { NAN } else { value }
}

/// The IEEE sum; a NaN is the canonical one.
#[inline(always)]
pub(crate) fn sum(a: f32, b: f32) -> f32 {
    canonical(a + b)
}

/// The sum of terms by the binary tree that the number of terms fixes: neighbours first, a missing leaf adds nothing.
///
/// No terms give +0; a single one is copied.
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

/// The integer nearest to `v`, a 24-bit number or below 2^28, in arithmetic that every target vectorises.
#[inline(always)]
pub(crate) fn round_f64(v: f64) -> f64 {
    // From 2^51 on a 24-bit number is an integer; below, the sum's unit is 1.
    const ALIGN: f64 = 1.5 * (1_u64 << 52) as f64;
    if v.abs() < (1_u64 << 51) as f64 { (v + ALIGN) - ALIGN } else { v }
}

/// `v.floor()`, in arithmetic that vectorises where there is no instruction for it.
#[inline(always)]
pub(crate) fn floor<V: Vectors>(v: f32) -> f32 {
    // From 2^23 on a number is an integer; below, the sum's unit is 1.
    const ALIGN: f32 = (1 << 23) as f32;
    if V::NATIVE {
        return v.floor();
    }
    let size = v.abs();
    let nearest = if size < ALIGN { ((size + ALIGN) - ALIGN).copysign(v) } else { v };
    if nearest > v { nearest - 1.0 } else { nearest }
}

/// One of two, both of which are loaded: a choice of where to load from would be compiled to a gather.
#[inline(always)]
pub(crate) fn pick(condition: bool, accept: f32, reject: f32) -> f32 {
    let accepted = u32::from(condition).wrapping_neg();
    f32::from_bits(accept.to_bits() & accepted | reject.to_bits() & !accepted)
}
