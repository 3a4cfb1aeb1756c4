//! Exponentials, logarithms and powers. Twin of `shaders/blocks/exponential.wgsl`.

use std::f64::consts::{LN_2, LN_10};

use super::{
    primitive::Primitive,
    row::{Bound, Constants, Doc, NATIVE, Notation, ONE, Row, TWO, Type::Number, Wgsl, Wide, of_one, of_two},
    slope::{Applied, Builder, Id, Passed},
};
use crate::signature::{enclosure::Reason, interval::Interval};

/// `exp`, and what all elementary functions have in common.
pub(super) const EXP: Row = Row {
    name: "exp",
    operands: ONE,
    gives: Number,
    notation: Notation::Builtin,
    f32: of_one!(Exp),
    f64: |[a, ..]| a.exp(),
    wide: Wide { rounds: true, rates: |_, z| [z.abs(), 0.0, 0.0], decides: None },
    constants: Constants::Differ,
    slope: |graph, Applied { z, g, .. }, _| Some(graph.passed(g, z)),
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::exp) },
    wgsl: Wgsl::Native,
    doc: Doc { formula: "`e^x`", slope: "`g * z`", ..NATIVE },
};

pub(super) const EXP2: Row = Row {
    name: "exp2",
    f32: of_one!(Exp2),
    f64: |[a, ..]| a.exp2(),
    wide: Wide { rates: |_, z| [z.abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], z, g }, _| {
        // From 128 on the value is infinite, but not yet the slope.
        let [one, limit] = [1.0, 128.0].map(|v| graph.number(v));
        let [ln_2, twice] = [LN_2, 2.0 * LN_2].map(|v| graph.number(v as f32));
        let less = graph.apply(Primitive::Sub, &[a, one]);
        let half = graph.apply(Primitive::Exp2, &[less]);
        let [large, other] = [[twice, half], [ln_2, z]].map(|factors| graph.apply(Primitive::Mul, &factors));
        let is_large = graph.apply(Primitive::Le, &[limit, a]);
        let rate = graph.apply(Primitive::Select, &[is_large, large, other]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::exp2) },
    doc: Doc {
        formula: "`2^x`",
        slope: "`g * (ln 2 * z)`; `g * (2 ln 2 * exp2(x - 1))` for `x` from 128",
        ..NATIVE
    },
    ..EXP
};

pub(super) const EXPM1: Row = Row {
    name: "expm1",
    notation: Notation::Own,
    f32: of_one!(Expm1),
    f64: |[a, ..]| a.exp_m1(),
    wide: Wide { rates: |_, z| [(z + 1.0).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Exp, &[a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::exp_m1) },
    doc: Doc { formula: "`e^x - 1`", slope: "`g * exp(x)`", ..NATIVE },
    ..EXP
};

pub(super) const LOG: Row = Row {
    name: "log",
    f32: of_one!(Log),
    f64: |[a, ..]| a.ln(),
    wide: Wide { rates: |[a, ..], _| [(1.0 / a).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| Some(graph.passed_over(g, a)),
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::ln) },
    doc: Doc { formula: "the natural logarithm of `x`", slope: "`g / x`", ..NATIVE },
    ..EXP
};

pub(super) const LOG2: Row = Row {
    name: "log2",
    f32: of_one!(Log2),
    f64: |[a, ..]| a.log2(),
    wide: Wide { rates: |[a, ..], _| [(2.0 / a).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let inverse = graph.number((1.0 / LN_2) as f32);
        let rate = graph.apply(Primitive::Div, &[inverse, a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::log2) },
    doc: Doc { formula: "the logarithm of `x` to base 2", slope: "`g * (1 / ln 2 / x)`", ..NATIVE },
    ..LOG
};

pub(super) const LOG10: Row = Row {
    name: "log10",
    notation: Notation::Own,
    f32: of_one!(Log10),
    f64: |[a, ..]| a.log10(),
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let inverse = graph.number((1.0 / LN_10) as f32);
        let rate = graph.apply(Primitive::Div, &[inverse, a]);
        Some(graph.passed(g, rate))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::log10) },
    doc: Doc { formula: "the logarithm of `x` to base 10", slope: "`g * (1 / ln 10 / x)`", ..NATIVE },
    ..LOG
};

pub(super) const LOG1P: Row = Row {
    name: "log1p",
    notation: Notation::Own,
    f32: of_one!(Log1p),
    f64: |[a, ..]| a.ln_1p(),
    wide: Wide { rates: |[a, ..], _| [(1.0 / (1.0 + a)).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let one = graph.number(1.0);
        let sum = graph.apply(Primitive::Add, &[one, a]);
        Some(graph.passed_over(g, sum))
    },
    bound: Bound::Function { ulps: 5.0, value: |a, _| a.rising(f64::ln_1p) },
    doc: Doc { formula: "the natural logarithm of `1 + x`", slope: "`g / (1 + x)`", ..NATIVE },
    ..EXP
};

pub(super) const POW: Row = Row {
    name: "pow",
    operands: TWO,
    f32: of_two!(Pow),
    f64: |[a, b, _]| a.powf(b),
    wide: Wide { rates: |[a, b, _], z| [(b * z / a).abs(), (z * a.abs().ln()).abs(), 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, b, _], z, g }, place| {
        Some(if place == 0 {
            power_to_base(graph, [a, b], g)
        } else {
            power_to_exponent(graph, [a, b], z, g)
        })
    },
    bound: Bound::Function { ulps: 5.0, value: power },
    doc: Doc {
        formula: "`x^y`; for a negative `x`, NaN unless `y` is an integer",
        slope: "`g * (y * pow(x, y - 1))`, `g * 0` for `y` of 0; `g * (z * log(x))`, 0 for a negative `x` and for \
                `x` of 0 with `y` from 0",
        ..NATIVE
    },
    ..EXP
};

/// `y * x^(y - 1)`. The sign of a negative base's power is taken from `y`, since `y - 1` may be rounded.
fn power_to_base(graph: &mut (dyn Builder + '_), [a, b]: [Id; 2], g: Id) -> Passed {
    let [zero, one, two] = [0.0, 1.0, 2.0].map(|v| graph.number(v));
    let less = graph.apply(Primitive::Sub, &[b, one]);
    let size = graph.apply(Primitive::Abs, &[a]);
    let power = graph.apply(Primitive::Pow, &[size, less]);
    let rest = graph.apply(Primitive::TruncMod, &[b, two]);
    let [is_even, is_below, is_flat] = [
        graph.apply(Primitive::Eq, &[rest, zero]),
        graph.apply(Primitive::Lt, &[a, zero]),
        graph.apply(Primitive::Eq, &[b, zero]),
    ];
    let is_negative = graph.apply(Primitive::And, &[is_below, is_even]);
    let negated = graph.neg(power);
    let power = graph.apply(Primitive::Select, &[is_negative, negated, power]);
    let rate = graph.times(b, power);
    // x^0 is 1 for every x, though x^-1 has a pole.
    let rate = graph.apply(Primitive::Select, &[is_flat, zero, rate]);
    graph.passed(g, rate)
}

/// `z * log(x)` where it counts.
fn power_to_exponent(graph: &mut (dyn Builder + '_), [a, b]: [Id; 2], z: Id, g: Id) -> Passed {
    let zero = graph.number(0.0);
    let [is_below, is_zero, is_from_0] = [
        graph.apply(Primitive::Lt, &[a, zero]),
        graph.apply(Primitive::Eq, &[a, zero]),
        graph.apply(Primitive::Le, &[zero, b]),
    ];
    let is_zero_power = graph.apply(Primitive::And, &[is_zero, is_from_0]);
    let is_flat = graph.apply(Primitive::Or, &[is_below, is_zero_power]);
    let active = Some(graph.apply(Primitive::Not, &[is_flat]));
    let log = graph.apply(Primitive::Log, &[a]);
    let rate = graph.times(z, log);
    Passed { active, ..graph.passed(g, rate) }
}

/// Where `x^y` lies: between the powers of the corners. Of a negative base, for one integer `y`.
fn power(a: Interval, b: Interval) -> Result<Interval, Reason> {
    let powers = |a: Interval| a.corners(b, |a, b| Interval::point(a.powf(b)));
    if b == Interval::point(0.0) {
        return Ok(Interval::point(1.0));
    }
    if a.low >= 0.0 {
        return if a.low == 0.0 && b.low < 0.0 { Err(Reason::NoBound) } else { Ok(powers(a)) };
    }
    if !b.is_point() || b.low != b.low.trunc() {
        return Err(Reason::NoBound);
    }
    match (a.high < 0.0, b.low > 0.0) {
        (true, _) => Ok(powers(a)),
        // Through 0, where an even power has its least value.
        (false, true) => Ok(powers(a).hull(Interval::point(0.0))),
        (false, false) => Err(Reason::NoBound),
    }
}
