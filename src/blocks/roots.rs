//! Roots and lengths. Twin of `shaders/blocks/roots.wgsl`.

use super::{
    exponential::EXP,
    primitive::Primitive,
    row::{Bound, Constants, Doc, NATIVE, Notation, Row, TWO, Wgsl, Wide, of_one, of_two},
    slope::{Applied, Builder, Id, Passed},
};
use crate::{
    numeric::canonical,
    signature::{enclosure::Reason, interval::Interval},
};

pub(super) const SQRT: Row = Row {
    name: "sqrt",
    f32: |_, [a, ..]| canonical(a.sqrt()),
    f64: |[a, ..]| a.sqrt(),
    wide: Wide { rates: |_, z| [(0.5 / z).abs(), 0.0, 0.0], ..EXP.wide },
    constants: Constants::SameWhere(|a, _, result| result * result == a),
    slope: |graph, Applied { z, g, .. }, _| {
        let half = graph.number(0.5);
        let half = graph.times(g, half);
        Some(graph.guarded(g, Primitive::Div, [half, z]))
    },
    bound: Bound::Function { ulps: 11.0, value: |a, _| a.rising(f64::sqrt) },
    wgsl: Wgsl::Both,
    doc: Doc { formula: "the square root of `x`", slope: "`g / 2 / z`", ..NATIVE },
    ..EXP
};

pub(super) const INVERSE_SQRT: Row = Row {
    name: "inverseSqrt",
    f32: of_one!(InverseSqrt),
    f64: |[a, ..]| 1.0 / a.sqrt(),
    wide: Wide { rates: |[a, ..], z| [(0.5 * z / a).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], z, g }, _| {
        let half = graph.number(-0.5);
        let above = graph.apply(Primitive::Mul, &[half, z]);
        let rate = graph.apply(Primitive::Div, &[above, a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 12.0, value: |a, _| a.falling(|x| 1.0 / x.sqrt()) },
    doc: Doc { formula: "`1 / sqrt(x)`", slope: "`g * (-0.5 * z / x)`", ..NATIVE },
    ..EXP
};

pub(super) const CBRT: Row = Row {
    name: "cbrt",
    notation: Notation::Own,
    f32: of_one!(Cbrt),
    f64: |[a, ..]| a.cbrt(),
    wide: Wide { rates: |_, z| [1.0 / (3.0 * z * z), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { z, g, .. }, _| {
        let three = graph.number(3.0);
        let square = graph.apply(Primitive::Mul, &[z, z]);
        let below = graph.apply(Primitive::Mul, &[three, square]);
        Some(graph.passed_over(g, below))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::cbrt) },
    doc: Doc { formula: "the cube root of `x`", slope: "`g / (3 * (z * z))`", ..NATIVE },
    ..EXP
};

pub(super) const HYPOT: Row = Row {
    name: "hypot",
    operands: TWO,
    notation: Notation::Own,
    f32: of_two!(Hypot),
    f64: |[a, b, _]| a.hypot(b),
    wide: Wide { rates: |_, _| [1.0, 1.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands, g, .. }, place| {
        Some(length(graph, [operands[0], operands[1]], g, place))
    },
    bound: Bound::Function {
        ulps: 12.0,
        value: |a, b| {
            let (a, b) = (a.magnitude(), b.magnitude());
            Ok::<_, Reason>(Interval { low: a.low.hypot(b.low), high: a.high.hypot(b.high) })
        },
    },
    doc: Doc {
        formula: "`sqrt(x^2 + y^2)`, without overflow; infinite if `x` or `y` is",
        slope: "`g * x / z`, `g * y / z`, without overflow; 0 at the origin",
        ..NATIVE
    },
    ..EXP
};

/// The slope of a length to one of its sides: the side over the length, from `t`, the smaller over the larger side.
fn length(graph: &mut (dyn Builder + '_), operands: [Id; 2], g: Id, place: usize) -> Passed {
    use Primitive::{Abs, Add, Div, Eq, Le, Lt, Max, Min, Mul, Select, Sqrt};
    let [zero, one] = [0.0, 1.0].map(|v| graph.number(v));
    let sizes = operands.map(|v| graph.apply(Abs, &[v]));
    let (larger, smaller) = (graph.apply(Max, &sizes), graph.apply(Min, &sizes));
    let t = graph.apply(Div, &[smaller, larger]);
    let square = graph.apply(Mul, &[t, t]);
    let sum = graph.apply(Add, &[one, square]);
    let root = graph.apply(Sqrt, &[sum]);
    let is_larger = graph.apply(Le, &[sizes[1 - place], sizes[place]]);
    let above = graph.apply(Select, &[is_larger, one, t]);
    let size = graph.apply(Div, &[above, root]);
    let negated = graph.neg(size);
    let is_negative = graph.apply(Lt, &[operands[place], zero]);
    let rate = graph.apply(Select, &[is_negative, negated, size]);
    let is_origin = graph.apply(Eq, &[larger, zero]);
    let rate = graph.apply(Select, &[is_origin, zero, rate]);
    graph.passed(g, rate)
}
