//! How the gradient of a block's result passes to its operands, as nodes of the graph being built.

use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};

use super::primitive::Primitive;

/// The number of a node of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(u16);

impl Id {
    /// The first node. It fills the places of operands that a building block does not have.
    pub(crate) const FIRST: Self = Self(0);

    /// The node of that number.
    pub(crate) const fn new(index: usize) -> Self {
        Self(index as u16)
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

/// A graph to which nodes are added.
pub(crate) trait Builder {
    /// A building block, with as many operands as it has.
    fn apply(&mut self, primitive: Primitive, operands: &[Id]) -> Id;

    /// A constant.
    fn number(&mut self, value: f32) -> Id;

    /// The value of a node that is a constant.
    fn constant(&self, id: Id) -> Option<f32>;
}

impl dyn Builder + '_ {
    /// Whether a node is this constant, bit for bit.
    fn is_number(&self, id: Id, value: f32) -> bool {
        self.constant(id).is_some_and(|constant| constant.to_bits() == value.to_bits())
    }

    /// A product. A factor 1 leaves the other factor its bits.
    pub(crate) fn times(&mut self, a: Id, b: Id) -> Id {
        match (self.is_number(a, 1.0), self.is_number(b, 1.0)) {
            (_, true) => a,
            (true, _) => b,
            _ => self.apply(Primitive::Mul, &[a, b]),
        }
    }

    pub(crate) fn neg(&mut self, a: Id) -> Id {
        self.apply(Primitive::Neg, &[a])
    }

    /// The gradient `g` times a rate.
    pub(crate) fn passed(&mut self, g: Id, rate: Id) -> Passed {
        self.guarded(g, Primitive::Mul, [g, rate])
    }

    /// The gradient `g` over the inverse of a rate.
    pub(crate) fn passed_over(&mut self, g: Id, inverse: Id) -> Passed {
        self.guarded(g, Primitive::Div, [g, inverse])
    }

    /// A product or quotient that passes the gradient `g`. A `g` of 0 passes 0, whatever the rate.
    pub(crate) fn guarded(&mut self, g: Id, primitive: Primitive, operands: [Id; 2]) -> Passed {
        let value = match primitive {
            Primitive::Mul => self.times(operands[0], operands[1]),
            _ => self.apply(primitive, &operands),
        };
        // 0 times a finite constant is a zero by itself, and so is 0 over one that is not 0.
        let is_plain = |v: f32| v.is_finite() && (primitive == Primitive::Mul || v != 0.0);
        if self.constant(operands[1]).is_some_and(is_plain) {
            return value.into();
        }
        self.apply(Primitive::Guard, &[g, value]).into()
    }
}

/// The constants of slopes that f32 has to round. In f64, the rounded number stands for the constant itself.
pub(crate) const CONSTANTS: [f64; 6] =
    [LN_2, 2.0 * LN_2, 1.0 / LN_2, 1.0 / LN_10, FRAC_2_SQRT_PI, -FRAC_2_SQRT_PI];

/// The gradient that passes to an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) value: Id,
    /// The condition under which the value counts. Elsewhere nothing passes, even if the value is NaN. `None` means
    /// everywhere.
    pub(crate) active: Option<Id>,
}

impl From<Id> for Passed {
    fn from(value: Id) -> Self {
        Self { value, active: None }
    }
}

/// An applied block: its operands, its value `z`, and the gradient `g` that arrives at `z`.
#[derive(Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) operands: [Id; 3],
    pub(crate) z: Id,
    pub(crate) g: Id,
}

/// The gradient that passes to the operand at a place.
pub(crate) type Slope = fn(&mut dyn Builder, Applied, usize) -> Option<Passed>;

/// Nothing passes: the value is flat wherever it has a slope.
pub(crate) const FLAT: Slope = |_, _, _| None;
/// The whole gradient passes, bit for bit.
pub(crate) const WHOLE: Slope = |_, Applied { g, .. }, _| Some(g.into());
