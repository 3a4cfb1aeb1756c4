//! Expressions in f64, without rounding to f32. Each value has a bound on what rounding may have added, and each
//! evaluation records what was decided on the way. A difference quotient needs all three.

use crate::{
    blocks::{CONSTANTS, Id, Primitive},
    expr::{
        graph::{Graph, Node},
        walk::{Algebra, Values},
    },
};

/// A value, and how far it may be from the value in real numbers, to first order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wide {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

/// What an expression decided at a point: which way each jump that counts went, in a fixed order of the nodes.
///
/// If two points have the same decisions, no comparison, floor or choice of an operand tells them apart. Nodes in the
/// branch that a select does not take do not count. Neither does a comparison on which no select depends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decisions(Vec<(Id, u64)>);

/// Some results of a graph, to be computed at many points.
pub(crate) struct Evaluator<'g> {
    graph: &'g Graph,
    results: Vec<Id>,
    used: Vec<bool>,
}

impl<'g> Evaluator<'g> {
    pub(crate) fn new(graph: &'g Graph, results: &[Id]) -> Self {
        Self { graph, results: results.to_vec(), used: graph.used(results.iter().copied()) }
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

    fn values(&self, reads: &[f64]) -> Values<Wide> {
        self.graph.evaluate(&self.used, &mut At(reads))
    }

    fn decisions(&self, values: &[Wide]) -> Decisions {
        let mut counts = vec![false; self.graph.len()];
        self.results.iter().for_each(|id| counts[id.index()] = true);
        let mut decisions = Vec::new();
        for (id, node) in self.graph.nodes().rev() {
            if !counts[id.index()] {
                continue;
            }
            if let Node::Apply(Primitive::Select, [condition, accept, reject]) = node {
                let taken = if values[condition.index()].value == 0.0 { reject } else { accept };
                counts[taken.index()] = true;
            } else {
                self.graph.operands(id).for_each(|operand| counts[operand.index()] = true);
            }
            if let Node::Apply(primitive, operands) = node
                && let Some(decides) = primitive.row().wide.decides
            {
                decisions.push((id, key(decides(operands.map(|id| values[id.index()].value)))));
            }
        }
        Decisions(decisions)
    }
}

/// A key that is equal for equal numbers, for zeros of either sign, and for all NaNs.
fn key(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// Evaluates an expression at a point.
struct At<'r>(&'r [f64]);

impl Algebra for At<'_> {
    type Value = Wide;

    fn read(&mut self, read: usize) -> Wide {
        Wide { value: self.0[read], error: 0.0 }
    }

    fn number(&mut self, value: f32) -> Wide {
        let constant = CONSTANTS.into_iter().find(|constant| *constant as f32 == value);
        Wide { value: constant.unwrap_or(value.into()), error: 0.0 }
    }

    /// A building block's value and error. The error is what the errors of the operands become, plus the block's own
    /// rounding.
    fn apply(&mut self, _: Id, primitive: Primitive, operands: [Id; 3], values: &[Wide]) -> Wide {
        let (row, operands) = (primitive.row(), operands.map(|id| values[id.index()]));
        let of = operands.map(|operand| operand.value);
        let value = (row.f64)(of);
        let passed = operands.iter().take(primitive.arity()).zip((row.wide.rates)(of, value));
        // An exact operand adds nothing, whatever the rate. An operand that is not taken adds nothing, whatever its
        // error.
        let passed = passed.filter(|(operand, rate)| operand.error != 0.0 && *rate != 0.0);
        let passed: f64 = passed.map(|(operand, rate)| operand.error * rate).sum();
        let rounding = if row.wide.rounds { value.abs() * f64::EPSILON } else { 0.0 };
        Wide { value, error: passed + rounding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blocks::{
            Builder,
            Primitive::{Add, Floor, Lt, Select, Sqrt, Sub},
        },
        dtype::DType,
    };

    /// A result that is exact in f32 is exact in f64. Any other is rounded at a later place.
    #[test]
    fn building_blocks_are_those_of_f32_rounded_later() {
        let mut rng = fastrand::Rng::with_seed(3);
        // Log-uniform magnitudes, either sign.
        let mut draw = || (rng.f32() * 20.0 - 6.0).exp2() * if rng.bool() { 1.0 } else { -1.0 };
        for _ in 0..100_000 {
            let operands = [draw(), draw(), draw()];
            // What passes a gradient as it is counts as the identity.
            let is_identity = |p: &&Primitive| matches!(p, Primitive::QuantizeToF16 | Primitive::HighPart);
            for primitive in Primitive::ALL.iter().filter(|p| !is_identity(p)) {
                let narrow = f64::from(primitive.compute(DType::F32, operands));
                let wide = (primitive.row().f64)(operands.map(f64::from));
                let near = (wide - narrow).abs() <= f64::from(f32::EPSILON) * narrow.abs();
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

    /// A decision in a branch that is not taken does not count, and all NaNs decide alike.
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

    /// The error is that of the cancellation, not of the result.
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
