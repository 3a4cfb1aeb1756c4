//! The floored modulo `mod` (NumPy's and Python's `%`) with its gradients. The module is called `modulo` because
//! `mod` is a keyword in Rust.
//!
//! | output | formula |
//! |---|---|
//! | `z` | `x - y * floor(x / y)`, rounded once; a zero takes the sign of `y` |
//! | `dx` | `dz`, the same bits (written only on request: alias `dz`) |
//! | `dy` | `dz * -Q`, an IEEE product, with `Q = floor(x / y)` rounded once to f32 |
//! | `q` | `Q`, on request |
//!
//! | special case | `z` | `Q` |
//! |---|---|---|
//! | `x` or `y` is NaN, `x = ±inf`, `y = ±0` | NaN | NaN |
//! | `y = ±inf`, `x` has the same sign | `x` | 0 |
//! | `y = ±inf`, `x` has the other sign and is not 0 | `y` | -1 |
//! | `y = ±inf`, `x = ±0` | 0 with the sign of `y` | 0 |
//!
//! The floor is that of the exact quotient, so `z` and `Q` belong together: `mod(1, 0.1)` has `Q = 9`. Where `x / y`
//! is an integer, there is no derivative with respect to `y`; `dy` follows the formula there too. NaN results are
//! 0x7fc00000.
//!
//! ```
//! use elemgrad::ops::modulo;
//! assert_eq!(modulo::forward(-0.3, 0.2), 0.099999994);
//! assert_eq!(modulo::quotient(1.0, 0.1), 9.0);
//! assert_eq!(modulo::backward(1.2, 1.0, 1.0), (1.0, -1.0));
//! ```

use std::sync::LazyLock;

use crate::{
    error::Error,
    expr::Arithmetic,
    numeric::division::{floor_mod, rate, remainder},
    op::{
        Op,
        args::{Args, IntoArgs},
    },
    signature::outputs::Outputs,
};

/// The op `mod`.
pub fn op() -> &'static Op {
    static OP: LazyLock<Op> = LazyLock::new(|| define().expect("an op of exact building blocks"));
    &OP
}

fn define() -> Result<Op, Error> {
    let op = Op::new("mod", ["x", "y"], |[x, y]| x.floor_mod(y))?;
    let op = op.with_output("q", |[x, y], _| x.floor_quotient(y))?.with_arithmetic(Arithmetic::Exact)?;
    op.with_formulas(&["x - y * floor(x / y)", "dz", "dz * -floor(x / y)", "floor(x / y)"])
}

/// The output `q`: `floor(x / y)`.
pub const Q: Outputs = Outputs::of(3);

/// `mod(x, y)`: `x - y * floor(x / y)`, rounded once.
pub fn forward(x: f32, y: f32) -> f32 {
    remainder(x, y)
}

/// `Q`: the floor of the exact quotient `x / y`, rounded once; NaN where [`forward`] is.
pub fn quotient(x: f32, y: f32) -> f32 {
    floor_mod(x, y).1
}

/// The gradients `(dx, dy)`, given the upstream gradient: `(dz, dz * -Q)`.
pub fn backward(x: f32, y: f32, dz: f32) -> (f32, f32) {
    (dz, rate(quotient(x, y), dz))
}

/// [`forward`] and [`backward`] at once: `(z, (dx, dy))`.
pub fn fused(x: f32, y: f32, dz: f32) -> (f32, (f32, f32)) {
    let (z, q) = floor_mod(x, y);
    (z, (dz, rate(q, dz)))
}

arguments! {
    /// Arguments of the forward pass. `x` and `y` broadcast, and `z` has the broadcast shape.
    ///
    /// ```
    /// use elemgrad::{Runner, ops::modulo};
    ///
    /// let mut z = [0.0; 3];
    /// Runner::cpu().run(modulo::Forward { x: &[1.0, 2.5, -3.0], y: &[2.0], z: &mut z })?;
    /// assert_eq!(z, [1.0, 0.5, 1.0]);
    /// # Ok::<(), elemgrad::Error>(())
    /// ```
    Forward<X, Y; Z> of op(),
    reads {
        /// The dividend.
        x: X = 0,
        /// The divisor.
        y: Y = 1,
    }
    writes {
        /// The output.
        z: Z = 0,
    }
    optional {}
}

arguments! {
    /// Arguments for the quotient, alone or with the forward pass.
    DivMod<X, Y; O> of op(),
    reads {
        /// The dividend.
        x: X = 0,
        /// The divisor.
        y: Y = 1,
    }
    writes {
        /// `floor(x / y)`, rounded to f32 and then to the storage type.
        q: O = 3,
    }
    optional {
        /// The remainder, as [`Forward`] gives it.
        z: O = 0,
    }
}

arguments! {
    /// Arguments of the backward pass. Pass `None` for a gradient that you do not want.
    Backward<X, Y, DZ; D> of op(),
    reads {
        /// The dividend.
        x: X = 0,
        /// The divisor.
        y: Y = 1,
        /// The upstream gradient.
        dz: DZ = 2,
    }
    writes {}
    optional {
        /// The gradient with respect to `x`, a copy of `dz`. Passing `None` and using `dz` itself is free.
        dx: D = 1,
        /// The gradient with respect to `y`.
        dy: D = 2,
    }
}

arguments! {
    /// Arguments of the fused pass. Pass `None` for a gradient that you do not want. If you want neither, use
    /// [`Forward`].
    Fused<X, Y, DZ; Z, D> of op(),
    reads {
        /// The dividend.
        x: X = 0,
        /// The divisor.
        y: Y = 1,
        /// The upstream gradient.
        dz: DZ = 2,
    }
    writes {
        /// The output.
        z: Z = 0,
    }
    optional {
        /// The gradient with respect to `x`, a copy of `dz`. Passing `None` and using `dz` itself is free.
        dx: D = 1,
        /// The gradient with respect to `y`.
        dy: D = 2,
    }
}
