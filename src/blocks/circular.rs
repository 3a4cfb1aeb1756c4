//! Circular functions and their inverses. Twin of `shaders/blocks/circular.wgsl`.

use std::f64::consts::{FRAC_PI_2, PI};

use super::{
    exponential::EXP,
    primitive::Primitive,
    row::{Bound, Doc, NATIVE, Row, TWO, Wide, of_one, of_two},
    slope::{Applied, Builder, Id, Passed},
};
use crate::signature::{enclosure::Reason, interval::Interval};

pub(super) const SIN: Row = Row {
    name: "sin",
    f32: of_one!(Sin),
    f64: |[a, ..]| a.sin(),
    wide: Wide { rates: |_, _| [1.0, 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Cos, &[a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| Ok(a.wave(f64::sin, FRAC_PI_2)) },
    doc: Doc { formula: "the sine of `x` radians", slope: "`g * cos(x)`", ..NATIVE },
    ..EXP
};

pub(super) const COS: Row = Row {
    name: "cos",
    f32: of_one!(Cos),
    f64: |[a, ..]| a.cos(),
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Sin, &[a]);
        let rate = graph.neg(rate);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| Ok(a.wave(f64::cos, 0.0)) },
    doc: Doc { formula: "the cosine of `x` radians", slope: "`g * -sin(x)`", ..NATIVE },
    ..SIN
};

pub(super) const TAN: Row = Row {
    name: "tan",
    f32: of_one!(Tan),
    f64: |[a, ..]| a.tan(),
    wide: Wide { rates: |_, z| [1.0 + z * z, 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { z, g, .. }, _| {
        let (square, one) = (graph.apply(Primitive::Mul, &[z, z]), graph.number(1.0));
        let rate = graph.apply(Primitive::Add, &[one, square]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function {
        ulps: 10.0,
        value: |a, _| {
            let branch = |x: f64| ((x - FRAC_PI_2) / PI).floor();
            if branch(a.low) == branch(a.high) { a.rising(f64::tan) } else { Err(Reason::Jump) }
        },
    },
    doc: Doc { formula: "the tangent of `x` radians", slope: "`g * (1 + z * z)`", ..NATIVE },
    ..EXP
};

pub(super) const ASIN: Row = Row {
    name: "asin",
    f32: of_one!(Asin),
    f64: |[a, ..]| a.asin(),
    wide: Wide { rates: |[a, ..], _| [1.0 / ((1.0 - a) * (1.0 + a)).sqrt(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let root = height(graph, a);
        Some(graph.passed_over(g, root))
    },
    bound: Bound::Function { ulps: 12.0, value: |a, _| a.rising(f64::asin) },
    doc: Doc { formula: "the arcsine of `x` in radians", slope: "`g / sqrt((1 - x) * (1 + x))`", ..NATIVE },
    ..EXP
};

pub(super) const ACOS: Row = Row {
    name: "acos",
    f32: of_one!(Acos),
    f64: |[a, ..]| a.acos(),
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let root = height(graph, a);
        let root = graph.neg(root);
        Some(graph.passed_over(g, root))
    },
    bound: Bound::Function { ulps: 12.0, value: |a, _| a.falling(f64::acos) },
    doc: Doc {
        formula: "the arccosine of `x` in radians",
        slope: "`g / -sqrt((1 - x) * (1 + x))`",
        ..NATIVE
    },
    ..ASIN
};

/// `sqrt((1 - x) * (1 + x))`: the height of the unit circle over `x`.
fn height(graph: &mut (dyn Builder + '_), a: Id) -> Id {
    let one = graph.number(1.0);
    let [less, more] = [Primitive::Sub, Primitive::Add].map(|p| graph.apply(p, &[one, a]));
    let square = graph.apply(Primitive::Mul, &[less, more]);
    graph.apply(Primitive::Sqrt, &[square])
}

pub(super) const ATAN: Row = Row {
    name: "atan",
    f32: of_one!(Atan),
    f64: |[a, ..]| a.atan(),
    wide: Wide { rates: |[a, ..], _| [1.0 / (1.0 + a * a), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let (square, one) = (graph.apply(Primitive::Mul, &[a, a]), graph.number(1.0));
        let sum = graph.apply(Primitive::Add, &[one, square]);
        Some(graph.passed_over(g, sum))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::atan) },
    doc: Doc { formula: "the arctangent of `x` in radians", slope: "`g / (1 + x * x)`", ..NATIVE },
    ..EXP
};

pub(super) const ATAN2: Row = Row {
    name: "atan2",
    operands: TWO,
    f32: of_two!(Atan2),
    f64: |[a, b, _]| a.atan2(b),
    wide: Wide {
        rates: |[a, b, _], _| {
            let square = a * a + b * b;
            [(b / square).abs(), (a / square).abs(), 0.0]
        },
        ..EXP.wide
    },
    slope: |graph, Applied { operands, g, .. }, place| {
        Some(angle(graph, [operands[0], operands[1]], g, place))
    },
    bound: Bound::Function { ulps: 8.0, value: direction },
    doc: Doc {
        formula: "the angle of the point (`y`, `x`) in radians; the ordinate is the first operand, `x`",
        slope: "`g * y / (x^2 + y^2)`, `g * -x / (x^2 + y^2)`, without overflow; 0 at the origin",
        ..NATIVE
    },
    ..EXP
};

/// The slope of the angle of the point `(b, a)`: `b / (a² + b²)` to the ordinate `a`, `-a / (a² + b²)` to `b`.
fn angle(graph: &mut (dyn Builder + '_), [a, b]: [Id; 2], g: Id, place: usize) -> Passed {
    use Primitive::{Abs, Add, Div, Eq, Le, Lt, Max, Min, Mul, Select};
    let [zero, one] = [0.0, 1.0].map(|v| graph.number(v));
    let other = [b, a][place];
    let sizes = [a, b].map(|v| graph.apply(Abs, &[v]));
    let (larger, smaller) = (graph.apply(Max, &sizes), graph.apply(Min, &sizes));
    let t = graph.apply(Div, &[smaller, larger]);
    let square = graph.apply(Mul, &[t, t]);
    let sum = graph.apply(Add, &[one, square]);
    let below = graph.apply(Mul, &[larger, sum]);
    let is_larger = graph.apply(Le, &[sizes[place], sizes[1 - place]]);
    let above = graph.apply(Select, &[is_larger, one, t]);
    let size = graph.apply(Div, &[above, below]);
    let negated = graph.neg(size);
    let is_negative = graph.apply(Lt, &[other, zero]);
    let signed = if place == 0 { [is_negative, negated, size] } else { [is_negative, size, negated] };
    let rate = graph.apply(Select, &signed);
    let is_origin = graph.apply(Eq, &[larger, zero]);
    let rate = graph.apply(Select, &[is_origin, zero, rate]);
    graph.passed(g, rate)
}

/// Where the angle lies. It jumps by a turn where the ordinate is 0 left of the origin.
fn direction(a: Interval, b: Interval) -> Result<Interval, Reason> {
    if a.low <= 0.0 && a.high >= 0.0 && b.low <= 0.0 {
        return Err(Reason::Jump);
    }
    Ok(a.corners(b, |a, b| Interval::point(a.atan2(b))))
}
