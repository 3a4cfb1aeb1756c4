//! The functions in f64, in arithmetic that vectorises: no branch, no table. A multiplication and an addition are fused
//! if `F`, which says that the machine has an instruction for it.
//!
//! The polynomials interpolate at Chebyshev's nodes, computed in 60 digits. Each says its largest error before its
//! coefficients are rounded.

use std::f64::consts::{FRAC_2_PI, FRAC_2_SQRT_PI, FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E, LOG10_E, PI, SQRT_2};

/// `(e^r - 1 - r) / r^2` for `|r|` up to half of ln 2: off by at most 2^-47.0.
const EXP: [f64; 9] = [
    2.761380686153829e-07,
    2.762511557828763e-06,
    2.4801536388690766e-05,
    0.00019841208732536384,
    0.0013888888905881542,
    0.008333333353729397,
    0.04166666666665136,
    0.1666666666664829,
    0.5,
];

/// `(atanh(s) / s - 1) / s^2` in `s^2` up to 0.02945: off by at most 2^-52.5.
const LOG: [f64; 7] = [
    0.07308518774395825,
    0.0766583701508393,
    0.09091445278347801,
    0.1111110555757208,
    0.14285714313047945,
    0.1999999999994962,
    0.3333333333333335,
];

/// `(sin(r) / r - 1) / r^2` in `r^2` up to (π/4)^2: off by at most 2^-55.4.
const SIN: [f64; 6] = [
    1.5917988979397435e-10,
    -2.5051129896450185e-08,
    2.7557316093198404e-06,
    -0.00019841269836740532,
    0.008333333333330936,
    -0.16666666666666666,
];

/// `(cos(r) - 1 + r^2 / 2) / r^4` in `r^2`: off by at most 2^-48.8.
const COS: [f64; 5] = [
    2.070042506247451e-09,
    -2.7556367800803883e-07,
    2.4801585204725247e-05,
    -0.0013888888887270898,
    0.041666666666664666,
];

/// `(atan(t) / t - 1) / t^2` in `t^2` up to 0.1716: off by at most 2^-50.0.
const ATAN: [f64; 10] = [
    0.022748017702417335,
    -0.04483151242111318,
    0.05736276504305233,
    -0.06649604617089785,
    0.07691054298962265,
    -0.09090852509603123,
    0.11111109635062964,
    -0.14285714266073962,
    0.19999999999898274,
    -0.3333333333333325,
];

/// `(asin(t) / t - 1) / t^2` in `t^2` up to a quarter: off by at most 2^-51.9.
const ASIN: [f64; 12] = [
    0.028169218060881414,
    -0.010749050339697808,
    0.01603551434914882,
    0.0078029494773533175,
    0.011875494382636922,
    0.013929652902326633,
    0.017355259955786323,
    0.02237204763174451,
    0.03038194736709848,
    0.044642857103423646,
    0.07500000000020764,
    0.1666666666666665,
];

/// `erf(x) / x` for x up to 3.93, in `x^2 / 7.72245 - 1`: off by at most 2^-50.2.
const ERF_OVER: [f64; 26] = [
    -2.2719844135925052e-08,
    8.058129704881292e-08,
    -1.2861244084117656e-07,
    3.912607239272555e-07,
    -1.5534038047847748e-06,
    4.572520048988741e-06,
    -1.2211369177807374e-05,
    3.251906541949058e-05,
    -8.32757688728274e-05,
    0.0002016737754291641,
    -0.00046333810481874287,
    0.0010094160380384107,
    -0.002079195369803414,
    0.00403919879353116,
    -0.007384794901433183,
    0.012681903732888435,
    -0.02042748297369923,
    0.03084863558949,
    -0.04372955414040854,
    0.05841456481192326,
    -0.07412033264739123,
    0.09058222068182875,
    -0.1090009369561632,
    0.13378065493155097,
    -0.1796602969501704,
    0.35982021139531434,
];

/// `(erf(x) / x - 2 / sqrt(π)) / x^2` in `x^2` up to 1: off by at most 2^-49.1.
const ERF: [f64; 10] = [
    9.829831623553895e-09,
    -1.5384026143928156e-07,
    1.6350792773643685e-06,
    -1.4917904295956469e-05,
    0.00012054996764679635,
    -0.0008548318098295226,
    0.005223977488948603,
    -0.02686617063450774,
    0.11283791670922998,
    -0.37612638903183593,
];

/// `e^(x^2) erfc(x)` for x from 0.5 to 10.2, in `(x - 2) / (x + 2)`: off by at most 2^-48.5.
const ERFC: [f64; 17] = [
    -7.464996124154077e-07,
    5.276915834317977e-07,
    4.1204253075189085e-06,
    1.7938589953811893e-06,
    -1.4164324426295499e-05,
    -2.7712695439453086e-05,
    2.758544204524163e-05,
    0.00017438666915279484,
    4.35454472940225e-05,
    -0.000981979856548918,
    -0.0008471423156707815,
    0.006997461908892445,
    0.003732892362030013,
    -0.07897858102039161,
    0.24165819424319374,
    -0.4271858474139203,
    0.2553956763105037,
];

/// Adding it rounds a number to an integer, which is then in the low bits.
const ALIGN: f64 = 1.5 * (1_u64 << 52) as f64;
/// The logarithm of 2 in two parts. The first has 33 bits, so its product with an exponent is exact.
const LN_2_PARTS: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76)];
/// A quarter turn in three parts. The first two have 33 bits each.
const QUARTER_PARTS: [f64; 3] = [
    f64::from_bits(0x3ff9_21fb_5440_0000),
    f64::from_bits(0x3dd0_b461_1a60_0000),
    f64::from_bits(0x3ba3_198a_2e03_7073),
];
/// Beyond, more than 20 bits count the quarter turns.
const LARGEST_ANGLE: f64 = 1.5 * (1 << 19) as f64;

/// `a * b + c`.
#[inline(always)]
fn fused<const F: bool>(a: f64, b: f64, c: f64) -> f64 {
    if F { a.mul_add(b, c) } else { a * b + c }
}

/// A polynomial, by Horner's scheme. The coefficient of the highest power is the first.
#[inline(always)]
fn polynomial<const F: bool, const N: usize>(coefficients: &[f64; N], x: f64) -> f64 {
    let [first, rest @ ..] = coefficients.as_slice() else { return 0.0 };
    rest.iter().fold(*first, |sum, c| fused::<F>(sum, x, *c))
}

/// `x`, at least `low` and at most `high`. NaN stays.
#[inline(always)]
fn within(x: f64, low: f64, high: f64) -> f64 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `x`, unless the condition fails: then nothing is said.
#[inline(always)]
fn provided(condition: bool, x: f64) -> f64 {
    if condition { x } else { f64::NAN }
}

/// The value of a function at `x` that is a zero, with its sign, where `x` is.
#[inline(always)]
fn through_zero(x: f64, value: f64) -> f64 {
    if x == 0.0 { x } else { value }
}

/// 2 to the power in the low bits of a number that [`ALIGN`] was added to.
#[inline(always)]
fn power_of_two(aligned: f64) -> f64 {
    f64::from_bits((aligned.to_bits() << 52).wrapping_add(1023 << 52))
}

/// `e^r - 1` for a remainder of ln 2.
#[inline(always)]
fn expm1_of_rest<const F: bool>(r: f64) -> f64 {
    fused::<F>(r * r, polynomial::<F, _>(&EXP, r), r)
}

/// `p` and `s` for which `e^x` is `s + s * p`, with `s` a power of two.
#[inline(always)]
fn parts<const F: bool>(x: f64) -> (f64, f64) {
    let aligned = fused::<F>(x, LOG2_E, ALIGN);
    let k = aligned - ALIGN;
    let [high, low] = LN_2_PARTS;
    let r = fused::<F>(k, -low, fused::<F>(k, -high, x));
    (expm1_of_rest::<F>(r), power_of_two(aligned))
}

/// Within the range of f64's exponents.
#[inline(always)]
fn exponential<const F: bool>(x: f64) -> f64 {
    let (p, s) = parts::<F>(x);
    fused::<F>(s, p, s)
}

#[inline(always)]
fn exponential_less_1<const F: bool>(x: f64) -> f64 {
    let (p, s) = parts::<F>(x);
    fused::<F>(s, p, s - 1.0)
}

/// `ln m + n ln 2` for `x = m 2^n` with m around 1, where `ln m` is `2 atanh((m - 1) / (m + 1))`.
#[inline(always)]
fn logarithm<const F: bool>(x: f64) -> f64 {
    // The exponent of x over sqrt(1/2).
    let over = x.to_bits().wrapping_sub(0x3fe6_a09e_667f_3bcd);
    let exponent = (over as i64) >> 52;
    let m = f64::from_bits(x.to_bits().wrapping_sub((exponent as u64) << 52));
    let n = f64::from_bits((exponent as u64).wrapping_add(ALIGN.to_bits())) - ALIGN;
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let double = s + s;
    let [high, low] = LN_2_PARTS;
    let rest = fused::<F>(double, square * polynomial::<F, _>(&LOG, square), n * low) + double;
    provided(x > 0.0 && x < f64::INFINITY, fused::<F>(n, high, rest))
}

/// `ln(1 + x)`, with what the sum `1 + x` drops.
#[inline(always)]
fn logarithm_of_1_plus<const F: bool>(x: f64) -> f64 {
    let sum = 1.0 + x;
    logarithm::<F>(sum) + (x - (sum - 1.0)) / sum
}

/// `ln(1 + x)` for `x` from 0 to 1. In the upper part it is ln 2 more than that of half of the sum.
#[inline(always)]
fn logarithm_of_2_at_most<const F: bool>(x: f64) -> f64 {
    let is_upper = x > SQRT_2 - 1.0;
    let s = if is_upper { x - 1.0 } else { x } / (x + if is_upper { 3.0 } else { 2.0 });
    let square = s * s;
    let double = s + s;
    let rest = fused::<F>(double * square, polynomial::<F, _>(&LOG, square), double);
    rest + if is_upper { LN_2 } else { 0.0 }
}

/// The number of quarter turns in the low bits, and the rest.
#[inline(always)]
fn quarters<const F: bool>(x: f64) -> (u64, f64) {
    let aligned = fused::<F>(x, FRAC_2_PI, ALIGN);
    let k = aligned - ALIGN;
    let rest = QUARTER_PARTS.into_iter().fold(x, |rest, part| fused::<F>(k, -part, rest));
    (aligned.to_bits(), provided(x.abs() < LARGEST_ANGLE, rest))
}

#[inline(always)]
fn sine_and_cosine<const F: bool>(r: f64) -> (f64, f64) {
    let square = r * r;
    let sine = fused::<F>(r * square, polynomial::<F, _>(&SIN, square), r);
    let cosine = fused::<F>(square * square, polynomial::<F, _>(&COS, square), fused::<F>(square, -0.5, 1.0));
    (sine, cosine)
}

/// The sine of quarter turns and a rest.
#[inline(always)]
pub(super) fn sine<const F: bool>((quarters, rest): (u64, f64)) -> f64 {
    let (sine, cosine) = sine_and_cosine::<F>(rest);
    let value = if quarters & 1 == 0 { sine } else { cosine };
    f64::from_bits(value.to_bits() ^ (quarters & 2) << 62)
}

/// The tangent of quarter turns and a rest.
#[inline(always)]
pub(super) fn tangent<const F: bool>((quarters, rest): (u64, f64)) -> f64 {
    let (sine, cosine) = sine_and_cosine::<F>(rest);
    let (a, b) = if quarters & 1 == 0 { (sine, cosine) } else { (-cosine, sine) };
    a / b
}

/// `atan(low / high)` for `0 <= low <= high`. In the upper part it is a quarter of π more than that of a smaller
/// ratio.
#[inline(always)]
fn arctangent<const F: bool>(low: f64, high: f64) -> f64 {
    let is_upper = low > high * 0.414_213_562_373_095;
    let t = (if is_upper { low - high } else { low }) / if is_upper { low + high } else { high };
    let square = t * t;
    let rest = fused::<F>(t * square, polynomial::<F, _>(&ATAN, square), t);
    rest + if is_upper { FRAC_PI_4 } else { 0.0 }
}

/// `asin a` for a magnitude up to a half. Above, `asin sqrt((1 - a) / 2)`.
#[inline(always)]
fn arcsine<const F: bool>(a: f64) -> f64 {
    let (above, half) = (a > 0.5, 0.5 - 0.5 * a);
    let square = if above { half } else { a * a };
    let s = if above { half.sqrt() } else { a };
    fused::<F>(s * square, polynomial::<F, _>(&ASIN, square), s)
}

/// `erf a` for a magnitude up to 1.
#[inline(always)]
fn error_near_0<const F: bool>(a: f64) -> f64 {
    let square = a * a;
    fused::<F>(a * square, polynomial::<F, _>(&ERF, square), a * FRAC_2_SQRT_PI)
}

/// `erfc a` for a magnitude from a half to 10.2.
#[inline(always)]
fn error_left<const F: bool>(a: f64) -> f64 {
    exponential::<F>(-(a * a)) * polynomial::<F, _>(&ERFC, (a - 2.0) / (a + 2.0))
}

/// The largest power whose neighbours f32 tells apart, and more.
const POWER: f64 = 150.0;

#[inline(always)]
pub(super) fn exp<const F: bool>(x: f64) -> f64 {
    exponential::<F>(within(x, -POWER, POWER))
}

#[inline(always)]
pub(super) fn exp2<const F: bool>(x: f64) -> f64 {
    let x = within(x, -200.0, 200.0);
    let aligned = x + ALIGN;
    let (p, s) = (expm1_of_rest::<F>((x - (aligned - ALIGN)) * LN_2), power_of_two(aligned));
    fused::<F>(s, p, s)
}

#[inline(always)]
pub(super) fn expm1<const F: bool>(x: f64) -> f64 {
    through_zero(x, exponential_less_1::<F>(within(x, -POWER, POWER)))
}

#[inline(always)]
pub(super) fn log<const F: bool>(x: f64) -> f64 {
    logarithm::<F>(x)
}

#[inline(always)]
pub(super) fn log2<const F: bool>(x: f64) -> f64 {
    logarithm::<F>(x) * LOG2_E
}

#[inline(always)]
pub(super) fn log10<const F: bool>(x: f64) -> f64 {
    logarithm::<F>(x) * LOG10_E
}

#[inline(always)]
pub(super) fn log1p<const F: bool>(x: f64) -> f64 {
    through_zero(x, logarithm_of_1_plus::<F>(x))
}

#[inline(always)]
pub(super) fn sin<const F: bool>(x: f64) -> f64 {
    through_zero(x, sine::<F>(quarters::<F>(x)))
}

#[inline(always)]
pub(super) fn cos<const F: bool>(x: f64) -> f64 {
    let (count, rest) = quarters::<F>(x);
    sine::<F>((count.wrapping_add(1), rest))
}

#[inline(always)]
pub(super) fn tan<const F: bool>(x: f64) -> f64 {
    through_zero(x, tangent::<F>(quarters::<F>(x)))
}

#[inline(always)]
pub(super) fn asin<const F: bool>(x: f64) -> f64 {
    let part = arcsine::<F>(x.abs());
    (if x.abs() > 0.5 { FRAC_PI_2 - 2.0 * part } else { part }).copysign(x)
}

#[inline(always)]
pub(super) fn acos<const F: bool>(x: f64) -> f64 {
    let part = arcsine::<F>(x.abs());
    let above = if x > 0.0 { 2.0 * part } else { PI - 2.0 * part };
    if x.abs() > 0.5 { above } else { FRAC_PI_2 - part.copysign(x) }
}

#[inline(always)]
pub(super) fn atan<const F: bool>(x: f64) -> f64 {
    let size = x.abs();
    let is_steep = size > 1.0;
    let part = arctangent::<F>(if is_steep { 1.0 } else { size }, if is_steep { size } else { 1.0 });
    (if is_steep { FRAC_PI_2 - part } else { part }).copysign(x)
}

#[inline(always)]
pub(super) fn sinh<const F: bool>(x: f64) -> f64 {
    let power = exponential_less_1::<F>(within(x.abs(), 0.0, POWER));
    (0.5 * (power + power / (power + 1.0))).copysign(x)
}

#[inline(always)]
pub(super) fn cosh<const F: bool>(x: f64) -> f64 {
    let power = exponential::<F>(within(x.abs(), 0.0, POWER));
    0.5 * (power + 1.0 / power)
}

#[inline(always)]
pub(super) fn tanh<const F: bool>(x: f64) -> f64 {
    let size = within(x.abs(), 0.0, 20.0);
    let power = exponential_less_1::<F>(size + size);
    (power / (power + 2.0)).copysign(x)
}

#[inline(always)]
pub(super) fn asinh<const F: bool>(x: f64) -> f64 {
    let (size, square) = (x.abs(), x * x);
    logarithm_of_1_plus::<F>(size + square / (1.0 + (1.0 + square).sqrt())).copysign(x)
}

#[inline(always)]
pub(super) fn acosh<const F: bool>(x: f64) -> f64 {
    let over = x - 1.0;
    provided(x >= 1.0, logarithm_of_1_plus::<F>(over + (over * (over + 2.0)).sqrt()))
}

#[inline(always)]
pub(super) fn atanh<const F: bool>(x: f64) -> f64 {
    let size = x.abs();
    (0.5 * logarithm_of_1_plus::<F>(2.0 * size / (1.0 - size))).copysign(x)
}

#[inline(always)]
pub(super) fn inverse_sqrt<const F: bool>(x: f64) -> f64 {
    1.0 / x.sqrt()
}

#[inline(always)]
pub(super) fn cbrt<const F: bool>(x: f64) -> f64 {
    exponential::<F>(logarithm::<F>(x.abs()) * (1.0 / 3.0)).copysign(x)
}

#[inline(always)]
pub(super) fn erf<const F: bool>(x: f64) -> f64 {
    /// From here on the value is nearer to 1 than to any other f32.
    const LIMIT: f64 = 3.93;
    let size = within(x.abs(), 0.0, LIMIT);
    let place = fused::<F>(size * size, 2.0 / (LIMIT * LIMIT), -1.0);
    (size * polynomial::<F, _>(&ERF_OVER, place)).copysign(x)
}

#[inline(always)]
pub(super) fn erfc<const F: bool>(x: f64) -> f64 {
    let size = within(x.abs(), 0.0, 10.2);
    let left = error_left::<F>(size);
    let away = if x > 0.0 { left } else { 2.0 - left };
    if size < 0.5 { 1.0 - error_near_0::<F>(size).copysign(x) } else { away }
}

#[inline(always)]
pub(super) fn sigmoid<const F: bool>(x: f64) -> f64 {
    1.0 / (1.0 + exponential::<F>(within(-x, -POWER, POWER)))
}

#[inline(always)]
pub(super) fn softplus<const F: bool>(x: f64) -> f64 {
    let power = exponential::<F>(within(-x.abs(), -POWER, 0.0));
    logarithm_of_2_at_most::<F>(power) + if x > 0.0 { x } else { 0.0 }
}

/// `|x|^y`, with the sign of `x^y`; nothing is said of a negative `x` unless `y` is an integer.
#[inline(always)]
pub(super) fn pow<const F: bool>(x: f64, y: f64) -> f64 {
    let power = exponential::<F>(within(y * logarithm::<F>(x.abs()), -POWER, POWER));
    // From 2^24 on, every f32 is an even integer.
    let aligned = within(y, -33_554_432.0, 33_554_432.0) + ALIGN;
    let is_integer = aligned - ALIGN == within(y, -33_554_432.0, 33_554_432.0);
    let sign = (aligned.to_bits() & 1) << 63;
    let of_negative = provided(is_integer, f64::from_bits(power.to_bits() ^ sign));
    if x < 0.0 { of_negative } else { power }
}

#[inline(always)]
pub(super) fn hypot<const F: bool>(x: f64, y: f64) -> f64 {
    fused::<F>(x, x, y * y).sqrt()
}

#[inline(always)]
pub(super) fn atan2<const F: bool>(y: f64, x: f64) -> f64 {
    let (rise, run) = (y.abs(), x.abs());
    let is_steep = rise > run;
    let part = arctangent::<F>(if is_steep { run } else { rise }, if is_steep { rise } else { run });
    let first = if is_steep { FRAC_PI_2 - part } else { part };
    (if x < 0.0 { PI - first } else { first }).copysign(y)
}

// Two functions at a time.

#[inline(always)]
pub(super) fn sin_cos<const F: bool>(x: f64) -> [f64; 2] {
    let (count, rest) = quarters::<F>(x);
    let (sine, cosine) = sine_and_cosine::<F>(rest);
    let [a, b] = if count & 1 == 0 { [sine, cosine] } else { [cosine, sine] };
    let signed = |v: f64, count: u64| f64::from_bits(v.to_bits() ^ (count & 2) << 62);
    [through_zero(x, signed(a, count)), signed(b, count.wrapping_add(1))]
}

#[inline(always)]
pub(super) fn sinh_cosh<const F: bool>(x: f64) -> [f64; 2] {
    let less = exponential_less_1::<F>(within(x.abs(), 0.0, POWER));
    let power = less + 1.0;
    let inverse = 1.0 / power;
    [(0.5 * fused::<F>(less, inverse, less)).copysign(x), 0.5 * (power + inverse)]
}

#[inline(always)]
pub(super) fn sigmoids<const F: bool>(x: f64) -> [f64; 2] {
    let power = exponential::<F>(within(-x.abs(), -POWER, 0.0));
    let larger = 1.0 / (1.0 + power);
    let smaller = power * larger;
    if x < 0.0 { [smaller, larger] } else { [larger, smaller] }
}

#[inline(always)]
pub(super) fn softplus_sigmoid<const F: bool>(x: f64) -> [f64; 2] {
    let power = exponential::<F>(within(-x.abs(), -POWER, 0.0));
    let tail = logarithm_of_2_at_most::<F>(power);
    let above = if x < 0.0 { power } else { 1.0 };
    [tail + if x > 0.0 { x } else { 0.0 }, above / (1.0 + power)]
}

#[inline(always)]
pub(super) fn tanh_exp<const F: bool>(x: f64) -> [f64; 2] {
    let (p, s) = parts::<F>(within(-2.0 * x.abs(), -POWER, 0.0));
    let less = fused::<F>(s, p, s - 1.0);
    [(-less / (less + 2.0)).copysign(x), fused::<F>(s, p, s)]
}
