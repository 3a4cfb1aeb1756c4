//! The building blocks by name.

macro_rules! primitives {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// A building block: a function of one to three scalars.
        ///
        /// A truth value is stored as 1 or 0.
        #[doc = concat!("\n\n", include_str!("../../docs/blocks.md"))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Primitive {
            $($(#[doc = $doc])+ $name),+
        }

        impl Primitive {
            /// All building blocks.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

primitives! {
    /// `x + y`.
    Add,
    /// `x - y`.
    Sub,
    /// `x * y`.
    Mul,
    /// `x / y`.
    Div,
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// IEEE 754-2019's minimum: NaN if an operand is, and -0 is below +0.
    Min,
    /// IEEE 754-2019's maximum: NaN if an operand is, and -0 is below +0.
    Max,
    /// `x`, at least `y` and at most `w`.
    Clamp,
    /// The greatest integer not above `x`.
    Floor,
    /// The least integer not below `x`.
    Ceil,
    /// The nearest integer, ties to even.
    Round,
    /// The integer part.
    Trunc,
    /// `x - y * floor(x / y)`, rounded once.
    FloorMod,
    /// `floor(x / y)` of the exact quotient, rounded once.
    FloorQuotient,
    /// `x - y * trunc(x / y)`, exact.
    TruncMod,
    /// The square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    InverseSqrt,
    /// The cube root.
    Cbrt,
    /// `sqrt(x^2 + y^2)`, without overflow.
    Hypot,
    /// `e^x`.
    Exp,
    /// `2^x`.
    Exp2,
    /// `e^x - 1`.
    Expm1,
    /// The natural logarithm.
    Log,
    /// The logarithm to base 2.
    Log2,
    /// The logarithm to base 10.
    Log10,
    /// The natural logarithm of `1 + x`.
    Log1p,
    /// `x^y`.
    Pow,
    /// The sine of radians.
    Sin,
    /// The cosine of radians.
    Cos,
    /// The tangent of radians.
    Tan,
    /// The arcsine in radians.
    Asin,
    /// The arccosine in radians.
    Acos,
    /// The arctangent in radians.
    Atan,
    /// The angle of the point (`y`, `x`) in radians. The ordinate is the first operand.
    Atan2,
    /// The hyperbolic sine.
    Sinh,
    /// The hyperbolic cosine.
    Cosh,
    /// The hyperbolic tangent.
    Tanh,
    /// The inverse hyperbolic sine.
    Asinh,
    /// The inverse hyperbolic cosine.
    Acosh,
    /// The inverse hyperbolic tangent.
    Atanh,
    /// The error function.
    Erf,
    /// `1 - erf(x)`.
    Erfc,
    /// The logistic function, `1 / (1 + e^-x)`.
    Sigmoid,
    /// `log(1 + e^x)`.
    Softplus,
    /// `x`, rounded to the storage type and widened again.
    RoundToStorage,
    /// `x`, rounded to f16 and widened again.
    QuantizeToF16,
    /// `x` without the low 12 bits of its significand.
    HighPart,
    /// `x < y`. False if either is NaN.
    Lt,
    /// `x <= y`. False if either is NaN.
    Le,
    /// `x == y`. False if either is NaN, true for -0 and +0.
    Eq,
    /// True where `c` is false.
    Not,
    /// True where both operands are.
    And,
    /// True where either operand is.
    Or,
    /// `x` where `c`, else `y`, bit for bit.
    Select,
    /// `y`, but `+0` where `y` is NaN and `x` a zero. It is in derived gradients only.
    Guard,
}
