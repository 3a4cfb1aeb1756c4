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
    /// `e^x`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The sine of radians.
    Sin,
    /// The cosine of radians.
    Cos,
    /// The hyperbolic tangent.
    Tanh,
    /// `x^y`.
    Pow,
    /// `x`, rounded to the storage type and widened again.
    RoundToStorage,
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
}
