//! Derivatives from the slopes of the building blocks: reverse mode for gradients, forward mode for tangents.

use std::sync::Arc;

use super::graph::{Function, Graph, Node};
use crate::blocks::{
    Applied, Builder, Id,
    Primitive::{Add, And, Not, Or, Select},
};

/// A gradient in progress. Its value counts only where it is active, so a branch that is not taken does not spread,
/// even if it is NaN.
#[derive(Clone, Copy)]
struct Adjoint {
    value: Id,
    /// The condition under which the value counts. `None` means everywhere.
    active: Option<Id>,
    /// Whether it comes through a hand-written gradient.
    written: bool,
}

/// `z` with its gradients with respect to the reads `0..inputs`. The read after them is the upstream gradient.
pub(crate) fn function(mut graph: Graph, inputs: usize, z: Id) -> Function {
    let adjoints = adjoints(&mut graph, z, inputs);
    let stand_ins = adjoints.iter().map(|adjoint| adjoint.is_some_and(|adjoint| adjoint.written)).collect();
    let gradients = adjoints.into_iter().map(|adjoint| settled(&mut graph, adjoint)).collect();
    Function { graph, inputs, z, gradients, further: Vec::new(), written: vec![false; inputs], stand_ins }
}

/// The gradients of `z` that arrive at the reads `0..inputs`.
fn adjoints(graph: &mut Graph, z: Id, inputs: usize) -> Vec<Option<Adjoint>> {
    let varies = varying(graph, z, |read| read < inputs);
    let mut adjoints: Vec<Option<Adjoint>> = vec![None; z.index() + 1];
    adjoints[z.index()] = Some(Adjoint { value: graph.read(inputs), active: None, written: false });
    let mut gradients = vec![None; inputs];
    let nodes: Vec<_> = graph.nodes().take(z.index() + 1).collect();
    for (id, node) in nodes.into_iter().rev() {
        let Some(adjoint) = adjoints[id.index()] else { continue };
        if let Node::Read(read) = node {
            if read < inputs {
                gradients[read] = Some(adjoint);
            }
            continue;
        }
        for (operand, place) in operands(graph, id) {
            if !varies[operand.index()] {
                continue;
            }
            let Some(passed) = partial(graph, id, place, adjoint.value) else { continue };
            let active = both(graph, adjoint.active, passed.active);
            let passed = Adjoint { active, written: adjoint.written || passed.written, ..passed };
            let sum = &mut adjoints[operand.index()];
            *sum = Some(sum.map_or(passed, |before| add(graph, before, passed)));
        }
    }
    gradients
}

/// The tangent of `z`, given the tangent of each of the reads `0..tangents.len()`.
pub(crate) fn tangent(graph: &mut Graph, z: Id, tangents: &[Id]) -> Id {
    let varies = varying(graph, z, |read| read < tangents.len());
    let mut all: Vec<Option<Id>> = vec![None; z.index() + 1];
    let nodes: Vec<_> = graph.nodes().take(z.index() + 1).collect();
    for (id, node) in nodes {
        if let Node::Read(read) = node {
            all[id.index()] = tangents.get(read).copied();
        } else if varies[id.index()] {
            let mut sum: Option<Adjoint> = None;
            for (operand, place) in operands(graph, id) {
                let Some(tangent) = all[operand.index()] else { continue };
                // A slope is linear in the gradient that it passes, and passes a tangent in the other direction.
                let Some(passed) = partial(graph, id, place, tangent) else { continue };
                sum = Some(sum.map_or(passed, |before| add(graph, before, passed)));
            }
            all[id.index()] = sum.map(|sum| settled(graph, Some(sum)));
        }
    }
    let zero = graph.number(0.0);
    all[z.index()].unwrap_or(zero)
}

/// For each node up to `z`, whether it depends on the reads.
fn varying(graph: &Graph, z: Id, reads: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut varies = vec![false; z.index() + 1];
    for (id, node) in graph.nodes().take(z.index() + 1) {
        varies[id.index()] = match node {
            Node::Read(read) => reads(read),
            _ => operands(graph, id).iter().any(|(operand, _)| varies[operand.index()]),
        };
    }
    varies
}

/// The nodes to which a gradient passes, and the place of each. For an op with hand-written gradients, they are its
/// arguments.
fn operands(graph: &Graph, id: Id) -> Vec<(Id, usize)> {
    match graph.node(id) {
        Node::Written(call, _) => graph.call(call).arguments.iter().copied().zip(0..).collect(),
        _ => graph.operands(id).zip(0..).collect(),
    }
}

/// The part of a node's gradient `g` that passes to the operand at a place.
fn partial(graph: &mut Graph, id: Id, place: usize, g: Id) -> Option<Adjoint> {
    match graph.node(id) {
        Node::Apply(primitive, operands) => {
            let passed = (primitive.row().slope)(graph, Applied { operands, z: id, g }, place)?;
            Some(Adjoint { value: passed.value, active: passed.active, written: false })
        }
        Node::Written(call, _) => {
            let call = graph.call(call).clone();
            let arguments: Vec<Id> = call.arguments.iter().copied().chain([g]).collect();
            let value = graph.import(&call.op, &arguments, call.op.gradients[place]);
            Some(Adjoint { value, active: None, written: call.op.stand_ins[place] })
        }
        _ => None,
    }
}

/// The sum of the gradients that arrive over two paths.
fn add(graph: &mut Graph, a: Adjoint, b: Adjoint) -> Adjoint {
    let written = a.written || b.written;
    if a.active == b.active {
        return Adjoint { value: graph.apply(Add, &[a.value, b.value]), written, ..a };
    }
    if let (Some(c), Some(d)) = (a.active, b.active)
        && let Some((condition, active)) = alternatives(graph, c, d)
    {
        // Two branches of one condition: the gradient of the branch taken, not a sum.
        return Adjoint { value: graph.apply(Select, &[condition, a.value, b.value]), active, written };
    }
    let active = a.active.zip(b.active).map(|(c, d)| graph.apply(Or, &[c, d]));
    let terms = [a, b].map(|adjoint| gated(graph, adjoint));
    Adjoint { value: graph.apply(Add, &terms), active, written }
}

/// If `c` is `p & q` and `d` is `p & !q`: `q`, and the common condition `p`, if there is one.
fn alternatives(graph: &mut Graph, c: Id, d: Id) -> Option<(Id, Option<Id>)> {
    let not_d = graph.apply(Not, &[d]);
    if c == not_d {
        return Some((c, None));
    }
    let (Node::Apply(And, [p, q, _]), Node::Apply(And, [r, s, _])) = (graph.node(c), graph.node(d)) else {
        return None;
    };
    let not_s = graph.apply(Not, &[s]);
    (p == r && q == not_s).then_some((q, Some(p)))
}

fn both(graph: &mut Graph, a: Option<Id>, b: Option<Id>) -> Option<Id> {
    match (a, b) {
        (Some(a), Some(b)) => Some(graph.apply(And, &[a, b])),
        _ => a.or(b),
    }
}

/// The value where the gradient is active, else +0.
fn gated(graph: &mut Graph, adjoint: Adjoint) -> Id {
    let zero = graph.number(0.0);
    adjoint.active.map_or(adjoint.value, |active| graph.apply(Select, &[active, adjoint.value, zero]))
}

fn settled(graph: &mut Graph, adjoint: Option<Adjoint>) -> Id {
    match adjoint {
        Some(adjoint) => gated(graph, adjoint),
        None => graph.number(0.0),
    }
}

/// The gradient of `op` with respect to an input, as a function of the inputs and of `op`'s upstream gradient.
pub(crate) fn derivative(op: &Function, input: usize) -> Function {
    let reads = op.inputs + 1;
    let mut graph = Graph::new(reads + 1);
    let arguments: Vec<Id> = (0..reads).map(|read| graph.read(read)).collect();
    let z = graph.import(op, &arguments, op.gradients[input]);
    function(graph, reads, z)
}

/// The directional derivative of `op`, as a function of the inputs and one tangent for each.
pub(crate) fn directional(op: &Arc<Function>) -> Function {
    let inputs = op.inputs;
    let mut graph = Graph::new(2 * inputs + 1);
    let reads: Vec<Id> = (0..2 * inputs).map(|read| graph.read(read)).collect();
    let value = graph.inline(op, &reads[..inputs]);
    let z = tangent(&mut graph, value, &reads[inputs..]);
    function(graph, 2 * inputs, z)
}
