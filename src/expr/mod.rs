//! Scalar expressions, from which ops are made.
//!
//! Expressions compute in f32. Loaded values are widened, and the results are rounded once, when they are stored. The
//! [building blocks](Primitive) are the methods and operators of [`Expr`] and [`Condition`].

use std::{
    cell::RefCell,
    ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Sub},
};

pub(crate) mod definition;
pub(crate) mod derive;
pub(crate) mod graph;
mod import;
mod meaning;
mod stand_in;
pub(crate) mod walk;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod wgsl;

use crate::blocks::{Builder, Id, Primitive};
use graph::{Failure, Function, Graph};

/// How a device computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arithmetic {
    /// With its own floats: fast, and nearly exact, within bounds that are stated for each building block. The mods
    /// are exact.
    #[default]
    Native,
    /// With integer operations: the same bits on every device and on the CPU.
    Exact,
}

impl Arithmetic {
    /// The name: `native`, `exact`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Exact => "exact",
        }
    }
}

/// A number in an expression: an input, a constant, or a value computed from these.
///
/// `+ - * /` take two numbers, or one and an `f32`. Only [`Op::call`](crate::Op::call) brings one expression into
/// another. This does not compile:
///
/// ```compile_fail
/// # use elemgrad::Op;
/// Op::new("outer", ["x"], |[x]| {
///     let inner = Op::new("inner", ["t"], |[t]| t + x);
///     x
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Expr<'g> {
    pub(crate) graph: &'g RefCell<Graph>,
    id: Id,
}

/// A truth value in an expression. Comparisons give one, `&`, `|` and `!` combine them, and
/// [`select`](Condition::select) turns one into a number.
///
/// ```
/// # use elemgrad::{Op, Runner};
/// # fn main() -> Result<(), elemgrad::Error> {
/// let window = Op::new("window", ["x"], |[x]| (x.ge(-1.0) & x.le(1.0)).select(x, 0.0))?;
/// assert_eq!(Runner::cpu().forward(&window, &[&[-2.0, 0.5, f32::NAN]])?, [0.0, 0.5, 0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Condition<'g> {
    graph: &'g RefCell<Graph>,
    id: Id,
}

/// A type that stands for a number in an expression: an [`Expr`] or an `f32`.
pub trait IntoExpr<'g>: sealed::IntoExpr<'g> {}

impl<'g, T: sealed::IntoExpr<'g>> IntoExpr<'g> for T {}

mod sealed {
    use std::cell::RefCell;

    use super::{Builder, Expr, Graph, Id};

    pub trait IntoExpr<'g> {
        #[expect(private_interfaces, reason = "nobody outside can name it")]
        fn id(self, graph: &'g RefCell<Graph>) -> Id;
    }

    impl<'g> IntoExpr<'g> for Expr<'g> {
        #[expect(private_interfaces, reason = "nobody outside can name it")]
        fn id(self, _: &'g RefCell<Graph>) -> Id {
            self.id
        }
    }

    impl<'g> IntoExpr<'g> for f32 {
        #[expect(private_interfaces, reason = "nobody outside can name it")]
        fn id(self, graph: &'g RefCell<Graph>) -> Id {
            graph.borrow_mut().number(self)
        }
    }
}

impl<'g> Expr<'g> {
    pub(crate) fn new(graph: &'g RefCell<Graph>, id: Id) -> Self {
        Self { graph, id }
    }

    /// A constant in the same expression as this number. Use it where an `f32` does not tell which expression it is
    /// part of: `x.constant(2.0).pow(x)`.
    #[must_use]
    pub fn constant(self, value: f32) -> Self {
        let id = sealed::IntoExpr::id(value, self.graph);
        Self { id, ..self }
    }

    fn unary(self, primitive: Primitive) -> Self {
        let id = self.graph.borrow_mut().apply(primitive, &[self.id]);
        Self { id, ..self }
    }

    fn binary(self, primitive: Primitive, other: impl IntoExpr<'g>) -> Self {
        let other = other.id(self.graph);
        let id = self.graph.borrow_mut().apply(primitive, &[self.id, other]);
        Self { id, ..self }
    }

    /// A building block applied to this number and the others that it takes.
    pub(crate) fn of(self, primitive: Primitive, others: &[Self]) -> Self {
        let operands: Vec<Id> = std::iter::once(self).chain(others.iter().copied()).map(|x| x.id).collect();
        let id = self.graph.borrow_mut().apply(primitive, &operands);
        Self { id, ..self }
    }

    /// The value of an op at arguments, in the graph of this number.
    pub(crate) fn inlined(self, op: &std::sync::Arc<Function>, arguments: &[Self]) -> Self {
        let arguments: Vec<Id> = arguments.iter().map(|argument| argument.id).collect();
        let id = self.graph.borrow_mut().inline(op, &arguments);
        Self { id, ..self }
    }

    /// Marks the graph as unusable, and returns this number.
    pub(crate) fn failed(self, failure: Failure) -> Self {
        self.graph.borrow_mut().fail(failure);
        self
    }

    fn compare(self, primitive: Primitive, other: impl IntoExpr<'g>) -> Condition<'g> {
        let Self { graph, id } = self.binary(primitive, other);
        Condition { graph, id }
    }

    /// `|x|`.
    #[must_use]
    pub fn abs(self) -> Self {
        self.unary(Primitive::Abs)
    }

    /// The smaller of two numbers. NaN if either is, and `-0` is below `+0`. A device in native arithmetic may give
    /// either zero.
    #[must_use]
    pub fn min(self, other: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::Min, other)
    }

    /// The larger of two numbers. NaN if either is, and `+0` is above `-0`. A device in native arithmetic may give
    /// either zero.
    #[must_use]
    pub fn max(self, other: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::Max, other)
    }

    /// `x`, at least `low` and at most `high`: `min(max(x, low), high)`. NaN if any is. The gradient passes as a whole
    /// where `low <= x <= high`.
    #[must_use]
    pub fn clamp(self, low: impl IntoExpr<'g>, high: impl IntoExpr<'g>) -> Self {
        let ends = [low.id(self.graph), high.id(self.graph)];
        self.of(Primitive::Clamp, &ends.map(|id| Self { id, ..self }))
    }

    /// The greatest integer not above `x`.
    #[must_use]
    pub fn floor(self) -> Self {
        self.unary(Primitive::Floor)
    }

    /// The least integer not below `x`.
    #[must_use]
    pub fn ceil(self) -> Self {
        self.unary(Primitive::Ceil)
    }

    /// The nearest integer, ties to even.
    #[must_use]
    pub fn round(self) -> Self {
        self.unary(Primitive::Round)
    }

    /// The integer part.
    #[must_use]
    pub fn trunc(self) -> Self {
        self.unary(Primitive::Trunc)
    }

    /// `x - y * floor(x / y)`, rounded once: [`mod`](mod@crate::ops::modulo).
    #[must_use]
    pub fn floor_mod(self, divisor: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::FloorMod, divisor)
    }

    /// `floor(x / y)` of the exact quotient, rounded once. It belongs to the remainder of
    /// [`floor_mod`](Expr::floor_mod).
    #[must_use]
    pub fn floor_quotient(self, divisor: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::FloorQuotient, divisor)
    }

    /// `x - y * trunc(x / y)`, exact: C's `fmod`, Rust's and WGSL's `%`.
    #[must_use]
    pub fn trunc_mod(self, divisor: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::TruncMod, divisor)
    }

    /// The square root.
    #[must_use]
    pub fn sqrt(self) -> Self {
        self.unary(Primitive::Sqrt)
    }

    /// `1 / sqrt(x)`.
    #[must_use]
    pub fn inverse_sqrt(self) -> Self {
        self.unary(Primitive::InverseSqrt)
    }

    /// The cube root.
    #[must_use]
    pub fn cbrt(self) -> Self {
        self.unary(Primitive::Cbrt)
    }

    /// `sqrt(x^2 + y^2)`, without overflow.
    #[must_use]
    pub fn hypot(self, other: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::Hypot, other)
    }

    /// `e^x`.
    #[must_use]
    pub fn exp(self) -> Self {
        self.unary(Primitive::Exp)
    }

    /// `2^x`.
    #[must_use]
    pub fn exp2(self) -> Self {
        self.unary(Primitive::Exp2)
    }

    /// `e^x - 1`, which does not cancel near 0.
    #[must_use]
    pub fn expm1(self) -> Self {
        self.unary(Primitive::Expm1)
    }

    /// The natural logarithm.
    #[must_use]
    pub fn log(self) -> Self {
        self.unary(Primitive::Log)
    }

    /// The logarithm to base 2.
    #[must_use]
    pub fn log2(self) -> Self {
        self.unary(Primitive::Log2)
    }

    /// The logarithm to base 10.
    #[must_use]
    pub fn log10(self) -> Self {
        self.unary(Primitive::Log10)
    }

    /// The natural logarithm of `1 + x`, which does not cancel near 0.
    #[must_use]
    pub fn log1p(self) -> Self {
        self.unary(Primitive::Log1p)
    }

    /// `x^y`. For a negative `x`, the value that algebra gives it if `y` is an integer, else NaN.
    #[must_use]
    pub fn pow(self, exponent: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::Pow, exponent)
    }

    /// The sine of radians.
    #[must_use]
    pub fn sin(self) -> Self {
        self.unary(Primitive::Sin)
    }

    /// The cosine of radians.
    #[must_use]
    pub fn cos(self) -> Self {
        self.unary(Primitive::Cos)
    }

    /// The tangent of radians.
    #[must_use]
    pub fn tan(self) -> Self {
        self.unary(Primitive::Tan)
    }

    /// The arcsine in radians.
    #[must_use]
    pub fn asin(self) -> Self {
        self.unary(Primitive::Asin)
    }

    /// The arccosine in radians.
    #[must_use]
    pub fn acos(self) -> Self {
        self.unary(Primitive::Acos)
    }

    /// The arctangent in radians.
    #[must_use]
    pub fn atan(self) -> Self {
        self.unary(Primitive::Atan)
    }

    /// The angle of the point (`x`, `y`) in radians, from -π to π. This number is the ordinate `y`.
    #[must_use]
    pub fn atan2(self, x: impl IntoExpr<'g>) -> Self {
        self.binary(Primitive::Atan2, x)
    }

    /// The hyperbolic sine.
    #[must_use]
    pub fn sinh(self) -> Self {
        self.unary(Primitive::Sinh)
    }

    /// The hyperbolic cosine.
    #[must_use]
    pub fn cosh(self) -> Self {
        self.unary(Primitive::Cosh)
    }

    /// The hyperbolic tangent.
    #[must_use]
    pub fn tanh(self) -> Self {
        self.unary(Primitive::Tanh)
    }

    /// The inverse hyperbolic sine.
    #[must_use]
    pub fn asinh(self) -> Self {
        self.unary(Primitive::Asinh)
    }

    /// The inverse hyperbolic cosine.
    #[must_use]
    pub fn acosh(self) -> Self {
        self.unary(Primitive::Acosh)
    }

    /// The inverse hyperbolic tangent.
    #[must_use]
    pub fn atanh(self) -> Self {
        self.unary(Primitive::Atanh)
    }

    /// The error function.
    #[must_use]
    pub fn erf(self) -> Self {
        self.unary(Primitive::Erf)
    }

    /// `1 - erf(x)`, which does not cancel for large `x`.
    #[must_use]
    pub fn erfc(self) -> Self {
        self.unary(Primitive::Erfc)
    }

    /// The logistic function, `1 / (1 + e^-x)`.
    #[must_use]
    pub fn sigmoid(self) -> Self {
        self.unary(Primitive::Sigmoid)
    }

    /// `log(1 + e^x)`, which does not overflow.
    #[must_use]
    pub fn softplus(self) -> Self {
        self.unary(Primitive::Softplus)
    }

    /// The number rounded to the storage type of the call and widened again. In f32, the number itself.
    #[must_use]
    pub fn round_to_storage(self) -> Self {
        self.unary(Primitive::RoundToStorage)
    }

    /// The number rounded to f16 and widened again. Its gradient is that of the number.
    #[must_use]
    pub fn quantize_to_f16(self) -> Self {
        self.unary(Primitive::QuantizeToF16)
    }

    /// The number without the low 12 bits of its significand. The square of what is left is exact.
    #[must_use]
    pub fn high_part(self) -> Self {
        self.unary(Primitive::HighPart)
    }

    /// The built-in activation [`spiky`](mod@crate::ops::spiky), made of building blocks.
    #[must_use]
    pub fn spiky(self) -> Self {
        let r = self.floor_mod(1.0).round_to_storage();
        r.le(0.5).select(r, 0.0)
    }

    /// The number, as a constant to gradients: nothing passes through it. PyTorch: `detach`; JAX: `stop_gradient`.
    ///
    /// ```
    /// # use elemgrad::{Op, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let op = Op::new("op", ["x"], |[x]| x.stop_gradient() * x)?;
    /// assert_eq!(Runner::cpu().fused(&op, &[&[3.0]], &[1.0])?, (vec![9.0], vec![vec![3.0]]));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stop_gradient(self) -> Self {
        self.inlined(&stand_in::STOP_GRADIENT, &[self])
    }

    /// This number, with the gradient of another one: a straight-through estimator.
    ///
    /// ```
    /// # use elemgrad::{Op, Runner};
    /// # fn main() -> Result<(), elemgrad::Error> {
    /// let round = Op::new("round", ["x"], |[x]| x.round().straight_through(x))?;
    /// assert_eq!(Runner::cpu().fused(&round, &[&[2.7]], &[0.5])?, (vec![3.0], vec![vec![0.5]]));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn straight_through(self, other: impl IntoExpr<'g>) -> Self {
        let other = Self { id: other.id(self.graph), ..self };
        self.inlined(&stand_in::STRAIGHT_THROUGH, &[self, other])
    }

    /// `x < y`.
    #[must_use]
    pub fn lt(self, other: impl IntoExpr<'g>) -> Condition<'g> {
        self.compare(Primitive::Lt, other)
    }

    /// `x <= y`.
    #[must_use]
    pub fn le(self, other: impl IntoExpr<'g>) -> Condition<'g> {
        self.compare(Primitive::Le, other)
    }

    /// `x > y`.
    #[must_use]
    pub fn gt(self, other: impl IntoExpr<'g>) -> Condition<'g> {
        Self::new(self.graph, other.id(self.graph)).lt(self)
    }

    /// `x >= y`.
    #[must_use]
    pub fn ge(self, other: impl IntoExpr<'g>) -> Condition<'g> {
        Self::new(self.graph, other.id(self.graph)).le(self)
    }

    /// `x == y`: false if either is NaN, true for `-0` and `+0`.
    #[must_use]
    pub fn eq(self, other: impl IntoExpr<'g>) -> Condition<'g> {
        self.compare(Primitive::Eq, other)
    }

    /// `x != y`: true if either is NaN.
    #[must_use]
    pub fn ne(self, other: impl IntoExpr<'g>) -> Condition<'g> {
        !self.eq(other)
    }
}

impl<'g> Condition<'g> {
    /// One of two numbers, bit for bit: `accept` where the condition is true, else `reject`.
    #[must_use]
    pub fn select(self, accept: impl IntoExpr<'g>, reject: impl IntoExpr<'g>) -> Expr<'g> {
        let [accept, reject] = [accept.id(self.graph), reject.id(self.graph)];
        let id = self.graph.borrow_mut().apply(Primitive::Select, &[self.id, accept, reject]);
        Expr::new(self.graph, id)
    }

    fn combine(self, primitive: Primitive, operands: &[Id]) -> Self {
        let id = self.graph.borrow_mut().apply(primitive, operands);
        Self { id, ..self }
    }
}

impl Not for Condition<'_> {
    type Output = Self;

    fn not(self) -> Self {
        self.combine(Primitive::Not, &[self.id])
    }
}

impl BitAnd for Condition<'_> {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.combine(Primitive::And, &[self.id, other.id])
    }
}

impl BitOr for Condition<'_> {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.combine(Primitive::Or, &[self.id, other.id])
    }
}

impl Neg for Expr<'_> {
    type Output = Self;

    fn neg(self) -> Self {
        self.unary(Primitive::Neg)
    }
}

macro_rules! operators {
    ($($operator:ident, $method:ident);+) => {$(
        impl<'g, T: IntoExpr<'g>> $operator<T> for Expr<'g> {
            type Output = Self;

            fn $method(self, other: T) -> Self {
                self.binary(Primitive::$operator, other)
            }
        }

        impl<'g> $operator<Expr<'g>> for f32 {
            type Output = Expr<'g>;

            fn $method(self, other: Expr<'g>) -> Expr<'g> {
                let this = sealed::IntoExpr::id(self, other.graph);
                Expr::new(other.graph, this).binary(Primitive::$operator, other)
            }
        }
    )+};
}

operators!(Add, add; Sub, sub; Mul, mul; Div, div);
