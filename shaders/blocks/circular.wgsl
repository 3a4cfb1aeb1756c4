// Circular functions and their inverses in the device's own floats. exponential.wgsl says what they rely on.

// Quarter turns, of which the last two bits count, and the rest in radians, within 0.79.
struct Angle {
    quarters: u32,
    rest: f32,
}

// A finite magnitude taken apart. The rest is off by no more than 2^-22 of itself, near multiples of a quarter too: no
// f32 is nearer than 2^-30 to another than 0.
fn near_angle(v: u32) -> Angle {
    if (v >= 0x45800000u) { // 4096
        return near_large_angle(v);
    }
    let number = bitcast<f32>(v);
    let quarters = u32(number * 0.63661975 + 0.5);
    // v and the quarters in units of 2^-31 and 2^-63, in wrapping arithmetic: the difference is below 1. If it takes
    // a quarter away, v is above 1/2, and exact.
    let size = ((v & F32_FRACTION) | F32_HIDDEN) << (((v >> 23u) - 119u) & 31u);
    let lowest = quarters * 0xc235u;
    let middle = quarters * 0x2168u + (lowest >> 16u);
    let low = (middle << 16u) | (lowest & 0xffffu);
    let high = size - quarters * 0xc90fdaa2u - (middle >> 16u) - u32(low != 0u);
    let rest = f32(bitcast<i32>(high)) * 4.656612873077393e-10 + f32(0u - low) * 1.0842021724855044e-19;
    return Angle(quarters, select(rest, number, quarters == 0u));
}

// The bits of 2 / pi, 32 at a time, after 32 zeros.
fn two_over_pi(i: u32) -> u32 {
    switch i {
        case 0u: { return 0u; }
        case 1u: { return 0xa2f9836eu; }
        case 2u: { return 0x4e441529u; }
        case 3u: { return 0xfc2757d1u; }
        case 4u: { return 0xf534ddc0u; }
        case 5u: { return 0xdb629599u; }
        case 6u: { return 0x3c439041u; }
        default: { return 0xfe5163abu; }
    }
}

// near_angle from 2^-7 on. v is m * 2^(e - 150). Its turns are a fourth of its product with 2 / pi. Those bits of
// 2 / pi whose products with m are whole turns are left out. The 96 bits that follow give the turns within 2^-63.
fn near_large_angle(v: u32) -> Angle {
    let m = (v & F32_FRACTION) | F32_HIDDEN;
    let left_out = (v >> 23u) - 120u; // of the zeros too
    let i = left_out >> 5u;
    let up = left_out & 31u;
    let down = 31u - up;
    let first = two_over_pi(i + 1u);
    let second = two_over_pi(i + 2u);
    let high = (two_over_pi(i) << up) | ((first >> 1u) >> down);
    let middle = (first << up) | ((second >> 1u) >> down);
    let low = (second << up) | ((two_over_pi(i + 3u) >> 1u) >> down);
    // The turns in units of 2^-32 and 2^-64, in wrapping arithmetic.
    let carried = high_product(m, low);
    let turns_low = m * middle + carried;
    let turns = m * high + high_product(m, middle) + u32(turns_low < carried);
    // The nearest quarter, and what is left in units of 2^-32 and 2^-64 of a quarter.
    let rest = bitcast<i32>((turns << 2u) | (turns_low >> 30u));
    let part = f32(rest) * 2.3283064365386963e-10 + f32(turns_low << 2u) * 5.421010862427522e-20;
    return Angle(((turns >> 29u) + 1u) >> 1u, part * 1.57079637);
}

// sin(r) for |r| up to 0.79: off by at most 2^-26.3 of itself.
fn near_sine_of_rest(r: f32) -> f32 {
    let z = r * r;
    return r + r * z * ((-0.00019584932 * z + 0.0083327349) * z - 0.16666664);
}

// cos(r) for |r| up to 0.79: off by at most 2^-30.5.
fn near_cosine_of_rest(r: f32) -> f32 {
    let z = r * r;
    return 1.0 - (0.5 * z - z * z * ((0.000024544977 * z - 0.001388829) * z + 0.041666664));
}

// The sine of quarter turns and a rest.
fn near_sine(x: Angle) -> u32 {
    let even = near_sine_of_rest(x.rest);
    let odd = near_cosine_of_rest(x.rest);
    return bitcast<u32>(select(even, odd, (x.quarters & 1u) != 0u)) ^ ((x.quarters & 2u) << 30u);
}

fn native_sin(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude >= F32_INF) {
        return F32_NAN;
    }
    return select(near_sine(near_angle(magnitude)) ^ (a & F32_SIGN), a, magnitude < 0x39000000u); // 2^-13
}

fn native_cos(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude >= F32_INF) {
        return F32_NAN;
    }
    let x = near_angle(magnitude);
    return near_sine(Angle(x.quarters + 1u, x.rest));
}

fn native_tan(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude >= F32_INF) {
        return F32_NAN;
    }
    if (magnitude < 0x39000000u) { // 2^-13
        return a;
    }
    let x = near_angle(magnitude);
    let sine = near_sine_of_rest(x.rest);
    let cosine = near_cosine_of_rest(x.rest);
    let odd = (x.quarters & 1u) != 0u;
    return bitcast<u32>(select(sine, -cosine, odd) / select(cosine, sine, odd)) ^ (a & F32_SIGN);
}

// asin(s) for s up to 1/2 and its square: off by at most 2^-28.3 of itself.
fn near_arcsine(s: f32, square: f32) -> f32 {
    let p = ((((0.03378981 * square + 0.01709383) * square + 0.031111371) * square + 0.044598572) * square
        + 0.075000964) * square + 0.16666666;
    return s + s * square * p;
}

// asin(sqrt((1 - x) / 2)), which is half of acos(x), for x from 1/2 to 1, where the difference is exact.
fn near_half_arccosine(x: f32) -> f32 {
    let square = 0.5 - 0.5 * x;
    // A device may say anything of the root of 0.
    return select(near_arcsine(sqrt(square), square), 0.0, square == 0.0);
}

fn native_asin(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > F32_ONE) {
        return F32_NAN;
    }
    if (magnitude < 0x39000000u) { // 2^-13
        return a;
    }
    let x = bitcast<f32>(magnitude);
    let near = near_arcsine(x, x * x);
    let value = select(near, 1.57079637 - 2.0 * near_half_arccosine(x), magnitude > F32_HALF);
    return bitcast<u32>(value) | (a & F32_SIGN);
}

fn native_acos(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > F32_ONE) {
        return F32_NAN;
    }
    let x = bitcast<f32>(magnitude);
    let negative = a >= F32_SIGN;
    let near = near_arcsine(x, x * x);
    let far = 2.0 * near_half_arccosine(x);
    return bitcast<u32>(select(1.57079637 + select(-near, near, negative), select(far, 3.14159274 - far, negative),
        magnitude > F32_HALF));
}

// atan(t) for t from 0 to 1: off by at most 2^-25.6 of itself.
fn near_arctangent(t: f32) -> f32 {
    let z = t * t;
    let p = (((((((-0.0023869972 * z + 0.013507771) * z - 0.035871539) * z + 0.062501691) * z - 0.086568803) * z
        + 0.11033764) * z - 0.14278568) * z + 0.1999974) * z - 0.33333331;
    return t + t * z * p;
}

fn native_atan(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (magnitude > F32_INF || magnitude < 0x39000000u) { // 2^-13
        return select(a, F32_NAN, magnitude > F32_INF);
    }
    // From 2^40 on it is a quarter turn.
    let x = bitcast<f32>(min(magnitude, 0x53800000u));
    let steep = magnitude > F32_ONE;
    let part = near_arctangent(select(x, 1.0 / x, steep));
    return bitcast<u32>(select(part, 1.57079637 - part, steep)) | (a & F32_SIGN);
}

// The ordinate is the first.
fn native_atan2(a: u32, b: u32) -> u32 {
    let rise = a & F32_MAGNITUDE;
    let run = b & F32_MAGNITUDE;
    let large = max(rise, run);
    let small = min(rise, run);
    if (large > F32_INF) {
        return F32_NAN;
    }
    // The smaller over the larger. Of two zeros it is 0, and of two infinities 1.
    var ratio = select(0u, F32_ONE, small == F32_INF);
    if (small != 0u && large < F32_INF) {
        let upper = f32_unpack(small);
        let lower = f32_unpack(large);
        ratio = scaled_by_power_of_2(bitcast<u32>(f32(upper.m) / f32(lower.m)), upper.e - lower.e);
    }
    // Below 2^-13 it is its own arctangent; it may be subnormal.
    let part = select(bitcast<u32>(near_arctangent(bitcast<f32>(ratio))), ratio, ratio < 0x39000000u);
    let steep = rise > run;
    let left = b >= F32_SIGN;
    // From the nearer half axis, back or forth.
    let turned = select(part, part ^ F32_SIGN, steep != left);
    let axis = select(select(0.0, 3.14159274, left), 1.57079637, steep);
    return (a & F32_SIGN) | select(bitcast<u32>(axis + bitcast<f32>(turned)), part, !steep && !left);
}
