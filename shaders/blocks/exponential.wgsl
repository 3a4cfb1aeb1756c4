// Exponentials, logarithms and powers in the device's own floats.
//
// WGSL's own functions have wide bounds or none, and they may lose NaN, infinity and subnormals. So:
//
// - What is special is decided by the bits of the operands.
// - What must not be rounded is computed in integers, or in floats that are exact: a float less 1, or less an integer
//   near it. A device may regroup or contract sums of floats, so none relies on the error of another.
// - What is left is a polynomial where the function is smooth. It interpolates at Chebyshev's nodes, and its comment
//   says by how much it is off with coefficients that are rounded to f32.
//
// Functions named near_* are the parts of native_* functions that compute with floats.

// v * 2^k for the bits of a normal float above 0, as bits, for k below 256. Too large a product is infinite, and one
// below 2^-126 is subnormal, rounded to nearest.
fn scaled_by_power_of_2(v: u32, k: i32) -> u32 {
    let e = i32(v >> 23u) + k;
    if (e < 1) {
        let drop = u32(min(1 - e, 31));
        return (((v & F32_FRACTION) | F32_HIDDEN) + (1u << (drop - 1u))) >> drop;
    }
    return min(v + (bitcast<u32>(k) << 23u), F32_INF);
}

// The upper half of a product.
fn high_product(a: u32, b: u32) -> u32 {
    let low_low = (a & 0xffffu) * (b & 0xffffu);
    let high_low = (a >> 16u) * (b & 0xffffu) + (low_low >> 16u);
    let low_high = (a & 0xffffu) * (b >> 16u) + (high_low & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (high_low >> 16u) + (low_high >> 16u);
}

// r + k * ln 2.
struct ExponentParts {
    r: f32,
    k: i32,
}

// x taken apart with k near x / ln 2, for |x| up to 105.
fn near_exponent(x: u32) -> ExponentParts {
    let number = bitcast<f32>(x);
    let k = i32(round(number * 1.44269502));
    // x and k * ln 2 in units of 2^-32, in wrapping arithmetic: the difference is below 2^31. If k is not 0, x is 1/4
    // or more, and exact. ln 2 is off by 0.19 units.
    let size = ((x & F32_FRACTION) | F32_HIDDEN) << (((x >> 23u) - 118u) & 31u);
    let rest = select(size, 0u - size, x >= F32_SIGN) - bitcast<u32>(k) * 2977044472u;
    return ExponentParts(select(f32(bitcast<i32>(rest)) * 2.3283064365386963e-10, number, k == 0), k);
}

// e^r - 1 for |r| up to 0.352. (e^r - 1 - r) / r is off by at most 2^-29.2.
fn near_expm1_of_rest(r: f32) -> f32 {
    let p = ((((0.00019892551 * r + 0.0013935056) * r + 0.0083333096) * r + 0.041666452) * r + 0.16666667) * r + 0.5;
    return r + r * r * p;
}

// 2^r for |r| up to 0.501: off by at most 2^-27.
fn near_exp2_of_rest(r: f32) -> f32 {
    let p = ((((0.00015453361 * r + 0.0013391094) * r + 0.0096180821) * r + 0.055503566) * r + 0.24022651) * r
        + 0.69314718;
    return 1.0 + r * p;
}

fn native_exp(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > 0x42d20000u) { // 105
        return select(select(F32_INF, 0u, a >= F32_SIGN), F32_NAN, magnitude > F32_INF);
    }
    let x = near_exponent(a);
    return scaled_by_power_of_2(bitcast<u32>(1.0 + near_expm1_of_rest(x.r)), x.k);
}

fn native_exp2(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > 0x43200000u) { // 160
        return select(select(F32_INF, 0u, a >= F32_SIGN), F32_NAN, magnitude > F32_INF);
    }
    let x = bitcast<f32>(a);
    let k = round(x);
    return scaled_by_power_of_2(bitcast<u32>(near_exp2_of_rest(x - k)), i32(k));
}

fn native_expm1(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > 0x42d20000u) { // 105
        return select(select(F32_INF, F32_SIGN | F32_ONE, a >= F32_SIGN), F32_NAN, magnitude > F32_INF);
    }
    if (magnitude < 0x33000000u) { // 2^-25
        return a;
    }
    let x = near_exponent(a);
    let rest = near_expm1_of_rest(x.r);
    if (x.k > 30) {
        return scaled_by_power_of_2(bitcast<u32>(1.0 + rest), x.k);
    }
    // 2^-30 stands for the lower powers, which are as little beside 1.
    let scale = bitcast<f32>(bitcast<u32>(max(x.k, -30) + 127) << 23u);
    return bitcast<u32>(scale * rest + (scale - 1.0));
}

// (1 + f) * 2^k.
struct LogarithmParts {
    f: f32,
    k: i32,
}

// A finite number above 0 taken apart, with 1 + f between the square roots of 1/2 and 2. f is exact.
fn near_logarithm(v: u32) -> LogarithmParts {
    // A subnormal is shifted until it has a hidden bit, which is then its exponent.
    let shift = select(0u, countLeadingZeros(v) - 8u, v < F32_HIDDEN);
    let number = v << (shift & 31u);
    let k = bitcast<i32>(number - 0x3f3504f3u) >> 23u;
    return LogarithmParts(bitcast<f32>(number - (bitcast<u32>(k) << 23u)) - 1.0, k - i32(shift));
}

// ln(1 + f) for 1 + f between the square roots of 1/2 and 2. The part that p stands for is off by at most 2^-28.3 of
// f.
fn near_log_of_rest(f: f32) -> f32 {
    let p = (((((((0.069725186 * f - 0.11481212) * f + 0.11685785) * f - 0.12425523) * f + 0.14249007) * f
        - 0.16667807) * f + 0.20000717) * f - 0.24999997) * f + 0.33333331;
    return f + f * f * (f * p - 0.5);
}

// ln(1 + u) for 1 + u above 0.
fn near_log1p(u: f32) -> f32 {
    let x = near_logarithm(bitcast<u32>(1.0 + u));
    return f32(x.k) * 0.69314718 + near_log_of_rest(select(x.f, u, x.k == 0));
}

// The logarithm, to any base, of what is no finite number above 0.
fn log_of_special(v: u32) -> u32 {
    return select(select(F32_NAN, F32_INF, v == F32_INF), F32_SIGN | F32_INF, (v & F32_MAGNITUDE) == 0u);
}

fn native_log(a: u32) -> u32 {
    if (a - 1u >= F32_INF - 1u) {
        return log_of_special(a);
    }
    let x = near_logarithm(a);
    return bitcast<u32>(f32(x.k) * 0.69314718 + near_log_of_rest(x.f));
}

fn native_log2(a: u32) -> u32 {
    if (a - 1u >= F32_INF - 1u) {
        return log_of_special(a);
    }
    let x = near_logarithm(a);
    return bitcast<u32>(f32(x.k) + near_log_of_rest(x.f) * 1.44269502);
}

fn native_log10(a: u32) -> u32 {
    if (a - 1u >= F32_INF - 1u) {
        return log_of_special(a);
    }
    let x = near_logarithm(a);
    let k = f32(x.k);
    // The logarithm of 2 as f32, and what it lacks.
    return bitcast<u32>(k * 0.30103001 + (near_log_of_rest(x.f) * 0.43429449 - k * 1.4320989e-8));
}

fn native_log1p(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    // Infinity, NaN, and from -1 downwards.
    if (magnitude >= F32_INF || a >= (F32_SIGN | F32_ONE)) {
        return select(select(F32_NAN, F32_INF, a == F32_INF), F32_SIGN | F32_INF, a == (F32_SIGN | F32_ONE));
    }
    if (magnitude < 0x33000000u) { // 2^-25
        return a;
    }
    return bitcast<u32>(near_log1p(bitcast<f32>(a)));
}

// a^b if the power is not computed from a logarithm: one of them is zero, infinite or NaN, or a is 1 or -1. `sign` is
// that of the power of a negative a.
fn pow_of_special(a: u32, b: u32, sign: u32) -> u32 {
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    if (ub == 0u || a == F32_ONE) {
        return F32_ONE;
    }
    if (max(ua, ub) > F32_INF) {
        return F32_NAN;
    }
    if (ua == F32_ONE) {
        return sign | F32_ONE;
    }
    return sign | select(0u, F32_INF, (ua > F32_ONE) == (b < F32_SIGN));
}

fn native_pow(a: u32, b: u32) -> u32 {
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let below = fraction_bits(ub);
    let b_is_integer = ub >= F32_ONE && (ub & below) == 0u;
    // The last integer bit; from 2^24 on there is no odd number.
    let b_is_odd = b_is_integer && ub < 0x4b800000u && (((ub & F32_FRACTION) | F32_HIDDEN) & (below + 1u)) != 0u;
    let sign = select(0u, a & F32_SIGN, b_is_odd);
    // Only an integer is the exponent of a negative number, or -1 to an infinite power, which counts as even.
    let has_power = a < F32_SIGN || b_is_integer;
    if (min(ua, ub) == 0u || max(ua, ub) >= F32_INF || (ua == F32_ONE && has_power)) {
        return pow_of_special(a, b, sign);
    }
    if (!has_power) {
        return F32_NAN;
    }
    return sign | near_pow(ua, b);
}

// a^b for a finite a above 0, which is not 1, and a finite b. b * log2(a) is up to 150, and 2^-25 of it too much or
// too little is half an ULP. So the logarithm is computed in integers, off by no more than about 2^-31 of itself.
fn near_pow(a: u32, b: u32) -> u32 {
    let shift = select(0u, countLeadingZeros(a) - 8u, a < F32_HIDDEN);
    let number = a << (shift & 31u);
    let fraction = number & F32_FRACTION;
    // a is (1 + f) * 2^k / c, where c, in units of 2^-11, is near a power of 2^(1/4). The limits are the odd powers of
    // 2^(1/8), so |f| is below 0.092. `high` and `low` are the negative logarithm of c, in units of 2^-23 and 2^-55.
    var c = 1024u;
    var high = 0x800000u;
    var low = 0u;
    if (fraction < 0x0b95c2u) {
        c = 2048u;
        high = 0u;
    } else if (fraction < 0x25fed7u) {
        c = 1722u;
        high = 0x200447u;
        low = 0x5287b832u;
    } else if (fraction < 0x45672au) {
        c = 1448u;
        high = 0x40050cu;
        low = 0xcaf800cbu;
    } else if (fraction < 0x6ac0c7u) {
        c = 1218u;
        high = 0x5ff638u;
        low = 0xb06d0685u;
    }
    high += bitcast<u32>(i32(number >> 23u) - 127 - i32(shift)) << 23u;
    // f is exact in units of 2^-34. 1 is 2^34 units, which the wrap takes away.
    let fixed = bitcast<i32>((fraction | F32_HIDDEN) * c);
    let size = bitcast<u32>(abs(fixed));
    let f = f32(fixed) * 5.820766091346741e-11;
    // log2(1 + f) / f in units of 2^-31: log2(e) * (1 - f/2) in integers, the rest in floats, off by at most 2^-35.
    let p = ((((-0.17926005 * f + 0.20798333) * f - 0.24046603) * f + 0.28853348) * f - 0.36067373) * f + 0.48089835;
    let half = (high_product(size, 0xb8aa3b29u) + 4u) >> 3u;
    let slope = 0xb8aa3b29u + select(0u - half, half, fixed < 0) + bitcast<u32>(i32(f * f * p * 2147483648.0));
    // log2(1 + f) in units of 2^-23 and 2^-55. Added to the rest, it gives the logarithm of a.
    let product = high_product(size, slope);
    let upper = product >> 10u;
    let lower = (product << 22u) | ((size * slope) >> 10u);
    let log_low = select(low + lower, low - lower, fixed < 0);
    let log_high = select(high + upper + u32(log_low < low), high - upper - u32(low < lower), fixed < 0);
    // Its magnitude as a significand of 32 bits. The least one, of the number below 1, just fills the lower word.
    let log_is_negative = log_high >= F32_SIGN;
    let size_low = select(log_low, 0u - log_low, log_is_negative);
    let size_high = select(log_high, ~log_high + u32(log_low == 0u), log_is_negative);
    let zeros = countLeadingZeros(size_high);
    let significand =
        select((size_high << (zeros & 31u)) | ((size_low >> 1u) >> ((31u - zeros) & 31u)), size_low, zeros == 32u);
    // Times b, of which a subnormal value is as good as none: 64 bits, of which `drop` are below 2^-32.
    let factor = ((b & F32_FRACTION) | F32_HIDDEN) << 8u;
    let top = high_product(significand, factor);
    let drop = i32(149u + zeros) - i32((b >> 23u) & 0xffu);
    let is_negative = log_is_negative != (b >= F32_SIGN);
    if (drop < 22) {
        return select(F32_INF, 0u, is_negative); // The product is 2^8 or more.
    }
    let s = u32(drop);
    let whole = select(0u, top >> (s & 31u), s < 32u);
    let parts = select(top >> min(s - 32u, 31u), (top << ((32u - s) & 31u)) | ((significand * factor) >> (s & 31u)),
        s < 32u);
    // The nearest integer, and what is left.
    let k = bitcast<i32>(min(whole + (parts >> 31u), 255u));
    let r = f32(bitcast<i32>(parts)) * 2.3283064365386963e-10;
    return scaled_by_power_of_2(bitcast<u32>(near_exp2_of_rest(select(r, -r, is_negative))),
        select(k, -k, is_negative));
}
