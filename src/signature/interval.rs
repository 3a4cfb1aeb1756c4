//! Interval arithmetic in f64, rounded outwards: where a result may lie, given where its operands may lie.

use std::f64::consts::{PI, TAU};

use super::enclosure::{
    Enclosure::{self, Exact, LeftOut, Within},
    Reason, above, below,
};
use crate::numeric::power_of_two;

/// Up to here f64 tells where in its turn an angle is, to 2^-29.
const LARGEST_ANGLE: f64 = (1 << 24) as f64;
/// The least normal f32.
pub(crate) const TINY: f64 = f32::MIN_POSITIVE as f64;
pub(crate) const GREATEST: f64 = f32::MAX as f64;
/// The greatest divisor for which division has a bound, 2^126.
const LARGEST_DIVISOR: f64 = 1.0 / TINY;

/// All numbers from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    pub(crate) fn point(value: f64) -> Self {
        Self { low: value, high: value }
    }

    pub(crate) fn of(enclosure: Enclosure) -> Result<Self, Reason> {
        match enclosure {
            Exact(value) => Self::point(value.into()).finite(),
            Within(low, high) => Self { low, high }.finite(),
            LeftOut(reason) => Err(reason),
        }
    }

    pub(crate) fn enclosure(self) -> Enclosure {
        self.finite().map_or_else(LeftOut, |finite| {
            let flushed = finite.flushed();
            Within(flushed.low, flushed.high)
        })
    }

    /// The interval, if no number in it overflows f32.
    pub(crate) fn finite(self) -> Result<Self, Reason> {
        let finite = self.low >= -GREATEST && self.high <= GREATEST;
        finite.then_some(self).ok_or(Reason::NotFinite)
    }

    pub(crate) fn is_point(self) -> bool {
        self.low == self.high
    }

    /// The interval, extended to zero if it contains a subnormal number.
    pub(crate) fn flushed(self) -> Self {
        let low = if (0.0..TINY).contains(&self.low) { 0.0 } else { self.low };
        let high = if (0.0..TINY).contains(&-self.high) { 0.0 } else { self.high };
        Self { low, high }
    }

    /// The greatest magnitude in the interval.
    pub(crate) fn size(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    pub(crate) fn hull(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    pub(crate) fn cut(self, low: f64, high: f64) -> Self {
        Self { low: self.low.clamp(low, high), high: self.high.clamp(low, high) }
    }

    /// Widened by the error of f64: functions of the standard library are off by a few units.
    pub(crate) fn slack(self, relative: f64) -> Self {
        Self { low: self.low - self.low.abs() * relative, high: self.high + self.high.abs() * relative }
    }

    pub(crate) fn widened(self, by: f64) -> Self {
        Self { low: self.low - by, high: self.high + by }
    }

    /// Widened by that many ULP of its numbers.
    pub(crate) fn ulps(self, count: f64) -> Self {
        // Just above a power of two, a ULP is twice that of an end below. Further away, it grows by less than the
        // distance.
        let most = ulp(self.size());
        let at = |end: f64| count * most.min(2.0 * ulp(end));
        Self { low: self.low - at(self.low), high: self.high + at(self.high) }
    }

    /// Widened to the f32 numbers around it.
    pub(crate) fn neighbours(self) -> Self {
        Self { low: below(self.low).into(), high: above(self.high).into() }
    }

    /// The hull of a function of an end of this interval and an end of the other.
    pub(crate) fn corners(self, other: Self, f: impl Fn(f64, f64) -> Self) -> Self {
        let [a, b, c, d] = [
            f(self.low, other.low),
            f(self.low, other.high),
            f(self.high, other.low),
            f(self.high, other.high),
        ];
        a.hull(b).hull(c.hull(d))
    }

    pub(crate) fn negated(self) -> Self {
        Self { low: -self.high, high: -self.low }
    }

    pub(crate) fn magnitude(self) -> Self {
        Self { low: self.low.max(-self.high).max(0.0), high: self.size() }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { low: sum(self.low, other.low).low, high: sum(self.high, other.high).high }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        self.corners(other, product)
    }

    /// The exact quotient.
    pub(crate) fn over(self, other: Self) -> Result<Self, Reason> {
        if other.low <= 0.0 && other.high >= 0.0 {
            return Err(Reason::NoBound);
        }
        Ok(self.corners(other, quotient))
    }

    pub(crate) fn divided(self, other: Self) -> Result<Self, Reason> {
        let sizes = other.magnitude();
        if sizes.low < TINY || sizes.high > LARGEST_DIVISOR {
            return Err(Reason::NoBound);
        }
        Ok(self.over(other)?.ulps(2.5))
    }

    /// `a - b * q`, if every quotient has the same integer `q`.
    pub(crate) fn remainder(self, divisor: Self, round: fn(f64) -> f64) -> Result<Self, Reason> {
        let quotient = self.quotient(divisor, round)?;
        Ok(self.plus(divisor.times(Self::point(-quotient))))
    }

    pub(crate) fn floor_mod(self, divisor: Self) -> Result<Self, Reason> {
        let remainder = self.remainder(divisor, f64::floor)?;
        Ok(remainder.cut(divisor.low.min(0.0), divisor.high.max(0.0)))
    }

    /// The integer of every quotient, if it is the same.
    pub(crate) fn quotient(self, divisor: Self, round: fn(f64) -> f64) -> Result<f64, Reason> {
        Ok(self.over(divisor)?.integer(round)?.low)
    }

    /// The integer of every number, if it is the same.
    pub(crate) fn integer(self, round: fn(f64) -> f64) -> Result<Self, Reason> {
        let (low, high) = (round(self.low), round(self.high));
        if low == high { Ok(Self::point(low)) } else { Err(Reason::Jump) }
    }

    pub(crate) fn least(self, other: Self) -> Self {
        let least = Self { low: self.low.min(other.low), high: self.high.min(other.high) };
        let has_subnormals = |i: Self| i.low < TINY && i.high > -TINY && i != Self::point(0.0);
        if has_subnormals(self) && has_subnormals(other) {
            // Either of two subnormal numbers may be taken for the least.
            return least.hull(self.hull(other).cut(-TINY, TINY));
        }
        least
    }

    /// The values of a function that rises throughout its domain.
    pub(crate) fn rising(self, f: fn(f64) -> f64) -> Result<Self, Reason> {
        Self { low: f(self.low), high: f(self.high) }.in_domain()
    }

    /// The values of a function that falls throughout its domain.
    pub(crate) fn falling(self, f: fn(f64) -> f64) -> Result<Self, Reason> {
        Self { low: f(self.high), high: f(self.low) }.in_domain()
    }

    /// A function is NaN outside its domain.
    fn in_domain(self) -> Result<Self, Reason> {
        if self.low.is_nan() || self.high.is_nan() { Err(Reason::NoBound) } else { Ok(self) }
    }

    /// The values of sine or cosine. `crest` is an argument at which it has a maximum.
    pub(crate) fn wave(self, f: fn(f64) -> f64, crest: f64) -> Self {
        let ends = Self::point(f(self.low)).hull(Self::point(f(self.high)));
        // In f64, the place of a large argument in its turn is known too roughly.
        if self.size() > LARGEST_ANGLE && !self.is_point() {
            return Self { low: -1.0, high: 1.0 };
        }
        let turns = |angle: f64, from: f64| ((angle - from) / TAU).floor();
        let reaches = |place: f64| !self.is_point() && turns(self.low, place) < turns(self.high, place);
        let ends = if reaches(crest) { Self { high: 1.0, ..ends } } else { ends };
        if reaches(crest + PI) { Self { low: -1.0, ..ends } } else { ends }
    }

    /// Widened by ULP of the exact values, of which f64 is off by a little. Zero and infinity stay.
    pub(crate) fn off_by(self, ulps: f64) -> Self {
        let wide = self.slack(SLACK).ulps(ulps);
        let end = |exact: f64, wide: f64| if exact == 0.0 || exact.is_infinite() { exact } else { wide };
        Self { low: end(self.low, wide.low), high: end(self.high, wide.high) }
    }
}

/// Much more than the error of the standard library's functions.
const SLACK: f64 = 1.0 / (1_u64 << 49) as f64;

/// The exact sum of two numbers, or bounds on it.
fn sum(a: f64, b: f64) -> Interval {
    let sum = a + b;
    // Knuth's two-sum: the error of the rounded sum.
    let rest = sum - a;
    let error = (a - (sum - rest)) + (b - rest);
    Interval {
        low: if error < 0.0 { sum.next_down() } else { sum },
        high: if error > 0.0 { sum.next_up() } else { sum },
    }
}

/// The exact product of two numbers, or bounds on it.
fn product(a: f64, b: f64) -> Interval {
    let product = Interval::point(a * b);
    if has_exact_product(a, b) { product } else { product.slack(f64::EPSILON) }
}

/// The exact quotient of two numbers, or bounds on it.
fn quotient(a: f64, b: f64) -> Interval {
    let quotient = Interval::point(a / b);
    let is_exact = has_exact_product(a / b, b) && a / b * b == a;
    if is_exact { quotient } else { quotient.slack(f64::EPSILON) }
}

/// Whether f64 holds the product exactly: twice the 24 bits of an f32 fit.
fn has_exact_product(a: f64, b: f64) -> bool {
    is_f32(a) && is_f32(b)
}

pub(crate) fn is_f32(v: f64) -> bool {
    f64::from(v as f32) == v
}

/// The greatest power of two that divides a number. Every power divides zero.
pub(crate) fn last_place(v: f64) -> f64 {
    let bits = v.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1023;
    let zeros = bits.trailing_zeros().min(52) as i32;
    if v == 0.0 { f64::INFINITY } else { power_of_two(exponent - 52 + zeros) }
}

/// The distance between the two f32 around a number. For an f32, the distance to its nearer neighbour.
pub(crate) fn ulp(v: f64) -> f64 {
    let bits = v.abs().to_bits();
    let is_power = bits & ((1 << 52) - 1) == 0;
    let exponent = (bits >> 52) as i32 - 1023 - i32::from(is_power);
    power_of_two(exponent.max(-126) - 23)
}
