//! Plans the program for some outputs of an expression in a storage type: which loop, or which steps over which
//! registers.

use std::sync::{Arc, PoisonError, RwLock};

use smallvec::SmallVec;

use super::{
    idioms::{AtMost, Idiom, idiom, unrounded},
    program::{Both, OPERANDS, Place, Program, Step, Steps, Work},
};
use crate::{
    blocks::{Builder, Id, Primitive},
    cpu::{block::Block, cut::Cut},
    dtype::DType,
    expr::{
        graph::{Graph, Node},
        walk::Algebra,
    },
    signature::outputs::Outputs,
};

/// The programs of an op that calls have needed, by storage type and outputs.
#[derive(Debug, Default)]
pub(crate) struct Programs(RwLock<Vec<Known>>);

type Known = ((DType, Outputs), Arc<Program>);

impl Programs {
    /// Computes a block's outputs. `results` are the nodes of all outputs.
    pub(crate) fn run(&self, graph: &Graph, results: &[Id], storage: DType, block: Block) {
        self.of(graph, results, storage, block.outputs()).run(storage, block);
    }

    /// The program for outputs.
    fn of(&self, graph: &Graph, results: &[Id], storage: DType, outputs: Outputs) -> Arc<Program> {
        let key = (storage, outputs);
        let find =
            |known: &[Known]| known.iter().find(|(of, _)| *of == key).map(|(_, program)| program.clone());
        if let Some(program) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return program;
        }
        let program = Arc::new(program(graph, results, storage, outputs));
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((key, program.clone()));
        program
    }
}

fn program(graph: &Graph, results: &[Id], storage: DType, outputs: Outputs) -> Program {
    let writes: Vec<usize> = outputs.iter().filter(|w| *w < results.len()).collect();
    let wanted: Vec<Id> = writes.iter().map(|w| results[*w]).collect();
    let (mut graph, mut wanted) = specialised(graph, &wanted, storage);
    // Only z is stored as it is. Gradients may first be added to the old values, in f32.
    if let (Some(0), Some(z)) = (writes.first(), wanted.first_mut()) {
        *z = unrounded(&mut graph, *z);
    }
    let all: Vec<(usize, Id)> = writes.iter().copied().zip(wanted.iter().copied()).collect();
    if let Some(whole) = cut(&graph, &all, storage).or_else(|| division(&graph, &all)) {
        return whole;
    }
    let mut planner = Planner::new(&graph, storage, &wanted);
    for (id, node) in graph.nodes() {
        planner.node(id, node);
    }
    let copies = (0..).zip(&wanted).filter(|(w, id)| !planner.sets(**id, *w));
    let copies = copies.map(|(w, id)| (planner.place(*id), w)).collect();
    let Planner { reads, constants, registers, steps, .. } = planner;
    Program::Steps(Steps { reads, writes, copies, constants, registers, in_order: steps })
}

/// Cuts by the fraction of one read: the fraction cut, another read cut, and the mask of what is not cut off.
fn cut(graph: &Graph, wanted: &[(usize, Id)], storage: DType) -> Option<Program> {
    let (mut x, mut most, mut other) = (None, None, None);
    let (mut upstream, mut writes) = (usize::MAX, [None; 3]);
    for (write, id) in wanted {
        let (at_most, place, otherwise) = match idiom(graph, *id)? {
            Idiom::Cut { at_most, y, other } if y == at_most.value => (at_most, 0, Some(other)),
            Idiom::Cut { at_most, y, other } => {
                upstream = read(graph, y)?;
                (at_most, 1, Some(other))
            }
            Idiom::AtMost(at_most) => (at_most, 2, None),
            Idiom::Fraction(_) | Idiom::Rate { .. } => return None,
        };
        // Compared by their bits, since a zero has a sign.
        let same = is_first_or(&mut x, read(graph, at_most.fraction_of?)?)
            && is_first_or(&mut most, at_most.most.get(storage)?.to_bits())
            && otherwise.is_none_or(|value| is_first_or(&mut other, value.to_bits()));
        if !same || writes[place].replace(*write).is_some() {
            return None;
        }
    }
    let cut = Cut { most: f32::from_bits(most?), other: f32::from_bits(other.unwrap_or(0)) };
    Some(Program::Cut(cut, [x?, upstream], writes))
}

/// One division of two reads, the gradient that it passes to the divisor, and at most a copy of the third read.
fn division(graph: &Graph, wanted: &[(usize, Id)]) -> Option<Program> {
    let (mut operands, mut upstream, mut writes) = (None, None, [None; 4]);
    for (write, id) in wanted {
        let place = match (idiom(graph, *id), graph.node(*id)) {
            (Some(Idiom::Rate { g, x, y }), _) => {
                let same = is_first_or(&mut operands, [read(graph, x)?, read(graph, y)?]);
                if !same || !is_first_or(&mut upstream, read(graph, g)?) {
                    return None;
                }
                2
            }
            (None, Node::Apply(primitive @ (Primitive::FloorMod | Primitive::FloorQuotient), [x, y, _])) => {
                if !is_first_or(&mut operands, [read(graph, x)?, read(graph, y)?]) {
                    return None;
                }
                if primitive == Primitive::FloorMod { 0 } else { 3 }
            }
            (None, Node::Read(copied)) => {
                if !is_first_or(&mut upstream, copied) {
                    return None;
                }
                1
            }
            _ => return None,
        };
        if writes[place].replace(*write).is_some() {
            return None;
        }
    }
    let [x, y] = operands?;
    Some(Program::Division([x, y, upstream.unwrap_or(usize::MAX)], writes))
}

/// The number of the op's read, if the node is one.
fn read(graph: &Graph, id: Id) -> Option<usize> {
    match graph.node(id) {
        Node::Read(read) => Some(read),
        _ => None,
    }
}

/// Whether a value is the first one, or equal to the first one.
fn is_first_or<T: Copy + PartialEq>(first: &mut Option<T>, value: T) -> bool {
    *first.get_or_insert(value) == value
}

/// The graph that gives the same results in a storage type, with fewer roundings to that type.
fn specialised(graph: &Graph, results: &[Id], storage: DType) -> (Graph, Vec<Id>) {
    let used = graph.used(results.iter().copied());
    let mut special = Special { from: graph, to: Graph::roomy(), storage };
    let here = graph.evaluate(&used, &mut special);
    (special.to, results.iter().map(|id| here[id.index()]).collect())
}

struct Special<'g> {
    from: &'g Graph,
    to: Graph,
    storage: DType,
}

impl Algebra for Special<'_> {
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

    fn apply(&mut self, id: Id, primitive: Primitive, operands: [Id; 3], here: &[Id]) -> Id {
        if primitive == Primitive::RoundToStorage && self.storage == DType::F32 {
            return here[operands[0].index()];
        }
        if let Some(Idiom::AtMost(AtMost { value, most, rounded: true, .. })) = idiom(self.from, id) {
            let Some(most) = most.get(self.storage) else { return self.to.truth(false) };
            // The value is the operand of the rounding, so it has already been evaluated.
            let most = self.to.number(most);
            return self.to.apply(Primitive::Le, &[here[value.index()], most]);
        }
        self.to.apply(primitive, &operands.map(|id| here[id.index()])[..primitive.arity()])
    }
}

/// Gives each node a place.
struct Planner<'a> {
    graph: &'a Graph,
    storage: DType,
    wanted: &'a [Id],
    /// How often each node is still needed.
    needed: Vec<usize>,
    places: Vec<Option<Place>>,
    reads: Vec<usize>,
    constants: Vec<f32>,
    registers: usize,
    free: Vec<usize>,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, storage: DType, wanted: &'a [Id]) -> Self {
        let (needed, places) = (vec![0; graph.len()], vec![None; graph.len()]);
        let (reads, constants, free, steps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut planner =
            Self { graph, storage, wanted, needed, places, reads, constants, registers: 0, free, steps };
        planner.count();
        planner
    }

    /// Counts how often each node is needed, and gives each constant a register that it keeps.
    fn count(&mut self) {
        self.wanted.iter().for_each(|id| self.needed[id.index()] += 1);
        let graph = self.graph;
        for (id, node) in graph.nodes().rev() {
            let value = match node {
                _ if self.needed[id.index()] == 0 => continue,
                Node::Number(bits) => f32::from_bits(bits),
                Node::Truth(value) => f32::from(value),
                _ => {
                    let operands = self.operands(id);
                    operands.iter().for_each(|operand| self.needed[operand.index()] += 1);
                    continue;
                }
            };
            self.places[id.index()] = Some(Place::Register(self.constants.len()));
            self.constants.push(value);
            self.needed[id.index()] += 1;
        }
        self.registers = self.constants.len();
    }

    /// What a step does for a node, and which nodes it reads.
    fn work(&self, id: Id, primitive: Primitive, operands: [Id; 3]) -> (Work, SmallVec<[Id; OPERANDS]>) {
        use Primitive::{Eq, Guard, Le, Lt, Mul, Neg, Select};
        let [a, b, c] = operands;
        let of = |work: Work, operands: &[Id]| (work, SmallVec::from_slice(operands));
        match idiom(self.graph, id) {
            Some(Idiom::Fraction(x)) => return of(Work::Fraction, &[x]),
            Some(Idiom::Rate { g, x, y }) => return of(Work::Rate, &[x, y, g]),
            Some(Idiom::AtMost(AtMost { fraction_of: Some(x), most, .. })) => {
                if let Some(most) = most.get(self.storage) {
                    return of(Work::FractionAtMost(most), &[x]);
                }
            }
            Some(Idiom::Cut { at_most: AtMost { value, fraction_of, most, .. }, y, other }) => {
                match (most.get(self.storage), fraction_of) {
                    (Some(most), Some(x)) if y == value => {
                        return of(Work::CutFraction { most, other }, &[x]);
                    }
                    (Some(most), Some(x)) => return of(Work::CutByFraction { most, other }, &[x, y]),
                    (Some(most), None) => return of(Work::Cut { most, other }, &[value, y]),
                    (None, _) => {}
                }
            }
            _ => {}
        }
        match (primitive, self.graph.node(a), self.graph.node(b)) {
            (Select, Node::Apply(compare @ (Lt | Le | Eq), [x, y, _]), _) => {
                of(Work::Choose(compare), &[x, y, b, c])
            }
            (Mul, _, Node::Apply(Neg, [inner, ..])) => of(Work::MulNeg, &[a, inner]),
            (Guard, _, Node::Apply(Mul, [g, factor, _])) if g == a => match self.graph.node(factor) {
                Node::Apply(Neg, [inner, ..]) => of(Work::MulNegGuarded, &[g, inner]),
                _ => of(Work::MulGuarded, &[g, factor]),
            },
            _ => of(Work::Apply(primitive), &operands[..primitive.arity()]),
        }
    }

    /// The nodes that a node's step reads.
    fn operands(&self, id: Id) -> SmallVec<[Id; OPERANDS]> {
        match self.graph.node(id) {
            Node::Apply(primitive, operands) => self.work(id, primitive, operands).1,
            _ => SmallVec::new(),
        }
    }

    fn place(&self, id: Id) -> Place {
        self.places[id.index()].unwrap_or(Place::Read(0))
    }

    /// Whether a step sets a write.
    fn sets(&self, id: Id, write: usize) -> bool {
        matches!(self.places[id.index()], Some(Place::Write(w)) if w == write)
    }

    fn node(&mut self, id: Id, node: Node) {
        if self.needed[id.index()] == 0 || self.places[id.index()].is_some() {
            return;
        }
        match node {
            Node::Read(read) => {
                self.places[id.index()] = Some(Place::Read(self.reads.len()));
                self.reads.push(read);
            }
            Node::Apply(primitive, operands) => self.step(id, primitive, operands),
            Node::Number(_) | Node::Truth(_) | Node::Written(..) => {}
        }
    }

    fn step(&mut self, id: Id, primitive: Primitive, operands: [Id; 3]) {
        let (work, inputs) = self.work(id, primitive, operands);
        if let Some((both, [first, second])) = self.both(id, primitive, operands[0]) {
            let (out, beside) = (self.out(first), self.out(second));
            self.push(&inputs, Work::Both(both, beside), out);
            let others = self.operands(if first == id { second } else { first });
            return others.into_iter().chain(inputs).for_each(|operand| self.release(operand));
        }
        // This comes before the node has a place. The other result may be computed from this node, and is not ready
        // then.
        let Some((other, other_inputs)) = self.same_division(primitive, operands) else {
            let out = self.out(id);
            self.push(&inputs, work, out);
            return inputs.into_iter().for_each(|operand| self.release(operand));
        };
        // One division gives both, so the operands that each was counted to need are released.
        let (out, second) = (self.out(id), self.out(other));
        let (remainder, beside) =
            if primitive == Primitive::FloorMod { (out, second) } else { (second, out) };
        let rate = other_inputs.len() > 2;
        let work = if rate { Work::DivisionRate(beside) } else { Work::Division(beside) };
        self.push(&other_inputs, work, remainder);
        self.operands(other).into_iter().chain(inputs).for_each(|operand| self.release(operand));
    }

    /// Whether a node is needed and has not been computed.
    fn is_to_come(&self, id: Id) -> bool {
        self.needed[id.index()] > 0 && self.places[id.index()].is_none()
    }

    /// Two functions that share most of their work, the node being one, and the nodes of both.
    fn both(&self, id: Id, primitive: Primitive, x: Id) -> Option<(Both, [Id; 2])> {
        use Primitive::{Abs, Cos, Cosh, Exp, Mul, Neg, Sigmoid, Sin, Sinh, Softplus, Tanh};
        let find = |primitive, operands: [Id; 2]| {
            let node = |b| Node::Apply(primitive, [operands[0], b, Id::FIRST]);
            self.graph.find(node(operands[1]))
        };
        let of = |primitive, x| find(primitive, [x, Id::FIRST]);
        let to_come = |id: &Id| self.is_to_come(*id);
        let (both, nodes) = match primitive {
            Sin => (Both::SinCos, [id, of(Cos, x)?]),
            Cos => (Both::SinCos, [of(Sin, x)?, id]),
            Sinh => (Both::SinhCosh, [id, of(Cosh, x)?]),
            Cosh => (Both::SinhCosh, [of(Sinh, x)?, id]),
            Softplus => (Both::SoftplusSigmoid, [id, of(Sigmoid, x)?]),
            Sigmoid => match of(Softplus, x).filter(to_come) {
                Some(softplus) => (Both::SoftplusSigmoid, [softplus, id]),
                None => (Both::Sigmoids, [id, of(Neg, x).and_then(|negated| of(Sigmoid, negated))?]),
            },
            Tanh => {
                let twice = self.graph.find(Node::Number((-2.0_f32).to_bits()))?;
                let power = find(Mul, [of(Abs, x)?, twice])?;
                (Both::TanhExp, [id, of(Exp, power)?])
            }
            _ => return None,
        };
        nodes.iter().all(to_come).then_some((both, nodes))
    }

    /// The other result of a division, if it is still to come, and what its step reads.
    fn same_division(
        &self,
        primitive: Primitive,
        operands: [Id; 3],
    ) -> Option<(Id, SmallVec<[Id; OPERANDS]>)> {
        use Primitive::{FloorMod, FloorQuotient, Mul, Neg};
        let other = match primitive {
            FloorMod => FloorQuotient,
            FloorQuotient => FloorMod,
            _ => return None,
        };
        let to_come = |id: &Id| self.is_to_come(*id);
        let other = self.graph.find(Node::Apply(other, operands))?;
        if to_come(&other) {
            return Some((other, SmallVec::from_slice(&operands[..2])));
        }
        let negated = self.graph.find(Node::Apply(Neg, [other, Id::FIRST, Id::FIRST]))?;
        let rate = |(id, node): (Id, Node)| match node {
            Node::Apply(Mul, [g, rate, _]) if rate == negated => Some((id, g)),
            _ => None,
        };
        let ready = |(_, g): &(Id, Id)| self.places[g.index()].is_some();
        let mut rates = self.graph.nodes().filter_map(rate).filter(|(id, _)| to_come(id)).filter(ready);
        let (id, g) = rates.next().filter(|_| primitive == FloorMod)?;
        Some((id, SmallVec::from_slice(&[operands[0], operands[1], g])))
    }

    fn push(&mut self, inputs: &[Id], work: Work, out: Place) {
        let mut operands = [Place::Read(0); OPERANDS];
        inputs.iter().zip(&mut operands).for_each(|(id, place)| *place = self.place(*id));
        self.steps.push(Step { work, operands, out });
    }

    /// A place for the result of a step: a write, if the node is one, else a register.
    fn out(&mut self, id: Id) -> Place {
        let place = match self.wanted.iter().position(|wanted| *wanted == id) {
            Some(write) => Place::Write(write),
            None => Place::Register(self.free.pop().unwrap_or_else(|| {
                self.registers += 1;
                self.registers - 1
            })),
        };
        self.places[id.index()] = Some(place);
        place
    }

    /// Counts one use less. After the last one, the register is free.
    fn release(&mut self, id: Id) {
        let needed = &mut self.needed[id.index()];
        *needed -= 1;
        if *needed > 0 {
            return;
        }
        if self.places[id.index()].is_none() {
            // It will not be computed, since a step for two nodes did without it.
            return self.operands(id).into_iter().for_each(|operand| self.release(operand));
        }
        if let Some(Place::Register(register)) = self.places[id.index()] {
            self.free.push(register);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{op::Op, ops, plan::Access, shader::Shader, signature::outputs::Pass};

    /// Functions that share their work are computed together, for a value and its gradient.
    #[test]
    fn functions_of_one_operand_are_computed_at_once() {
        for (expression, steps) in [
            ("sin(x)", 2),
            ("sinh(x)", 2),
            ("sigmoid(x)", 3),
            ("softplus(x)", 2),
            ("tanh(x)", 6),
            // Sigmoids, z, four products, a sum.
            ("x * sigmoid(x)", 7),
        ] {
            let op = Op::from_expression("op", expression).expect("an expression");
            let function = op.function().expect("an expression");
            let results: Vec<Id> = function.results().collect();
            let outputs = op.signature().default_outputs(Pass::Fused);
            let Program::Steps(program) = program(&function.graph, &results, DType::F32, outputs) else {
                panic!("{expression} has a loop of its own");
            };
            let both = program.in_order.iter().filter(|step| matches!(step.work, Work::Both(..)));
            assert_eq!(
                (both.count(), program.in_order.len()),
                (1, steps),
                "{expression}: {:#?}",
                program.in_order
            );
        }
    }

    /// Both back ends see the idioms for which they have fast code, whichever outputs are wanted.
    #[test]
    fn idioms_are_seen_by_both_back_ends() {
        for op in [ops::spiky(), ops::modulo()] {
            let function = op.function().expect("an expression");
            let results: Vec<Id> = function.results().collect();
            for &storage in DType::ALL {
                for &pass in Pass::ALL {
                    let outputs = op.signature().default_outputs(pass);
                    let program = program(&function.graph, &results, storage, outputs);
                    assert!(!matches!(program, Program::Steps(_)), "{} {pass:?} {storage:?}", op.name());
                }
            }
            let wgsl: Vec<&str> = op.signature().expressions().collect();
            let has = |text: &str| wgsl.iter().any(|expression| expression.starts_with(text));
            assert!(has(if op.name() == "mod" { "f32_floor_mod(" } else { "spiky(" }), "{wgsl:?}");
            assert!(op.name() != "mod" || has("mod_dy(") && has("mod_q("), "{wgsl:?}");
        }
        let rebuilt = Op::new("own", ["t"], |[t]| {
            let r = t.floor_mod(1.0).round_to_storage();
            r.le(0.25).select(r, 0.0)
        });
        let rebuilt = rebuilt.expect("an op");
        let function = rebuilt.function().expect("an expression");
        let program = program(&function.graph, &[function.z], DType::F16, Outputs::Z);
        assert!(matches!(program, Program::Cut(..)), "{program:?}");
    }

    /// A call of an op with a hand-written gradient hides no idiom from either back end.
    #[test]
    fn hand_written_gradients_hide_no_idiom() {
        let called = ops::spiky().clone().with_gradient("x", |[x], _, dz| dz * x).expect("an op");
        let calling = Op::new("spiky", ["x"], |[x]| called.call([x])).expect("an op");
        let direct = Op::new("spiky", ["x"], |[x]| x.spiky()).expect("an op");
        let function = calling.function().expect("an expression").plain();
        for &storage in DType::ALL {
            let [calling, direct] = [&calling, &direct].map(|op| {
                let shader = Shader::new(op.signature(), Outputs::Z, storage, Access::Word);
                shader.expect("a kernel").source
            });
            assert_eq!(calling, direct);
            let program = program(&function.graph, &[function.z], storage, Outputs::Z);
            assert!(matches!(program, Program::Cut(..)), "{storage:?}: {program:?}");
        }
    }
}
