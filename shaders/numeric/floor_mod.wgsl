// Floored modulo and its quotient, from one division, so that they belong together.

struct F32FloorMod {
    z: u32, // x - y*floor(x/y), rounded once; a zero has the sign of y
    q: u32, // floor(x/y), rounded once; its zero is +0
}

// One step of long division: r * 2^k = q * my + rest with 0 <= rest < my.
struct DivisionStep {
    q: u32,
    rest: u32,
}

// my in [2^23, 2^24), k <= 20, r < 2 * my (r < 2^24 where k > 0).
// The float quotient is an estimate (numerics: case 1): operands are in [2^-24, 2^44], so nothing is subnormal, and
// with a truncating conversion and a reciprocal off by 4 ULP it is off by one at most. The remainder's true value fits
// in 32 bits, so it survives the wrap, and its sign says which way to repair.
fn division_step(r: u32, k: u32, my: u32) -> DivisionStep {
    let power_of_two = bitcast<f32>((127u + k) << 23u);
    let q = u32((f32(r) * power_of_two) * (1.0 / f32(my)));
    let rest = (r << k) - q * my;
    let low = rest >= F32_SIGN;
    let high = !low && rest >= my;
    return DivisionStep(
        select(select(q, q + 1u, high), q - 1u, low),
        select(select(rest, rest - my, high), rest + my, low),
    );
}

// |y| - |x| for |x| < |y|, as a magnitude: the one subtraction that rounds.
fn f32_distance(px: F32Parts, py: F32Parts) -> u32 {
    let t = shift_right_sticky(px.m << 7u, u32(py.e - px.e));
    // A sticky bit in t stands for a fraction below it; subtracting it borrows and stays sticky.
    return f32_round((py.m << 7u) - t, py.e);
}

// x mod y and floor(x/y) for every pair of bit patterns.
fn f32_floor_mod(x: u32, y: u32) -> F32FloorMod {
    let ux = x & F32_MAGNITUDE;
    let uy = y & F32_MAGNITUDE;
    let ex = ux >> 23u;
    let ey = uy >> 23u;
    // Normal operands (1 <= e <= 254) and |x/y| < 2^20 are the common case: straight line, one division step.
    if (ex - 1u >= 254u || ey - 1u >= 254u || ex > ey + 20u) {
        return f32_floor_mod_rare(x, y);
    }
    let differ = ((x ^ y) & F32_SIGN) != 0u;
    let px = F32Parts((ux & F32_FRACTION) | F32_HIDDEN, i32(ex));
    let py = F32Parts((uy & F32_FRACTION) | F32_HIDDEN, i32(ey));
    let below = ex < ey;
    let step = division_step(px.m, select(ex - ey, 0u, below), py.m);
    // Signs that differ: the floor is one further down, and the remainder is taken from |y|.
    let borrow = differ && step.rest != 0u;
    let rest = select(step.rest, py.m - step.rest, borrow);
    let far = f32_round(rest << 7u, py.e);
    let near = select(ux, f32_distance(px, py), differ);
    let q = select(step.q + u32(borrow), u32(differ), below);
    // q is at most 2^21: its conversion is exact (numerics: case 2).
    let q_sign = select(0u, F32_SIGN, differ);
    return F32FloorMod(select(far, near, below) | (y & F32_SIGN), bitcast<u32>(f32(q)) | q_sign);
}

// Everything: NaN, infinities, zeros, subnormals, and ratios up to 2^277.
fn f32_floor_mod_rare(x: u32, y: u32) -> F32FloorMod {
    let ux = x & F32_MAGNITUDE;
    let uy = y & F32_MAGNITUDE;
    let y_sign = y & F32_SIGN;
    let differ = ((x ^ y) & F32_SIGN) != 0u;
    if (ux >= F32_INF || uy > F32_INF || uy == 0u) {
        return F32FloorMod(F32_NAN, F32_NAN);
    }
    if (ux == 0u) {
        return F32FloorMod(y_sign, 0u);
    }
    // Below |y| the floor is -1 or 0. The sign is added to the magnitude, since Mesa's optimiser takes a choice between
    // the bits of -1.0 and of 0.0 for the negation of a boolean, and answers -0.0.
    let q_sign = select(0u, F32_SIGN, differ);
    let q_below = q_sign | (F32_ONE * u32(differ));
    if (uy == F32_INF) {
        return F32FloorMod(select(x, y, differ), q_below);
    }
    let px = f32_unpack(ux);
    let py = f32_unpack(uy);
    if (ux < uy) {
        return F32FloorMod(select(ux, f32_distance(px, py), differ) | y_sign, q_below);
    }

    var r = px.m;
    var d = u32(px.e - py.e);
    var q = WideQuotient(0u, u32(r >= py.m), 0u, false, true);
    r -= select(0u, py.m, r >= py.m);
    while (d > 0u) {
        let k = min(d, 20u);
        let step = division_step(r, k, py.m);
        q = wide_quotient_append(q, step.q, k);
        r = step.rest;
        d -= k;
    }
    let borrow = differ && r != 0u;
    if (borrow) {
        q = wide_quotient_increment(q);
        r = py.m - r;
    }
    return F32FloorMod(f32_round(r << 7u, py.e) | y_sign, wide_quotient_round(q) | q_sign);
}

// A quotient of any length: (high, low) * 2^dropped + tail, where of the tail is known what a rounding asks.
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
    // An empty tail counts as all ones: the increment carries into (high, low) and leaves a zero tail.
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
        return f32_round((leading >> 1u) | (leading & 1u), i32(158u - low_shift));
    }
    let shift = countLeadingZeros(q.high);
    // (high << shift) | (low >> (32 - shift)), where a shift by 32 has to give 0.
    let top = (q.high << shift) | ((q.low >> 1u) >> (31u - shift));
    let sticky = q.tail_any_one || (q.low << shift) != 0u;
    return f32_round((top >> 1u) | (top & 1u) | u32(sticky), i32(190u - shift + q.dropped));
}
