//! The one loop over the nodes of a graph that computes them, in whatever they are computed: f32, f64, intervals, text, or
//! the nodes of another graph.

use smallvec::SmallVec;

use super::graph::{Graph, Node};
use crate::blocks::{Id, Primitive};

/// What nodes are computed in.
pub(crate) trait Algebra {
    /// What stands for a node. That of a node which is not used is the default.
    type Value: Clone + Default;

    fn read(&mut self, read: usize) -> Self::Value;

    fn number(&mut self, value: f32) -> Self::Value;

    /// A constant truth value: 1 or 0, unless it is told otherwise.
    fn truth(&mut self, value: bool) -> Self::Value {
        self.number(f32::from(value))
    }

    /// A building block of nodes, whose values are there.
    fn apply(
        &mut self,
        id: Id,
        primitive: Primitive,
        operands: [Id; 3],
        values: &[Self::Value],
    ) -> Self::Value;

    /// The value of an op whose gradients are written: that value, unless it is told otherwise.
    fn written(&mut self, _call: usize, value: Id, values: &[Self::Value]) -> Self::Value {
        values[value.index()].clone()
    }
}

/// What stands for each node, by its number.
pub(crate) type Values<T> = SmallVec<[T; 64]>;

impl Graph {
    /// The nodes that are used, operands first.
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
