//! The floored modulo and its quotient by long division of the significands. The code is simple, scalar, and right
//! for every pair of bit patterns. Everything faster is compared with it.

use super::{NAN, canonical, power_of_two};

/// `x - y * floor(x / y)`, rounded once.
pub(crate) fn remainder(x: f32, y: f32) -> f32 {
    floor_mod(x, y).0
}

/// The floor of the exact quotient `x / y`, rounded once; NaN where [`remainder`] is.
pub(crate) fn quotient(x: f32, y: f32) -> f32 {
    floor_mod(x, y).1
}

/// The part of the gradient `dz` that [`remainder`] passes to its divisor.
#[inline(always)]
pub(crate) fn rate(quotient: f32, dz: f32) -> f32 {
    canonical(dz * -quotient)
}

/// The remainder and the quotient of one division, which therefore belong together.
pub(crate) fn floor_mod(x: f32, y: f32) -> (f32, f32) {
    if x.is_nan() || y.is_nan() || x.is_infinite() || y == 0.0 {
        return (NAN, NAN);
    }
    if x == 0.0 {
        return (0.0_f32.copysign(y), 0.0);
    }
    let differ = x.is_sign_negative() != y.is_sign_negative();
    if y.is_infinite() {
        return if differ { (y, -1.0) } else { (x, 0.0) };
    }
    let (rest, mut q) = divide(x.abs(), y.abs());
    let rest = rest.copysign(x);
    if !differ || rest == 0.0 {
        let q = q.round();
        return (rest.abs().copysign(y), if differ { -q } else { q });
    }
    q.increment();
    // The exact value is between y and 0. This addition is the only rounding.
    (y + rest, -q.round())
}

/// Remainder and truncated quotient of two positive finite numbers.
fn divide(x: f32, y: f32) -> (f32, Quotient) {
    if x < y {
        return (x, Quotient::new(0));
    }
    let ((mx, ex), (my, ey)) = (decompose(x), decompose(y));
    let mut rest = mx % my;
    let mut q = Quotient::new(mx / my);
    let mut shift = ex - ey;
    while shift > 0 {
        // The rest is below 2^24, so 31 more bits fit a u64 and one division gives 31 bits of the quotient.
        let step = shift.min(31);
        q.append((rest << step) / my, step);
        rest = (rest << step) % my;
        shift -= step;
    }
    // The rest is below 2^24 and on y's grid: exact in f64, and in f32.
    ((rest as f64 * power_of_two(ey)) as f32, q)
}

/// A positive finite number as `m * 2^e`, with integers.
fn decompose(v: f32) -> (u64, i32) {
    let (field, fraction) = ((v.to_bits() >> 23) as i32, u64::from(v.to_bits() & 0x007f_ffff));
    if field == 0 { (fraction, -149) } else { (fraction | 0x0080_0000, field - 150) }
}

/// An integer of any length: `head * 2^dropped + tail`. Only what a rounding needs is known about the tail.
struct Quotient {
    head: u64,
    dropped: i32,
    tail_any_one: bool,
    /// Also true for an empty tail.
    tail_all_ones: bool,
}

impl Quotient {
    fn new(head: u64) -> Self {
        Self { head, dropped: 0, tail_any_one: false, tail_all_ones: true }
    }

    fn append(&mut self, digits: u64, count: i32) {
        if self.head < 1 << 32 {
            self.head = self.head << count | digits;
        } else {
            self.dropped += count;
            self.tail_any_one |= digits != 0;
            self.tail_all_ones &= digits == (1 << count) - 1;
        }
    }

    fn increment(&mut self) {
        if self.tail_all_ones {
            self.head += 1;
            (self.tail_any_one, self.tail_all_ones) = (false, false);
        } else {
            self.tail_any_one = true;
        }
    }

    /// The nearest f32, ties to even. If there is a tail, the head has more than 32 bits, so a sticky lowest bit
    /// stands for the tail.
    fn round(&self) -> f32 {
        let head = (self.head | u64::from(self.tail_any_one)) as f32;
        // Scaling by a power of two is exact except for overflow, which the conversion turns into infinity.
        (f64::from(head) * power_of_two(self.dropped)) as f32
    }
}
