//! The graph of an expression. Each node is there once, after its operands.

use std::{collections::HashMap, sync::Arc};

use crate::{
    blocks::{Builder, Id, Primitive, Type},
    error::Error,
    numeric::canonical,
};

/// The maximum number of nodes of an op, gradients included.
pub(crate) const MAX_NODES: usize = 16384;

/// A node of a graph. Equal nodes are one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// An input. The upstream gradient follows the inputs.
    Read(usize),
    /// The bits of an f32.
    Number(u32),
    /// A constant truth value.
    Truth(bool),
    /// A building block. The first node fills the places of operands that the block does not have.
    Apply(Primitive, [Id; 3]),
    /// The value of an op with hand-written gradients: the number of its call, and the value.
    Written(usize, Id),
}

/// A call of an op whose gradients do not follow from its value.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) op: Arc<Function>,
    pub(crate) arguments: Vec<Id>,
}

/// A graph with inputs, a result, the gradients with respect to the inputs, and further results. The gradient of the
/// result is the last read.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) graph: Graph,
    pub(crate) inputs: usize,
    pub(crate) z: Id,
    pub(crate) gradients: Vec<Id>,
    /// Further results, with their names.
    pub(crate) further: Vec<(String, Id)>,
    /// For each input, whether its gradient is hand-written, not derived.
    pub(crate) written: Vec<bool>,
    /// For each input, whether its gradient is hand-written or comes through a hand-written one.
    pub(crate) stand_ins: Vec<bool>,
}

impl Function {
    /// All results, in the order of an op's outputs.
    pub(crate) fn results(&self) -> impl Iterator<Item = Id> {
        let further = self.further.iter().map(|(_, id)| *id);
        std::iter::once(self.z).chain(self.gradients.iter().copied()).chain(further)
    }
}

/// Nodes, each after its operands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, Id>,
    pub(super) calls: Vec<Call>,
    /// The maximum number of nodes.
    most: usize,
    /// The first failure. Nodes made after it mean nothing.
    failed: Option<Failure>,
}

/// Why a graph cannot be built.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// There are more than [`MAX_NODES`].
    TooLarge,
    /// An op was called with the wrong number of arguments.
    Arity { op: String, got: usize, need: usize },
    /// The op that was called cannot be called.
    Other(Error),
}

impl Graph {
    /// A graph that reads `reads` operands.
    pub(crate) fn new(reads: usize) -> Self {
        let mut graph = Self { most: MAX_NODES, ..Self::default() };
        for read in 0..reads {
            graph.push(Node::Read(read));
        }
        graph
    }

    /// A graph with room for more nodes than an op may have.
    pub(crate) fn roomy() -> Self {
        Self { most: u16::MAX.into(), ..Self::default() }
    }

    pub(crate) fn node(&self, id: Id) -> Node {
        self.nodes[id.index()]
    }

    /// All nodes, operands first.
    pub(crate) fn nodes(&self) -> impl DoubleEndedIterator<Item = (Id, Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, node)| (Id::new(i), *node))
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn call(&self, call: usize) -> &Call {
        &self.calls[call]
    }

    /// The operands of a node.
    pub(crate) fn operands(&self, id: Id) -> impl Iterator<Item = Id> + use<> {
        let (operands, count) = match self.node(id) {
            Node::Apply(primitive, operands) => (operands, primitive.arity()),
            Node::Written(_, value) => ([value; 3], 1),
            _ => ([id; 3], 0),
        };
        operands.into_iter().take(count)
    }

    /// For each node, whether a result depends on it. The results themselves count.
    pub(crate) fn used(&self, results: impl IntoIterator<Item = Id>) -> Vec<bool> {
        self.reached(results, |_, _| {})
    }

    /// [`used`](Graph::used), with the arguments of calls with hand-written gradients. The value may be independent
    /// of them.
    pub(super) fn used_with_calls(&self, results: impl IntoIterator<Item = Id>) -> Vec<bool> {
        self.reached(results, |node, used| {
            if let Node::Written(call, _) = node {
                self.calls[call].arguments.iter().for_each(|id| used[id.index()] = true);
            }
        })
    }

    fn reached(&self, results: impl IntoIterator<Item = Id>, and: impl Fn(Node, &mut [bool])) -> Vec<bool> {
        let mut used = vec![false; self.len()];
        for id in results {
            used[id.index()] = true;
        }
        for (id, node) in self.nodes().rev() {
            if used[id.index()] {
                self.operands(id).for_each(|operand| used[operand.index()] = true);
                and(node, &mut used);
            }
        }
        used
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
    }

    /// The first failure, as an error.
    pub(crate) fn check(&self, op: &str) -> Result<(), Error> {
        let op = op.to_owned();
        match &self.failed {
            None => Ok(()),
            Some(Failure::TooLarge) => {
                Err(Error::TooLarge { op, what: "nodes or more", got: MAX_NODES + 1, most: MAX_NODES })
            }
            Some(Failure::Arity { op: called, got, need }) => {
                Err(Error::Arity { op: called.clone(), what: "arguments", got: *got, need: *need })
            }
            Some(Failure::Other(error)) => Err(error.clone()),
        }
    }

    /// The node, added if it is new.
    pub(super) fn push(&mut self, node: Node) -> Id {
        if let Some(id) = self.known.get(&node) {
            return *id;
        }
        if self.nodes.len() >= self.most {
            self.fail(Failure::TooLarge);
            // Any node will do: a failed graph is not used.
            return Id::FIRST;
        }
        let id = Id::new(self.nodes.len());
        self.nodes.push(node);
        self.known.insert(node, id);
        id
    }

    /// The number of a node, if the graph has it.
    pub(crate) fn find(&self, node: Node) -> Option<Id> {
        self.known.get(&node).copied()
    }

    pub(crate) fn read(&mut self, read: usize) -> Id {
        self.push(Node::Read(read))
    }

    pub(crate) fn truth(&mut self, value: bool) -> Id {
        self.push(Node::Truth(value))
    }

    /// Whether a node's NaN is the canonical one. Blocks that copy keep the bits of another.
    fn is_computed(&self, id: Id) -> bool {
        use Primitive::{Guard, RoundToStorage, Select};
        matches!(self.node(id), Node::Apply(primitive, _) if !matches!(primitive, Guard | RoundToStorage | Select))
    }

    /// A simpler node, if there is one with the same bits on every device.
    fn folded(&mut self, primitive: Primitive, operands: &[Id]) -> Option<Id> {
        use Primitive::{Add, And, Neg, Not, Or, Select, Sub};
        let nodes: Vec<Node> = operands.iter().map(|id| self.node(*id)).collect();
        match (primitive, &nodes[..]) {
            (Not, [Node::Truth(value)]) => return Some(self.truth(!value)),
            (Not, [Node::Apply(Not, [inner, ..])]) => return Some(*inner),
            (And, [Node::Truth(true), _]) | (Or, [Node::Truth(false), _]) => return Some(operands[1]),
            (And, [_, Node::Truth(true)]) | (Or, [_, Node::Truth(false)]) => return Some(operands[0]),
            (And, [Node::Truth(false), _] | [_, Node::Truth(false)]) => return Some(self.truth(false)),
            (Or, [Node::Truth(true), _] | [_, Node::Truth(true)]) => return Some(self.truth(true)),
            (And | Or, _) if operands[0] == operands[1] => return Some(operands[0]),
            (Select, _) if operands[1] == operands[2] => return Some(operands[1]),
            (Select, [Node::Truth(value), ..]) => return Some(operands[if *value { 1 } else { 2 }]),
            (Select, [Node::Apply(Not, [inner, ..]), ..]) => {
                return Some(self.apply(Select, &[*inner, operands[2], operands[1]]));
            }
            (Neg, [Node::Apply(Neg, [inner, ..])]) if self.is_computed(*inner) => return Some(*inner),
            (Add, [_, Node::Apply(Neg, [b, ..])]) => return Some(self.apply(Sub, &[operands[0], *b])),
            (Add, [Node::Apply(Neg, [a, ..]), _]) => return Some(self.apply(Sub, &[operands[1], *a])),
            (Sub, [_, Node::Apply(Neg, [b, ..])]) => return Some(self.apply(Add, &[operands[0], *b])),
            _ => {}
        }
        let mut values = [0.0; 3];
        for (value, node) in values.iter_mut().zip(&nodes) {
            let Node::Number(bits) = node else { return None };
            *value = f32::from_bits(*bits);
        }
        let value = primitive.row().folded(values)?;
        Some(match primitive.row().gives {
            Type::Number => self.number(value),
            Type::Truth => self.truth(value != 0.0),
        })
    }
}

impl Builder for Graph {
    fn apply(&mut self, primitive: Primitive, operands: &[Id]) -> Id {
        if let Some(id) = self.folded(primitive, operands) {
            return id;
        }
        let mut all = [Id::FIRST; 3];
        all[..operands.len()].copy_from_slice(operands);
        self.push(Node::Apply(primitive, all))
    }

    /// Every NaN becomes the canonical one.
    fn number(&mut self, value: f32) -> Id {
        self.push(Node::Number(canonical(value).to_bits()))
    }

    fn constant(&self, id: Id) -> Option<f32> {
        match self.node(id) {
            Node::Number(bits) => Some(f32::from_bits(bits)),
            _ => None,
        }
    }
}
