// The IEEE sum and difference of two f32, rounded to nearest even, subnormals included. Needs f32.wgsl.

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
    // A subnormal has the exponent 1 and no hidden bit: what it has of significand is its bits.
    let el = max(ul >> 23u, 1u);
    let es = max(us >> 23u, 1u);
    let ml = ul - ((el - 1u) << 23u);
    let ms = us - ((es - 1u) << 23u);
    // Six bits below the unit: a bit is lost only where the exponents are 7 or more apart, and then at most one leading
    // bit cancels. Subtracting a sticky bit, which stands for a fraction below it, borrows and stays sticky.
    let t = shift_right_sticky(ms << 6u, el - es);
    let m = (ml << 6u) + select(t, 0u - t, differ);
    // An exact zero is -0 for two zeros that are negative, and +0 for all else.
    return select((large & F32_SIGN) | f32_pack(m, el + 1u), a & b & F32_SIGN, m == 0u);
}

fn f32_sub(a: u32, b: u32) -> u32 {
    return f32_add(a, b ^ F32_SIGN);
}
