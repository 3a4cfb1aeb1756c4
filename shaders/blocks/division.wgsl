// Quotients and remainders. Twin of src/blocks/division.rs.

// The IEEE quotient of two f32, rounded to nearest even, subnormals included.
fn f32_div(a: u32, b: u32) -> u32 {
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    let e = (ua >> 23u) - (ub >> 23u);
    // The common case, in straight-line code: zero or a normal number divided by a normal number, with a quotient
    // that is zero, is normal, or overflows only by rounding.
    if (ub - F32_HIDDEN >= F32_INF - F32_HIDDEN ||
        (ua != 0u && (ua - F32_HIDDEN >= F32_INF - F32_HIDDEN || e + 125u > 252u))) {
        return f32_div_rare(a, b);
    }
    let m = significand_quotient((ua & F32_FRACTION) | F32_HIDDEN, (ub & F32_FRACTION) | F32_HIDDEN);
    return ((a ^ b) & F32_SIGN) | select(f32_pack_normal(m, e + 127u), 0u, ua == 0u);
}

// a / b * 2^30 with a sticky lowest bit, in [2^29, 2^31), for a and b in [2^23, 2^24).
fn significand_quotient(a: u32, b: u32) -> u32 {
    // Take a and b as floats in [1, 2). `scale`, 2^14 / b, estimates the quotients of both steps (case 1). These
    // quotients are below 2^15, so each may be off by 2^-16 of itself.
    let scale = 16384.0 / bitcast<f32>(b + 0x3f000000u);
    let first = division_step(a << 14u, b, bitcast<f32>(a + 0x3f000000u) * scale);
    // rest * 2^13 / b: the float of b is b / 2^23.
    let second = division_step(first.rest << 13u, b, f32(first.rest) * 5.9604644775390625e-8 * scale);
    return (first.q << 16u) | (second.q << 3u) | u32(second.rest != 0u);
}

// Handles every case: NaN, infinities, zeros, subnormals, overflow.
fn f32_div_rare(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & F32_SIGN;
    let ua = a & F32_MAGNITUDE;
    let ub = b & F32_MAGNITUDE;
    if (max(ua, ub) > F32_INF || (ua == ub && (ua == 0u || ua == F32_INF))) {
        return F32_NAN;
    }
    if (ua == F32_INF || ub == 0u) {
        return sign | F32_INF;
    }
    if (ua == 0u || ub == F32_INF) {
        return sign;
    }
    let pa = f32_unpack(ua);
    let pb = f32_unpack(ub);
    return sign | f32_nearest(significand_quotient(pa.m, pb.m), pa.e - pb.e + 127);
}

struct F32FloorMod {
    z: u32, // x - y*floor(x/y), rounded once; a zero has the sign of y
    // floor(x/y), rounded once: its sign bit (0 for a zero) and its magnitude. The magnitude is an integer below
    // Q_INTEGERS, or else the bits of an f32.
    sign: u32,
    q: u32,
}

const Q_INTEGERS: u32 = 0x00200000u;

// |y| - |x| for |x| < |y|, as a magnitude: the one subtraction that rounds.
fn f32_distance(px: F32Parts, py: F32Parts) -> u32 {
    let t = shift_right_sticky(px.m << 7u, u32(py.e - px.e));
    // A sticky bit in t stands for a fraction below it. Subtracting it borrows, and the result stays sticky.
    return f32_nearest((py.m << 7u) - t, py.e);
}

// x mod y and floor(x/y) for every pair of numbers of the storage type. The results are right once they are rounded
// to that type.
fn f32_floor_mod(x: u32, y: u32) -> F32FloorMod {
    if (STORAGE_DIGITS <= 11u) {
        return f32_floor_mod_narrow(x, y);
    }
    return f32_floor_mod_wide(x, y);
}

// x mod y and floor(x/y) for every pair of bit patterns.
fn f32_floor_mod_wide(x: u32, y: u32) -> F32FloorMod {
    let ux = x & F32_MAGNITUDE;
    let uy = y & F32_MAGNITUDE;
    let ex = ux >> 23u;
    let ey = uy >> 23u;
    // The common case is 2^-95 <= |y| < 2^108 and |x/y| < 2^20, including x = 0 and |x| < |y|. It is straight-line
    // code with one division step, no subnormal result and no overflow. A zero or subnormal x gets a leading one
    // before its fraction. This does no harm: such an x is either the result itself, or so small that it only affects
    // the rounding of |y| - |x|.
    if (ey - 32u >= 203u || ux >= uy + (20u << 23u)) {
        return f32_floor_mod_rare(x, y);
    }
    // Significands in [2^29, 2^30), with six bits below their last bit.
    let mx = ((x << 6u) & 0x1fffffc0u) | 0x20000000u;
    let my = ((y << 6u) & 0x1fffffc0u) | 0x20000000u;
    // Whether the signs differ. A zero x counts as having the sign of y.
    let differ = (x ^ (y & F32_SIGN)) > F32_SIGN;
    // If `below`, the results of the step are not used. Otherwise its floats are normal numbers.
    let below = ex < ey;
    let d = max(i32(ex) - i32(ey), -31);
    let shifted = mx << (u32(d) & 31u);
    let step = division_step(shifted, my, bitcast<f32>(ux) * (1.0 / bitcast<f32>(uy)));
    // |x| mod |y| in units of 2^(ey - 156). If `below`, this is |x|, and `shifted` holds the bits that drop out of
    // it, so its lowest bit may be sticky.
    let rest = select(step.rest, (mx >> (u32(-d) & 31u)) | min(shifted, 1u), below);
    // If the signs differ, the floor is one lower and the remainder is subtracted from |y|. A sticky bit stands for a
    // fraction below it. Subtracting it borrows, and the result stays sticky.
    let borrow = differ && (below || step.rest != 0u);
    let n = select(rest, my - rest, borrow);
    // Round to 24 bits, ties to even; n is below 2^30. Only |y| - |x| can have more bits, and then it is 2^29 or
    // more.
    let wide = n >> 29u;
    let shift = wide + 5u;
    let kept = (n + wide * 16u + 15u + ((n >> shift) & 1u)) >> shift;
    // `kept` is at most 2^24, so its conversion and the scaling are exact (case 2).
    let z = bitcast<u32>(f32(kept) * bitcast<f32>((ey + wide - 24u) << 23u));
    let q = select(step.q, 0u, below) + u32(borrow);
    return F32FloorMod(select(z, ux, below && !differ) | (y & F32_SIGN), select(0u, F32_SIGN, differ), q);
}

// f32_floor_mod for a storage type of 8 or 11 significant bits. z is right once it is rounded to that type. q is the
// bits of an f32, whatever its size.
fn f32_floor_mod_narrow(x: u32, y: u32) -> F32FloorMod {
    let ux = x & F32_MAGNITUDE;
    let uy = y & F32_MAGNITUDE;
    // The common case is 2^-95 <= |y| < 2^108 and |x/y| < 2^13 (11 bits) or 2^16 (8 bits). Then a quotient times y
    // has at most 24 bits.
    if (uy - (32u << 23u) >= 203u << 23u || ux >= uy + ((24u - STORAGE_DIGITS) << 23u)) {
        return f32_floor_mod_narrow_rare(x, y);
    }
    let fx = bitcast<f32>(ux);
    let fy = bitcast<f32>(uy);
    let below = ux < uy;
    // The floor of the quotient, or one more or less, as a float (case 1). It is 0 if |x| < |y|.
    let integer = bitcast<u32>(fx * (1.0 / fy) + 8388607.5);
    let estimate = bitcast<f32>(select(max(integer, 0x4b000000u), 0x4b000000u, below)) - 8388608.0;
    // The values that follow are multiples of the unit of y, with at most 24 bits and as large as that unit: exact,
    // contracted or not (case 2). If |x| < |y|, only a device that flushes subnormals changes x.
    let rest = fx - estimate * fy;
    let over = rest >= fy;
    let under = rest < 0.0;
    let floor = estimate + select(select(0.0, 1.0, over), -1.0, under);
    let r = rest + select(select(0.0, -fy, over), fy, under);
    // If the signs differ, the floor is one lower and the remainder is subtracted from |y|. If |x| < |y| / 2^13, the
    // difference is not exact, but both of its neighbours round to y in the storage type.
    let differ = (x ^ (y & F32_SIGN)) > F32_SIGN;
    let borrow = differ && (below || r != 0.0);
    let distance = bitcast<u32>(select(r, fy - r, borrow));
    let z = (select(distance, ux, below && !differ) & F32_MAGNITUDE) | (y & F32_SIGN);
    let q = bitcast<u32>(floor + select(0.0, 1.0, borrow)) & F32_MAGNITUDE;
    return F32FloorMod(z, select(0u, F32_SIGN, differ), q);
}

fn f32_floor_mod_narrow_rare(x: u32, y: u32) -> F32FloorMod {
    let m = f32_floor_mod_rare(x, y);
    return F32FloorMod(m.z, m.sign, f32_floor_quotient(m) & F32_MAGNITUDE);
}

// floor(x/y) as an f32, from f32_floor_mod_wide.
fn f32_floor_quotient(m: F32FloorMod) -> u32 {
    // An integer q is below 2^21, so its conversion is exact (case 2).
    return m.sign | select(m.q, bitcast<u32>(f32(m.q)), m.q < Q_INTEGERS);
}

// Handles every case: NaN, infinities, zeros, subnormals, and ratios up to 2^277.
fn f32_floor_mod_rare(x: u32, y: u32) -> F32FloorMod {
    let ux = x & F32_MAGNITUDE;
    let uy = y & F32_MAGNITUDE;
    let y_sign = y & F32_SIGN;
    if (ux >= F32_INF || uy > F32_INF || uy == 0u) {
        return F32FloorMod(F32_NAN, 0u, F32_NAN);
    }
    if (ux == 0u) {
        return F32FloorMod(y_sign, 0u, 0u);
    }
    let differ = ((x ^ y) & F32_SIGN) != 0u;
    let sign = select(0u, F32_SIGN, differ);
    if (uy == F32_INF) {
        return F32FloorMod(select(x, y, differ), sign, u32(differ));
    }
    let px = f32_unpack(ux);
    let py = f32_unpack(uy);
    if (ux < uy) {
        return F32FloorMod(select(ux, f32_distance(px, py), differ) | y_sign, sign, u32(differ));
    }

    var r = px.m;
    var d = u32(px.e - py.e);
    var q = WideQuotient(0u, u32(r >= py.m), 0u, false, true);
    r -= select(0u, py.m, r >= py.m);
    while (d > 0u) {
        let k = min(d, 20u);
        let ratio = f32(r) * bitcast<f32>((127u + k) << 23u) * (1.0 / f32(py.m));
        let step = division_step(r << k, py.m, ratio);
        q = wide_quotient_append(q, step.q, k);
        r = step.rest;
        d -= k;
    }
    let borrow = differ && r != 0u;
    if (borrow) {
        q = wide_quotient_increment(q);
        r = py.m - r;
    }
    return F32FloorMod(f32_nearest(r << 7u, py.e) | y_sign, sign, wide_quotient_round(q));
}

// A quotient of any length: (high, low) * 2^dropped + tail. The tail is known only as far as rounding needs it.
struct WideQuotient {
    high: u32,
    low: u32,
    dropped: u32,
    tail_any_one: bool,
    tail_all_ones: bool,
}

fn wide_quotient_append(q: WideQuotient, digits: u32, k: u32) -> WideQuotient {
    if (q.high == 0u) {
        return WideQuotient(q.low >> (32u - k), (q.low << k) | digits, 0u, false, true);
    }
    return WideQuotient(q.high, q.low, q.dropped + k, q.tail_any_one || digits != 0u,
        q.tail_all_ones && digits == (1u << k) - 1u);
}

fn wide_quotient_increment(q: WideQuotient) -> WideQuotient {
    // An empty tail counts as all ones. The increment carries into (high, low) and leaves a zero tail.
    if (q.tail_all_ones) {
        let low = q.low + 1u;
        return WideQuotient(q.high + u32(low == 0u), low, q.dropped, false, false);
    }
    return WideQuotient(q.high, q.low, q.dropped, true, false);
}

// The f32 nearest to the quotient, ties to even, as a magnitude.
fn wide_quotient_round(q: WideQuotient) -> u32 {
    if (q.high == 0u) {
        let low_shift = countLeadingZeros(q.low) & 31u;
        let leading = q.low << low_shift;
        return f32_nearest((leading >> 1u) | (leading & 1u), i32(158u - low_shift));
    }
    let shift = countLeadingZeros(q.high);
    // (high << shift) | (low >> (32 - shift)), where a shift by 32 has to give 0.
    let top = (q.high << shift) | ((q.low >> 1u) >> (31u - shift));
    let sticky = q.tail_any_one || (q.low << shift) != 0u;
    return f32_nearest((top >> 1u) | (top & 1u) | u32(sticky), i32(190u - shift + q.dropped));
}

// x - y*trunc(x/y), which is exact: C's fmod.
fn f32_trunc_mod(x: u32, y: u32) -> u32 {
    // For magnitudes, the truncated and the floored quotient are the same.
    let z = f32_floor_mod_wide(x & F32_MAGNITUDE, y & F32_MAGNITUDE).z;
    return select(z | (x & F32_SIGN), F32_NAN, z > F32_INF);
}

fn native_div(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) / bitcast<f32>(b));
}
