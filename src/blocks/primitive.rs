//! The building blocks by name, each with its row.

use super::{arithmetic, division, logic, row::Row, transcendental};

macro_rules! primitives {
    ($($(#[doc = $doc:literal])+ $name:ident => $row:path),+ $(,)?) => {
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

            /// Everything that the library knows about the block.
            pub(crate) const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => &$row),+
                }
            }
        }
    };
}

primitives! {
    /// `x + y`.
    Add => arithmetic::ADD,
    /// `x - y`.
    Sub => arithmetic::SUB,
    /// `x * y`.
    Mul => arithmetic::MUL,
    /// `x / y`.
    Div => division::DIV,
    /// `-x`.
    Neg => arithmetic::NEG,
    /// `|x|`.
    Abs => arithmetic::ABS,
    /// IEEE 754-2019's minimum: NaN if an operand is, and -0 is below +0.
    Min => arithmetic::MIN,
    /// IEEE 754-2019's maximum: NaN if an operand is, and -0 is below +0.
    Max => arithmetic::MAX,
    /// The greatest integer not above `x`.
    Floor => arithmetic::FLOOR,
    /// The least integer not below `x`.
    Ceil => arithmetic::CEIL,
    /// The nearest integer, ties to even.
    Round => arithmetic::ROUND,
    /// The integer part.
    Trunc => arithmetic::TRUNC,
    /// `x - y * floor(x / y)`, rounded once.
    FloorMod => division::FLOOR_MOD,
    /// `floor(x / y)` of the exact quotient, rounded once.
    FloorQuotient => division::FLOOR_QUOTIENT,
    /// `x - y * trunc(x / y)`, exact.
    TruncMod => division::TRUNC_MOD,
    /// The square root.
    Sqrt => arithmetic::SQRT,
    /// `e^x`.
    Exp => transcendental::EXP,
    /// The natural logarithm.
    Log => transcendental::LOG,
    /// The sine of radians.
    Sin => transcendental::SIN,
    /// The cosine of radians.
    Cos => transcendental::COS,
    /// The hyperbolic tangent.
    Tanh => transcendental::TANH,
    /// `x^y`.
    Pow => transcendental::POW,
    /// `x`, rounded to the storage type and widened again.
    RoundToStorage => arithmetic::ROUND_TO_STORAGE,
    /// `x < y`. False if either is NaN.
    Lt => logic::LT,
    /// `x <= y`. False if either is NaN.
    Le => logic::LE,
    /// `x == y`. False if either is NaN, true for -0 and +0.
    Eq => logic::EQ,
    /// True where `c` is false.
    Not => logic::NOT,
    /// True where both operands are.
    And => logic::AND,
    /// True where either operand is.
    Or => logic::OR,
    /// `x` where `c`, else `y`, bit for bit.
    Select => logic::SELECT,
}
