//! Idioms, which are groups of blocks with a meaning of their own: a cut by a fraction (`spiky`), a division whose
//! remainder and quotient belong together (`mod`), and the gradient that a remainder passes to its divisor. They are
//! found once, here, for the kernels and for the CPU path, so neither back end misses what the other finds.

use crate::{
    blocks::{Builder, Id, Primitive},
    dtype::DType,
    expr::graph::{Function, Graph, Node},
};

/// A node that means more than its block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Idiom {
    /// `floor_mod(x, 1)`.
    Fraction(Id),
    /// A comparison of a value with a constant.
    AtMost(AtMost),
    /// `y` where a value is at most a constant, else another constant.
    Cut { at_most: AtMost, y: Id, other: f32 },
    /// `g * -floor_quotient(x, y)`: the gradient that `floor_mod` passes to its divisor.
    Rate { g: Id, x: Id, y: Id },
}

/// `value <= most`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AtMost {
    /// The compared value, before it is rounded to the storage type.
    pub(crate) value: Id,
    /// The `x`, if the value is `floor_mod(x, 1)`.
    pub(crate) fraction_of: Option<Id>,
    /// The constant, which accounts for the rounding too.
    pub(crate) most: Limits,
    /// Whether the value is rounded before it is compared.
    pub(crate) rounded: bool,
}

/// A number for each storage type. `None` if the comparison never holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits([Option<f32>; DType::ALL.len()]);

impl Limits {
    /// `rounded(value) < constant`, or `<=`, as `value <= limit`.
    pub(crate) fn of(comparison: Primitive, constant: f32) -> Self {
        Self(DType::EACH.map(|storage| most(comparison, storage, constant)))
    }

    pub(crate) fn get(self, storage: DType) -> Option<f32> {
        self.0[storage as usize]
    }

    /// All limits, if every type has one.
    pub(crate) fn all(self) -> Option<[f32; DType::ALL.len()]> {
        let [a, b, c] = self.0;
        Some([a?, b?, c?])
    }
}

/// The idiom of a node, if it has one.
pub(crate) fn idiom(graph: &Graph, id: Id) -> Option<Idiom> {
    use Primitive::{FloorMod, FloorQuotient, Le, Lt, Mul, Neg, Select};
    let Node::Apply(primitive, [a, b, c]) = graph.node(id) else { return None };
    match primitive {
        FloorMod if graph.constant(b) == Some(1.0) => Some(Idiom::Fraction(a)),
        Lt | Le => at_most(graph, primitive, [a, b]).map(Idiom::AtMost),
        Select => {
            let Some(Idiom::AtMost(at_most)) = idiom(graph, a) else { return None };
            Some(Idiom::Cut { at_most, y: b, other: graph.constant(c)? })
        }
        Mul => {
            let Node::Apply(Neg, [quotient, ..]) = graph.node(b) else { return None };
            let Node::Apply(FloorQuotient, [x, y, _]) = graph.node(quotient) else { return None };
            Some(Idiom::Rate { g: a, x, y })
        }
        _ => None,
    }
}

fn at_most(graph: &Graph, comparison: Primitive, [a, b]: [Id; 2]) -> Option<AtMost> {
    let constant = graph.constant(b)?;
    let (value, rounded) = match graph.node(a) {
        Node::Apply(Primitive::RoundToStorage, [value, ..]) => (value, true),
        _ => (a, false),
    };
    let most = match comparison {
        _ if rounded => Limits::of(comparison, constant),
        Primitive::Le => Limits([Some(constant); DType::ALL.len()]),
        _ => return None,
    };
    let fraction_of = match idiom(graph, value) {
        Some(Idiom::Fraction(x)) => Some(x),
        _ => None,
    };
    Some(AtMost { value, fraction_of, most, rounded })
}

/// The largest number whose rounded value satisfies the comparison with a constant. All smaller numbers satisfy it
/// too. `None` if no number does.
fn most(primitive: Primitive, storage: DType, constant: f32) -> Option<f32> {
    let holds = |v: f32| {
        let rounded = storage.widen(storage.round(v));
        if primitive == Primitive::Lt { rounded < constant } else { rounded <= constant }
    };
    // All numbers in order. The bits of negative numbers count down.
    let number =
        |place: i64| f32::from_bits(if place < 0 { 0x8000_0000 | (-place - 1) as u32 } else { place as u32 });
    let (none, beyond) = (-0x7f80_0002_i64, 0x7f80_0001_i64);
    let (mut low, mut high) = (none, beyond);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if holds(number(middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low > none).then(|| number(low))
}

/// The node to store in place of a result. Storing rounds, so the result need not be rounded before.
pub(crate) fn unrounded(graph: &mut Graph, id: Id) -> Id {
    let value = |graph: &Graph, id: Id| match graph.node(id) {
        Node::Apply(Primitive::RoundToStorage, [value, ..]) => value,
        _ => id,
    };
    match graph.node(id) {
        Node::Apply(Primitive::Select, [condition, accept, reject]) => {
            let branches = [accept, reject].map(|id| value(graph, id));
            graph.apply(Primitive::Select, &[condition, branches[0], branches[1]])
        }
        _ => value(graph, id),
    }
}

/// Whether a division has operands of the storage type and a remainder that is rounded to it in any case. A cheaper
/// division suffices then.
pub(crate) fn is_narrow(graph: &Graph, used: &[bool], function: &Function, [a, b]: [Id; 2]) -> bool {
    let remainder = graph.find(Node::Apply(Primitive::FloorMod, [a, b, Id::FIRST]));
    let rounds = |node: Node| match node {
        Node::Apply(Primitive::RoundToStorage, _) => true,
        Node::Apply(primitive, operands) => {
            !operands[..primitive.arity()].iter().any(|operand| Some(*operand) == remainder)
        }
        _ => true,
    };
    let stored = |id: Id| match graph.node(id) {
        Node::Read(_) => true,
        Node::Number(bits) => {
            let value = f32::from_bits(bits);
            DType::ALL.iter().all(|dtype| dtype.widen(dtype.round(value)).to_bits() == bits)
        }
        _ => false,
    };
    // A remainder that is a gradient may be added to others before it is rounded.
    let is_gradient = remainder.is_some_and(|id| function.gradients.contains(&id));
    stored(a)
        && stored(b)
        && !is_gradient
        && graph.nodes().filter(|(id, _)| used[id.index()]).all(|(_, node)| rounds(node))
}
