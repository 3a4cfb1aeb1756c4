//! The activation `spiky`: `r = x mod 1`; `r` where `r <= 0.5`, else 0.
//!
//! | output | formula | special cases |
//! |---|---|---|
//! | `z` | `r` where `r <= 0.5`, else `+0`, with `r = mod(x, 1)` rounded | NaN and ±inf: `+0`; integers and `-0`: `+0` |
//! | `dx` | `dz`, the same bits, where `r <= 0.5`, else `+0` | NaN and ±inf in `x`: `+0`; integers: `dz` |
//!
//! ```
//! use elemgrad::spiky;
//! assert_eq!([0.2, 0.7, 1.2, 1.7].map(spiky::forward), [0.2, 0.0, 0.20000005, 0.0]);
//! assert_eq!([0.2, 0.7, 1.2, 1.7].map(|x| spiky::backward(x, 1.0)), [1.0, 0.0, 1.0, 0.0]);
//! ```

use super::{Args, Definition, IntoArgs, Op, modulo};
use crate::numeric::round_f64;

/// The op `spiky`, for calls that take any [`Op`].
#[derive(Clone, Copy, Debug)]
pub struct Spiky;

const DEFINITION: Definition = Definition {
    name: "spiky",
    inputs: &["x"],
    functions: &[
        include_str!("../../shaders/numeric/f32.wgsl"),
        include_str!("../../shaders/storage/f32.wgsl"),
        include_str!("../../shaders/ops/spiky.wgsl"),
    ],
    lets: &[("s", "spiky(x)")],
    z: "s.z",
    gradients: &["select(0u, dz, s.mask)"],
    formulas: &[("z", "r where r = x mod 1 <= 0.5, else 0"), ("dx", "dz where r <= 0.5, else 0")],
};

impl Op for Spiky {
    fn definition(&self) -> &Definition {
        &DEFINITION
    }

    fn reference(&self, reads: &[f32], writes: &mut [f32]) {
        (writes[0], writes[1]) = fused(reads[0], reads[1]);
    }

    fn cpu(&self, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
        let (x, dz) = (reads[0], reads[1]);
        let [z, dx] = writes else { return };
        match (z, dx) {
            (Some(z), Some(dx)) => {
                for (((z, dx), x), dz) in z.iter_mut().zip(dx.iter_mut()).zip(x).zip(dz) {
                    (*z, *dx) = fused_f64(*x, *dz);
                }
            }
            (Some(z), None) => z.iter_mut().zip(x).for_each(|(z, x)| *z = fused_f64(*x, 0.0).0),
            (None, Some(dx)) => {
                dx.iter_mut().zip(x).zip(dz).for_each(|((dx, x), dz)| *dx = fused_f64(*x, *dz).1);
            }
            (None, None) => {}
        }
    }
}

/// `spiky(x)`: `r` where `r <= 0.5`, else `+0`, with `r = mod(x, 1)`.
pub fn forward(x: f32) -> f32 {
    let r = modulo::forward(x, 1.0);
    if r <= 0.5 { r } else { 0.0 }
}

/// The gradient with respect to `x`, given the upstream gradient: `dz` where `r <= 0.5`, else `+0`.
pub fn backward(x: f32, dz: f32) -> f32 {
    if modulo::forward(x, 1.0) <= 0.5 { dz } else { 0.0 }
}

/// [`forward`] and [`backward`] at once: `(z, dx)`.
pub fn fused(x: f32, dz: f32) -> (f32, f32) {
    let r = modulo::forward(x, 1.0);
    if r <= 0.5 { (r, dz) } else { (0.0, 0.0) }
}

/// [`fused`] by way of f64, in a form that compilers vectorise: the fraction is rounded to 53 bits, which is enough
/// (2 · 24 + 2) that rounding it once more to 24 equals rounding once.
#[inline]
fn fused_f64(x: f32, dz: f32) -> (f32, f32) {
    let x = f64::from(x);
    // In [-0.5, 0.5] and exact, so the only rounding is that of the sum.
    let r = x - round_f64(x);
    let r = (if r < 0.0 { r + 1.0 } else { r + 0.0 }) as f32;
    if r <= 0.5 { (r, dz) } else { (0.0, 0.0) }
}

/// Arguments of the forward pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Forward<I, O> {
    /// The input.
    pub x: I,
    /// The output.
    pub z: O,
}

/// Arguments of the backward pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Backward<I, O> {
    /// The input.
    pub x: I,
    /// The upstream gradient.
    pub dz: I,
    /// The gradient with respect to `x`.
    pub dx: O,
}

/// Arguments of the fused pass, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Fused<I, O> {
    /// The input.
    pub x: I,
    /// The upstream gradient.
    pub dz: I,
    /// The output.
    pub z: O,
    /// The gradient with respect to `x`.
    pub dx: O,
}

impl<I, O> IntoArgs<'static, I, O> for Forward<I, O> {
    fn into_args(self) -> Args<'static, I, O> {
        Args { op: &Spiky, reads: vec![Some(self.x), None], writes: vec![Some(self.z), None] }
    }
}

impl<I, O> IntoArgs<'static, I, O> for Backward<I, O> {
    fn into_args(self) -> Args<'static, I, O> {
        Args { op: &Spiky, reads: vec![Some(self.x), Some(self.dz)], writes: vec![None, Some(self.dx)] }
    }
}

impl<I, O> IntoArgs<'static, I, O> for Fused<I, O> {
    fn into_args(self) -> Args<'static, I, O> {
        Args {
            op: &Spiky,
            reads: vec![Some(self.x), Some(self.dz)],
            writes: vec![Some(self.z), Some(self.dx)],
        }
    }
}
