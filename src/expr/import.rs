//! Copies a graph into another.

use std::sync::Arc;

use super::{
    graph::{Call, Function, Graph, Node},
    walk::Algebra,
};
use crate::blocks::{Builder, Id, Primitive};

impl Graph {
    /// The value of an op at arguments. Hand-written gradients go with it.
    pub(crate) fn inline(&mut self, op: &Arc<Function>, arguments: &[Id]) -> Id {
        let value = self.import(op, arguments, op.z);
        if !op.written.contains(&true) {
            return value;
        }
        self.called(Call { op: op.clone(), arguments: arguments.to_vec() }, value)
    }

    /// The value of a call with hand-written gradients.
    pub(super) fn called(&mut self, call: Call, value: Id) -> Id {
        self.calls.push(call);
        self.push(Node::Written(self.calls.len() - 1, value))
    }

    /// A node of another graph, with `arguments` in place of that graph's reads.
    pub(crate) fn import(&mut self, from: &Function, arguments: &[Id], result: Id) -> Id {
        let used = from.graph.used_with_calls([result]);
        let values = from.graph.evaluate(&used, &mut Import { from: &from.graph, to: self, arguments });
        values[result.index()]
    }
}

impl Function {
    /// The same function without hand-written calls, whose gradients have been derived, in a graph without a limit.
    /// Idioms are recognised in it, and they may add nodes.
    pub(crate) fn plain(&self) -> Self {
        let mut plain = Plain(Graph::roomy());
        let here = self.graph.evaluate(&self.graph.used(self.results()), &mut plain);
        let at = |id: &Id| here[id.index()];
        Self {
            graph: plain.0,
            inputs: self.inputs,
            z: at(&self.z),
            gradients: self.gradients.iter().map(at).collect(),
            further: self.further.iter().map(|(name, id)| (name.clone(), at(id))).collect(),
            written: self.written.clone(),
            stand_ins: self.stand_ins.clone(),
        }
    }
}

/// Copies the nodes of a graph without its hand-written calls.
struct Plain(Graph);

impl Algebra for Plain {
    type Value = Id;

    fn read(&mut self, read: usize) -> Id {
        self.0.read(read)
    }

    fn number(&mut self, value: f32) -> Id {
        self.0.number(value)
    }

    fn truth(&mut self, value: bool) -> Id {
        self.0.truth(value)
    }

    fn apply(&mut self, _: Id, primitive: Primitive, operands: [Id; 3], values: &[Id]) -> Id {
        self.0.apply(primitive, &operands.map(|id| values[id.index()])[..primitive.arity()])
    }
}

/// Copies the nodes of one graph into another.
struct Import<'a> {
    from: &'a Graph,
    to: &'a mut Graph,
    arguments: &'a [Id],
}

impl Algebra for Import<'_> {
    type Value = Id;

    fn read(&mut self, read: usize) -> Id {
        self.arguments.get(read).copied().unwrap_or_default()
    }

    fn number(&mut self, value: f32) -> Id {
        self.to.push(Node::Number(value.to_bits()))
    }

    fn truth(&mut self, value: bool) -> Id {
        self.to.truth(value)
    }

    fn apply(&mut self, _: Id, primitive: Primitive, operands: [Id; 3], values: &[Id]) -> Id {
        self.to.apply(primitive, &operands.map(|id| values[id.index()])[..primitive.arity()])
    }

    fn written(&mut self, call: usize, value: Id, values: &[Id]) -> Id {
        let Call { op, arguments } = self.from.call(call);
        let arguments = arguments.iter().map(|id| values[id.index()]).collect();
        self.to.called(Call { op: op.clone(), arguments }, values[value.index()])
    }
}
