//! The building blocks of expressions: one row each, and what they compute.

use crate::{
    DType,
    numeric::{canonical, sum},
    op::modulo,
};

/// A building block: a function of one to three scalars.
///
/// A truth value is held as 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Primitive {
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
    /// IEEE 754-2019's minimum: NaN where an operand is, and -0 is below +0.
    Min,
    /// IEEE 754-2019's maximum: NaN where an operand is, and -0 is below +0.
    Max,
    /// The greatest integer that is not above `x`.
    Floor,
    /// The least integer that is not below `x`.
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
    /// Rounded to the storage type, and widened again.
    RoundToStorage,
    /// `x < y`; false with a NaN.
    Lt,
    /// `x <= y`; false with a NaN.
    Le,
    /// `x == y`; false with a NaN, true of -0 and +0.
    Eq,
    /// True where `c` is false.
    Not,
    /// True where both are.
    And,
    /// True where any is.
    Or,
    /// `x` where `c`, else `y`: the same bits.
    Select,
}

/// What an operand or a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// An f32.
    Number,
    /// A truth value.
    Truth,
}

impl Primitive {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Neg,
        Self::Abs,
        Self::Min,
        Self::Max,
        Self::Floor,
        Self::Ceil,
        Self::Round,
        Self::Trunc,
        Self::FloorMod,
        Self::FloorQuotient,
        Self::TruncMod,
        Self::Sqrt,
        Self::Exp,
        Self::Log,
        Self::Sin,
        Self::Cos,
        Self::Tanh,
        Self::Pow,
        Self::RoundToStorage,
        Self::Lt,
        Self::Le,
        Self::Eq,
        Self::Not,
        Self::And,
        Self::Or,
        Self::Select,
    ];

    /// Its name: `add`, `floor_mod`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Min => "min",
            Self::Max => "max",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Round => "round",
            Self::Trunc => "trunc",
            Self::FloorMod => "floor_mod",
            Self::FloorQuotient => "floor_quotient",
            Self::TruncMod => "trunc_mod",
            Self::Sqrt => "sqrt",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sin => "sin",
            Self::Cos => "cos",
            Self::Tanh => "tanh",
            Self::Pow => "pow",
            Self::RoundToStorage => "round_to_storage",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Eq => "eq",
            Self::Not => "not",
            Self::And => "and",
            Self::Or => "or",
            Self::Select => "select",
        }
    }

    /// What it takes.
    pub const fn operands(self) -> &'static [Type] {
        use Type::{Number, Truth};
        match self {
            Self::Neg
            | Self::Abs
            | Self::Floor
            | Self::Ceil
            | Self::Round
            | Self::Trunc
            | Self::Sqrt
            | Self::Exp
            | Self::Log
            | Self::Sin
            | Self::Cos
            | Self::Tanh
            | Self::RoundToStorage => &[Number],
            Self::Not => &[Truth],
            Self::And | Self::Or => &[Truth, Truth],
            Self::Select => &[Truth, Number, Number],
            _ => &[Number, Number],
        }
    }

    /// What it gives.
    pub const fn gives(self) -> Type {
        match self {
            Self::Lt | Self::Le | Self::Eq | Self::Not | Self::And | Self::Or => Type::Truth,
            _ => Type::Number,
        }
    }

    /// Whether a device can compute it to the bit: [`Arithmetic::Exact`](super::Arithmetic::Exact) has it.
    pub const fn has_exact_form(self) -> bool {
        !matches!(self, Self::Exp | Self::Log | Self::Sin | Self::Cos | Self::Tanh | Self::Pow)
    }

    /// Its value: of IEEE arithmetic, with the canonical NaN. `storage` is for
    /// [`RoundToStorage`](Primitive::RoundToStorage).
    pub(crate) fn compute(self, storage: DType, [a, b, c]: [f32; 3]) -> f32 {
        let value = match self {
            Self::Add => return sum(a, b),
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Neg => -a,
            Self::Abs => a.abs(),
            Self::Min => minimum(a, b),
            Self::Max => maximum(a, b),
            Self::Floor => a.floor(),
            Self::Ceil => a.ceil(),
            Self::Round => a.round_ties_even(),
            Self::Trunc => a.trunc(),
            Self::FloorMod => modulo::forward(a, b),
            Self::FloorQuotient => modulo::quotient(a, b),
            Self::TruncMod => a % b,
            Self::Sqrt => a.sqrt(),
            Self::Exp => a.exp(),
            Self::Log => a.ln(),
            Self::Sin => a.sin(),
            Self::Cos => a.cos(),
            Self::Tanh => a.tanh(),
            Self::Pow => a.powf(b),
            Self::RoundToStorage => return storage.widen(storage.round(a)),
            Self::Lt => return truth(a < b),
            Self::Le => return truth(a <= b),
            Self::Eq => return truth(a == b),
            Self::Not => return truth(a == 0.0),
            Self::And => return truth(a != 0.0 && b != 0.0),
            Self::Or => return truth(a != 0.0 || b != 0.0),
            Self::Select => return if a == 0.0 { c } else { b },
        };
        canonical(value)
    }
}

/// A truth value as a number.
#[inline(always)]
pub(crate) const fn truth(value: bool) -> f32 {
    if value { 1.0 } else { 0.0 }
}

/// IEEE 754-2019's minimum.
#[inline(always)]
pub(crate) fn minimum(a: f32, b: f32) -> f32 {
    // Of equal ones only zeros differ: -0 where any is.
    let least = if a == b {
        f32::from_bits(a.to_bits() | b.to_bits())
    } else if a < b {
        a
    } else {
        b
    };
    if a.is_nan() { a } else { least }
}

/// IEEE 754-2019's maximum.
#[inline(always)]
pub(crate) fn maximum(a: f32, b: f32) -> f32 {
    let most = if a == b {
        f32::from_bits(a.to_bits() & b.to_bits())
    } else if a > b {
        a
    } else {
        b
    };
    if a.is_nan() { a } else { most }
}
