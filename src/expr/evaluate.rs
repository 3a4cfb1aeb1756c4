//! Expressions in f64, where nothing is rounded to f32: each value with what rounding may have added to it, and what was
//! decided on the way. A difference quotient needs all three.

use super::{
    graph::{Graph, Id, Node},
    primitive::Primitive::{
        self, Abs, Add, And, Ceil, Cos, Div, Eq, Exp, Floor, FloorMod, FloorQuotient, Le, Log, Lt, Max, Min,
        Mul, Neg, Not, Or, Pow, Round, RoundToStorage, Select, Sin, Sqrt, Sub, Tanh, Trunc, TruncMod,
    },
};

/// A value, and how far it may be from that of real numbers, to first order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wide {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

/// What an expression decided at a point: which way each jump went that counts, nodes in order.
///
/// Where two points have the same, no comparison, floor or choice of an operand tells them apart. What stands in the branch
/// of a select that is not taken does not count, nor does a comparison on which no select depends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decisions(Vec<(Id, u64)>);

/// Some results of a graph, to be computed at one point after the other.
pub(crate) struct Evaluator<'g> {
    graph: &'g Graph,
    results: Vec<Id>,
    nodes: Vec<(Id, Node)>,
}

impl<'g> Evaluator<'g> {
    pub(crate) fn new(graph: &'g Graph, results: &[Id]) -> Self {
        let used = graph.used(results.iter().copied());
        let nodes = graph.nodes().filter(|(id, _)| used[id.index()]).collect();
        Self { graph, results: results.to_vec(), nodes }
    }

    /// The results for these reads.
    pub(crate) fn at(&self, reads: &[f64]) -> Vec<Wide> {
        self.results_of(&self.values(reads))
    }

    /// The results, and what was decided.
    pub(crate) fn deciding_at(&self, reads: &[f64]) -> (Vec<Wide>, Decisions) {
        let values = self.values(reads);
        (self.results_of(&values), self.decisions(&values))
    }

    fn results_of(&self, values: &[Wide]) -> Vec<Wide> {
        self.results.iter().map(|id| values[id.index()]).collect()
    }

    fn values(&self, reads: &[f64]) -> Vec<Wide> {
        let mut values = vec![Wide::default(); self.graph.len()];
        let exact = |value| Wide { value, error: 0.0 };
        for (id, node) in &self.nodes {
            values[id.index()] = match node {
                Node::Read(read) => exact(reads[*read]),
                Node::Number(bits) => exact(f32::from_bits(*bits).into()),
                Node::Truth(value) => exact(f64::from(*value)),
                Node::Apply(primitive, operands) => apply(*primitive, operands.map(|id| values[id.index()])),
                Node::Written(_, value) => values[value.index()],
            };
        }
        values
    }

    fn decisions(&self, values: &[Wide]) -> Decisions {
        let mut counts = vec![false; self.graph.len()];
        self.results.iter().for_each(|id| counts[id.index()] = true);
        let mut decisions = Vec::new();
        for (id, node) in self.nodes.iter().rev() {
            if !counts[id.index()] {
                continue;
            }
            if let Node::Apply(Select, [condition, accept, reject]) = *node {
                let taken = if values[condition.index()].value == 0.0 { reject } else { accept };
                counts[taken.index()] = true;
            } else {
                self.graph.operands(*id).for_each(|operand| counts[operand.index()] = true);
            }
            if let Node::Apply(primitive, operands) = node {
                let of = operands.map(|id| values[id.index()].value);
                decisions.extend(decided(*primitive, of).map(|decided| (*id, key(decided))));
            }
        }
        Decisions(decisions)
    }
}

/// Equal for equal numbers, zeros of either sign among them, and for NaNs.
fn key(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// Which way a building block went, of those that jump or have an edge.
fn decided(primitive: Primitive, [a, b, c]: [f64; 3]) -> Option<f64> {
    let order = |a: f64, b: f64| f64::from(i8::from(a > b) - i8::from(a < b));
    match primitive {
        Abs => Some(order(a, 0.0)),
        Min | Max => Some(order(a, b)),
        Floor | Ceil | Round | Trunc | FloorQuotient => Some(compute(primitive, [a, b, c])),
        FloorMod => Some(floor_quotient(a, b)),
        TruncMod => Some(trunc_quotient(a, b)),
        Select => Some(a),
        _ => None,
    }
}

/// A building block's value and error: what its operands' errors become, and its own rounding.
fn apply(primitive: Primitive, operands: [Wide; 3]) -> Wide {
    let values = operands.map(|operand| operand.value);
    let value = compute(primitive, values);
    let passed = operands.iter().zip(rates(primitive, values, value));
    // An exact operand adds nothing, whatever the rate, and one that is not taken nothing, whatever its error.
    let passed = passed.filter(|(operand, rate)| operand.error != 0.0 && *rate != 0.0);
    let passed: f64 = passed.map(|(operand, rate)| operand.error * rate).sum();
    let rounding = if rounds(primitive) { value.abs() * f64::EPSILON } else { 0.0 };
    Wide { value, error: passed + rounding }
}

fn rounds(primitive: Primitive) -> bool {
    matches!(
        primitive,
        Add | Sub
            | Mul
            | Div
            | FloorMod
            | FloorQuotient
            | TruncMod
            | Sqrt
            | Exp
            | Log
            | Sin
            | Cos
            | Tanh
            | Pow
    )
}

/// The size of the derivative with respect to each operand, or more.
fn rates(primitive: Primitive, [a, b, _]: [f64; 3], z: f64) -> [f64; 3] {
    let [x, y] = match primitive {
        Add | Sub | Min | Max => [1.0, 1.0],
        Neg | Abs | RoundToStorage | Sin | Cos => [1.0, 0.0],
        Mul => [b, a],
        Div => [1.0 / b, z / b],
        FloorMod => [1.0, floor_quotient(a, b)],
        TruncMod => [1.0, trunc_quotient(a, b)],
        Sqrt => [0.5 / z, 0.0],
        Exp => [z, 0.0],
        Log => [1.0 / a, 0.0],
        Tanh => [1.0 - z * z, 0.0],
        Pow => [b * z / a, z * a.ln()],
        Select => return if a == 0.0 { [0.0, 0.0, 1.0] } else { [0.0, 1.0, 0.0] },
        Floor | Ceil | Round | Trunc | FloorQuotient | Lt | Le | Eq | Not | And | Or => [0.0, 0.0],
    };
    [x.abs(), y.abs(), 0.0]
}

/// A building block in f64; a truth value is 1 or 0. Rounding to the storage type is taken for the identity, as its
/// gradient takes it.
fn compute(primitive: Primitive, [a, b, c]: [f64; 3]) -> f64 {
    match primitive {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => a / b,
        Neg => -a,
        Abs => a.abs(),
        Min | Max if a.is_nan() || b.is_nan() => f64::NAN,
        Min => a.min(b),
        Max => a.max(b),
        Floor => a.floor(),
        Ceil => a.ceil(),
        Round => a.round_ties_even(),
        Trunc => a.trunc(),
        FloorMod => floor_mod(a, b),
        FloorQuotient => floor_quotient(a, b),
        TruncMod => a % b,
        Sqrt => a.sqrt(),
        Exp => a.exp(),
        Log => a.ln(),
        Sin => a.sin(),
        Cos => a.cos(),
        Tanh => a.tanh(),
        Pow => a.powf(b),
        RoundToStorage => a,
        Lt => f64::from(a < b),
        Le => f64::from(a <= b),
        Eq => f64::from(a == b),
        Not => f64::from(a == 0.0),
        And => f64::from(a != 0.0 && b != 0.0),
        Or => f64::from(a != 0.0 || b != 0.0),
        Select => {
            if a == 0.0 {
                c
            } else {
                b
            }
        }
    }
}

/// Whether a remainder is on the other side of 0 than its divisor.
fn differs(rest: f64, divisor: f64) -> bool {
    rest != 0.0 && (rest < 0.0) != (divisor < 0.0)
}

/// `a - b * floor(a / b)`: the remainder of the truncated quotient is exact, and so rounds at most once.
fn floor_mod(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if differs(rest, b) { rest + b } else { rest }
}

/// The floor of the exact quotient, where an f64 holds it.
fn floor_quotient(a: f64, b: f64) -> f64 {
    trunc_quotient(a, b) - f64::from(differs(a % b, b))
}

/// The exact quotient without its fraction, where an f64 holds it.
fn trunc_quotient(a: f64, b: f64) -> f64 {
    ((a - a % b) / b).round()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, data::Data, op::modulo};

    /// In f64 an exact f32 result is exact, and any other is rounded elsewhere.
    #[test]
    fn building_blocks_are_those_of_f32_rounded_later() {
        const LEN: usize = 100_000;
        let mut reads = vec![vec![0.0_f32; LEN]; 3];
        Data::Ordinary.fill(DType::F32, 3, 0, &mut reads);
        for ((a, b), c) in reads[0].iter().zip(&reads[1]).zip(&reads[2]) {
            let operands = [*a, *b, *c];
            for primitive in Primitive::ALL {
                let narrow = f64::from(primitive.compute(DType::F32, operands));
                let wide = compute(primitive, operands.map(f64::from));
                // f32's libraries may be off by a unit or two.
                let near = (wide - narrow).abs() <= 4.0 * f64::from(f32::EPSILON) * narrow.abs();
                let overflowed = narrow.is_infinite() && wide.abs() > f64::from(f32::MAX);
                let underflowed = (wide - narrow).abs() <= f64::from(f32::MIN_POSITIVE);
                let both_nan = wide.is_nan() && narrow.is_nan();
                assert!(
                    near || overflowed || underflowed || both_nan,
                    "{}{operands:?}: {wide} {narrow}",
                    primitive.name()
                );
            }
        }
    }

    #[test]
    fn remainders_and_quotients_belong_together() {
        let cases = [(1.0, 0.1), (-1.0, 0.1), (1.0, -0.1), (7.0, 2.0), (-7.0, 2.0), (6.0, -2.0), (0.0, 3.0)];
        for (x, y) in cases.map(|(x, y): (f32, f32)| (x, y)) {
            let (a, b) = (f64::from(x), f64::from(y));
            assert_eq!(floor_quotient(a, b), f64::from(modulo::quotient(x, y)), "{x} {y}");
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

    /// A decision in a branch that is not taken is none, and a NaN decides like another.
    #[test]
    fn decisions_are_those_that_count() {
        let mut graph = Graph::new(1);
        let x = graph.read(0);
        let zero = graph.number(0.0);
        let floor = graph.apply(Floor, &[x]);
        let root = graph.apply(Sqrt, &[x]);
        let jumps = graph.apply(Floor, &[root]);
        let below = graph.apply(Lt, &[x, zero]);
        let select = graph.apply(Select, &[below, floor, x]);
        let decisions = |result: Id, x: f64| Evaluator::new(&graph, &[result]).deciding_at(&[x]).1;
        assert_eq!(decisions(select, 0.5), decisions(select, 1.5), "the floor is not taken");
        assert_ne!(decisions(select, -0.5), decisions(select, -1.5), "the floor is taken");
        assert_ne!(decisions(select, -0.5), decisions(select, 0.5), "the comparison");
        assert_eq!(decisions(jumps, -0.5), decisions(jumps, -1.5), "NaN both times");
        assert_eq!(decisions(floor, 0.0), decisions(floor, -0.0));
        assert_eq!(decisions(below, -1.0), decisions(below, 1.0), "no select depends on it");
    }

    /// The error is that of the cancellation, not that of the result.
    #[test]
    fn errors_are_those_of_the_way() {
        let mut graph = Graph::new(1);
        let x = graph.read(0);
        let large = graph.number(1e20);
        let sum = graph.apply(Add, &[x, large]);
        let difference = graph.apply(Sub, &[sum, large]);
        let result = Evaluator::new(&graph, &[difference]).at(&[1.0])[0];
        assert!((result.value - 1.0).abs() <= result.error, "{result:?}");
        assert!(result.error < 1e5, "{result:?}");
    }
}
