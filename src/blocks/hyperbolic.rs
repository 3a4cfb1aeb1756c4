//! Hyperbolic functions and their inverses. Twin of `shaders/blocks/hyperbolic.wgsl`.

use super::{
    exponential::EXP,
    primitive::Primitive,
    row::{Bound, Doc, NATIVE, Notation, Row, Wide, of_one},
    slope::Applied,
};

pub(super) const SINH: Row = Row {
    name: "sinh",
    f32: of_one!(Sinh),
    f64: |[a, ..]| a.sinh(),
    wide: Wide { rates: |_, z| [z.hypot(1.0), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Cosh, &[a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::sinh) },
    doc: Doc { formula: "the hyperbolic sine of `x`", slope: "`g * cosh(x)`", ..NATIVE },
    ..EXP
};

pub(super) const COSH: Row = Row {
    name: "cosh",
    f32: of_one!(Cosh),
    f64: |[a, ..]| a.cosh(),
    wide: Wide { rates: |_, z| [z, 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Sinh, &[a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.magnitude().rising(f64::cosh) },
    doc: Doc { formula: "the hyperbolic cosine of `x`", slope: "`g * sinh(x)`", ..NATIVE },
    ..EXP
};

pub(super) const TANH: Row = Row {
    name: "tanh",
    f32: of_one!(Tanh),
    f64: |[a, ..]| a.tanh(),
    wide: Wide { rates: |_, z| [(1.0 - z * z).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        use Primitive::{Abs, Add, Div, Exp, Mul};
        // 1 - z * z cancels. In p = exp(-2 |x|), the slope is 4 p / (1 + p)^2.
        let [one, four, twice] = [1.0, 4.0, -2.0].map(|v| graph.number(v));
        let size = graph.apply(Abs, &[a]);
        let argument = graph.apply(Mul, &[size, twice]);
        let power = graph.apply(Exp, &[argument]);
        let sum = graph.apply(Add, &[one, power]);
        let (above, below) = (graph.apply(Mul, &[four, power]), graph.apply(Mul, &[sum, sum]));
        let rate = graph.apply(Div, &[above, below]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::tanh) },
    doc: Doc {
        formula: "the hyperbolic tangent of `x`",
        slope: "`g * (4 * p / ((1 + p) * (1 + p)))`, where `p = exp(-2 * abs(x))`",
        ..NATIVE
    },
    ..EXP
};

pub(super) const ASINH: Row = Row {
    name: "asinh",
    f32: of_one!(Asinh),
    f64: |[a, ..]| a.asinh(),
    wide: Wide { rates: |[a, ..], _| [1.0 / a.hypot(1.0), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let one = graph.number(1.0);
        let root = graph.apply(Primitive::Hypot, &[a, one]);
        Some(graph.passed_over(g, root))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::asinh) },
    doc: Doc { formula: "the inverse hyperbolic sine of `x`", slope: "`g / hypot(x, 1)`", ..NATIVE },
    ..EXP
};

pub(super) const ACOSH: Row = Row {
    name: "acosh",
    f32: of_one!(Acosh),
    f64: |[a, ..]| a.acosh(),
    wide: Wide { rates: |[a, ..], _| [1.0 / ((a - 1.0).sqrt() * (a + 1.0).sqrt()), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        use Primitive::{Add, Mul, Sqrt, Sub};
        let one = graph.number(1.0);
        let roots = [Sub, Add].map(|p| {
            let part = graph.apply(p, &[a, one]);
            graph.apply(Sqrt, &[part])
        });
        let root = graph.apply(Mul, &roots);
        Some(graph.passed_over(g, root))
    },
    bound: Bound::Function { ulps: 12.0, value: |a, _| a.rising(f64::acosh) },
    doc: Doc {
        formula: "the inverse hyperbolic cosine of `x`",
        slope: "`g / (sqrt(x - 1) * sqrt(x + 1))`",
        ..NATIVE
    },
    ..EXP
};

pub(super) const ATANH: Row = Row {
    name: "atanh",
    notation: Notation::Builtin,
    f32: of_one!(Atanh),
    f64: |[a, ..]| a.atanh(),
    wide: Wide { rates: |[a, ..], _| [(1.0 / ((1.0 - a) * (1.0 + a))).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let one = graph.number(1.0);
        let [less, more] = [Primitive::Sub, Primitive::Add].map(|p| graph.apply(p, &[one, a]));
        let product = graph.apply(Primitive::Mul, &[less, more]);
        Some(graph.passed_over(g, product))
    },
    bound: Bound::Function { ulps: 8.0, value: |a, _| a.rising(f64::atanh) },
    doc: Doc {
        formula: "the inverse hyperbolic tangent of `x`",
        slope: "`g / ((1 - x) * (1 + x))`",
        ..NATIVE
    },
    ..EXP
};
