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

use super::{Args, Definition, IntoArgs, Op};
use crate::numeric::{NAN, round_f64};

/// The op `mod` (a keyword in Rust, hence the module's name), for calls that take any [`Op`].
#[derive(Clone, Copy, Debug)]
pub struct Mod;

const DEFINITION: Definition = Definition {
    name: "mod",
    inputs: &["x", "y"],
    functions: &[
        include_str!("../../shaders/numeric/f32.wgsl"),
        include_str!("../../shaders/numeric/floor_mod.wgsl"),
        include_str!("../../shaders/numeric/product.wgsl"),
        include_str!("../../shaders/ops/mod.wgsl"),
    ],
    lets: &[("m", "f32_floor_mod(x, y)")],
    z: "m.z",
    gradients: &["dz", "mod_dy(m.q, dz)"],
    formulas: &[("z", "x - y * floor(x / y)"), ("dx", "dz"), ("dy", "dz * -floor(x / y)")],
};

impl Op for Mod {
    fn definition(&self) -> &Definition {
        &DEFINITION
    }

    fn reference(&self, reads: &[f32], writes: &mut [f32]) {
        let (z, (dx, dy)) = fused(reads[0], reads[1], reads[2]);
        writes.copy_from_slice(&[z, dx, dy]);
    }

    fn cpu(&self, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
        let (x, y, dz) = (reads[0], reads[1], reads[2]);
        let [z, dx, dy] = writes else { return };
        if let Some(dx) = dx {
            dx.copy_from_slice(dz);
        }
        if z.is_none() && dy.is_none() {
            return;
        }
        let mut buffer = [(0.0, 0.0); LANES];
        for start in (0..x.len()).step_by(LANES) {
            let range = start..x.len().min(start + LANES);
            let results = &mut buffer[..range.len()];
            floor_mod_lanes(&x[range.clone()], &y[range.clone()], results);
            if let Some(z) = z {
                z[range.clone()].iter_mut().zip(&*results).for_each(|(z, (value, _))| *z = *value);
            }
            if let Some(dy) = dy {
                let gradients = dy[range.clone()].iter_mut().zip(&*results).zip(&dz[range]);
                gradients.for_each(|((dy, (_, q)), dz)| *dy = gradient_y(*q, *dz));
            }
        }
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

#[inline]
fn gradient_y(q: f32, dz: f32) -> f32 {
    let dy = dz * -q;
    if dy.is_nan() { NAN } else { dy }
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
    ((rest as f64 * 2.0_f64.powi(ey)) as f32, q)
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
        (f64::from(head) * 2.0_f64.powi(self.dropped)) as f32
    }
}

/// Elements that the CPU path computes at a time.
const LANES: usize = 64;

/// [`floor_mod`] of at most [`LANES`] elements, by way of f64 where that is exact, in a form that compilers vectorise.
fn floor_mod_lanes(x: &[f32], y: &[f32], results: &mut [(f32, f32)]) {
    let mut all_exact = true;
    for ((x, y), result) in x.iter().zip(y).zip(&mut *results) {
        let exact;
        (*result, exact) = floor_mod_f64(*x, *y);
        all_exact &= exact;
    }
    if !all_exact {
        for ((x, y), result) in x.iter().zip(y).zip(results) {
            if !floor_mod_f64(*x, *y).1 {
                *result = floor_mod(*x, *y);
            }
        }
    }
}

/// `(z, Q)`, and whether they are exact: finite operands, quotients below 2^28.
///
/// A quotient of two 24-bit significands is at least 2^-24 away from an integer that it does not equal, and below 2^28
/// f64 resolves half of that, so the floor is exact. `q * y` fits in 53 bits. The subtraction rounds at most where
/// `|x| < |y|`, to 53 bits, which is enough (2 · 24 + 2) that rounding once more to 24 equals rounding once.
#[inline]
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

/// Arguments of the forward pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Forward<I, O> {
    /// The dividend.
    pub x: I,
    /// The divisor.
    pub y: I,
    /// The output.
    pub z: O,
}

/// Arguments of the backward pass, all of one length; `None` for a gradient that is not wanted.
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

/// Arguments of the fused pass, all of one length; `None` for a gradient that is not wanted.
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

impl<I, O> IntoArgs<'static, I, O> for Forward<I, O> {
    fn into_args(self) -> Args<'static, I, O> {
        Args {
            op: &Mod,
            reads: vec![Some(self.x), Some(self.y), None],
            writes: vec![Some(self.z), None, None],
        }
    }
}

impl<I, O> IntoArgs<'static, I, O> for Backward<I, O> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![Some(self.x), Some(self.y), Some(self.dz)];
        Args { op: &Mod, reads, writes: vec![None, self.dx, self.dy] }
    }
}

impl<I, O> IntoArgs<'static, I, O> for Fused<I, O> {
    fn into_args(self) -> Args<'static, I, O> {
        let reads = vec![Some(self.x), Some(self.y), Some(self.dz)];
        Args { op: &Mod, reads, writes: vec![Some(self.z), self.dx, self.dy] }
    }
}
