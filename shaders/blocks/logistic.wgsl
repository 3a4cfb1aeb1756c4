// The error function, and logistic curves, in the device's own floats. exponential.wgsl says what they rely on.

// erf(x) for x from 2^-100 to 1: off by at most 2^-27.4 of itself.
fn near_erf_below_1(x: f32) -> f32 {
    let z = x * x;
    return x + x * ((((((7.8758749e-5 * z - 0.00080168643) * z + 0.0051890872) * z - 0.026854211) * z + 0.11283594) * z
        - 0.37612626) * z + 0.12837917);
}

fn native_erf(a: u32) -> u32 {
    let full = a & F32_MAGNITUDE;
    let sign = a & F32_SIGN;
    if (full < 0x0d800000u) { // 2^-100: a part may be subnormal.
        if (full == 0u) {
            return a;
        }
        let parts = f32_unpack(full);
        return sign | scaled_by_power_of_2(bitcast<u32>(f32(parts.m) * 1.12837923), parts.e - 150);
    }
    // From 4 on it is 1, to half an ULP.
    let magnitude = min(full, 0x40800000u);
    let x = bitcast<f32>(magnitude);
    // The binary logarithm of erfc(x). The power is off by at most 2^-25 from 1 on.
    let power = x * ((((((-2.3848184e-5 * x + 0.00053708954) * x - 0.0055151857) * x + 0.034745775) * x - 0.15367799)
        * x - 0.91617686) * x - 1.6283056);
    let k = round(power);
    let left = bitcast<u32>(near_exp2_of_rest(power - k)) + (bitcast<u32>(i32(k)) << 23u);
    let value = select(near_erf_below_1(x), 1.0 - bitcast<f32>(left), magnitude > F32_ONE);
    return select(sign | bitcast<u32>(value), F32_NAN, full > F32_INF);
}

fn native_erfc(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    if (a >= F32_SIGN || magnitude < 0x3f500000u) { // 13/16
        // Subnormals count as zeros beside 1.
        let middle = native_erf(a);
        return select(bitcast<u32>(1.0 - bitcast<f32>(middle)), F32_NAN, magnitude > F32_INF);
    }
    if (magnitude > 0x41240000u) { // 10.25
        return select(0u, F32_NAN, magnitude > F32_INF);
    }
    // x^2 in units of 2^-32, in wrapping arithmetic: the square of the upper 12 digits, which is exact, and the rest,
    // which is below 0.1.
    let x = bitcast<f32>(magnitude);
    let digits = ((magnitude & F32_FRACTION) | F32_HIDDEN) >> 12u;
    let head = bitcast<f32>(magnitude & 0x7ffff000u);
    let square = ((digits * digits) << (((magnitude >> 22u) & 0x1feu) - 244u))
        + u32((x - head) * (x + head) * 4294967296.0);
    // Less the nearest multiple of ln 2, as in near_exponent.
    let k = i32(round(x * x * 1.44269502));
    let rest = bitcast<i32>(square - bitcast<u32>(k) * 2977044472u);
    let power = 1.0 + near_expm1_of_rest(f32(rest) * -2.3283064365386963e-10);
    // e^(x^2) erfc(x) (x + 5/4) in 1 / (x + 5/4), from 13/16 to 10.1: off by at most 2^-26.
    let v = 1.0 / (x + 1.25);
    let p = (((((((3.8490703 * v - 10.853966) * v + 11.882852) * v - 5.3326445) * v + 0.10933153) * v - 0.0932254) * v
        + 0.6116655) * v + 0.704626) * v + 0.56420267;
    return scaled_by_power_of_2(bitcast<u32>(power * (p * v)), -k);
}

fn native_sigmoid(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    // e^-|x|; the curve for a large negative x.
    let power = native_exp(a | F32_SIGN);
    if (magnitude > F32_INF || a > 0xc1900000u) { // -18
        return power;
    }
    let number = bitcast<f32>(power);
    return bitcast<u32>(select(1.0, number, a >= F32_SIGN) / (1.0 + number));
}

fn native_softplus(a: u32) -> u32 {
    let magnitude = a & F32_MAGNITUDE;
    let positive = a < F32_SIGN;
    // e^-|x|; the curve for a large negative x.
    let power = native_exp(a | F32_SIGN);
    if (magnitude > 0x41900000u) { // 18
        return select(select(power, a, positive), F32_NAN, magnitude > F32_INF);
    }
    // ln(1 + e^-|x|), where the sum is 1 + f or 2 (1 + f).
    let number = bitcast<f32>(power);
    let high = number > 0.41421357;
    let f = select(number, (number - 1.0) * 0.5, high);
    let tail = near_log_of_rest(f) + select(0.0, 0.69314718, high);
    return bitcast<u32>(select(0.0, bitcast<f32>(a), positive) + tail);
}
