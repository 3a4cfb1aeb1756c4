//! The functions in 256 bits, rounded once, with their special cases: for operands of which f64 says too little.

use super::big::{Big, series};
use crate::numeric::NAN;

/// `e^x`: Taylor's series of a 1024th of the remainder of ln 2, squared ten times.
fn exp_big(x: Big) -> Big {
    let k = (x.approximate() * std::f64::consts::LOG2_E).round();
    let rest = (x - Big::LN_2 * Big::new(k)).scaled(-10);
    let mut power = series(Big::ONE, |term, n| (term * rest).over(n));
    for _ in 0..10 {
        power = power * power;
    }
    power.scaled(k as i32)
}

fn expm1_big(x: Big) -> Big {
    if x.exponent() < -20 { series(x, |term, n| (term * x).over(n + 1)) } else { exp_big(x) - Big::ONE }
}

/// `atanh(t)` of a small `t`.
fn atanh_series(t: Big) -> Big {
    let square = t * t;
    let (mut power, mut sum) = (t, t);
    for n in [3, 5, 7, 9] {
        power = power * square;
        sum = sum + power.over(n);
    }
    sum
}

/// `ln x` of a positive number: f64's, mended by what `e^` of it lacks.
fn ln_big(x: Big) -> Big {
    let unit = x.scaled(-x.exponent());
    let guess = unit.approximate().ln() + f64::from(x.exponent()) * std::f64::consts::LN_2;
    let power = exp_big(Big::new(guess));
    Big::new(guess) + atanh_series((x - power) / (x + power)).scaled(1)
}

/// `ln(1 + x)` for `x` above -1.
fn log1p_big(x: Big) -> Big {
    if x.exponent() < -60 {
        return x - (x * x).scaled(-1) + (x * x * x).over(3) - (x * x * x * x).scaled(-2);
    }
    ln_big(Big::ONE + x)
}

/// `sinh x` of a small number.
fn sinh_series(x: Big) -> Big {
    let square = x * x;
    series(x, |term, n| (term * square).over(2 * n * (2 * n + 1)))
}

fn sinh_big(x: Big) -> Big {
    if x.exponent() < -10 {
        return sinh_series(x);
    }
    let power = exp_big(x);
    (power - power.reciprocal()).scaled(-1)
}

fn cosh_big(x: Big) -> Big {
    let power = exp_big(x);
    (power + power.reciprocal()).scaled(-1)
}

fn atanh_big(t: Big) -> Big {
    if t.exponent() < -30 { atanh_series(t) } else { ln_big((Big::ONE + t) / (Big::ONE - t)).scaled(-1) }
}

/// Sine and cosine of a number up to 2.
fn sin_cos_big(x: Big) -> (Big, Big) {
    let square = -(x * x);
    let sine = series(x, |term, n| (term * square).over(2 * n * (2 * n + 1)));
    let cosine = series(Big::ONE, |term, n| (term * square).over(2 * n * (2 * n - 1)));
    (sine, cosine)
}

/// The first 512 bits of `2 / π`, the last limb first.
const TWO_OVER_PI: [u64; 8] = [
    0xe882_35f5_2ebb_4484,
    0xfe1d_eb1c_b129_a73e,
    0x0649_2eea_09d1_921c,
    0xb724_6e3a_424d_d2e0,
    0xfe51_63ab_debb_c561,
    0xdb62_9599_3c43_9041,
    0xfc27_57d1_f534_ddc0,
    0xa2f9_836e_4e44_1529,
];

/// The number of quarter turns nearest to `x`, modulo 4, and what `x` exceeds them by (Payne and Hanek).
fn quarters(x: f32) -> (u32, Big) {
    let magnitude = x.abs();
    if magnitude < 0.75 {
        return (0, Big::new(x.into()));
    }
    let significand = magnitude.to_bits() & 0x7f_ffff | 0x80_0000;
    let exponent = (magnitude.to_bits() >> 23) as i32 - 150;
    // Bits of 2/π whose multiples are whole turns are left out.
    let first = (exponent - 2).max(0) as usize;
    let window = |i: usize| {
        // Limb i of 320 bits that start behind bit `first`, the highest limb last.
        let from = 512 - first as isize - 320 + 64 * i as isize;
        let limb = |i: isize| usize::try_from(i).ok().and_then(|i| TWO_OVER_PI.get(i)).copied().unwrap_or(0);
        let (word, bit) = (from.div_euclid(64), from.rem_euclid(64) as u32);
        if bit == 0 { limb(word) } else { limb(word) >> bit | limb(word + 1) << (64 - bit) }
    };
    let (mut carry, mut product) = (0, [0_u64; 6]);
    for (i, out) in product.iter_mut().enumerate().take(5) {
        let wide = u128::from(window(i)) * u128::from(significand) + u128::from(carry);
        (*out, carry) = (wide as u64, (wide >> 64) as u64);
    }
    product[5] = carry;
    // The product counts units of 2^-point.
    let point = (320 + first as i32 - exponent) as u32;
    let bit = |at: u32| (product[at as usize / 64] >> (at % 64) & 1) as u32;
    let whole = |at: u32| if at < 384 { bit(at) } else { 0 };
    let mut count = whole(point) + 2 * whole(point + 1);
    let mut fraction = product;
    for at in point..384 {
        fraction[at as usize / 64] &= !(1 << (at % 64));
    }
    let mut rest = Big::from_limbs(false, 384 - point as i32, fraction);
    if bit(point - 1) == 1 {
        count += 1;
        rest = rest - Big::ONE;
    }
    let rest = rest * Big::PI.scaled(-1);
    if x < 0.0 { (count.wrapping_neg() & 3, -rest) } else { (count & 3, rest) }
}

fn atan_big(x: Big) -> Big {
    let guess = x.approximate().atan();
    let (sine, cosine) = sin_cos_big(Big::new(guess));
    let t = (x * cosine - sine) / (cosine + x * sine);
    Big::new(guess) + t - (t * t * t).over(3) + (t * t * t * t * t).over(5)
}

/// `e^(-x²) · 2 / sqrt(π) · Σ 2^n x^(2n+1) / (2n+1)!!`, which has no negative term.
fn erf_big(x: Big) -> Big {
    let square = x * x;
    let sum = series(x, |term, n| (term * square).scaled(1).over(2 * n + 1));
    exp_big(-square) * sum * Big::TWO_OVER_SQRT_PI
}

fn big(x: f32) -> Big {
    Big::new(x.into())
}

/// The value of a finite `x` that is not 0. A zero and NaN are themselves, and so are infinities unless `at` says what
/// the function is at plus and minus infinity.
fn through_zero(x: f32, at: [f32; 2], value: impl FnOnce(Big) -> Big) -> f32 {
    match x {
        _ if x.is_nan() => NAN,
        _ if x == 0.0 => x,
        f32::INFINITY => at[0],
        f32::NEG_INFINITY => at[1],
        _ => value(big(x)).round(),
    }
}

const INF: f32 = f32::INFINITY;

pub(super) fn exp(x: f32) -> f32 {
    match x {
        _ if x.is_nan() => NAN,
        _ => exp_big(big(x.clamp(-200.0, 200.0))).round(),
    }
}

pub(super) fn exp2(x: f32) -> f32 {
    match x.clamp(-200.0, 200.0) {
        x if x.is_nan() => NAN,
        // A tie where half of the least number is the value.
        x if x == x.trunc() => Big::ONE.scaled(x as i32).round(),
        x => exp_big(big(x) * Big::LN_2).round(),
    }
}

pub(super) fn expm1(x: f32) -> f32 {
    through_zero(x, [INF, -1.0], |_| expm1_big(big(x.clamp(-200.0, 200.0))))
}

pub(super) fn log(x: f32) -> f32 {
    logarithm(x, |x| x)
}

pub(super) fn log2(x: f32) -> f32 {
    logarithm(x, |log| log / Big::LN_2)
}

pub(super) fn log10(x: f32) -> f32 {
    logarithm(x, |log| log / ln_big(Big::new(10.0)))
}

/// The logarithm to a base, by what makes it of the natural one.
fn logarithm(x: f32, to_base: impl FnOnce(Big) -> Big) -> f32 {
    match x {
        _ if x.is_nan() || x < 0.0 => NAN,
        _ if x == 0.0 => -INF,
        INF => INF,
        _ if x == 1.0 => 0.0,
        _ => to_base(ln_big(big(x))).round(),
    }
}

pub(super) fn log1p(x: f32) -> f32 {
    match x {
        _ if x < -1.0 => NAN,
        _ if x == -1.0 => -INF,
        _ => through_zero(x, [INF, NAN], log1p_big),
    }
}

pub(super) fn sin(x: f32) -> f32 {
    if x == 0.0 { x } else { turned(x, 0) }
}

pub(super) fn cos(x: f32) -> f32 {
    turned(x, 1)
}

/// The sine of `x` and some quarter turns.
fn turned(x: f32, more: u32) -> f32 {
    if !x.is_finite() {
        return NAN;
    }
    let (count, rest) = quarters(x);
    let (sine, cosine) = sin_cos_big(rest);
    let count = count + more;
    let value = if count & 1 == 0 { sine } else { cosine };
    if count & 2 == 0 { value.round() } else { (-value).round() }
}

pub(super) fn tan(x: f32) -> f32 {
    through_zero(x, [NAN; 2], |_| {
        let (count, rest) = quarters(x);
        let (sine, cosine) = sin_cos_big(rest);
        if count & 1 == 0 { sine / cosine } else { -(cosine / sine) }
    })
}

pub(super) fn asin(x: f32) -> f32 {
    match x.abs() {
        size if size > 1.0 => NAN,
        1.0 => Big::PI.scaled(-1).round().copysign(x),
        _ => through_zero(x, [NAN; 2], |x| atan_big(x / ((Big::ONE - x) * (Big::ONE + x)).sqrt())),
    }
}

pub(super) fn acos(x: f32) -> f32 {
    match x {
        _ if x.is_nan() || x.abs() > 1.0 => NAN,
        -1.0 => Big::PI.round(),
        1.0 => 0.0,
        _ => atan_big(((Big::ONE - big(x)) / (Big::ONE + big(x))).sqrt()).scaled(1).round(),
    }
}

pub(super) fn atan(x: f32) -> f32 {
    let half = Big::PI.scaled(-1).round();
    through_zero(x, [half, -half], atan_big)
}

pub(super) fn sinh(x: f32) -> f32 {
    through_zero(x, [INF, -INF], |_| sinh_big(big(x.clamp(-200.0, 200.0))))
}

pub(super) fn cosh(x: f32) -> f32 {
    if x.is_nan() { NAN } else { cosh_big(big(x.clamp(-200.0, 200.0))).round() }
}

pub(super) fn tanh(x: f32) -> f32 {
    through_zero(x, [1.0, -1.0], |_| {
        let x = big(x.clamp(-20.0, 20.0));
        sinh_big(x) / cosh_big(x)
    })
}

pub(super) fn asinh(x: f32) -> f32 {
    through_zero(x, [INF, -INF], |x| atanh_big(x / (Big::ONE + (x * x + Big::ONE).sqrt())).scaled(1))
}

pub(super) fn acosh(x: f32) -> f32 {
    match x {
        _ if x.is_nan() || x < 1.0 => NAN,
        1.0 => 0.0,
        INF => INF,
        _ => ln_big(big(x) + (big(x) * big(x) - Big::ONE).sqrt()).round(),
    }
}

pub(super) fn atanh(x: f32) -> f32 {
    match x.abs() {
        size if size > 1.0 => NAN,
        1.0 => INF.copysign(x),
        _ => through_zero(x, [NAN; 2], atanh_big),
    }
}

pub(super) fn inverse_sqrt(x: f32) -> f32 {
    match x {
        _ if x.is_nan() || x < 0.0 => NAN,
        _ if x == 0.0 => INF.copysign(x),
        INF => 0.0,
        _ => big(x).sqrt().reciprocal().round(),
    }
}

pub(super) fn cbrt(x: f32) -> f32 {
    through_zero(x, [INF, -INF], |x| {
        let mut root = Big::new(x.approximate().cbrt());
        for _ in 0..3 {
            let square = root * root;
            root = root - (root * square - x) / square.times(3);
        }
        root
    })
}

pub(super) fn erf(x: f32) -> f32 {
    // From 4 on it is within 2^-25 of 1, which it does not reach.
    through_zero(x, [1.0, -1.0], |_| erf_big(big(x.clamp(-4.0, 4.0))))
}

pub(super) fn erfc(x: f32) -> f32 {
    // Beyond 11 it is less than half of the least number. Below -4 it is within 2^-25 of 2.
    if x.is_nan() { NAN } else { (Big::ONE - erf_big(big(x.clamp(-4.0, 11.0)))).round() }
}

pub(super) fn sigmoid(x: f32) -> f32 {
    if x.is_nan() { NAN } else { (Big::ONE + exp_big(-big(x.clamp(-200.0, 200.0)))).reciprocal().round() }
}

pub(super) fn softplus(x: f32) -> f32 {
    match x {
        _ if x.is_nan() => NAN,
        // The rest is less than half of the least number.
        _ if x > 200.0 => x,
        _ => {
            let x = big(x.max(-200.0));
            let tail = log1p_big(exp_big(-x.abs()));
            if x.is_negative() { tail.round() } else { (x + tail).round() }
        }
    }
}

/// IEEE 754-2019's `pow`, 9.2.1.
pub(super) fn pow(x: f32, y: f32) -> f32 {
    let is_integer = y == y.trunc();
    let is_odd = is_integer && y.abs() < 16_777_216.0 && y as i32 % 2 != 0;
    let sign = if x.is_sign_negative() && is_odd { -1.0 } else { 1.0 };
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if x.is_nan() || y.is_nan() {
        return NAN;
    }
    if x == -1.0 && y.is_infinite() {
        return 1.0;
    }
    let size = x.abs();
    if size == 0.0 || size == INF || y.is_infinite() {
        // The result is a zero where a number below 1 has a large exponent, or one above 1 a negative one.
        let is_zero = (size < 1.0) == (y > 0.0);
        return sign * if is_zero { 0.0 } else { INF };
    }
    if x < 0.0 && !is_integer {
        return NAN;
    }
    if size == 1.0 {
        return sign;
    }
    let log = ln_big(big(size)) * big(y);
    // Beyond, the value is infinite or less than half of the least number.
    let limit = if log.is_negative() { -200.0 } else { 200.0 };
    let log = if log.exponent() > 7 { Big::new(limit) } else { log };
    sign * exp_big(log).round()
}

/// `sqrt(x² + y²)`, infinite if either operand is, also with NaN.
pub(super) fn hypot(x: f32, y: f32) -> f32 {
    match [x.abs(), y.abs()] {
        [INF, _] | [_, INF] => INF,
        [x, y] if x.is_nan() || y.is_nan() => NAN,
        [x, y] => (big(x) * big(x) + big(y) * big(y)).sqrt().round(),
    }
}

/// The angle of the point `(x, y)`.
pub(super) fn atan2(y: f32, x: f32) -> f32 {
    if x.is_nan() || y.is_nan() {
        return NAN;
    }
    let (rise, run) = (y.abs(), x.abs());
    let quarter = Big::PI.scaled(-2);
    let first = match (rise, run) {
        (0.0, _) => Big::ZERO,
        (INF, INF) => quarter,
        (INF, _) | (_, 0.0) => quarter.scaled(1),
        (_, INF) => Big::ZERO,
        _ => atan_big(big(rise) / big(run)),
    };
    let angle = if x.is_sign_negative() { Big::PI - first } else { first };
    angle.round_down_ties().copysign(y)
}
