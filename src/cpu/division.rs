//! The floored modulo and its quotient on lanes, in the processor's float arithmetic: exact, and as fast as memory.

use super::{
    block::{Block, Lanes},
    simd::Vectors,
    storage::{Aligned, LANES, Wide},
};
use crate::numeric::{
    division::{floor_mod, rate},
    round_f64,
};

/// Computes the wanted outputs of `z`, `dx`, `dy` and `Q`. The arguments are the numbers of reads and writes.
pub(crate) fn on_lanes(block: Block, [x, y, upstream]: [usize; 3], writes: [Option<usize>; 4]) {
    match writes {
        [Some(z), None, None, None] => block.lanes([x, y], [z], &mut OnLanes),
        [None, None, Some(dy), None] => block.lanes([x, y, upstream], [dy], &mut OnLanes),
        [Some(z), None, Some(dy), None] => block.lanes([x, y, upstream], [z, dy], &mut OnLanes),
        _ => block.lanes([x, y, upstream], writes.map(|w| w.unwrap_or(usize::MAX)), &mut OnLanes),
    }
}

struct OnLanes;

impl Lanes<2, 1> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [x, y]: [&Wide; 2], [Aligned(z)]: &mut [Aligned<Wide>; 1]) {
        floor_mod_lanes::<V>(x, y, |i, remainder, _| z[i] = remainder);
    }
}

impl Lanes<3, 1> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, y, upstream]: [&Wide; 3],
        [Aligned(dy)]: &mut [Aligned<Wide>; 1],
    ) {
        floor_mod_lanes::<V>(x, y, |i, _, q| dy[i] = rate(q, upstream[i]));
    }
}

impl Lanes<3, 2> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, y, upstream]: [&Wide; 3],
        [Aligned(z), Aligned(dy)]: &mut [Aligned<Wide>; 2],
    ) {
        floor_mod_lanes::<V>(x, y, |i, remainder, q| (z[i], dy[i]) = (remainder, rate(q, upstream[i])));
    }
}

impl Lanes<3, 4> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, y, upstream]: [&Wide; 3],
        [Aligned(z), Aligned(dx), Aligned(dy), Aligned(quotient)]: &mut [Aligned<Wide>; 4],
    ) {
        *dx = *upstream;
        floor_mod_lanes::<V>(x, y, |i, remainder, q| {
            (z[i], dy[i], quotient[i]) = (remainder, rate(q, upstream[i]), q);
        });
    }
}

/// Calls `store(lane, z, Q)` for each lane, and again, by [`floor_mod`], for each lane that did not come out exact.
#[inline(always)]
pub(crate) fn floor_mod_lanes<V: Vectors>(x: &Wide, y: &Wide, mut store: impl FnMut(usize, f32, f32)) {
    // Not a function value: each lane would be a call unless the compiler saw through it.
    let lane = |x, y| if V::NATIVE { floor_mod_fused(x, y) } else { floor_mod_f64(x, y) };
    let mut all_exact = true;
    for i in 0..LANES {
        let ((remainder, quotient), exact) = lane(x[i], y[i]);
        store(i, remainder, quotient);
        all_exact &= exact;
    }
    if !all_exact {
        for i in (0..LANES).filter(|i| !lane(x[*i], y[*i]).1) {
            let (remainder, quotient) = floor_mod(x[i], y[i]);
            store(i, remainder, quotient);
        }
    }
}

/// `(z, Q)`, and whether they are exact. They are exact if the operands are finite and the quotient is below 2^24.
///
/// 1. Rounding is monotone and an integer below 2^24 is a float. So the rounded quotient has the same floor as the
///    exact one, or it is the next integer above, at most half a unit away. `q` is therefore the floor or one more.
/// 2. If `q` is the floor, the fused `r` is the result: `x - q * y`, rounded once, not beyond 0 or y.
/// 3. If `q` is one more, `r` is not on y's side of 0, and it is exact: it is a multiple of the lesser of x's and y's
///    units, and at most `|y| / 2`. If the lesser unit is x's, then `|x| < |y|`. Then either q is 0 and `r` is x, or
///    q is 1, and the difference of two numbers within a factor of 2 is exact. So adding `y` is the only rounding.
#[inline(always)]
fn floor_mod_fused(x: f32, y: f32) -> ((f32, f32), bool) {
    let sign = y.to_bits() & 0x8000_0000;
    let quotient = x / y;
    let q = quotient.floor();
    let r = (-q).mul_add(y, x);
    let beyond = f32::from_bits(r.to_bits() ^ sign) < 0.0;
    let (z, q) = if beyond { (r + y, q - 1.0) } else { (r, q) };
    // A zero takes the sign of y. All other results have that sign already. A zero Q is positive.
    let z = f32::from_bits(z.to_bits() & 0x7fff_ffff | sign);
    // A NaN in x or y, an infinite x and a zero y show in the quotient. An infinite y shows in r.
    ((z, q + 0.0), (quotient.abs() < 16_777_216.0) & !r.is_nan())
}

/// `(z, Q)`, and whether they are exact. They are exact if the operands are finite and the quotient is below 2^28.
///
/// A quotient of two 24-bit significands is at least 2^-24 away from any integer that it does not equal. Below 2^28,
/// f64 resolves half of that, so the floor is exact. `q * y` fits in 53 bits. The subtraction rounds only if `|x| <
/// |y|`, to 53 bits. That is enough (2 · 24 + 2) to make a second rounding to 24 bits equal to a single rounding.
#[inline(always)]
fn floor_mod_f64(x: f32, y: f32) -> ((f32, f32), bool) {
    let (xd, yd) = (f64::from(x), f64::from(y));
    let quotient = xd / yd;
    let nearest = round_f64(quotient);
    let q = if nearest > quotient { nearest - 1.0 } else { nearest };
    let r = xd - q * yd;
    let zero = f32::from_bits(y.to_bits() & 0x8000_0000);
    let z = if r == 0.0 { zero } else { r as f32 };
    // NaN compares false: then x or y is special.
    ((z, q as f32 + 0.0), (quotient.abs() < 268_435_456.0) & (r.abs() < f64::INFINITY))
}
