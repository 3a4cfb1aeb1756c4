//! The floored modulo and its quotient on lanes, by the floats of the processor: exact, and as fast as memory.

use super::{
    block::{Block, Lanes},
    simd::Vectors,
    storage::{Aligned, LANES, Wide},
};
use crate::numeric::{
    division::{floor_mod, rate},
    round_f64,
};

/// The wanted ones of `z`, `dx`, `dy` and `Q`, by the numbers of `x`, `y` and the upstream gradient.
pub(crate) fn on_lanes(block: Block, [x, y, upstream]: [usize; 3], writes: [Option<usize>; 4]) {
    match writes {
        [Some(z), None, None, None] => block.lanes([x, y], [z], &mut OnLanes),
        [None, Some(dx), None, None] => block.lanes([upstream], [dx], &mut OnLanes),
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

impl Lanes<1, 1> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [upstream]: [&Wide; 1], [Aligned(dx)]: &mut [Aligned<Wide>; 1]) {
        *dx = *upstream;
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

/// `store(lane, z, Q)` for each lane: straight through, and again for those that did not come out exact.
#[inline(always)]
pub(crate) fn floor_mod_lanes<V: Vectors>(x: &Wide, y: &Wide, mut store: impl FnMut(usize, f32, f32)) {
    // Not one function or the other as a value: that would be a call of each lane unless the compiler saw through it.
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

/// `(z, Q)`, and whether they are exact: finite operands, quotients below 2^24.
///
/// 1. Rounding is monotone and an integer below 2^24 is a float, so the rounded quotient has the exact one's floor, or
///    it is the integer next above, at most half a unit away: `q` is the floor or one more.
/// 2. Where `q` is the floor, the fused `r` is the result: `x - q * y`, rounded once, not beyond 0 or y.
/// 3. Where it is one more, `r` is not on y's side of 0, and it is exact: a multiple of the lesser of x's and y's
///    units, of at most `|y| / 2`. Where the lesser is x's, `|x| < |y|`: then q is 0 and `r` is x, or q is 1, and the
///    difference of two numbers within a factor of 2 is exact. So adding `y` is the one rounding.
#[inline(always)]
fn floor_mod_fused(x: f32, y: f32) -> ((f32, f32), bool) {
    let sign = y.to_bits() & 0x8000_0000;
    let quotient = x / y;
    let q = quotient.floor();
    let r = (-q).mul_add(y, x);
    let beyond = f32::from_bits(r.to_bits() ^ sign) < 0.0;
    let (z, q) = if beyond { (r + y, q - 1.0) } else { (r, q) };
    // A zero takes the sign of y, as everything else has it already; Q's is positive.
    let z = f32::from_bits(z.to_bits() & 0x7fff_ffff | sign);
    // A NaN in x or y, an infinite x and a zero y show in the quotient, an infinite y in r.
    ((z, q + 0.0), (quotient.abs() < 16_777_216.0) & !r.is_nan())
}

/// `(z, Q)`, and whether they are exact: finite operands, quotients below 2^28.
///
/// A quotient of two 24-bit significands is at least 2^-24 away from an integer that it does not equal, and below 2^28
/// f64 resolves half of that, so the floor is exact. `q * y` fits in 53 bits. The subtraction rounds at most where
/// `|x| < |y|`, to 53 bits, which is enough (2 · 24 + 2) that rounding once more to 24 equals rounding once.
#[inline(always)]
fn floor_mod_f64(x: f32, y: f32) -> ((f32, f32), bool) {
    let (xd, yd) = (f64::from(x), f64::from(y));
    let quotient = xd / yd;
    let nearest = round_f64(quotient);
    let q = if nearest > quotient { nearest - 1.0 } else { nearest };
    let r = xd - q * yd;
    let zero = f32::from_bits(y.to_bits() & 0x8000_0000);
    let z = if r == 0.0 { zero } else { r as f32 };
    // NaN compares false: x or y special.
    ((z, q as f32 + 0.0), (quotient.abs() < 268_435_456.0) & (r.abs() < f64::INFINITY))
}
