//! Rounding to the storage type that can be left out.

use super::{
    graph::{Graph, Id, Node},
    primitive::Primitive,
};
use crate::DType;

/// Of a comparison of a rounded number with a constant, the number before it is rounded, and the constant.
pub(super) fn rounded_comparison(
    graph: &Graph,
    primitive: Primitive,
    [a, b, _]: [Id; 3],
) -> Option<(Id, f32)> {
    let (Primitive::Lt | Primitive::Le) = primitive else { return None };
    match (graph.node(a), graph.node(b)) {
        (Node::Apply(Primitive::RoundToStorage, [value, ..]), Node::Number(bits)) => {
            Some((value, f32::from_bits(bits)))
        }
        _ => None,
    }
}

/// The largest number that, rounded, compares so with a constant, as all that are less do; `None` where none does.
pub(super) fn most(primitive: Primitive, storage: DType, constant: f32) -> Option<f32> {
    let holds = |v: f32| {
        let rounded = storage.widen(storage.round(v));
        if primitive == Primitive::Lt { rounded < constant } else { rounded <= constant }
    };
    // Numbers in order: the negative ones' bits count down.
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

/// A result before it is rounded to the storage type, as it will be when it is stored.
pub(super) enum Unrounded {
    /// A node.
    Value(Id),
    /// A choice that is not there yet.
    Select([Id; 3]),
}

/// What can be stored in place of a result.
pub(super) fn unrounded(graph: &Graph, id: Id) -> Unrounded {
    let value = |id: Id| match graph.node(id) {
        Node::Apply(Primitive::RoundToStorage, [value, ..]) => value,
        _ => id,
    };
    match graph.node(id) {
        Node::Apply(Primitive::Select, branches @ [condition, accept, reject]) => {
            let unrounded = [condition, value(accept), value(reject)];
            if unrounded == branches { Unrounded::Value(id) } else { Unrounded::Select(unrounded) }
        }
        _ => Unrounded::Value(value(id)),
    }
}
