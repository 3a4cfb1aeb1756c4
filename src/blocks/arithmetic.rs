//! Sums, products, signs, extremes, and rounding to integers. Twin of `shaders/blocks/arithmetic.wgsl`.

use super::{
    primitive::Primitive,
    row::{Bound, Constants, Doc, EXACT, Notation, ONE, Row, SAME_BITS, TWO, Type::Number, Wgsl, Wide},
    slope::{Applied, Builder, FLAT, Passed, WHOLE},
};
use crate::{
    dtype::DType,
    numeric::{NAN, canonical, sum},
    signature::{
        enclosure::Enclosure::{self, Exact, LeftOut, Within},
        interval::Interval,
    },
};

/// For blocks that are exact in f64, with the same slope everywhere.
const STEADY: Wide = Wide { rounds: false, rates: |_, _| [1.0, 0.0, 0.0], decides: None };
/// The bound of sums, differences and products.
const NEAREST: (&str, &str) = ("one of the two f32 around the exact result, or it", "everywhere");

pub(super) const ADD: Row = Row {
    name: "add",
    operands: TWO,
    gives: Number,
    notation: Notation::Infix("+"),
    f32: |_, [a, b, _]| sum(a, b),
    f64: |[a, b, _]| a + b,
    wide: Wide { rounds: true, rates: |_, _| [1.0, 1.0, 0.0], decides: None },
    constants: Constants::SameWhere(|a, b, result| result - a == b && result - b == a),
    slope: WHOLE,
    bound: Bound::Floats(|a, b| Ok(a.plus(b).neighbours())),
    wgsl: Wgsl::Both,
    doc: Doc { formula: "`x + y`", slope: "`g`, `g`", bound: NEAREST.0, domain: NEAREST.1 },
};

pub(super) const SUB: Row = Row {
    name: "sub",
    operands: TWO,
    gives: Number,
    notation: Notation::Infix("-"),
    f32: |_, [a, b, _]| canonical(a - b),
    f64: |[a, b, _]| a - b,
    wide: Wide { rounds: true, rates: |_, _| [1.0, 1.0, 0.0], decides: None },
    constants: Constants::SameWhere(|a, b, result| a - result == b && result + b == a),
    slope: |graph, Applied { g, .. }, place| Some(if place == 0 { g } else { graph.neg(g) }.into()),
    bound: Bound::Floats(|a, b| Ok(a.plus(b.negated()).neighbours())),
    wgsl: Wgsl::Both,
    doc: Doc { formula: "`x - y`", slope: "`g`, `-g`", bound: NEAREST.0, domain: NEAREST.1 },
};

pub(super) const MUL: Row = Row {
    name: "mul",
    operands: TWO,
    gives: Number,
    notation: Notation::Infix("*"),
    f32: |_, [a, b, _]| canonical(a * b),
    f64: |[a, b, _]| a * b,
    wide: Wide { rounds: true, rates: |[a, b, _], _| [b.abs(), a.abs(), 0.0], decides: None },
    constants: Constants::SameWhere(|a, b, result| a * b == result),
    slope: |graph, Applied { operands: [a, b, _], g, .. }, place| {
        Some(graph.passed(g, if place == 0 { b } else { a }))
    },
    bound: Bound::Floats(|a, b| Ok(a.times(b).neighbours())),
    wgsl: Wgsl::Both,
    doc: Doc { formula: "`x * y`", slope: "`g * y`, `g * x`", bound: NEAREST.0, domain: NEAREST.1 },
};

pub(super) const NEG: Row = Row {
    name: "neg",
    operands: ONE,
    gives: Number,
    notation: Notation::Prefix("-"),
    f32: |_, [a, ..]| canonical(-a),
    f64: |[a, ..]| -a,
    wide: STEADY,
    constants: Constants::Same,
    slope: |graph, Applied { g, .. }, _| Some(graph.neg(g).into()),
    bound: Bound::Bits(|_, a, _| Ok(a.negated())),
    wgsl: Wgsl::Integers,
    doc: Doc { formula: "`-x`", slope: "`-g`", bound: SAME_BITS.0, domain: SAME_BITS.1 },
};

pub(super) const ABS: Row = Row {
    name: "abs",
    operands: ONE,
    gives: Number,
    notation: Notation::Builtin,
    f32: |_, [a, ..]| canonical(a.abs()),
    f64: |[a, ..]| a.abs(),
    wide: Wide { decides: Some(|[a, ..]| order(a, 0.0)), ..STEADY },
    constants: Constants::Same,
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let zero = graph.number(0.0);
        let [above, below] = [[zero, a], [a, zero]].map(|order| graph.apply(Primitive::Lt, &order));
        let active = Some(graph.apply(Primitive::Or, &[above, below]));
        let negated = graph.neg(g);
        Some(Passed { value: graph.apply(Primitive::Select, &[above, g, negated]), active })
    },
    bound: Bound::Bits(|_, a, _| Ok(a.magnitude())),
    wgsl: Wgsl::Integers,
    doc: Doc {
        formula: "`abs(x)`, the magnitude",
        slope: "`g` where `x > 0`, `-g` where `x < 0`, 0 at 0 and NaN",
        bound: SAME_BITS.0,
        domain: SAME_BITS.1,
    },
};

pub(super) const MIN: Row = Row {
    name: "min",
    f32: |_, [a, b, _]| canonical(minimum(a, b)),
    f64: |[a, b, _]| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) },
    slope: |graph, applied, place| Some(extreme(graph, applied, place == 0)),
    bound: Bound::Logic(|[a, b, _]| chosen([a, b], Interval::least)),
    doc: Doc { formula: "the smaller of `x` and `y`; NaN if one is; -0 is below +0", ..EXTREME.doc },
    ..EXTREME
};

pub(super) const MAX: Row = Row { name: "max", ..EXTREME };

/// What `min` and `max` have in common. Where they differ, `max`.
const EXTREME: Row = Row {
    name: "",
    operands: TWO,
    gives: Number,
    notation: Notation::Builtin,
    f32: |_, [a, b, _]| canonical(maximum(a, b)),
    f64: |[a, b, _]| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) },
    wide: Wide { rounds: false, rates: |_, _| [1.0, 1.0, 0.0], decides: Some(|[a, b, _]| order(a, b)) },
    constants: Constants::Same,
    slope: |graph, applied, place| Some(extreme(graph, applied, place == 1)),
    bound: Bound::Logic(|[a, b, _]| chosen([a, b], most)),
    wgsl: Wgsl::Both,
    doc: Doc {
        formula: "the larger of `x` and `y`; NaN if one is; -0 is below +0",
        slope: "`g` to the one that is taken, half of it to each at a tie, nothing if one is NaN",
        bound: EXACT.0,
        domain: EXACT.1,
    },
};

/// Where the smaller or the larger of two numbers lies. NaN is the result if it is an operand.
fn chosen(operands: [Enclosure; 2], choice: fn(Interval, Interval) -> Interval) -> Enclosure {
    if operands.iter().any(|operand| matches!(operand, Exact(v) if v.is_nan())) {
        return Exact(NAN);
    }
    let [a, b] = operands.map(|operand| Interval::of(operand).map(Interval::flushed));
    a.and_then(|a| Ok(choice(a, b?).flushed().enclosure())).unwrap_or_else(LeftOut)
}

fn most(a: Interval, b: Interval) -> Interval {
    a.negated().least(b.negated()).negated()
}

/// The slope of `min` or `max` to an operand. The operand is taken where the first is at most the second, or else
/// where the second is at most the first.
fn extreme(
    graph: &mut dyn Builder,
    Applied { operands: [a, b, _], g, .. }: Applied,
    if_first_is_less: bool,
) -> Passed {
    let order = if if_first_is_less { [a, b] } else { [b, a] };
    let active = Some(graph.apply(Primitive::Le, &order));
    let (tie, half) = (graph.apply(Primitive::Eq, &[a, b]), graph.number(0.5));
    let half = graph.times(g, half);
    Passed { value: graph.apply(Primitive::Select, &[tie, half, g]), active }
}

/// What the four roundings have in common.
const INTEGER: Row = Row {
    name: "",
    operands: ONE,
    gives: Number,
    notation: Notation::Builtin,
    f32: |_, [a, ..]| canonical(a.floor()),
    f64: |[a, ..]| a.floor(),
    wide: Wide { rounds: false, rates: |_, _| [0.0; 3], decides: Some(|[a, ..]| a.floor()) },
    constants: Constants::Same,
    slope: FLAT,
    bound: Bound::Floats(|a, _| a.integer(f64::floor)),
    wgsl: Wgsl::Both,
    doc: Doc {
        formula: "the greatest integer that is not above `x`",
        slope: "0",
        bound: EXACT.0,
        domain: EXACT.1,
    },
};

pub(super) const FLOOR: Row = Row { name: "floor", ..INTEGER };

pub(super) const CEIL: Row = Row {
    name: "ceil",
    f32: |_, [a, ..]| canonical(a.ceil()),
    f64: |[a, ..]| a.ceil(),
    wide: Wide { decides: Some(|[a, ..]| a.ceil()), ..INTEGER.wide },
    bound: Bound::Floats(|a, _| a.integer(f64::ceil)),
    doc: Doc { formula: "the least integer that is not below `x`", ..INTEGER.doc },
    ..INTEGER
};

pub(super) const ROUND: Row = Row {
    name: "round",
    f32: |_, [a, ..]| canonical(a.round_ties_even()),
    f64: |[a, ..]| a.round_ties_even(),
    wide: Wide { decides: Some(|[a, ..]| a.round_ties_even()), ..INTEGER.wide },
    bound: Bound::Floats(|a, _| a.integer(f64::round_ties_even)),
    doc: Doc { formula: "the nearest integer, ties to even", ..INTEGER.doc },
    ..INTEGER
};

pub(super) const TRUNC: Row = Row {
    name: "trunc",
    f32: |_, [a, ..]| canonical(a.trunc()),
    f64: |[a, ..]| a.trunc(),
    wide: Wide { decides: Some(|[a, ..]| a.trunc()), ..INTEGER.wide },
    bound: Bound::Floats(|a, _| a.integer(f64::trunc)),
    doc: Doc { formula: "the integer part of `x`", ..INTEGER.doc },
    ..INTEGER
};

pub(super) const CLAMP: Row = Row {
    name: "clamp",
    operands: &[Number; 3],
    gives: Number,
    notation: Notation::Builtin,
    f32: |_, [a, low, high]| canonical(minimum(maximum(a, low), high)),
    f64: |[a, low, high]| (MIN.f64)([(MAX.f64)([a, low, 0.0]), high, 0.0]),
    wide: Wide {
        rounds: false,
        rates: |_, _| [1.0; 3],
        decides: Some(|[a, low, high]| order(a, low) + 4.0 * order(a, high) + 16.0 * order(low, high)),
    },
    constants: Constants::Same,
    slope: |graph, Applied { operands: [a, low, high], g, .. }, place| {
        use Primitive::{And, Le, Lt, Or};
        let active = match place {
            0 => [(Le, [low, a]), (Le, [a, high])].map(|(p, operands)| graph.apply(p, &operands)),
            1 => [(Lt, [a, low]), (Le, [low, high])].map(|(p, operands)| graph.apply(p, &operands)),
            _ => [(Lt, [high, a]), (Lt, [high, low])].map(|(p, operands)| graph.apply(p, &operands)),
        };
        Some(Passed { value: g, active: Some(graph.apply(if place == 2 { Or } else { And }, &active)) })
    },
    bound: Bound::Logic(|[a, low, high]| chosen([chosen([a, low], most), high], Interval::least)),
    wgsl: Wgsl::Both,
    doc: Doc {
        formula: "`min(max(x, y), w)`: `x`, at least `y` and at most `w`",
        slope: "`g` to `x` where `y <= x <= w`; to `y` where `x < y <= w`; to `w` where `x > w` or `y > w`; else 0",
        bound: EXACT.0,
        domain: EXACT.1,
    },
};

pub(super) const ROUND_TO_STORAGE: Row = Row {
    name: "round_to_storage",
    operands: ONE,
    gives: Number,
    notation: Notation::Own,
    f32: |storage, [a, ..]| storage.widen(storage.round(a)),
    // The identity, as its gradient assumes.
    f64: |[a, ..]| a,
    wide: STEADY,
    constants: Constants::Differ,
    slope: WHOLE,
    bound: Bound::Bits(|storage, a, _| Interval::of(Within(a.low, a.high).rounded(storage))),
    wgsl: Wgsl::Form(|[a, ..]| format!("storage_widen(storage_round({a}))")),
    doc: Doc {
        formula: "`x` rounded to the storage type of the call: in f32, `x`",
        slope: "`g`",
        bound: SAME_BITS.0,
        domain: SAME_BITS.1,
    },
};

pub(super) const QUANTIZE_TO_F16: Row = Row {
    name: "quantizeToF16",
    notation: Notation::Builtin,
    f32: |_, [a, ..]| canonical(DType::F16.widen(DType::F16.round(a))),
    constants: Constants::Same,
    bound: Bound::Bits(|_, a, _| Interval::of(Within(a.low, a.high).rounded(DType::F16))),
    wgsl: Wgsl::Integers,
    doc: Doc { formula: "`x` rounded to f16", ..ROUND_TO_STORAGE.doc },
    ..ROUND_TO_STORAGE
};

pub(super) const HIGH_PART: Row = Row {
    name: "high_part",
    notation: Notation::Own,
    f32: |_, [a, ..]| high_part(a),
    constants: Constants::Same,
    bound: Bound::Bits(|_, a, _| {
        let Interval { low, high } = a.neighbours();
        Ok(Interval { low: high_part(low as f32).into(), high: high_part(high as f32).into() })
    }),
    wgsl: Wgsl::Integers,
    doc: Doc {
        formula: "`x` without the low 12 bits of its significand, so that the square is exact",
        ..ROUND_TO_STORAGE.doc
    },
    ..ROUND_TO_STORAGE
};

/// `v` without the low 12 bits of its significand.
#[inline(always)]
pub(crate) fn high_part(v: f32) -> f32 {
    // Without its low bits a NaN may be infinite.
    if v.is_nan() { NAN } else { f32::from_bits(v.to_bits() & 0xffff_f000) }
}

/// 1, 0 or -1 for `a` above, equal to or below `b`; 0 with a NaN.
fn order(a: f64, b: f64) -> f64 {
    f64::from(i8::from(a > b) - i8::from(a < b))
}

/// IEEE 754-2019's minimum.
#[inline(always)]
pub(crate) fn minimum(a: f32, b: f32) -> f32 {
    // Only zeros can be equal and have different bits. The least is -0 if either is.
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
