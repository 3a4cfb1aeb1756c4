//! The contents of a row of the table of building blocks.

use super::slope::Slope;
use crate::{
    dtype::DType,
    signature::{
        enclosure::{Enclosure, Reason},
        interval::Interval,
    },
};

/// The type of an operand or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    /// An f32.
    Number,
    /// A truth value, stored as 1 or 0.
    Truth,
}

use Type::Number;

/// The operands of a block.
pub(crate) const ONE: &[Type] = &[Number];
pub(crate) const TWO: &[Type] = &[Number, Number];

/// One building block.
pub(crate) struct Row {
    /// The name of the block and its method. The WGSL function has it after `f32_` or `native_`.
    pub(crate) name: &'static str,
    pub(crate) operands: &'static [Type],
    pub(crate) gives: Type,
    pub(crate) notation: Notation,
    /// The value in IEEE arithmetic, with the canonical NaN. Every device is compared with it. The storage type is
    /// for `round_to_storage`.
    pub(crate) f32: fn(DType, [f32; 3]) -> f32,
    /// The value in f64, for the gradient check.
    pub(crate) f64: fn([f64; 3]) -> f64,
    pub(crate) wide: Wide,
    pub(crate) constants: Constants,
    pub(crate) slope: Slope,
    pub(crate) bound: Bound,
    pub(crate) wgsl: Wgsl,
    pub(crate) doc: Doc,
}

/// How a formula shows a block, and how WGSL text writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Notation {
    /// Between its operands.
    Infix(&'static str),
    /// Before its operand.
    Prefix(&'static str),
    /// A function of the block's name, which WGSL has too.
    Builtin,
    /// A function of the block's name, which WGSL lacks.
    Own,
    /// WGSL's `select`.
    Choice,
    /// Formulas show the second operand alone, and no text can write it.
    Hidden,
}

/// What a computation in f64 needs besides the value.
pub(crate) struct Wide {
    /// Whether the value is rounded.
    pub(crate) rounds: bool,
    /// An upper bound on the size of the derivative with respect to each operand, from the operands and the value.
    pub(crate) rates: fn([f64; 3], f64) -> [f64; 3],
    /// Which way the block went, if it has a jump or an edge.
    pub(crate) decides: Option<fn([f64; 3]) -> f64>,
}

/// Whether constant operands give the same value on every device, in either arithmetic.
#[derive(Clone, Copy)]
pub(crate) enum Constants {
    Same,
    /// A rounded result may be either neighbour.
    Differ,
    /// The same if this function of the operands and the result holds: nothing was rounded.
    SameWhere(fn(f64, f64, f64) -> bool),
}

/// Where native arithmetic may put the result.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// The reference's bits, by integer operations. The interval is for operands that are not exact.
    Bits(fn(DType, Interval, Interval) -> Result<Interval, Reason>),
    /// An interval. A subnormal operand may be treated as zero.
    Floats(fn(Interval, Interval) -> Result<Interval, Reason>),
    /// Within some ULP of where a function's exact value lies. The function takes a subnormal operand as it is, and
    /// gives zeros, infinities and NaN the results that the reference has.
    Function { ulps: f64, value: fn(Interval, Interval) -> Result<Interval, Reason> },
    /// A result that the operands decide.
    Logic(fn([Enclosure; 3]) -> Enclosure),
}

/// The WGSL that kernels run.
#[derive(Clone, Copy)]
pub(crate) enum Wgsl {
    /// `f32_NAME`, by integer operations, in either arithmetic.
    Integers,
    /// `f32_NAME` in exact arithmetic, `native_NAME` in native.
    Both,
    /// `native_NAME`. There is no exact form.
    Native,
    /// An expression of the operands, in either arithmetic.
    Form(fn([&str; 3]) -> String),
}

/// The documentation of a block: its row in `docs/blocks.md`. `bound` and `domain` are for native arithmetic on a
/// GPU. The bound of a function is in its row already.
#[cfg_attr(not(test), expect(dead_code, reason = "a test writes the documentation"))]
pub(crate) struct Doc {
    pub(crate) formula: &'static str,
    /// The part of the upstream gradient `g` that passes to each operand.
    pub(crate) slope: &'static str,
    pub(crate) bound: &'static str,
    pub(crate) domain: &'static str,
}

/// The bound of blocks with the reference's bits.
pub(crate) const SAME_BITS: (&str, &str) = ("the same bits", "everywhere");
/// The documentation that elementary functions have in common.
pub(super) const NATIVE: Doc = Doc { formula: "", slope: "", bound: "", domain: "everywhere" };
/// The bound of blocks that are exact except for the sign of a zero, subnormal numbers, NaN and infinity.
pub(crate) const EXACT: (&str, &str) = ("exact", "everywhere");

/// The value of an elementary function of one operand.
macro_rules! of_one {
    ($function:ident) => {
        |_, [a, ..]| $crate::functions::value::<$crate::functions::$function>(a)
    };
}

/// The value of an elementary function of two operands.
macro_rules! of_two {
    ($function:ident) => {
        |_, [a, b, _]| $crate::functions::value2::<$crate::functions::$function>(a, b)
    };
}

pub(super) use {of_one, of_two};

/// Whether every device takes `v` as it is. It does not for subnormal numbers, NaN and infinity.
fn is_plain(v: f32) -> bool {
    v == 0.0 || v.is_normal()
}

impl Row {
    /// The value for constant operands, if it is the same on every device in either arithmetic.
    pub(crate) fn folded(&self, operands: [f32; 3]) -> Option<f32> {
        let value = (self.f32)(DType::F32, operands);
        let [a, b, _] = operands.map(f64::from);
        let same = match self.constants {
            Constants::Same => true,
            Constants::Differ => false,
            Constants::SameWhere(holds) => holds(a, b, value.into()),
        };
        let given = &operands[..self.operands.len()];
        (same && is_plain(value) && given.iter().all(|v| is_plain(*v))).then_some(value)
    }

    /// The bound of native arithmetic, for the documentation.
    #[cfg(test)]
    pub(crate) fn bound_text(&self) -> std::borrow::Cow<'static, str> {
        match self.bound {
            Bound::Function { ulps, .. } => format!("{ulps} ULP").into(),
            _ => self.doc.bound.into(),
        }
    }

    /// The block in the usual notation.
    pub(crate) fn formula(&self, operands: [&str; 3]) -> String {
        let [a, b, c] = operands;
        match self.notation {
            Notation::Infix("&") => format!("({a} and {b})"),
            Notation::Infix("|") => format!("({a} or {b})"),
            Notation::Infix(operator) => format!("({a} {operator} {b})"),
            Notation::Prefix("!") => format!("not {a}"),
            Notation::Prefix(operator) => format!("{operator}{a}"),
            Notation::Choice => format!("({b} where {a}, else {c})"),
            Notation::Hidden => b.to_owned(),
            Notation::Builtin | Notation::Own => {
                format!("{}({})", self.name, operands[..self.operands.len()].join(", "))
            }
        }
    }
}
