// Sums, products, signs, extremes, and rounding to integers. Twin of src/blocks/arithmetic.rs.
//
// Functions named f32_* compute with integers: they give the bits of IEEE arithmetic on every device. Functions named
// native_* compute with the device's own floats, within the bound that the block's row states. Each device decides
// how native_* functions treat NaN, infinity and subnormals.

fn f32_neg(v: u32) -> u32 {
    return select(v ^ F32_SIGN, F32_NAN, (v & F32_MAGNITUDE) > F32_INF);
}

fn f32_abs(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    return select(magnitude, F32_NAN, magnitude > F32_INF);
}

// The IEEE sum of two f32, rounded to nearest even, subnormals included.
fn f32_add(a: u32, b: u32) -> u32 {
    let a_larger = (a & F32_MAGNITUDE) >= (b & F32_MAGNITUDE);
    let large = select(b, a, a_larger);
    let small = select(a, b, a_larger);
    let ul = large & F32_MAGNITUDE;
    let us = small & F32_MAGNITUDE;
    let differ = ((a ^ b) & F32_SIGN) != 0u;
    if (ul >= F32_INF) {
        return select(large, F32_NAN, ul > F32_INF || (us == F32_INF && differ));
    }
    // A subnormal has exponent 1 and no hidden bit: its bits are its significand.
    let el = max(ul >> 23u, 1u);
    let es = max(us >> 23u, 1u);
    let ml = ul - ((el - 1u) << 23u);
    let ms = us - ((es - 1u) << 23u);
    // Keep six bits below the unit. A bit is lost only if the exponents differ by 7 or more, and then at most one
    // leading bit cancels. A sticky bit stands for a fraction below it. Subtracting it borrows, and the result stays
    // sticky.
    let t = shift_right_sticky(ms << 6u, el - es);
    let m = (ml << 6u) + select(t, 0u - t, differ);
    // An exact zero is -0 if both operands are -0, else +0.
    return select((large & F32_SIGN) | f32_pack(m, el + 1u), a & b & F32_SIGN, m == 0u);
}

fn f32_sub(a: u32, b: u32) -> u32 {
    return f32_add(a, b ^ F32_SIGN);
}

// The IEEE product of two f32, rounded to nearest even, subnormals included.
fn f32_mul(a: u32, b: u32) -> u32 {
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let small = min(ua, ub);
    let e = (ua >> 23u) + (ub >> 23u);
    // The common case, in straight-line code: a zero times a finite number, or two normal numbers whose product is
    // normal or overflows only by rounding.
    if (max(ua, ub) >= F32_INF || (small != 0u && (small < F32_HIDDEN || e - 128u > 252u))) {
        return f32_mul_rare(a, b);
    }
    let m = significand_product((ua & F32_FRACTION) | F32_HIDDEN, (ub & F32_FRACTION) | F32_HIDDEN);
    return ((a ^ b) & F32_SIGN) | select(f32_pack_normal(m, e - 126u), 0u, small == 0u);
}

// a * b / 2^17 with a sticky lowest bit, in [2^29, 2^31), for a and b in [2^23, 2^24).
fn significand_product(a: u32, b: u32) -> u32 {
    // Take a and b as floats in [2^10, 2^11). Their product is in [2^20, 2^22), in units of 2^26. The addition leaves
    // it, rounded, in the low bits: an estimate (case 1). Integers find what the estimate misses, in wrapping
    // arithmetic. The difference survives the wrap while it is below 2^31, that is, if the estimate is off by at most
    // 31.
    let estimate = bitcast<f32>(a + 0x44000000u) * bitcast<f32>(b + 0x44000000u) + 8388608.0;
    let top = bitcast<u32>(estimate) - 0x4b000000u;
    let missed = a * b - (top << 26u);
    return ((top << 9u) + u32(i32(missed) >> 17u)) | u32((missed & 0x1ffffu) != 0u);
}

// Handles every case: NaN, infinities, subnormals, overflow.
fn f32_mul_rare(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & F32_SIGN;
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let large = max(ua, ub);
    let small = min(ua, ub);
    if (large >= F32_INF) {
        return select(sign | F32_INF, F32_NAN, large > F32_INF || small == 0u);
    }
    if (small == 0u) {
        return sign;
    }
    let pa = f32_unpack(ua);
    let pb = f32_unpack(ub);
    return sign | f32_nearest(significand_product(pa.m, pb.m), pa.e + pb.e - 126);
}

// Like f32_ordinal, but -0 is below +0.
fn f32_total_ordinal(v: u32) -> i32 {
    return f32_ordinal(v) - i32(v >> 31u);
}

// IEEE 754-2019 minimum and maximum: NaN if an operand is NaN; -0 is below +0.
fn f32_min(a: u32, b: u32) -> u32 {
    let lesser = select(b, a, f32_total_ordinal(a) < f32_total_ordinal(b));
    return select(lesser, F32_NAN, either_is_nan(a, b));
}

fn f32_max(a: u32, b: u32) -> u32 {
    let greater = select(b, a, f32_total_ordinal(a) > f32_total_ordinal(b));
    return select(greater, F32_NAN, either_is_nan(a, b));
}

fn f32_clamp(a: u32, low: u32, high: u32) -> u32 {
    return f32_min(f32_max(a, low), high);
}

// v without the low 12 bits of its significand.
fn f32_high_part(v: u32) -> u32 {
    return select(v & 0xfffff000u, F32_NAN, (v & F32_MAGNITUDE) > F32_INF);
}

// v rounded to f16, ties to even, and widened again.
fn f32_quantizeToF16(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    // f16 drops 13 bits of the fraction. Below 2^-14 it drops more, down to 2^-24, the unit of its subnormals. There
    // the lowest kept bit is the hidden one, and the lowest bit of the exponent field, 103, stands for it.
    let dropped = 126u - clamp(magnitude >> 23u, 103u, 113u);
    let below = (1u << dropped) - 1u;
    let rounded = (magnitude + (below >> 1u) + ((magnitude >> dropped) & 1u)) & ~below;
    let kept = select(rounded, u32(magnitude > 0x33000000u) * 0x33800000u, magnitude < 0x33800000u);
    return rounded_like(v, select(kept, F32_INF, rounded > 0x477fe000u));
}

// A mask of the bits of a magnitude that stand for less than 1. For a magnitude below 1, it is the whole fraction
// field.
fn fraction_bits(magnitude: u32) -> u32 {
    return (1u << u32(clamp(150 - i32(magnitude >> 23u), 0, 23))) - 1u;
}

fn round_down(magnitude: u32) -> u32 {
    return select(magnitude & ~fraction_bits(magnitude), 0u, magnitude < F32_ONE);
}

fn round_up(magnitude: u32) -> u32 {
    let below = fraction_bits(magnitude);
    // A carry out of the fraction adds 1 to the exponent.
    return select((magnitude + below) & ~below, min(magnitude, 1u) * F32_ONE, magnitude < F32_ONE);
}

fn round_even(magnitude: u32) -> u32 {
    let below = fraction_bits(magnitude);
    // Whether the integer part is odd. In [1, 2) this reads the lowest bit of the exponent field, which is 1. If all
    // bits are integer bits, `below` is 0 and nothing is added.
    let odd = u32((magnitude & (below + 1u)) != 0u);
    return select((magnitude + ((below + odd) >> 1u)) & ~below, u32(magnitude > F32_HALF) * F32_ONE,
        magnitude < F32_ONE);
}

// The rounded magnitude with the sign of v; NaN if v is NaN.
fn rounded_like(v: u32, magnitude: u32) -> u32 {
    return select((v & F32_SIGN) | magnitude, F32_NAN, (v & F32_MAGNITUDE) > F32_INF);
}

fn f32_trunc(v: u32) -> u32 {
    return rounded_like(v, round_down(v & F32_MAGNITUDE));
}

fn f32_floor(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    return rounded_like(v, select(round_down(magnitude), round_up(magnitude), v >= F32_SIGN));
}

fn f32_ceil(v: u32) -> u32 {
    let magnitude = v & F32_MAGNITUDE;
    return rounded_like(v, select(round_up(magnitude), round_down(magnitude), v >= F32_SIGN));
}

// Rounds to the nearest integer, ties to even.
fn f32_round(v: u32) -> u32 {
    return rounded_like(v, round_even(v & F32_MAGNITUDE));
}

// The IEEE square root of an f32, rounded to nearest even.
fn f32_sqrt(v: u32) -> u32 {
    if (v - 1u >= F32_INF - 1u) {
        // Zeros and infinity are their own roots. NaN and negative numbers have none.
        return select(F32_NAN, v, (v & F32_MAGNITUDE) == 0u || v == F32_INF);
    }
    let p = f32_unpack(v);
    let odd = u32(p.e) & 1u;
    // v is n * 4^k with n in [2^46, 2^48). Wrapping arithmetic holds the low half of n. Its root, in [2^23, 2^24), is
    // estimated from n / 2^46 in [1, 4) (case 1).
    let n = p.m << (24u - odd);
    let f = bitcast<f32>((p.m & F32_FRACTION) | ((128u - odd) << 23u));
    let inverse = inverseSqrt(f);
    let estimate = bitcast<u32>(f * inverse) - 0x3f000000u;
    // If the estimate is off by less than 60, which is 2^-17 of it, n - estimate^2 is below 2^31 and survives the
    // wrap. Divided by twice the root, it is the error of the estimate. The addition leaves one neighbour of that
    // quotient in the low bits.
    let missed = n - estimate * estimate;
    let off = bitcast<u32>(f32(i32(missed)) * (inverse * 5.9604644775390625e-8) + 12582912.0) - 0x4b400000u;
    let near = estimate + off;
    let rest = i32(missed - off * (estimate + near));
    // `near` is the root, or one more or less. It is the nearest integer if near^2 - near < n <= near^2 + near. There
    // are no ties, because the square of a halfway point is no integer.
    let root = near + u32(rest > i32(near)) - u32(rest <= -i32(near));
    // The leading one of the root adds 1 to the exponent field.
    return (u32((p.e + 125) >> 1u) << 23u) + root;
}

fn native_add(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
}

fn native_sub(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) - bitcast<f32>(b));
}

fn native_mul(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) * bitcast<f32>(b));
}

// A device may return the other operand of a NaN.
fn native_min(a: u32, b: u32) -> u32 {
    return select(bitcast<u32>(min(bitcast<f32>(a), bitcast<f32>(b))), F32_NAN, either_is_nan(a, b));
}

fn native_max(a: u32, b: u32) -> u32 {
    return select(bitcast<u32>(max(bitcast<f32>(a), bitcast<f32>(b))), F32_NAN, either_is_nan(a, b));
}

fn native_clamp(a: u32, low: u32, high: u32) -> u32 {
    return native_min(native_max(a, low), high);
}

fn native_floor(a: u32) -> u32 {
    return bitcast<u32>(floor(bitcast<f32>(a)));
}

fn native_ceil(a: u32) -> u32 {
    return bitcast<u32>(ceil(bitcast<f32>(a)));
}

fn native_round(a: u32) -> u32 {
    return bitcast<u32>(round(bitcast<f32>(a)));
}

fn native_trunc(a: u32) -> u32 {
    return bitcast<u32>(trunc(bitcast<f32>(a)));
}
