//! Comparisons, truth values, and the choice between numbers. Twin of `shaders/blocks/logic.wgsl`.

use super::{
    primitive::Primitive,
    row::{
        Bound, Constants, Doc, EXACT, Notation, Row, SAME_BITS, TWO,
        Type::{self, Number, Truth},
        Wgsl, Wide,
    },
    slope::{Applied, FLAT, Passed},
};
use crate::signature::{
    enclosure::{
        Enclosure::{self, Exact, LeftOut, Within},
        Reason,
    },
    interval::Interval,
};

/// What all comparisons and operators of truth values have in common.
const COMPARISON: Row = Row {
    name: "",
    operands: TWO,
    gives: Truth,
    notation: Notation::Infix("<"),
    f32: |_, [a, b, _]| truth(a < b),
    f64: |[a, b, _]| f64::from(a < b),
    wide: Wide { rounds: false, rates: |_, _| [0.0; 3], decides: None },
    constants: Constants::Same,
    slope: FLAT,
    bound: Bound::Logic(|[a, b, _]| compared(a, b, |a, b| [a.high < b.low, b.high <= a.low])),
    wgsl: Wgsl::Both,
    doc: Doc { formula: "whether `x < y`; false with a NaN", slope: "0", bound: EXACT.0, domain: EXACT.1 },
};

pub(super) const LT: Row = Row { name: "lt", ..COMPARISON };

pub(super) const LE: Row = Row {
    name: "le",
    notation: Notation::Infix("<="),
    f32: |_, [a, b, _]| truth(a <= b),
    f64: |[a, b, _]| f64::from(a <= b),
    bound: Bound::Logic(|[a, b, _]| compared(a, b, |a, b| [a.high <= b.low, b.high < a.low])),
    doc: Doc { formula: "whether `x <= y`; false with a NaN", ..COMPARISON.doc },
    ..COMPARISON
};

pub(super) const EQ: Row = Row {
    name: "eq",
    notation: Notation::Infix("=="),
    f32: |_, [a, b, _]| truth(a == b),
    f64: |[a, b, _]| f64::from(a == b),
    bound: Bound::Logic(|[a, b, _]| {
        compared(a, b, |a, b| [a.is_point() && a == b, a.high < b.low || b.high < a.low])
    }),
    doc: Doc { formula: "whether `x == y`; false with a NaN, true of -0 and +0", ..COMPARISON.doc },
    ..COMPARISON
};

pub(super) const NOT: Row = Row {
    name: "not",
    operands: &[Truth],
    notation: Notation::Prefix("!"),
    f32: |_, [a, ..]| truth(a == 0.0),
    f64: |[a, ..]| f64::from(a == 0.0),
    bound: Bound::Logic(|[a, ..]| decided(truth_of(a).map(|a| !a))),
    wgsl: Wgsl::Form(|[a, ..]| format!("!{a}")),
    doc: Doc { formula: "true where `c` is false", slope: "0", bound: SAME_BITS.0, domain: SAME_BITS.1 },
    ..COMPARISON
};

pub(super) const AND: Row = Row {
    name: "and",
    operands: PAIR,
    notation: Notation::Infix("&"),
    f32: |_, [a, b, _]| truth(a != 0.0 && b != 0.0),
    f64: |[a, b, _]| f64::from(a != 0.0 && b != 0.0),
    bound: Bound::Logic(|[a, b, _]| either_decides(a, b, false)),
    wgsl: Wgsl::Form(|[a, b, _]| format!("{a} && {b}")),
    doc: Doc { formula: "true where both are", ..NOT.doc },
    ..COMPARISON
};

pub(super) const OR: Row = Row {
    name: "or",
    operands: PAIR,
    notation: Notation::Infix("|"),
    f32: |_, [a, b, _]| truth(a != 0.0 || b != 0.0),
    f64: |[a, b, _]| f64::from(a != 0.0 || b != 0.0),
    bound: Bound::Logic(|[a, b, _]| either_decides(a, b, true)),
    wgsl: Wgsl::Form(|[a, b, _]| format!("{a} || {b}")),
    doc: Doc { formula: "true where any is", ..NOT.doc },
    ..COMPARISON
};

pub(super) const SELECT: Row = Row {
    name: "select",
    operands: &[Truth, Number, Number],
    gives: Number,
    notation: Notation::Choice,
    f32: |_, [a, b, c]| if a == 0.0 { c } else { b },
    f64: |[a, b, c]| if a == 0.0 { c } else { b },
    wide: Wide {
        rounds: false,
        rates: |[a, ..], _| if a == 0.0 { [0.0, 0.0, 1.0] } else { [0.0, 1.0, 0.0] },
        decides: Some(|[a, ..]| a),
    },
    constants: Constants::Same,
    slope: |graph, Applied { operands: [condition, ..], g, .. }, place| {
        let active = match place {
            1 => condition,
            2 => graph.apply(Primitive::Not, &[condition]),
            _ => return None,
        };
        Some(Passed { value: g, active: Some(active) })
    },
    bound: Bound::Logic(|[condition, a, b]| {
        truth_of(condition).map_or_else(LeftOut, |condition| if condition { a } else { b })
    }),
    wgsl: Wgsl::Form(|[condition, a, b]| format!("select({b}, {a}, {condition})")),
    doc: Doc {
        formula: "`x` where `c`, else `y`: the same bits",
        slope: "`g` to the branch that is taken, `+0` to the other, whatever is computed there",
        bound: SAME_BITS.0,
        domain: SAME_BITS.1,
    },
};

pub(super) const GUARD: Row = Row {
    name: "guard",
    operands: TWO,
    gives: Number,
    notation: Notation::Hidden,
    f32: |_, [g, v, _]| if g == 0.0 && v.is_nan() { 0.0 } else { v },
    f64: |[g, v, _]| if g == 0.0 && v.is_nan() { 0.0 } else { v },
    wide: Wide { rounds: false, rates: |_, _| [0.0, 1.0, 0.0], decides: None },
    constants: Constants::Same,
    // The slopes are those of the product or the quotient that the guard lets through.
    slope: |_, Applied { g, .. }, place| (place == 1).then(|| g.into()),
    bound: Bound::Logic(|[g, v, _]| if matches!(g, Exact(0.0)) { Within(0.0, 0.0) } else { v }),
    wgsl: Wgsl::Both,
    doc: Doc {
        formula: "`y`, but `+0` where `y` is NaN and `x` a zero: every gradient `g * f` and `g / f` below, so that a \
                  `g` of 0 passes 0",
        slope: "0, `g`",
        bound: EXACT.0,
        domain: EXACT.1,
    },
};

const PAIR: &[Type] = &[Truth, Truth];

/// A truth value as a number.
#[inline(always)]
pub(crate) const fn truth(value: bool) -> f32 {
    if value { 1.0 } else { 0.0 }
}

/// The truth value of a condition, if it is known.
pub(crate) fn truth_of(condition: Enclosure) -> Result<bool, Reason> {
    match condition {
        Exact(value) => Ok(value != 0.0),
        Within(..) => Err(Reason::Jump),
        LeftOut(reason) => Err(reason),
    }
}

fn decided(condition: Result<bool, Reason>) -> Enclosure {
    condition.map_or_else(LeftOut, |condition| Exact(truth(condition)))
}

/// The result of `and` or `or`: an operand that is `decides` decides, whatever the other is.
fn either_decides(a: Enclosure, b: Enclosure, decides: bool) -> Enclosure {
    let (a, b) = (truth_of(a), truth_of(b));
    decided(if [a, b].contains(&Ok(decides)) { Ok(decides) } else { a.and(b) })
}

/// A comparison. `known` tells whether it certainly holds and whether it certainly does not.
fn compared(a: Enclosure, b: Enclosure, known: fn(Interval, Interval) -> [bool; 2]) -> Enclosure {
    let known = Interval::of(a).and_then(|a| Ok(known(a.flushed(), Interval::of(b)?.flushed())));
    decided(known.and_then(|known| match known {
        [true, _] => Ok(true),
        [_, true] => Ok(false),
        _ => Err(Reason::Jump),
    }))
}
