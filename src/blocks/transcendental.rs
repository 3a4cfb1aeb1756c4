//! Exponentials, logarithms, circular and hyperbolic functions. Twin of `shaders/blocks/transcendental.wgsl`.

use std::f64::consts::FRAC_PI_2;

use super::{
    primitive::Primitive,
    row::{Bound, Constants, Doc, Notation, ONE, Row, TWO, Type::Number, Wgsl, Wide},
    slope::{Applied, Passed},
};
use crate::{
    numeric::canonical,
    signature::interval::{Interval, TINY},
};

/// `exp`, and what all of these blocks have in common.
pub(super) const EXP: Row = Row {
    name: "exp",
    operands: ONE,
    gives: Number,
    notation: Notation::Builtin,
    f32: |_, [a, ..]| canonical(a.exp()),
    f64: |[a, ..]| a.exp(),
    wide: Wide { rounds: true, rates: |_, z| [z.abs(), 0.0, 0.0], decides: None },
    constants: Constants::Differ,
    slope: |graph, Applied { z, g, .. }, _| Some(graph.times(g, z).into()),
    bound: Bound::Floats(|a, _| Ok(a.exponential(f64::exp))),
    wgsl: Wgsl::Native,
    doc: Doc { formula: "`e^x`", slope: "`g * z`", bound: "4 + 2 `abs(x)` ULP", domain: "everywhere" },
};

pub(super) const LOG: Row = Row {
    name: "log",
    f32: |_, [a, ..]| canonical(a.ln()),
    f64: |[a, ..]| a.ln(),
    wide: Wide { rates: |[a, ..], _| [(1.0 / a).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| Some(graph.apply(Primitive::Div, &[g, a]).into()),
    bound: Bound::Floats(|a, _| a.logarithm(f64::ln)),
    doc: Doc {
        formula: "the natural logarithm of `x`",
        slope: "`g / x`",
        bound: "2^-21 absolute for `x` from 0.5 to 2, 5 ULP elsewhere",
        domain: "`x` from 2^-126",
    },
    ..EXP
};

/// The bound of sine and cosine.
const WAVE: (&str, &str) = (
    "2^-11 + 2^-20 + `abs(x)` 2^-22 absolute, and in \\[-1, 1\\]",
    "`abs(x)` to 8192; beyond, in \\[-1, 1\\]",
);

pub(super) const SIN: Row = Row {
    name: "sin",
    f32: |_, [a, ..]| canonical(a.sin()),
    f64: |[a, ..]| a.sin(),
    wide: Wide { rates: |_, _| [1.0, 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Cos, &[a]);
        Some(graph.times(g, rate).into())
    },
    bound: Bound::Floats(|a, _| Ok(a.wave(f64::sin, FRAC_PI_2))),
    doc: Doc { formula: "the sine of `x` radians", slope: "`g * cos(x)`", bound: WAVE.0, domain: WAVE.1 },
    ..EXP
};

pub(super) const COS: Row = Row {
    name: "cos",
    f32: |_, [a, ..]| canonical(a.cos()),
    f64: |[a, ..]| a.cos(),
    wide: Wide { rates: |_, _| [1.0, 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, ..], g, .. }, _| {
        let rate = graph.apply(Primitive::Sin, &[a]);
        let product = graph.times(g, rate);
        Some(graph.neg(product).into())
    },
    bound: Bound::Floats(|a, _| Ok(a.wave(f64::cos, 0.0))),
    doc: Doc {
        formula: "the cosine of `x` radians",
        slope: "`-(g * sin(x))`",
        bound: WAVE.0,
        domain: WAVE.1,
    },
    ..EXP
};

pub(super) const TANH: Row = Row {
    name: "tanh",
    f32: |_, [a, ..]| canonical(a.tanh()),
    f64: |[a, ..]| a.tanh(),
    wide: Wide { rates: |_, z| [(1.0 - z * z).abs(), 0.0, 0.0], ..EXP.wide },
    slope: |graph, Applied { z, g, .. }, _| {
        let (square, one) = (graph.apply(Primitive::Mul, &[z, z]), graph.number(1.0));
        let rate = graph.apply(Primitive::Sub, &[one, square]);
        Some(graph.times(g, rate).into())
    },
    bound: Bound::Floats(|a, _| Ok(a.tanh())),
    doc: Doc {
        formula: "the hyperbolic tangent of `x`",
        slope: "`g * (1 - z * z)`",
        bound: "10^-5 absolute",
        domain: "everywhere",
    },
    ..EXP
};

pub(super) const POW: Row = Row {
    name: "pow",
    operands: TWO,
    f32: |_, [a, b, _]| canonical(a.powf(b)),
    f64: |[a, b, _]| a.powf(b),
    wide: Wide { rates: |[a, b, _], z| [(b * z / a).abs(), (z * a.ln()).abs(), 0.0], ..EXP.wide },
    slope: |graph, Applied { operands: [a, b, _], z, g }, place| {
        let zero = graph.number(0.0);
        if place == 1 {
            let active = Some(graph.apply(Primitive::Lt, &[zero, a]));
            let log = graph.apply(Primitive::Log, &[a]);
            let rate = graph.times(z, log);
            return Some(Passed { value: graph.times(g, rate), active });
        }
        let one = graph.number(1.0);
        let less = graph.apply(Primitive::Sub, &[b, one]);
        let power = graph.apply(Primitive::Pow, &[a, less]);
        let rate = graph.times(b, power);
        // x^0 is 1 for every x, though x^-1 has a pole.
        let flat = graph.apply(Primitive::Eq, &[b, zero]);
        let rate = graph.apply(Primitive::Select, &[flat, zero, rate]);
        Some(graph.times(g, rate).into())
    },
    bound: Bound::Floats(|a, b| {
        if b == Interval::point(0.0) {
            return Ok(Interval::point(1.0));
        }
        if a == Interval::point(0.0) && b.low >= TINY {
            return Ok(a);
        }
        let exponent = a.logarithm(f64::log2)?.times(b).neighbours().finite()?.flushed();
        Ok(exponent.exponential(f64::exp2))
    }),
    doc: Doc {
        formula: "`x^y`",
        slope: "`g * (y * pow(x, y - 1))`, for `y` of 0 `g * 0`; `g * (z * log(x))` where `x > 0`, else 0",
        bound: "that of `exp2(y * log2(x))`; `exp2` and `log2` have the bounds of `exp` and `log`; 1 for `y` of 0, \
                0 for `x` of 0",
        domain: "`x` from 2^-126, and 0 with `y` of 0 or from 2^-126",
    },
    ..EXP
};
