//! The floored modulo `mod`, NumPy's and Python's `%`, with its gradients.
//!
//! | output | formula | special cases |
//! |---|---|---|
//! | `z` | `x - y * floor(x / y)`, rounded once; a zero takes the sign of `y` | NaN for NaN, `x = ±inf`, `y = ±0`; `y = ±inf`: `x` where the signs agree, else `y` |
//! | `dx` | `dz`, the same bits (written only on request: alias `dz`) | |
//! | `dy` | `dz * -Q`, an IEEE product, with `Q = floor(x / y)` rounded once to f32 | `Q` is NaN where `z` is; `y = ±inf`: 0 where the signs agree or `x = 0`, else -1 |
//!
//! The floor is that of the exact quotient, so `z` and `Q` belong together: `mod(1, 0.1)` has `Q = 9`. Where `x / y` is
//! an integer there is no derivative with respect to `y`; the formula is the value there too. NaN results are 0x7fc00000.
//!
//! ```
//! use elemgrad::modulo;
//! assert_eq!(modulo::forward(-0.3, 0.2), 0.099999994);
//! assert_eq!(modulo::quotient(1.0, 0.1), 9.0);
//! assert_eq!(modulo::backward(1.2, 1.0, 1.0), (1.0, -1.0));
//! ```

use std::sync::LazyLock;

use super::{Args, Block, Definition, IntoArgs, Op, OutputDefinition, Outputs};
use crate::{
    DType,
    cpu::{
        block::Lanes,
        simd::Vectors,
        storage::{Aligned, LANES, Wide},
    },
    dtype::power_of_two,
    numeric::{NAN, canonical, round_f64},
};

/// The op `mod` (a keyword in Rust, hence the module's name), for calls that take any [`Op`].
#[derive(Clone, Copy, Debug)]
pub struct Mod;

static DEFINITION: LazyLock<Definition> = LazyLock::new(|| Definition {
    name: "mod".into(),
    inputs: vec!["x".into(), "y".into()],
    functions: vec![
        include_str!("../../shaders/numeric/f32.wgsl").into(),
        include_str!("../../shaders/numeric/sign.wgsl").into(),
        include_str!("../../shaders/numeric/mul.wgsl").into(),
        include_str!("../../shaders/numeric/division.wgsl").into(),
        include_str!("../../shaders/numeric/floor_mod.wgsl").into(),
        include_str!("../../shaders/ops/mod.wgsl").into(),
    ],
    lets: vec![("m".into(), "f32_floor_mod(x, y)".into())],
    outputs: vec![
        OutputDefinition::z("m.z", "x - y * floor(x / y)"),
        OutputDefinition::gradient("x", "dz", "dz"),
        OutputDefinition::gradient("y", "mod_dy(m, dz)", "dz * -floor(x / y)"),
        OutputDefinition::value("q", "mod_q(m)", "floor(x / y)"),
    ],
});

/// The output `q` of [`Mod`]: `floor(x / y)`.
pub const Q: Outputs = Outputs::of(3);

impl Op for Mod {
    fn definition(&self) -> &Definition {
        &DEFINITION
    }

    fn reference(&self, _: DType, reads: &[f32], writes: &mut [f32]) {
        let (z, q) = floor_mod(reads[0], reads[1]);
        writes.copy_from_slice(&[z, reads[2], gradient_y(q, reads[2]), q]);
    }

    fn cpu(&self, _storage: DType, block: Block) {
        let wanted = block.outputs();
        on_lanes(block, [0, 1, 2], [0, 1, 2, 3].map(|w| wanted.contains(w).then_some(w)));
    }
}

/// The wanted ones of `z`, `dx`, `dy` and `Q`, by the numbers of `x`, `y` and the upstream gradient.
pub(crate) fn on_lanes(block: Block, [x, y, upstream]: [usize; 3], writes: [Option<usize>; 4]) {
    match writes {
        [Some(z), None, None, None] => block.lanes([x, y], [z], &mut OnLanes),
        [None, Some(dx), None, None] => block.lanes([upstream], [dx], &mut OnLanes),
        [None, None, Some(dy), None] => block.lanes([x, y, upstream], [dy], &mut OnLanes),
        [Some(z), None, Some(dy), None] => block.lanes([x, y, upstream], [z, dy], &mut OnLanes),
        _ => block.lanes([x, y, upstream], writes.map(|w| w.unwrap_or(usize::MAX)), &mut OnLanes),
    }
}

/// `mod(x, y)`: `x - y * floor(x / y)`, rounded once.
pub fn forward(x: f32, y: f32) -> f32 {
    floor_mod(x, y).0
}

/// `Q`: the floor of the exact quotient `x / y`, rounded once; NaN where [`forward`] is.
pub fn quotient(x: f32, y: f32) -> f32 {
    floor_mod(x, y).1
}

/// The gradients `(dx, dy)`, given the upstream gradient: `(dz, dz * -Q)`.
pub fn backward(x: f32, y: f32, dz: f32) -> (f32, f32) {
    (dz, gradient_y(quotient(x, y), dz))
}

/// [`forward`] and [`backward`] at once: `(z, (dx, dy))`.
pub fn fused(x: f32, y: f32, dz: f32) -> (f32, (f32, f32)) {
    let (z, q) = floor_mod(x, y);
    (z, (dz, gradient_y(q, dz)))
}

#[inline(always)]
fn gradient_y(q: f32, dz: f32) -> f32 {
    canonical(dz * -q)
}

/// `(z, Q)` by long division of the significands.
fn floor_mod(x: f32, y: f32) -> (f32, f32) {
    if x.is_nan() || y.is_nan() || x.is_infinite() || y == 0.0 {
        return (NAN, NAN);
    }
    if x == 0.0 {
        return (0.0_f32.copysign(y), 0.0);
    }
    let differ = x.is_sign_negative() != y.is_sign_negative();
    if y.is_infinite() {
        return if differ { (y, -1.0) } else { (x, 0.0) };
    }
    let (rest, mut q) = divide(x.abs(), y.abs());
    let rest = rest.copysign(x);
    if !differ || rest == 0.0 {
        let q = q.round();
        return (rest.abs().copysign(y), if differ { -q } else { q });
    }
    q.increment();
    // The exact value is between y and 0, and the one rounding is this addition's.
    (y + rest, -q.round())
}

/// Remainder and truncated quotient of two positive finite numbers.
fn divide(x: f32, y: f32) -> (f32, Quotient) {
    if x < y {
        return (x, Quotient::new(0));
    }
    let ((mx, ex), (my, ey)) = (decompose(x), decompose(y));
    let mut rest = mx % my;
    let mut q = Quotient::new(mx / my);
    let mut shift = ex - ey;
    while shift > 0 {
        // The rest is below 2^24, so 31 more bits fit a u64 and one division gives 31 bits of the quotient.
        let step = shift.min(31);
        q.append((rest << step) / my, step);
        rest = (rest << step) % my;
        shift -= step;
    }
    // Below 2^24 and on y's grid: exact in f64, and in f32.
    ((rest as f64 * power_of_two(ey)) as f32, q)
}

/// A positive finite number as `m * 2^e`, with integers.
fn decompose(v: f32) -> (u64, i32) {
    let (field, fraction) = ((v.to_bits() >> 23) as i32, u64::from(v.to_bits() & 0x007f_ffff));
    if field == 0 { (fraction, -149) } else { (fraction | 0x0080_0000, field - 150) }
}

/// An integer of any length: `head * 2^dropped + tail`, where of the tail is known what a rounding asks.
struct Quotient {
    head: u64,
    dropped: i32,
    tail_any_one: bool,
    /// Also true of an empty tail.
    tail_all_ones: bool,
}

impl Quotient {
    fn new(head: u64) -> Self {
        Self { head, dropped: 0, tail_any_one: false, tail_all_ones: true }
    }

    fn append(&mut self, digits: u64, count: i32) {
        if self.head < 1 << 32 {
            self.head = self.head << count | digits;
        } else {
            self.dropped += count;
            self.tail_any_one |= digits != 0;
            self.tail_all_ones &= digits == (1 << count) - 1;
        }
    }

    fn increment(&mut self) {
        if self.tail_all_ones {
            self.head += 1;
            (self.tail_any_one, self.tail_all_ones) = (false, false);
        } else {
            self.tail_any_one = true;
        }
    }

    /// The nearest f32, ties to even. With a tail the head has over 32 bits, so a sticky lowest bit stands for it.
    fn round(&self) -> f32 {
        let head = (self.head | u64::from(self.tail_any_one)) as f32;
        // Scaling by a power of two is exact but for overflow, which the conversion turns into infinity.
        (f64::from(head) * power_of_two(self.dropped)) as f32
    }
}

struct OnLanes;

impl Lanes<2, 1> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [x, y]: [&Wide; 2], [Aligned(z)]: &mut [Aligned<Wide>; 1]) {
        floor_mod_lanes::<V>(x, y, |i, remainder, _| z[i] = remainder);
    }
}

impl Lanes<1, 1> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, _: V, [upstream]: [&Wide; 1], [Aligned(dx)]: &mut [Aligned<Wide>; 1]) {
        *dx = *upstream;
    }
}

impl Lanes<3, 1> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, y, upstream]: [&Wide; 3],
        [Aligned(dy)]: &mut [Aligned<Wide>; 1],
    ) {
        floor_mod_lanes::<V>(x, y, |i, _, q| dy[i] = gradient_y(q, upstream[i]));
    }
}

impl Lanes<3, 2> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, y, upstream]: [&Wide; 3],
        [Aligned(z), Aligned(dy)]: &mut [Aligned<Wide>; 2],
    ) {
        floor_mod_lanes::<V>(x, y, |i, remainder, q| (z[i], dy[i]) = (remainder, gradient_y(q, upstream[i])));
    }
}

impl Lanes<3, 4> for OnLanes {
    #[inline(always)]
    fn lanes<V: Vectors>(
        &mut self,
        _: V,
        [x, y, upstream]: [&Wide; 3],
        [Aligned(z), Aligned(dx), Aligned(dy), Aligned(quotient)]: &mut [Aligned<Wide>; 4],
    ) {
        *dx = *upstream;
        floor_mod_lanes::<V>(x, y, |i, remainder, q| {
            (z[i], dy[i], quotient[i]) = (remainder, gradient_y(q, upstream[i]), q);
        });
    }
}

/// `store(lane, z, Q)` for each lane: straight through, and again for those that did not come out exact.
#[inline(always)]
pub(crate) fn floor_mod_lanes<V: Vectors>(x: &Wide, y: &Wide, mut store: impl FnMut(usize, f32, f32)) {
    // Not one function or the other as a value: that would be a call of each lane unless the compiler saw through it.
    let lane = |x, y| if V::NATIVE { floor_mod_fused(x, y) } else { floor_mod_f64(x, y) };
    let mut all_exact = true;
    for i in 0..LANES {
        let ((remainder, quotient), exact) = lane(x[i], y[i]);
        store(i, remainder, quotient);
        all_exact &= exact;
    }
    if !all_exact {
        for i in (0..LANES).filter(|i| !lane(x[*i], y[*i]).1) {
            let (remainder, quotient) = floor_mod(x[i], y[i]);
            store(i, remainder, quotient);
        }
    }
}

/// `(z, Q)`, and whether they are exact: finite operands, quotients below 2^24.
///
/// 1. Rounding is monotone and an integer below 2^24 is a float, so the rounded quotient has the exact one's floor, or
///    it is the integer next above, at most half a unit away: `q` is the floor or one more.
/// 2. Where `q` is the floor, the fused `r` is the result: `x - q * y`, rounded once, not beyond 0 or y.
/// 3. Where it is one more, `r` is not on y's side of 0, and it is exact: a multiple of the lesser of x's and y's
///    units, of at most `|y| / 2`. Where the lesser is x's, `|x| < |y|`: then q is 0 and `r` is x, or q is 1, and the
///    difference of two numbers within a factor of 2 is exact. So adding `y` is the one rounding.
#[inline(always)]
fn floor_mod_fused(x: f32, y: f32) -> ((f32, f32), bool) {
    let sign = y.to_bits() & 0x8000_0000;
    let quotient = x / y;
    let q = quotient.floor();
    let r = (-q).mul_add(y, x);
    let beyond = f32::from_bits(r.to_bits() ^ sign) < 0.0;
    let (z, q) = if beyond { (r + y, q - 1.0) } else { (r, q) };
    // A zero takes the sign of y, as everything else has it already; Q's is positive.
    let z = f32::from_bits(z.to_bits() & 0x7fff_ffff | sign);
    // A NaN in x or y, an infinite x and a zero y show in the quotient, an infinite y in r.
    ((z, q + 0.0), (quotient.abs() < 16_777_216.0) & !r.is_nan())
}

/// `(z, Q)`, and whether they are exact: finite operands, quotients below 2^28.
///
/// A quotient of two 24-bit significands is at least 2^-24 away from an integer that it does not equal, and below 2^28
/// f64 resolves half of that, so the floor is exact. `q * y` fits in 53 bits. The subtraction rounds at most where
/// `|x| < |y|`, to 53 bits, which is enough (2 · 24 + 2) that rounding once more to 24 equals rounding once.
#[inline(always)]
fn floor_mod_f64(x: f32, y: f32) -> ((f32, f32), bool) {
    let (xd, yd) = (f64::from(x), f64::from(y));
    let quotient = xd / yd;
    let nearest = round_f64(quotient);
    let q = if nearest > quotient { nearest - 1.0 } else { nearest };
    let r = xd - q * yd;
    let zero = f32::from_bits(y.to_bits() & 0x8000_0000);
    let z = if r == 0.0 { zero } else { r as f32 };
    // NaN compares false: x or y special.
    ((z, q as f32 + 0.0), (quotient.abs() < 268_435_456.0) & (r.abs() < f64::INFINITY))
}

/// Arguments of the forward pass: `x` and `y` broadcast, `z` has the shape that they give.
#[derive(Clone, Copy, Debug)]
pub struct Forward<I, O> {
    /// The dividend.
    pub x: I,
    /// The divisor.
    pub y: I,
    /// The output.
    pub z: O,
}

/// Arguments of the quotient, alone or with the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct DivMod<I, O> {
    /// The dividend.
    pub x: I,
    /// The divisor.
    pub y: I,
    /// The remainder: what [`Forward`] gives.
    pub z: Option<O>,
    /// `floor(x / y)`, rounded to f32 and then to the storage type.
    pub q: O,
}

/// Arguments of the backward pass; `None` for a gradient that is not wanted.
#[derive(Clone, Copy, Debug)]
pub struct Backward<I, O> {
    /// The dividend.
    pub x: I,
    /// The divisor.
    pub y: I,
    /// The upstream gradient.
    pub dz: I,
    /// The gradient with respect to `x`: a copy of `dz`, so `None` and the use of `dz` itself is free.
    pub dx: Option<O>,
    /// The gradient with respect to `y`.
    pub dy: Option<O>,
}

/// Arguments of the fused pass; `None` for a gradient that is not wanted.
#[derive(Clone, Copy, Debug)]
pub struct Fused<I, O> {
    /// The dividend.
    pub x: I,
    /// The divisor.
    pub y: I,
    /// The upstream gradient.
    pub dz: I,
    /// The output.
    pub z: O,
    /// The gradient with respect to `x`: a copy of `dz`, so `None` and the use of `dz` itself is free.
    pub dx: Option<O>,
    /// The gradient with respect to `y`.
    pub dy: Option<O>,
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for Forward<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![Some(self.x.into()), Some(self.y.into())];
        Args::new(&Mod, reads, vec![Some(self.z.into())])
    }
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for Backward<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = [self.x, self.y, self.dz].map(|read| Some(read.into())).into();
        let [dx, dy] = [self.dx, self.dy].map(|write| write.map(Into::into));
        Args::new(&Mod, reads, vec![None, dx, dy])
    }
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for Fused<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = [self.x, self.y, self.dz].map(|read| Some(read.into())).into();
        let [dx, dy] = [self.dx, self.dy].map(|write| write.map(Into::into));
        Args::new(&Mod, reads, vec![Some(self.z.into()), dx, dy])
    }
}

impl<I, O, A: Into<I>, B: Into<O>> IntoArgs<'static, I, O> for DivMod<A, B> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![Some(self.x.into()), Some(self.y.into())];
        Args::new(&Mod, reads, vec![self.z.map(Into::into), None, None, Some(self.q.into())])
    }
}
