//! Quotients and remainders. Twin of `shaders/blocks/division.wgsl`.

use super::{
    primitive::Primitive,
    row::{Bound, Constants, Doc, Notation, Row, SAME_BITS, TWO, Type::Number, Wgsl, Wide},
    slope::{Applied, Builder, FLAT, Id},
};
use crate::{
    numeric::{canonical, division},
    signature::interval::Interval,
};

pub(super) const DIV: Row = Row {
    name: "div",
    operands: TWO,
    gives: Number,
    notation: Notation::Infix("/"),
    f32: |_, [a, b, _]| canonical(a / b),
    f64: |[a, b, _]| a / b,
    wide: Wide { rounds: true, rates: |[_, b, _], z| [(1.0 / b).abs(), (z / b).abs(), 0.0], decides: None },
    constants: Constants::SameWhere(|a, b, result| result * b == a),
    slope: |graph, Applied { operands: [_, b, _], z, g }, place| {
        if place == 0 {
            return Some(graph.passed_over(g, b));
        }
        let operands = [graph.apply(Primitive::Div, &[g, b]), graph.neg(z)];
        Some(graph.guarded(g, Primitive::Mul, operands))
    },
    bound: Bound::Floats(Interval::divided),
    wgsl: Wgsl::Both,
    doc: Doc {
        formula: "`x / y`",
        slope: "`g / y`, `(g / y) * -z`",
        bound: "2.5 ULP",
        domain: "`abs(y)` from 2^-126 to 2^126",
    },
};

pub(super) const FLOOR_MOD: Row = Row {
    name: "floor_mod",
    operands: TWO,
    gives: Number,
    notation: Notation::Own,
    f32: |_, [a, b, _]| canonical(division::remainder(a, b)),
    f64: |[a, b, _]| floor_mod(a, b),
    wide: Wide {
        rounds: true,
        rates: |[a, b, _], _| [1.0, floor_quotient(a, b).abs(), 0.0],
        decides: Some(|[a, b, _]| floor_quotient(a, b)),
    },
    constants: Constants::Same,
    slope: |graph, Applied { operands: [a, b, _], g, .. }, place| {
        if place == 0 {
            return Some(g.into());
        }
        let quotient = graph.apply(Primitive::FloorQuotient, &[a, b]);
        let rate = graph.neg(quotient);
        Some(graph.times(g, rate).into())
    },
    bound: Bound::Bits(|_, a, b| Ok(a.floor_mod(b)?.neighbours())),
    wgsl: Wgsl::Form(|[a, b, _]| format!("f32_floor_mod_wide({a}, {b}).z")),
    doc: Doc {
        formula: "`x - y * floor(x / y)`, rounded once",
        slope: "`g`, `g * -floor_quotient(x, y)`",
        bound: SAME_BITS.0,
        domain: SAME_BITS.1,
    },
};

pub(super) const FLOOR_QUOTIENT: Row = Row {
    name: "floor_quotient",
    operands: TWO,
    gives: Number,
    notation: Notation::Own,
    f32: |_, [a, b, _]| canonical(division::quotient(a, b)),
    f64: |[a, b, _]| floor_quotient(a, b),
    wide: Wide { rounds: true, rates: |_, _| [0.0; 3], decides: Some(|[a, b, _]| floor_quotient(a, b)) },
    constants: Constants::Same,
    slope: FLAT,
    bound: Bound::Bits(|_, a, b| Ok(Interval::point(a.quotient(b, f64::floor)?).neighbours())),
    wgsl: Wgsl::Form(|[a, b, _]| format!("f32_floor_quotient(f32_floor_mod_wide({a}, {b}))")),
    doc: Doc {
        formula: "`floor(x / y)` of the exact quotient, rounded once",
        slope: "0",
        bound: SAME_BITS.0,
        domain: SAME_BITS.1,
    },
};

pub(super) const TRUNC_MOD: Row = Row {
    name: "trunc_mod",
    operands: TWO,
    gives: Number,
    notation: Notation::Own,
    f32: |_, [a, b, _]| canonical(a % b),
    f64: |[a, b, _]| a % b,
    wide: Wide {
        rounds: true,
        rates: |[a, b, _], _| [1.0, trunc_quotient(a, b).abs(), 0.0],
        decides: Some(|[a, b, _]| trunc_quotient(a, b)),
    },
    constants: Constants::Same,
    slope: |graph, Applied { operands: [a, b, _], g, .. }, place| {
        if place == 0 {
            return Some(g.into());
        }
        let rate = negated_trunc_quotient(graph, a, b);
        Some(graph.times(g, rate).into())
    },
    bound: Bound::Bits(|_, a, b| Ok(a.remainder(b, f64::trunc)?.neighbours())),
    wgsl: Wgsl::Integers,
    doc: Doc {
        formula: "`x - y * trunc(x / y)`, exact: WGSL's `%`, C's `fmod`",
        slope: "`g`, `g * -trunc(x / y)`",
        bound: SAME_BITS.0,
        domain: SAME_BITS.1,
    },
};

/// `-trunc(a / b)` of the exact quotient.
fn negated_trunc_quotient(graph: &mut dyn Builder, a: Id, b: Id) -> Id {
    use Primitive::{Abs, And, FloorQuotient, Lt, Not, Or, Select};
    let zero = graph.number(0.0);
    let sizes = [a, b].map(|v| graph.apply(Abs, &[v]));
    let quotient = graph.apply(FloorQuotient, &sizes);
    let negated = graph.neg(quotient);
    let [a_below, b_below] = [a, b].map(|v| graph.apply(Lt, &[v, zero]));
    let [a_not, b_not] = [a_below, b_below].map(|v| graph.apply(Not, &[v]));
    let (only_a, only_b) = (graph.apply(And, &[a_below, b_not]), graph.apply(And, &[a_not, b_below]));
    let differ = graph.apply(Or, &[only_a, only_b]);
    graph.apply(Select, &[differ, quotient, negated])
}

/// Whether a remainder is on the other side of 0 from its divisor.
fn differs(rest: f64, divisor: f64) -> bool {
    rest != 0.0 && (rest < 0.0) != (divisor < 0.0)
}

/// `a - b * floor(a / b)`. The remainder of the truncated quotient is exact, so this rounds at most once.
fn floor_mod(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if differs(rest, b) { rest + b } else { rest }
}

/// The floor of the exact quotient, if an f64 holds it.
fn floor_quotient(a: f64, b: f64) -> f64 {
    trunc_quotient(a, b) - f64::from(differs(a % b, b))
}

/// The exact quotient without its fraction, if an f64 holds it.
fn trunc_quotient(a: f64, b: f64) -> f64 {
    ((a - a % b) / b).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_and_quotients_belong_together() {
        let cases = [(1.0, 0.1), (-1.0, 0.1), (1.0, -0.1), (7.0, 2.0), (-7.0, 2.0), (6.0, -2.0), (0.0, 3.0)];
        for (x, y) in cases.map(|(x, y): (f32, f32)| (x, y)) {
            let (a, b) = (f64::from(x), f64::from(y));
            assert_eq!(floor_quotient(a, b), f64::from(division::quotient(x, y)), "{x} {y}");
            assert!((a - b * floor_quotient(a, b) - floor_mod(a, b)).abs() < 1e-15, "{x} {y}");
            assert_eq!(trunc_quotient(a, b), (a / b).trunc(), "{x} {y}");
        }
        assert_eq!((floor_mod(2.0, f64::INFINITY), floor_quotient(2.0, f64::INFINITY)), (2.0, 0.0));
        assert_eq!(
            (floor_mod(-2.0, f64::INFINITY), floor_quotient(-2.0, f64::INFINITY)),
            (f64::INFINITY, -1.0)
        );
        assert!(floor_mod(1.0, 0.0).is_nan() && floor_quotient(f64::INFINITY, 1.0).is_nan());
    }
}
