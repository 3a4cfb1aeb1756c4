//! The activation `spiky`: `r = x mod 1`; `r` where `r <= 0.5`, else 0.
//!
//! | output | formula | special cases |
//! |---|---|---|
//! | `z` | `r` where `r <= 0.5`, else `+0`, with `r = mod(x, 1)` rounded | NaN, ±inf, integers and `-0`: `+0` |
//! | `dx` | `dz`, the same bits, where `r <= 0.5`, else `+0` | NaN and ±inf in `x`: `+0`; integers: `dz` |
//!
//! ```
//! use elemgrad::ops::spiky;
//! assert_eq!([0.2, 0.7, 1.2, 1.7].map(spiky::forward), [0.2, 0.0, 0.20000005, 0.0]);
//! assert_eq!([0.2, 0.7, 1.2, 1.7].map(|x| spiky::backward(x, 1.0)), [1.0, 0.0, 1.0, 0.0]);
//! ```

use std::sync::LazyLock;

use crate::{
    error::Error,
    expr::Arithmetic,
    numeric::division::remainder,
    op::{
        Op,
        args::{Args, IntoArgs},
    },
    signature::outputs::Outputs,
};

/// The op `spiky`.
pub fn op() -> &'static Op {
    static OP: LazyLock<Op> = LazyLock::new(|| define().expect("an op of exact building blocks"));
    &OP
}

fn define() -> Result<Op, Error> {
    let op = Op::new("spiky", ["x"], |[x]| x.spiky())?.with_arithmetic(Arithmetic::Exact)?;
    op.with_formulas(&["r where r = x mod 1 <= 0.5, else 0", "dz where r <= 0.5, else 0", "r <= 0.5"])
}

/// The output `mask`: `r <= 0.5`.
pub const MASK: Outputs = Outputs::of(2);

/// `spiky(x)`: `r` where `r <= 0.5`, else `+0`, with `r = mod(x, 1)`.
pub fn forward(x: f32) -> f32 {
    let r = remainder(x, 1.0);
    if r <= 0.5 { r } else { 0.0 }
}

/// The gradient with respect to `x`, given the upstream gradient: `dz` where `r <= 0.5`, else `+0`.
pub fn backward(x: f32, dz: f32) -> f32 {
    if remainder(x, 1.0) <= 0.5 { dz } else { 0.0 }
}

/// [`forward`] and [`backward`] at once: `(z, dx)`.
pub fn fused(x: f32, dz: f32) -> (f32, f32) {
    let r = remainder(x, 1.0);
    if r <= 0.5 { (r, dz) } else { (0.0, 0.0) }
}

arguments! {
    /// Arguments of the forward pass, all of the same length.
    Forward<X; Z> of op(),
    reads {
        /// The input.
        x: X = 0,
    }
    writes {
        /// The output.
        z: Z = 0,
    }
    optional {}
}

arguments! {
    /// Arguments of a forward pass that saves its mask. The backward pass then works without `x`, so `z` may
    /// overwrite `x`.
    ForwardSaving<X; Z, M> of op(),
    reads {
        /// The input.
        x: X = 0,
    }
    writes {
        /// The output.
        z: Z = 0,
        /// The mask, one bit per element: element `i` is bit `i % 32` of word `i / 32`. The unused bits of the last
        /// word are 0.
        mask: M = 2,
    }
    optional {}
}

arguments! {
    /// Arguments of the backward pass, all of the same length.
    Backward<X, DZ; DX> of op(),
    reads {
        /// The input.
        x: X = 0,
        /// The upstream gradient.
        dz: DZ = 1,
    }
    writes {
        /// The gradient with respect to `x`.
        dx: DX = 1,
    }
    optional {}
}

arguments! {
    /// Arguments of the backward pass from a saved mask.
    BackwardSaved<M, DZ; DX> of op(),
    reads {
        /// The mask that [`ForwardSaving`] saved.
        mask: M = 2,
        /// The upstream gradient.
        dz: DZ = 1,
    }
    writes {
        /// The gradient with respect to `x`.
        dx: DX = 1,
    }
    optional {}
}

arguments! {
    /// Arguments of the fused pass, all of the same length.
    Fused<X, DZ; Z, DX> of op(),
    reads {
        /// The input.
        x: X = 0,
        /// The upstream gradient.
        dz: DZ = 1,
    }
    writes {
        /// The output.
        z: Z = 0,
        /// The gradient with respect to `x`.
        dx: DX = 1,
    }
    optional {}
}
