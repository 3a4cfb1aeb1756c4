//! The building blocks of expressions. Each has one row with everything that the library knows about it.
//!
//! A row is a `const` in the file of its family. Its WGSL functions are in the file of the same name in
//! `shaders/blocks`. The rows give the tables of the documentation, the names that WGSL texts may call, and the lists
//! that tests go through. Only the CPU path's loop over lanes is separate: an arm in `compile/program.rs`, where the
//! compiler asks for it.

mod arithmetic;
mod circular;
mod division;
mod exponential;
mod hyperbolic;
mod logic;
mod logistic;
mod primitive;
mod roots;
mod row;
mod slope;

pub(crate) use arithmetic::{high_part, maximum, minimum};
pub(crate) use logic::{truth, truth_of};
pub use primitive::Primitive;
pub(crate) use row::{Bound, Notation, Row, Type, Wgsl};
pub(crate) use slope::{Applied, Builder, CONSTANTS, Id};

use crate::dtype::DType;
#[cfg(test)]
use row::Doc;
use row::{
    ONE, TWO,
    Type::{Number, Truth},
};

impl Primitive {
    /// Everything that the library knows about the block.
    pub(crate) const fn row(self) -> &'static Row {
        match self {
            Self::Add => &arithmetic::ADD,
            Self::Sub => &arithmetic::SUB,
            Self::Mul => &arithmetic::MUL,
            Self::Div => &division::DIV,
            Self::Neg => &arithmetic::NEG,
            Self::Abs => &arithmetic::ABS,
            Self::Min => &arithmetic::MIN,
            Self::Max => &arithmetic::MAX,
            Self::Clamp => &arithmetic::CLAMP,
            Self::Floor => &arithmetic::FLOOR,
            Self::Ceil => &arithmetic::CEIL,
            Self::Round => &arithmetic::ROUND,
            Self::Trunc => &arithmetic::TRUNC,
            Self::FloorMod => &division::FLOOR_MOD,
            Self::FloorQuotient => &division::FLOOR_QUOTIENT,
            Self::TruncMod => &division::TRUNC_MOD,
            Self::Sqrt => &roots::SQRT,
            Self::InverseSqrt => &roots::INVERSE_SQRT,
            Self::Cbrt => &roots::CBRT,
            Self::Hypot => &roots::HYPOT,
            Self::Exp => &exponential::EXP,
            Self::Exp2 => &exponential::EXP2,
            Self::Expm1 => &exponential::EXPM1,
            Self::Log => &exponential::LOG,
            Self::Log2 => &exponential::LOG2,
            Self::Log10 => &exponential::LOG10,
            Self::Log1p => &exponential::LOG1P,
            Self::Pow => &exponential::POW,
            Self::Sin => &circular::SIN,
            Self::Cos => &circular::COS,
            Self::Tan => &circular::TAN,
            Self::Asin => &circular::ASIN,
            Self::Acos => &circular::ACOS,
            Self::Atan => &circular::ATAN,
            Self::Atan2 => &circular::ATAN2,
            Self::Sinh => &hyperbolic::SINH,
            Self::Cosh => &hyperbolic::COSH,
            Self::Tanh => &hyperbolic::TANH,
            Self::Asinh => &hyperbolic::ASINH,
            Self::Acosh => &hyperbolic::ACOSH,
            Self::Atanh => &hyperbolic::ATANH,
            Self::Erf => &logistic::ERF,
            Self::Erfc => &logistic::ERFC,
            Self::Sigmoid => &logistic::SIGMOID,
            Self::Softplus => &logistic::SOFTPLUS,
            Self::RoundToStorage => &arithmetic::ROUND_TO_STORAGE,
            Self::QuantizeToF16 => &arithmetic::QUANTIZE_TO_F16,
            Self::HighPart => &arithmetic::HIGH_PART,
            Self::Lt => &logic::LT,
            Self::Le => &logic::LE,
            Self::Eq => &logic::EQ,
            Self::Not => &logic::NOT,
            Self::And => &logic::AND,
            Self::Or => &logic::OR,
            Self::Select => &logic::SELECT,
            Self::Guard => &logic::GUARD,
        }
    }

    /// The name: `add`, `floor_mod`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The number of operands.
    pub const fn arity(self) -> usize {
        self.row().operands.len()
    }

    /// Whether [`Arithmetic::Exact`](crate::Arithmetic::Exact) has the block: a device can compute it to the bit.
    pub const fn has_exact_form(self) -> bool {
        !matches!(self.row().wgsl, Wgsl::Native)
    }

    /// The block for the function `name`, of WGSL or our own, that takes that many numbers.
    pub(crate) fn called(name: &str, arguments: usize) -> Option<Self> {
        let is_function = |row: &Row| matches!(row.notation, Notation::Builtin | Notation::Own);
        let is_it = |p: &&Self| p.row().name == name && p.arity() == arguments && is_function(p.row());
        Self::ALL.iter().find(is_it).copied()
    }

    /// The block's value: [`Row::f32`].
    pub(crate) fn compute(self, storage: DType, operands: [f32; 3]) -> f32 {
        (self.row().f32)(storage, operands)
    }

    /// An expression that is this block alone, with inputs `x`, `y` and so on. Tests and checks of a block use it.
    /// `None` for a block that only derived gradients have.
    pub fn example(self) -> Option<String> {
        let row = self.row();
        let text = match row.notation {
            Notation::Infix(operator) if row.operands == TWO => format!("x {operator} y"),
            Notation::Infix(operator) => format!("x > 0.0 {operator}{operator} y > 0.0"),
            Notation::Prefix(operator) if row.operands == ONE => format!("{operator}x"),
            Notation::Prefix(operator) => format!("{operator}(x > 0.0)"),
            Notation::Builtin | Notation::Own => {
                format!("{}({})", row.name, ["x", "y", "w"][..row.operands.len()].join(", "))
            }
            Notation::Choice => "select(y, x, w > 0.0)".to_owned(),
            Notation::Hidden => return None,
        };
        Some(match row.gives {
            Number => text,
            Truth => format!("select(0.0, 1.0, {text})"),
        })
    }
}

/// The table of all blocks, as in the documentation.
#[cfg(test)]
pub(crate) fn table() -> String {
    use std::fmt::Write as _;

    let mut text = String::from(
        "| block | gives | passes, for the upstream gradient `g` | native bound | where |\n|---|---|---|---|---|\n",
    );
    for primitive in Primitive::ALL {
        let row = primitive.row();
        let Row { name, doc: Doc { formula, slope, domain, .. }, .. } = row;
        writeln!(text, "| `{name}` | {formula} | {slope} | {} | {domain} |", row.bound_text())
            .expect("it is a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row has text in every cell.
    #[test]
    fn rows_are_complete() {
        let mut names = std::collections::HashSet::new();
        for primitive in Primitive::ALL {
            let row = primitive.row();
            let Row { name, operands, doc: Doc { formula, slope, domain, .. }, .. } = row;
            assert!(names.insert(name), "{name} is there twice");
            assert!((1..=3).contains(&operands.len()), "{name}");
            for cell in [formula, slope, &&*row.bound_text(), domain] {
                assert!(!cell.is_empty() && !cell.contains('\n'), "{name} lacks a cell of its documentation");
            }
        }
    }

    /// The table is `docs/blocks.md`, which rustdoc includes, and stands in `docs/formulas.md` between marks.
    /// `ELEMGRAD_BLESS=1` writes both.
    #[test]
    fn the_documentation_is_that_of_the_rows() -> std::io::Result<()> {
        let [open, close] = ["<!-- blocks -->\n", "<!-- /blocks -->\n"];
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let formulas = std::fs::read_to_string(docs.join("formulas.md"))?;
        let (before, rest) = formulas.split_once(open).expect("the first mark");
        let (_, after) = rest.split_once(close).expect("the last mark");
        let documents =
            [("blocks.md", table()), ("formulas.md", format!("{before}{open}\n{}\n{close}{after}", table()))];
        for (name, text) in documents {
            if std::env::var_os("ELEMGRAD_BLESS").is_some() {
                std::fs::write(docs.join(name), &text)?;
            }
            assert_eq!(
                std::fs::read_to_string(docs.join(name))?,
                text,
                "run with ELEMGRAD_BLESS=1 to write it"
            );
        }
        Ok(())
    }
}
