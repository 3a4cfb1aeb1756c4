//! An expression on the CPU path: each building block over many lanes, its operands in a core's first cache.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    graph::{Graph, Id, Node},
    primitive::{Primitive, maximum, minimum},
};
use crate::{
    DType, Outputs,
    cpu::{
        block::Lanes,
        simd::Vectors,
        storage::{Aligned, Bf16, F16, LANES, Storage, Wide},
    },
    numeric::{NAN, floor, sum},
    op::{Block, MAX_INPUTS, MAX_OUTPUTS, modulo::floor_mod_lanes},
};

/// The programs of an op that have been needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs(Arc<Mutex<HashMap<(DType, Outputs), Arc<Program>>>>);

impl Programs {
    /// The program for outputs, of which `results` are all.
    pub(super) fn of(&self, graph: &Graph, results: &[Id], storage: DType, outputs: Outputs) -> Arc<Program> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entry((storage, outputs))
            .or_insert_with(|| Program::new(graph, results, storage, outputs).into())
            .clone()
    }
}

/// Where an operand's lanes are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A read, by its place among those of the program.
    Read(usize),
    Register(usize),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    work: Work,
    operands: [Place; 3],
    /// The register that it sets, which is none of its operands'.
    register: usize,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Apply(Primitive),
    /// `floor_mod(x, 1)`.
    Fraction,
    /// `floor_mod`, and `floor_quotient` in a register of its own.
    Division(usize),
}

/// The steps of an expression, over registers that are used again as soon as they can be.
#[derive(Debug)]
pub(super) struct Program {
    /// The op's reads and writes that take part.
    reads: Vec<usize>,
    writes: Vec<usize>,
    results: Vec<Place>,
    /// The first registers.
    constants: Vec<f32>,
    registers: usize,
    steps: Vec<Step>,
}

impl Program {
    fn new(graph: &Graph, results: &[Id], storage: DType, outputs: Outputs) -> Self {
        let writes: Vec<usize> = outputs.iter().filter(|w| *w < results.len()).collect();
        let wanted: Vec<Id> = writes.iter().map(|w| results[*w]).collect();
        let mut planner = Planner::new(graph, &wanted, storage);
        for (id, node) in graph.nodes() {
            planner.node(id, node);
        }
        let results = wanted.iter().map(|id| planner.place(*id)).collect();
        let Planner { reads, constants, registers, steps, .. } = planner;
        Self { reads, writes, results, constants, registers, steps }
    }

    pub(super) fn run(&self, storage: DType, block: Block) {
        let constants = self.constants.iter().map(|value| Aligned([*value; LANES]));
        let mut registers: Vec<_> = constants.collect();
        registers.resize(self.registers, Aligned([0.0; LANES]));
        let mut lanes = Machine { program: self, storage, registers };
        if self.reads.len() <= FEW && self.writes.len() <= FEW {
            block.lanes::<FEW, FEW>(padded(&self.reads), padded(&self.writes), &mut lanes);
        } else {
            block.lanes::<MOST_READS, MAX_OUTPUTS>(padded(&self.reads), padded(&self.writes), &mut lanes);
        }
    }
}

/// Operands of the usual op.
const FEW: usize = 3;
const MOST_READS: usize = MAX_INPUTS + 1;

/// The numbers, and such as no operand has.
fn padded<const N: usize>(numbers: &[usize]) -> [usize; N] {
    std::array::from_fn(|i| numbers.get(i).copied().unwrap_or(usize::MAX))
}

/// Gives each node a place.
struct Planner<'a> {
    graph: &'a Graph,
    storage: DType,
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
    fn new(graph: &'a Graph, wanted: &[Id], storage: DType) -> Self {
        let used = graph.used(wanted.iter().copied());
        let mut needed = vec![0; graph.len()];
        let mut constants = Vec::new();
        let mut places = vec![None; graph.len()];
        for (id, node) in graph.nodes().filter(|(id, _)| used[id.index()]) {
            graph.operands(id).for_each(|operand| needed[operand.index()] += 1);
            let value = match node {
                Node::Number(bits) => f32::from_bits(bits),
                Node::Truth(value) => f32::from(value),
                _ => continue,
            };
            places[id.index()] = Some(Place::Register(constants.len()));
            constants.push(value);
            // A constant's register stays its own.
            needed[id.index()] += 1;
        }
        wanted.iter().for_each(|id| needed[id.index()] += 1);
        let registers = constants.len();
        Self {
            graph,
            storage,
            needed,
            places,
            reads: vec![],
            constants,
            registers,
            free: vec![],
            steps: vec![],
        }
    }

    fn place(&self, id: Id) -> Place {
        self.places[id.index()].unwrap_or(Place::Register(0))
    }

    fn node(&mut self, id: Id, node: Node) {
        if self.needed[id.index()] == 0 || self.places[id.index()].is_some() {
            return;
        }
        let place = match node {
            Node::Read(read) => {
                self.reads.push(read);
                Place::Read(self.reads.len() - 1)
            }
            // The same number: its own place is taken as long as either is needed.
            Node::Written(_, value) => return self.same(id, value),
            Node::Apply(Primitive::RoundToStorage, [value, ..]) if self.storage == DType::F32 => {
                return self.same(id, value);
            }
            Node::Apply(primitive, operands) => self.step(id, primitive, operands),
            Node::Number(_) | Node::Truth(_) => return,
        };
        self.places[id.index()] = Some(place);
    }

    fn same(&mut self, id: Id, value: Id) {
        self.places[id.index()] = self.places[value.index()];
    }

    fn step(&mut self, id: Id, primitive: Primitive, operands: [Id; 3]) -> Place {
        use Primitive::{FloorMod, FloorQuotient};
        let register = self.register();
        let places = operands.map(|id| self.place(id));
        let other = match primitive {
            FloorMod => self.graph.find(Node::Apply(FloorQuotient, operands)),
            FloorQuotient => self.graph.find(Node::Apply(FloorMod, operands)),
            _ => None,
        };
        let one = Node::Number(1.0_f32.to_bits());
        if let Some(other) = other.filter(|other| self.needed[other.index()] > 0) {
            // One division gives both.
            let second = self.register();
            self.places[other.index()] = Some(Place::Register(second));
            let (register, quotient) =
                if primitive == FloorMod { (register, second) } else { (second, register) };
            self.steps.push(Step { work: Work::Division(quotient), operands: places, register });
            self.graph.operands(other).for_each(|operand| self.release(operand));
        } else if primitive == FloorMod && self.graph.node(operands[1]) == one {
            self.steps.push(Step { work: Work::Fraction, operands: places, register });
        } else {
            self.steps.push(Step { work: Work::Apply(primitive), operands: places, register });
        }
        self.graph.operands(id).for_each(|operand| self.release(operand));
        Place::Register(register)
    }

    fn register(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.registers += 1;
            self.registers - 1
        })
    }

    /// One use less.
    fn release(&mut self, id: Id) {
        let needed = &mut self.needed[id.index()];
        *needed -= 1;
        if *needed > 0 {
            return;
        }
        match (self.graph.node(id), self.places[id.index()]) {
            // Its place is that of another node.
            (Node::Written(_, value), _) => self.release(value),
            (Node::Apply(Primitive::RoundToStorage, [value, ..]), _) if self.storage == DType::F32 => {
                self.release(value);
            }
            (_, Some(Place::Register(register))) => self.free.push(register),
            _ => {}
        }
    }
}

/// A program under way.
struct Machine<'p> {
    program: &'p Program,
    storage: DType,
    registers: Vec<Aligned<Wide>>,
}

impl<const R: usize, const W: usize> Lanes<R, W> for Machine<'_> {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, vectors: V, reads: [&Wide; R], writes: &mut [Aligned<Wide>; W]) {
        for Step { work, operands, register } in &self.program.steps {
            let (before, rest) = self.registers.split_at_mut(*register);
            let Some((Aligned(out), after)) = rest.split_first_mut() else { return };
            let lanes = operands.map(|place| match place {
                Place::Read(read) => reads[read],
                Place::Register(r) if r < *register => &before[r].0,
                // An operand that a block does not have may stand for anything.
                Place::Register(r) => {
                    after.get(r - register - usize::from(r > *register)).map_or(reads[0], |a| &a.0)
                }
            });
            match work {
                Work::Apply(primitive) => apply(*primitive, vectors, self.storage, lanes, out),
                Work::Fraction => each(out, |i| canonical(lanes[0][i] - floor::<V>(lanes[0][i]))),
                Work::Division(quotient) => {
                    let mut q = Aligned([0.0; LANES]);
                    floor_mod_lanes::<V>(lanes[0], lanes[1], |i, z, quotient| {
                        (out[i], q.0[i]) = (z, quotient)
                    });
                    self.registers[*quotient] = q;
                }
            }
        }
        for (write, result) in writes.iter_mut().zip(&self.program.results) {
            write.0 = match result {
                Place::Read(read) => *reads[*read],
                Place::Register(register) => self.registers[*register].0,
            };
        }
    }
}

#[inline(always)]
fn each(out: &mut Wide, f: impl Fn(usize) -> f32) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i);
    }
}

#[inline(always)]
fn canonical(value: f32) -> f32 {
    if value.is_nan() { NAN } else { value }
}

#[inline(always)]
fn truth(value: bool) -> f32 {
    if value { 1.0 } else { 0.0 }
}

/// [`Primitive::compute`] of many.
#[inline(always)]
fn apply<V: Vectors>(
    primitive: Primitive,
    vectors: V,
    storage: DType,
    [a, b, c]: [&Wide; 3],
    out: &mut Wide,
) {
    use Primitive::{
        Abs, Add, And, Ceil, Div, Eq, Floor, FloorMod, FloorQuotient, Le, Lt, Max, Min, Mul, Neg, Not, Or,
        Round, RoundToStorage, Select, Sqrt, Sub, Trunc,
    };
    match primitive {
        Add => each(out, |i| sum(a[i], b[i])),
        Sub => each(out, |i| canonical(a[i] - b[i])),
        Mul => each(out, |i| canonical(a[i] * b[i])),
        Div => each(out, |i| canonical(a[i] / b[i])),
        Neg => each(out, |i| canonical(-a[i])),
        Abs => each(out, |i| canonical(a[i].abs())),
        Min => each(out, |i| canonical(minimum(a[i], b[i]))),
        Max => each(out, |i| canonical(maximum(a[i], b[i]))),
        Floor => each(out, |i| canonical(floor::<V>(a[i]))),
        Ceil => each(out, |i| canonical(-floor::<V>(-a[i]))),
        Trunc => each(out, |i| canonical(floor::<V>(a[i].abs()).copysign(a[i]))),
        Round if V::NATIVE => each(out, |i| canonical(a[i].round_ties_even())),
        Sqrt => each(out, |i| canonical(a[i].sqrt())),
        FloorMod => floor_mod_lanes::<V>(a, b, |i, remainder, _| out[i] = remainder),
        FloorQuotient => floor_mod_lanes::<V>(a, b, |i, _, quotient| out[i] = quotient),
        RoundToStorage => match storage {
            DType::F32 => *out = *a,
            DType::F16 => round::<F16, V>(vectors, a, out),
            DType::Bf16 => round::<Bf16, V>(vectors, a, out),
        },
        Lt => each(out, |i| truth(a[i] < b[i])),
        Le => each(out, |i| truth(a[i] <= b[i])),
        Eq => each(out, |i| truth(a[i] == b[i])),
        Not => each(out, |i| truth(a[i] == 0.0)),
        And => each(out, |i| truth(a[i] != 0.0 && b[i] != 0.0)),
        Or => each(out, |i| truth(a[i] != 0.0 || b[i] != 0.0)),
        Select => each(out, |i| if a[i] == 0.0 { c[i] } else { b[i] }),
        _ => each(out, |i| primitive.compute(storage, [a[i], b[i], c[i]])),
    }
}

/// Rounded to a storage type and widened again.
#[inline(always)]
fn round<S: Storage, V: Vectors>(vectors: V, from: &Wide, to: &mut Wide) {
    let mut stored = [S::ONE; LANES];
    S::round(vectors, from, &mut stored);
    let mut wide = [0.0; LANES];
    *to = *S::widen(vectors, &stored, &mut wide);
}
