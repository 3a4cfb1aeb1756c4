//! What people write for a function, and the function that it means: `1 / (1 + e^-x)` is `sigmoid(x)`.
//!
//! As written, such an expression overflows or cancels where the function does not, and its gradient is worse. So native
//! arithmetic takes the function, before gradients are derived. Exact arithmetic keeps the expression.
//!
//! | written | means |
//! |---|---|
//! | `1 / (1 + e^-x)`, `e^x / (1 + e^x)`, `a / (1 + e^-x)` | `sigmoid(x)`, `sigmoid(x)`, `a * sigmoid(x)` |
//! | `log(1 + e^x)`, `log1p(e^x)` | `softplus(x)` |
//! | `e^x - 1`, `1 - e^x` | `expm1(x)`, `-expm1(x)` |
//! | `log(1 + x)` | `log1p(x)` |
//! | `(e^x - e^-x) / (e^x + e^-x)`, `(e^2x - 1) / (e^2x + 1)`, `2 / (1 + e^-2x) - 1`, `1 - 2 / (e^2x + 1)` | `tanh(x)` |
//! | `sqrt(x * x + y * y)`, `sqrt(pow(x, 2) + pow(y, 2))` | `hypot(x, y)` |
//!
//! The operands of `+` and `*` may be in either order.

use std::sync::Arc;

use super::{
    Arithmetic,
    derive::function,
    graph::{Call, Function, Graph, Node},
    walk::Algebra,
};
use crate::blocks::{
    Builder, Id,
    Primitive::{
        self, Add, Div, Exp, Expm1, Hypot, Log, Log1p, Mul, Neg, Pow, Sigmoid, Softplus, Sqrt, Sub, Tanh,
    },
};

impl Function {
    /// What the function means in an arithmetic.
    pub(crate) fn in_arithmetic(self: &Arc<Self>, arithmetic: Arithmetic) -> Arc<Self> {
        match arithmetic {
            Arithmetic::Native => self.meant(),
            Arithmetic::Exact => self.clone(),
        }
    }

    /// The function with what is written replaced by what it means. The gradients that were derived are derived again.
    fn meant(self: &Arc<Self>) -> Arc<Self> {
        let written = self.gradients.iter().zip(&self.written).map(|(id, written)| written.then_some(*id));
        let written: Vec<Option<Id>> = written.collect();
        let further = self.further.iter().map(|(_, id)| *id);
        let used = self
            .graph
            .used_with_calls([self.z].into_iter().chain(written.iter().flatten().copied()).chain(further));
        let mut meaning = Meaning { from: &self.graph, to: Graph::new(self.inputs + 1), is_other: false };
        let here = self.graph.evaluate(&used, &mut meaning);
        if !meaning.is_other {
            return self.clone();
        }
        let at = |id: Id| here[id.index()];
        let mut meant = function(meaning.to, self.inputs, at(self.z));
        meant.further = self.further.iter().map(|(name, id)| (name.clone(), at(*id))).collect();
        for (input, id) in written.iter().enumerate() {
            if let Some(id) = id {
                meant.gradients[input] = at(*id);
                meant.written[input] = true;
                meant.stand_ins[input] = true;
            }
        }
        meant.into()
    }
}

/// Copies a graph, node by node.
struct Meaning<'g> {
    from: &'g Graph,
    to: Graph,
    /// Whether anything meant something else.
    is_other: bool,
}

impl Algebra for Meaning<'_> {
    type Value = Id;

    fn read(&mut self, read: usize) -> Id {
        self.to.read(read)
    }

    fn number(&mut self, value: f32) -> Id {
        self.to.number(value)
    }

    fn truth(&mut self, value: bool) -> Id {
        self.to.truth(value)
    }

    fn apply(&mut self, _: Id, primitive: Primitive, operands: [Id; 3], values: &[Id]) -> Id {
        let operands = &operands.map(|id| values[id.index()])[..primitive.arity()];
        match self.meant(primitive, operands) {
            Some(id) => {
                self.is_other = true;
                id
            }
            None => self.to.apply(primitive, operands),
        }
    }

    fn written(&mut self, call: usize, value: Id, values: &[Id]) -> Id {
        let Call { op, arguments } = self.from.call(call);
        let meant = op.meant();
        self.is_other |= !Arc::ptr_eq(&meant, op);
        let arguments = arguments.iter().map(|id| values[id.index()]).collect();
        self.to.called(Call { op: meant, arguments }, values[value.index()])
    }
}

impl Meaning<'_> {
    /// What a block of operands, which are already what they mean, stands for.
    fn meant(&mut self, primitive: Primitive, operands: &[Id]) -> Option<Id> {
        match (primitive, operands) {
            (Div, [a, b]) => self.quotient(*a, *b),
            (Log, [a]) => match self.less_1(*a)? {
                rest if self.of(Exp, rest).is_some() => self.meant(Log1p, &[rest]),
                rest if self.to.constant(rest).is_some() => None,
                rest => Some(self.to.apply(Log1p, &[rest])),
            },
            (Log1p, [a]) => self.of(Exp, *a).map(|x| self.to.apply(Softplus, &[x])),
            (Sub, [a, b]) if self.is(*b, 1.0) => self.less(*a),
            (Sub, [a, b]) if self.is(*a, 1.0) => self.less(*b).map(|less| self.negated(less)),
            (Add, [a, b]) if self.is(*b, -1.0) => self.less(*a),
            (Add, [a, b]) if self.is(*a, -1.0) => self.less(*b),
            (Sqrt, [a]) => {
                let Node::Apply(Add, [a, b, _]) = self.to.node(*a) else { return None };
                let sides = [self.square_root(a)?, self.square_root(b)?];
                Some(self.to.apply(Hypot, &sides))
            }
            _ => None,
        }
    }

    /// A quotient by `1 + e^x` or by `e^x + e^-x`.
    fn quotient(&mut self, a: Id, b: Id) -> Option<Id> {
        let Some(x) = self.less_1(b).and_then(|rest| self.of(Exp, rest)) else {
            return self.tanh_of_powers(a, b);
        };
        if self.of(Exp, a) == Some(x) {
            return Some(self.to.apply(Sigmoid, &[x]));
        }
        if self.of(Expm1, a) == Some(x) {
            return Some(self.tanh_of_half(x));
        }
        let negated = self.negated(x);
        if self.of(Neg, a).and_then(|a| self.of(Expm1, a)) == Some(x) {
            return Some(self.tanh_of_half(negated));
        }
        let sigmoid = self.to.apply(Sigmoid, &[negated]);
        Some(if self.is(a, 1.0) { sigmoid } else { self.to.apply(Mul, &[a, sigmoid]) })
    }

    /// `(e^x - e^-x) / (e^x + e^-x)`.
    fn tanh_of_powers(&mut self, a: Id, b: Id) -> Option<Id> {
        let (Node::Apply(Sub, [p, q, _]), Node::Apply(Add, [r, s, _])) = (self.to.node(a), self.to.node(b))
        else {
            return None;
        };
        let (x, other) = (self.of(Exp, p)?, self.of(Exp, q)?);
        let is_same = [p, q] == [r, s] || [p, q] == [s, r];
        (is_same && self.negated(x) == other).then(|| self.to.apply(Tanh, &[x]))
    }

    /// `a - 1`, of `e^x` or of `2 sigmoid(x)`.
    fn less(&mut self, a: Id) -> Option<Id> {
        if let Some(x) = self.of(Exp, a) {
            return Some(self.to.apply(Expm1, &[x]));
        }
        let (factor, sigmoid) = self.scaled(a)?;
        let x = self.of(Sigmoid, sigmoid)?;
        (factor == 2.0).then(|| self.tanh_of_half(x))
    }

    /// `tanh(x / 2)`.
    fn tanh_of_half(&mut self, x: Id) -> Id {
        let half = match (self.scaled(x), self.to.node(x)) {
            (Some((2.0, x)), _) => x,
            (Some((-2.0, x)), _) => self.negated(x),
            (_, Node::Apply(Add, [a, b, _])) if a == b => a,
            (_, Node::Apply(Neg, [x, ..])) => {
                let tanh = self.tanh_of_half(x);
                return self.negated(tanh);
            }
            _ => {
                let half = self.to.number(0.5);
                self.to.apply(Mul, &[half, x])
            }
        };
        self.to.apply(Tanh, &[half])
    }

    /// `-x`, without a second sign.
    fn negated(&mut self, x: Id) -> Id {
        match (self.scaled(x), self.to.node(x)) {
            (_, Node::Apply(Neg, [x, ..])) => x,
            (_, Node::Apply(Sub, [zero, x, _])) if self.is(zero, 0.0) => x,
            (Some((factor, x)), _) => {
                let factor = self.to.number(-factor);
                self.to.apply(Mul, &[factor, x])
            }
            _ => self.to.apply(Neg, &[x]),
        }
    }

    /// The operand of a block of one operand.
    fn of(&self, primitive: Primitive, id: Id) -> Option<Id> {
        match self.to.node(id) {
            Node::Apply(applied, [x, ..]) if applied == primitive => Some(x),
            _ => None,
        }
    }

    fn is(&self, id: Id, value: f32) -> bool {
        self.to.constant(id) == Some(value)
    }

    /// The other term of a sum with 1.
    fn less_1(&self, id: Id) -> Option<Id> {
        match self.to.node(id) {
            Node::Apply(Add, [a, b, _]) if self.is(a, 1.0) => Some(b),
            Node::Apply(Add, [a, b, _]) if self.is(b, 1.0) => Some(a),
            _ => None,
        }
    }

    /// The factors of a product with a constant.
    fn scaled(&self, id: Id) -> Option<(f32, Id)> {
        let Node::Apply(Mul, [a, b, _]) = self.to.node(id) else { return None };
        let [first, second] = [a, b].map(|id| self.to.constant(id));
        first.map(|factor| (factor, b)).or_else(|| second.map(|factor| (factor, a)))
    }

    /// The `x` of `x * x` or `pow(x, 2)`.
    fn square_root(&self, id: Id) -> Option<Id> {
        match self.to.node(id) {
            Node::Apply(Mul, [a, b, _]) if a == b => Some(a),
            Node::Apply(Pow, [a, two, _]) if self.is(two, 2.0) => Some(a),
            _ => None,
        }
    }
}
