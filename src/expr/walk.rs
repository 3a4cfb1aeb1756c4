//! The one loop that evaluates the nodes of a graph. The values may be f32, f64, intervals, text, or nodes of another
//! graph.

use smallvec::SmallVec;

use super::graph::{Graph, Node};
use crate::blocks::{Id, Primitive};

/// The kind of value in which nodes are evaluated.
pub(crate) trait Algebra {
    /// The value of a node. A node that is not used has the default value.
    type Value: Clone + Default;

    fn read(&mut self, read: usize) -> Self::Value;

    fn number(&mut self, value: f32) -> Self::Value;

    /// A constant truth value. By default, the number 1 or 0.
    fn truth(&mut self, value: bool) -> Self::Value {
        self.number(f32::from(value))
    }

    /// A building block. The values of its operands are already in `values`.
    fn apply(
        &mut self,
        id: Id,
        primitive: Primitive,
        operands: [Id; 3],
        values: &[Self::Value],
    ) -> Self::Value;

    /// The value of an op with hand-written gradients. By default, the value itself.
    fn written(&mut self, _call: usize, value: Id, values: &[Self::Value]) -> Self::Value {
        values[value.index()].clone()
    }
}

/// The value of each node, by its number.
pub(crate) type Values<T> = SmallVec<[T; 64]>;

impl Graph {
    /// Evaluates the used nodes, operands first.
    pub(crate) fn evaluate<A: Algebra>(&self, used: &[bool], algebra: &mut A) -> Values<A::Value> {
        let mut values: Values<A::Value> = SmallVec::with_capacity(self.len());
        for ((id, node), used) in self.nodes().zip(used) {
            let value = match node {
                _ if !used => A::Value::default(),
                Node::Read(read) => algebra.read(read),
                Node::Number(bits) => algebra.number(f32::from_bits(bits)),
                Node::Truth(value) => algebra.truth(value),
                Node::Apply(primitive, operands) => algebra.apply(id, primitive, operands, &values),
                Node::Written(call, value) => algebra.written(call, value, &values),
            };
            values.push(value);
        }
        values
    }
}
