//! Real numbers of 256 significant bits, for the few operands whose value f64 cannot round.
//!
//! Results are truncated: each operation is off by a few units of 2^-255, relative.

use std::ops::{Add, Div, Mul, Neg, Sub};

const LIMBS: usize = 4;

/// `±limbs / 2^256 · 2^exponent`. The top bit of the limbs is set, or all are 0. The last limb is the highest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Big {
    negative: bool,
    exponent: i32,
    limbs: [u64; LIMBS],
}

impl Big {
    pub(super) const ZERO: Self = Self::constant(0, [0; LIMBS]);
    pub(super) const ONE: Self = Self::constant(1, [0, 0, 0, 1 << 63]);
    /// The natural logarithm of 2.
    pub(super) const LN_2: Self = Self::constant(
        0,
        [0x8a0d_175b_8baa_fa2b, 0x40f3_4326_7298_b62d, 0xc9e3_b398_03f2_f6af, 0xb172_17f7_d1cf_79ab],
    );
    pub(super) const PI: Self = Self::constant(
        2,
        [0x020b_bea6_3b13_9b22, 0x2902_4e08_8a67_cc74, 0xc4c6_628b_80dc_1cd1, 0xc90f_daa2_2168_c234],
    );
    /// `2 / sqrt(π)`.
    pub(super) const TWO_OVER_SQRT_PI: Self = Self::constant(
        1,
        [0x39a1_5830_cce6_20b0, 0x1409_a0eb_ac3e_7517, 0x71d4_8a7f_6bfe_c344, 0x906e_ba82_14db_688d],
    );

    const fn constant(exponent: i32, limbs: [u64; LIMBS]) -> Self {
        Self { negative: false, exponent, limbs }
    }

    /// The number of limbs / 2^(64 · N) · 2^exponent, cut to 256 bits. The last limb is the highest.
    pub(super) fn from_limbs<const N: usize>(negative: bool, exponent: i32, limbs: [u64; N]) -> Self {
        let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return Self::ZERO };
        let shift = limbs[top].leading_zeros();
        let limb = |i: isize| usize::try_from(i).map_or(0, |i| limbs[i]);
        let mut normal = [0; LIMBS];
        for (i, out) in normal.iter_mut().enumerate() {
            let at = top as isize - (LIMBS - 1 - i) as isize;
            let below = if shift == 0 { 0 } else { limb(at - 1) >> (64 - shift) };
            *out = limb(at) << shift | below;
        }
        let exponent = exponent - 64 * (N - 1 - top) as i32 - shift as i32;
        Self { negative, exponent, limbs: normal }
    }

    /// A finite number, exactly.
    pub(super) fn new(value: f64) -> Self {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let (exponent, significand) =
            if exponent == 0 { (1, fraction) } else { (exponent, fraction | 1 << 52) };
        // The significand counts units of 2^(exponent - 1075).
        Self::from_limbs(value.is_sign_negative(), exponent - 1075 + 64, [significand])
    }

    pub(super) fn is_zero(self) -> bool {
        self.limbs[LIMBS - 1] == 0
    }

    pub(super) fn is_negative(self) -> bool {
        self.negative
    }

    /// The least integer above log2 of the magnitude; `i32::MIN` for 0.
    pub(super) fn exponent(self) -> i32 {
        if self.is_zero() { i32::MIN } else { self.exponent }
    }

    pub(super) fn abs(self) -> Self {
        Self { negative: false, ..self }
    }

    /// `self · 2^by`.
    pub(super) fn scaled(self, by: i32) -> Self {
        Self { exponent: self.exponent + by, ..self }
    }

    /// The number as f64, off by at most 2 units in the last place. It is within the range of f64.
    pub(super) fn approximate(self) -> f64 {
        let magnitude = self.limbs[LIMBS - 1] as f64 * (-64_f64).exp2();
        let half = self.exponent / 2;
        let scaled = magnitude * f64::from(half).exp2() * f64::from(self.exponent - half).exp2();
        if self.negative { -scaled } else { scaled }
    }

    pub(super) fn times(self, factor: u64) -> Self {
        let (mut carry, mut limbs) = (0, [0; LIMBS + 1]);
        for (out, limb) in limbs.iter_mut().zip(self.limbs) {
            let wide = u128::from(limb) * u128::from(factor) + u128::from(carry);
            (*out, carry) = (wide as u64, (wide >> 64) as u64);
        }
        limbs[LIMBS] = carry;
        Self::from_limbs(self.negative, self.exponent + 64, limbs)
    }

    pub(super) fn over(self, divisor: u64) -> Self {
        let (mut rest, mut limbs) = (0, [0; LIMBS + 1]);
        let mut next = |limb: u64| {
            let wide = u128::from(rest) << 64 | u128::from(limb);
            rest = (wide % u128::from(divisor)) as u64;
            (wide / u128::from(divisor)) as u64
        };
        for i in (0..LIMBS).rev() {
            limbs[i + 1] = next(self.limbs[i]);
        }
        limbs[0] = next(0);
        Self::from_limbs(self.negative, self.exponent, limbs)
    }

    /// `1 / self`, by Newton's iteration.
    pub(super) fn reciprocal(self) -> Self {
        let unit = Self { exponent: 0, negative: false, ..self };
        let mut y = Self::new(1.0 / unit.approximate());
        for _ in 0..3 {
            y = y + y * (Self::ONE - unit * y);
        }
        Self { exponent: y.exponent - self.exponent, negative: self.negative, ..y }
    }

    /// The square root of a positive number, by Newton's iteration for `1 / sqrt`.
    pub(super) fn sqrt(self) -> Self {
        if self.is_zero() {
            return self;
        }
        let half = self.exponent.div_euclid(2);
        let unit = Self { exponent: self.exponent - 2 * half, ..self };
        let mut y = Self::new(1.0 / unit.approximate().sqrt());
        for _ in 0..3 {
            y = y + (y * (Self::ONE - unit * y * y)).scaled(-1);
        }
        (unit * y).scaled(half)
    }

    /// The nearest f32, ties to even. A number within 2^-100 of a tie, relative, is one: no function of f32 comes that
    /// near without being exact, but for the one that [`round_down_ties`](Big::round_down_ties) is for.
    pub(super) fn round(self) -> f32 {
        self.rounded(|whole| whole & 1 == 1)
    }

    /// The same of an arctangent: what is within 2^-100 of a tie is less than it, since `atan t < t`.
    pub(super) fn round_down_ties(self) -> f32 {
        self.rounded(|_| false)
    }

    /// The nearest f32. At a tie, `up` of the lower neighbour's significand decides.
    fn rounded(self, up: impl Fn(u128) -> bool) -> f32 {
        let sign = u32::from(self.negative) << 31;
        if self.exponent() > 128 {
            return f32::from_bits(sign | if self.is_zero() { 0 } else { 0x7f80_0000 });
        }
        // The number of significant bits that the result has; 0 or less below half of the least number.
        let kept = (self.exponent() + 149).min(24);
        if self.is_zero() || kept < 0 {
            return f32::from_bits(sign);
        }
        let top = u128::from(self.limbs[3]) << 64 | u128::from(self.limbs[2]);
        let shift = 128 - kept as u32;
        let (whole, rest) = if shift == 128 { (0, top) } else { (top >> shift, top << kept) };
        // `rest` is a fraction of 2^128; the lower limbs follow it.
        let half = 1_u128 << 127;
        // 2^-100 of a number of 24 bits is 2^-76 of its last place.
        let up = if rest.abs_diff(half) < 1 << 52 { up(whole) } else { rest > half };
        let magnitude = whole as u32 + u32::from(up);
        // A carry goes on into the exponent.
        let biased = if kept == 24 { ((self.exponent + 125) as u32) << 23 } else { 0 };
        f32::from_bits(sign | (biased + magnitude))
    }
}

/// The sum of a series: `first`, and then each term by `next`, from the one before and its number.
pub(super) fn series(first: Big, mut next: impl FnMut(Big, u64) -> Big) -> Big {
    let (mut sum, mut term) = (first, first);
    for n in 1.. {
        term = next(term, n);
        if term.is_zero() || term.exponent() < sum.exponent() - 260 {
            break;
        }
        sum = sum + term;
    }
    sum
}

impl Neg for Big {
    type Output = Self;

    fn neg(self) -> Self {
        Self { negative: !self.negative, ..self }
    }
}

impl Add for Big {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (large, small) = if (self.exponent(), self.limbs[3]) >= (other.exponent(), other.limbs[3]) {
            (self, other)
        } else {
            (other, self)
        };
        let distance = i64::from(large.exponent) - i64::from(small.exponent);
        if small.is_zero() || distance > 256 {
            return large;
        }
        let (words, bits) = (distance as usize / 64, distance as u32 % 64);
        // A limb below, for what is shifted out, and one above, for a carry.
        let mut sum = [0; LIMBS + 2];
        sum[1..=LIMBS].copy_from_slice(&large.limbs);
        let shifted = |i: usize| {
            let limb = |i: usize| if (1..=LIMBS).contains(&i) { small.limbs[i - 1] } else { 0 };
            let above = if bits == 0 { 0 } else { limb(i + words + 1) << (64 - bits) };
            limb(i + words) >> bits | above
        };
        let adds = large.negative == small.negative;
        let mut carry = false;
        for (i, out) in sum.iter_mut().enumerate() {
            (*out, carry) = carried(*out, shifted(i), carry, adds);
        }
        // The difference of two numbers with one highest limb may be negative.
        let mut negate = carry;
        if carry {
            for out in &mut sum {
                (*out, negate) = (!*out).overflowing_add(negate.into());
            }
        }
        Self::from_limbs(large.negative != carry, large.exponent + 64, sum)
    }
}

/// The sum or the difference of two limbs with a carry or a borrow, and the next carry or borrow.
fn carried(a: u64, b: u64, carry: bool, adds: bool) -> (u64, bool) {
    let step = if adds { u64::overflowing_add } else { u64::overflowing_sub };
    let (value, first) = step(a, b);
    let (value, second) = step(value, carry.into());
    (value, first | second)
}

impl Sub for Big {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Big {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let mut product = [0_u64; 2 * LIMBS];
        for (i, a) in self.limbs.into_iter().enumerate() {
            let mut carry = 0;
            for (j, b) in other.limbs.into_iter().enumerate() {
                let wide = u128::from(a) * u128::from(b) + u128::from(product[i + j]) + u128::from(carry);
                (product[i + j], carry) = (wide as u64, (wide >> 64) as u64);
            }
            product[i + LIMBS] = carry;
        }
        Self::from_limbs(self.negative != other.negative, self.exponent + other.exponent, product)
    }
}

impl Div for Big {
    type Output = Self;

    #[expect(clippy::suspicious_arithmetic_impl, reason = "Newton's iteration gives the reciprocal")]
    fn div(self, other: Self) -> Self {
        self * other.reciprocal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lower neighbour of 2^24 + 3 is odd, so the tie goes up, also where an operation has truncated it.
    #[test]
    fn a_tie_is_one_within_the_error() {
        let tie = Big::new(16_777_219.0);
        for value in [tie, tie - Big::ONE.scaled(-200), tie + Big::ONE.scaled(-200)] {
            assert_eq!(value.round(), 16_777_220.0);
            assert_eq!(value.round_down_ties(), 16_777_218.0);
        }
        assert_eq!((tie - Big::ONE.scaled(-40)).round(), 16_777_218.0);
    }
}
