//! Activations: for each a function that returns the op.
//!
//! They are expressions, each a line or two, and their gradients are derived, except for those of the surrogates. In
//! native arithmetic they are within the bounds of their building blocks. Those that only choose between numbers have
//! the same bits everywhere. Where PyTorch has the activation, values and slopes at its edges are PyTorch's.
//!
//! ```
//! use elemgrad::{Runner, ops};
//!
//! # fn main() -> Result<(), elemgrad::Error> {
//! let (z, dx) = Runner::cpu().fused(ops::silu(), &[&[-1e38, 0.0, 1e38]], &[1.0; 3])?;
//! assert_eq!(z, [0.0, 0.0, 1e38]);
//! assert_eq!(dx[0], [0.0, 0.5, 1.0]);
//! # Ok(())
//! # }
//! ```

use std::{
    f32::consts::{FRAC_1_SQRT_2, PI},
    sync::LazyLock,
};

use crate::{
    error::Error,
    expr::{Arithmetic, Expr},
    op::Op,
};

/// Declares ops: a name, the inputs, and the value. `exact` ops only choose between numbers. The gradients of
/// `surrogate` ops are written, and not derived: the value's slope is 0 nearly everywhere.
macro_rules! activations {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:ident($($input:ident),+) = $value:expr $(, slope $slope:expr)?;)+) => {
        $(
            $(#[doc = $doc])+
            pub fn $name() -> &'static Op {
                static OP: LazyLock<Op> = LazyLock::new(|| {
                    let define = || -> Result<Op, Error> {
                        let op = Op::new(stringify!($name), [$(stringify!($input)),+], |[$($input),+]| $value)?;
                        $(let op = op.with_gradient("x", |[x], _, dz| dz * ($slope)(x))?;)?
                        activations!(@$kind op)
                    };
                    define().expect("an op of building blocks")
                });
                &OP
            }
        )+

        /// All activations.
        pub fn all() -> &'static [&'static Op] {
            static ALL: LazyLock<Vec<&'static Op>> = LazyLock::new(|| vec![$($name()),+]);
            &ALL
        }
    };
    (@exact $op:ident) => { $op.with_arithmetic(Arithmetic::Exact) };
    (@native $op:ident) => { Ok($op) };
    (@surrogate $op:ident) => { Ok($op) };
}

activations! {
    /// `max(x, 0)`. The slope at 0 is 0. PyTorch and JAX: `relu`.
    exact relu(x) = x.le(0.0).select(0.0, x);

    /// `min(max(x, 0), 6)`. The slope at 0 and 6 is 0. PyTorch and JAX: `relu6`.
    exact relu6(x) = between(x, 0.0, 6.0);

    /// `x` where `x > 0`, else `0.01 x`. PyTorch and JAX: `leaky_relu`.
    native leaky_relu(x) = x.gt(0.0).select(x, 0.01 * x);

    /// `x` where `x > 0`, else `slope x`. The slope is an input, so it has a gradient. PyTorch: `prelu`; JAX:
    /// `leaky_relu`.
    native prelu(x, slope) = x.gt(0.0).select(x, slope * x);

    /// `value` where `x <= threshold`, else `x`. PyTorch: `threshold`.
    exact threshold(x, threshold, value) = x.le(threshold).select(value, x);

    /// `min(max(x, -1), 1)`. The slope at -1 and 1 is 0. PyTorch: `hardtanh`; JAX: `hard_tanh`.
    exact hard_tanh(x) = between(x, -1.0, 1.0);

    /// `min(max(x + 3, 0), 6) / 6`. PyTorch: `hardsigmoid`; JAX: `hard_sigmoid`.
    native hard_sigmoid(x) = x.le(-3.0).select(0.0, x.ge(3.0).select(1.0, (x + 3.0) / 6.0));

    /// `x hard_sigmoid(x)`. PyTorch: `hardswish`; JAX: `hard_swish`.
    native hard_swish(x) = x.le(-3.0).select(0.0, x.ge(3.0).select(x, x * (x + 3.0) / 6.0));

    /// `1 / (1 + e^-x)`. PyTorch and JAX: `sigmoid`.
    native sigmoid(x) = x.sigmoid();

    /// `log(sigmoid(x))`. PyTorch: `logsigmoid`; JAX: `log_sigmoid`.
    native log_sigmoid(x) = -(-x).softplus();

    /// `log(1 + e^x)`. PyTorch and JAX: `softplus`.
    native softplus(x) = x.softplus();

    /// `x sigmoid(x)`, also called swish. PyTorch and JAX: `silu`.
    native silu(x) = x * x.sigmoid();

    /// `x Φ(x)`, with the normal distribution `Φ(x) = erfc(-x / √2) / 2`. PyTorch: `gelu`; JAX: `gelu` with
    /// `approximate=False`.
    native gelu(x) = gelu_of(x);

    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`. PyTorch: `gelu` with `approximate="tanh"`; JAX: `gelu`.
    native gelu_tanh(x) = x * ((0.071_354_814 * (x * x) + 1.595_769_2) * x).sigmoid();

    /// `x sigmoid(1.702 x)`. Transformers: `quick_gelu`.
    native quick_gelu(x) = x * (1.702 * x).sigmoid();

    /// `x tanh(softplus(x))`. PyTorch and JAX: `mish`.
    native mish(x) = x * x.softplus().tanh();

    /// `x` where `x > 0`, else `e^x - 1`. PyTorch and JAX: `elu`.
    native elu(x) = x.gt(0.0).select(x, x.expm1());

    /// `x` where `x > 0`, else `alpha (e^(x / alpha) - 1)`. PyTorch and JAX: `celu`.
    native celu(x, alpha) = x.gt(0.0).select(x, alpha * (x / alpha).expm1());

    /// `1.0507 x` where `x > 0`, else `1.7581 (e^x - 1)`. PyTorch and JAX: `selu`.
    native selu(x) = x.gt(0.0).select(1.050_701 * x, 1.758_099_3 * x.expm1());

    /// `x / (1 + |x|)`. PyTorch: `softsign`; JAX: `soft_sign`.
    native softsign(x) = x / (1.0 + x.abs());

    /// `x - tanh(x)`. PyTorch: `tanhshrink`.
    native tanh_shrink(x) = x - x.tanh();

    /// `silu(x) y`, of the two halves of a layer. JAX: `silu(x) * y`; PyTorch: the same.
    native swiglu(x, y) = x * x.sigmoid() * y;

    /// `gelu(x) y`, of the two halves of a layer. JAX: `gelu(x) * y`; PyTorch: the same.
    native geglu(x, y) = gelu_of(x) * y;

    /// `x + sin²(alpha x) / alpha`.
    native snake(x, alpha) = {
        let sine = (alpha * x).sin();
        x + sine * sine / alpha
    };

    /// `sin(omega x)`.
    native sinusoid(x, omega) = (omega * x).sin();

    /// 1 where `x > 0`, else 0. The gradient is that of `atan(π x) / π`: `1 / (1 + (π x)²)`. snnTorch: `atan()`;
    /// SpikingJelly: `ATan()`.
    surrogate heaviside_atan(x) = spike(x), slope bell;

    /// 1 where `x > 0`, else 0. The gradient is `1 / (1 + 25 |x|)²`. snnTorch: `fast_sigmoid()`.
    surrogate heaviside_fast_sigmoid(x) = spike(x), slope peak(25.0);

    /// 1 where `x > 0`, else 0. The gradient is 1 where `|x| <= 1/2`, else 0.
    surrogate heaviside_boxcar(x) = spike(x), slope boxcar;

    /// 1 where `x > 0`, else 0. The gradient is `1 / (1 + 100 |x|)²`. Norse: `superspike_fn`.
    surrogate heaviside_super_spike(x) = spike(x), slope peak(100.0);
}

/// `x`, cut off at two numbers, with slope 0 there.
fn between(x: Expr<'_>, low: f32, high: f32) -> Expr<'_> {
    x.le(low).select(low, x.ge(high).select(high, x))
}

/// `x Φ(x)`. `erfc` does not cancel for a negative `x`.
fn gelu_of(x: Expr<'_>) -> Expr<'_> {
    x * (0.5 * (-FRAC_1_SQRT_2 * x).erfc())
}

fn spike(x: Expr<'_>) -> Expr<'_> {
    x.gt(0.0).select(1.0, 0.0)
}

fn bell(x: Expr<'_>) -> Expr<'_> {
    let t = PI * x;
    1.0 / (1.0 + t * t)
}

fn boxcar(x: Expr<'_>) -> Expr<'_> {
    x.abs().le(0.5).select(1.0, 0.0)
}

fn peak(steepness: f32) -> impl for<'g> Fn(Expr<'g>) -> Expr<'g> {
    move |x| {
        let t = 1.0 + steepness * x.abs();
        1.0 / (t * t)
    }
}
