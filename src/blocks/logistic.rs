//! The error function, and the logistic function with its integral. Twin of `shaders/blocks/logistic.wgsl`.

use std::f64::consts::FRAC_2_SQRT_PI;

use super::{
    exponential::EXP,
    primitive::Primitive,
    row::{Bound, Doc, NATIVE, Notation, Row, Wide, of_one},
    slope::{Applied, Builder, Id},
};

pub(super) const ERF: Row = Row {
    name: "erf",
    notation: Notation::Own,
    f32: of_one!(Erf),
    f64: |[a, ..]| libm::erf(a),
    wide: Wide { rates: |[a, ..], _| [FRAC_2_SQRT_PI * (-a * a).exp(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = bell(graph, a, FRAC_2_SQRT_PI);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(libm::erf) },
    doc: Doc { formula: "the error function", slope: "`g * (2 / sqrt(pi) * e^(-x * x))`", ..NATIVE },
    ..EXP
};

pub(super) const ERFC: Row = Row {
    name: "erfc",
    f32: of_one!(Erfc),
    f64: |[a, ..]| libm::erfc(a),
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = bell(graph, a, -FRAC_2_SQRT_PI);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 13.0, value: |a, _| a.falling(libm::erfc) },
    doc: Doc { formula: "`1 - erf(x)`", slope: "`g * (-2 / sqrt(pi) * e^(-x * x))`", ..NATIVE },
    ..ERF
};

/// `factor * e^(-x * x)`. A rounded square would be off by up to 64 ULP once it is an exponent, so the square is taken
/// in two parts: with `h`, the high part of `x`, `h * h` is exact, and the rest is `(x - h) * (x + h)`.
fn bell(graph: &mut (dyn Builder + '_), a: Id, factor: f64) -> Id {
    use Primitive::{Abs, Add, Exp, HighPart, Min, Mul, Sub};
    // From 16 on the value is 0, for infinity too.
    let (factor, most) = (graph.number(factor as f32), graph.number(16.0));
    let size = graph.apply(Abs, &[a]);
    let x = graph.apply(Min, &[size, most]);
    let high = graph.apply(HighPart, &[x]);
    let [less, more] = [Sub, Add].map(|p| graph.apply(p, &[x, high]));
    let squares = [[high, high], [less, more]].map(|factors| graph.apply(Mul, &factors));
    let [first, second] = squares.map(|square| {
        let negated = graph.neg(square);
        graph.apply(Exp, &[negated])
    });
    let scaled = graph.apply(Mul, &[factor, first]);
    graph.apply(Mul, &[scaled, second])
}

pub(super) const SIGMOID: Row = Row {
    name: "sigmoid",
    notation: Notation::Own,
    f32: of_one!(Sigmoid),
    f64: |[a, ..]| 1.0 / (1.0 + (-a).exp()),
    wide: Wide { rates: |_, z| [z * (1.0 - z), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], z, g }, _| {
        let negated = graph.neg(a);
        let rest = graph.apply(Primitive::Sigmoid, &[negated]);
        let rate = graph.times(z, rest);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 8.0, value: |a, _| a.rising(|x| 1.0 / (1.0 + (-x).exp())) },
    doc: Doc {
        formula: "the logistic function, `1 / (1 + e^-x)`",
        slope: "`g * (z * sigmoid(-x))`",
        ..NATIVE
    },
    ..EXP
};

pub(super) const SOFTPLUS: Row = Row {
    name: "softplus",
    notation: Notation::Own,
    f32: of_one!(Softplus),
    f64: |[a, ..]| softplus(a),
    wide: Wide { rates: |_, _| [1.0, 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Sigmoid, &[a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(softplus) },
    doc: Doc { formula: "`log(1 + e^x)`", slope: "`g * sigmoid(x)`", ..NATIVE },
    ..EXP
};

fn softplus(x: f64) -> f64 {
    // max would drop a NaN.
    (if x < 0.0 { 0.0 } else { x }) + (-x.abs()).exp().ln_1p()
}
