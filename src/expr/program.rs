//! An expression on the CPU path: each building block over many lanes, its operands in a core's first cache.

use std::sync::{Arc, PoisonError, RwLock};

use smallvec::SmallVec;

use super::{
    graph::{Graph, Id, Node},
    primitive::{Primitive, maximum, minimum, truth},
    rounding::{Unrounded, most, rounded_comparison, unrounded},
};
use crate::{
    DType, Outputs,
    cpu::{
        block::Lanes,
        simd::Vectors,
        storage::{Aligned, F16, LANES, Storage, Wide, round_bf16},
    },
    numeric::{canonical, floor, pick, sum},
    op::{
        Block, MAX_INPUTS, MAX_OUTPUTS,
        modulo::{self, floor_mod_lanes},
        spiky::Cut,
    },
};

/// Sets every lane: no closure, which might not be compiled for the vectors at hand.
macro_rules! each {
    ($out:ident, $i:ident, $value:expr) => {
        for $i in 0..LANES {
            $out[$i] = $value;
        }
    };
}

/// The programs of an op that have been needed, by storage type and outputs.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs(Arc<RwLock<Vec<Known>>>);

type Known = ((DType, Outputs), Arc<Program>);

impl Programs {
    /// The program for outputs, of which `results` are all.
    pub(super) fn of(&self, graph: &Graph, results: &[Id], storage: DType, outputs: Outputs) -> Arc<Program> {
        let key = (storage, outputs);
        let find =
            |known: &[Known]| known.iter().find(|(of, _)| *of == key).map(|(_, program)| program.clone());
        if let Some(program) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return program;
        }
        let program = Arc::new(Program::new(graph, results, storage, outputs));
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((key, program.clone()));
        program
    }
}

/// Where lanes are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A read, by its place among those of the program.
    Read(usize),
    Register(usize),
    /// An output, likewise.
    Write(usize),
}

/// The most operands of a step.
const OPERANDS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Step {
    work: Work,
    operands: [Place; OPERANDS],
    /// What it sets: none of its operands.
    out: Place,
}

/// What a step does: a building block, or some that often go together.
#[derive(Clone, Copy, Debug)]
enum Work {
    Apply(Primitive),
    /// `select` by a comparison of its first two operands.
    Choose(Primitive),
    /// `y` where `x` is at most a number, else another.
    Cut {
        most: f32,
        other: f32,
    },
    /// The same by `floor_mod(x, 1)`.
    CutByFraction {
        most: f32,
        other: f32,
    },
    /// `floor_mod(x, 1)` where that is at most a number, else another.
    CutFraction {
        most: f32,
        other: f32,
    },
    /// Whether `floor_mod(x, 1)` is at most a number.
    FractionAtMost(f32),
    /// `x * -y`.
    MulNeg,
    /// `floor_mod(x, 1)`.
    Fraction,
    /// `floor_mod`, and `floor_quotient` in a place of its own.
    Division(Place),
    /// `w * -floor_quotient(x, y)`: what `floor_mod` passes to its divisor.
    Rate,
    /// `floor_mod`, and what it passes to its divisor in a place of its own.
    DivisionRate(Place),
}

/// The steps of an expression, over registers that are used again as soon as they can be.
#[derive(Debug)]
pub(super) struct Program {
    /// The op's reads and writes that take part.
    reads: Vec<usize>,
    writes: Vec<usize>,
    /// Writes that no step sets.
    copies: Vec<(Place, usize)>,
    /// The first registers.
    constants: Vec<f32>,
    registers: usize,
    steps: Vec<Step>,
    whole: Option<Whole>,
}

impl Program {
    fn new(graph: &Graph, results: &[Id], storage: DType, outputs: Outputs) -> Self {
        let writes: Vec<usize> = outputs.iter().filter(|w| *w < results.len()).collect();
        let wanted: Vec<Id> = writes.iter().map(|w| results[*w]).collect();
        let (mut graph, mut wanted) = specialised(graph, &wanted, storage);
        // Of the outputs only z is stored as it is: gradients may be added to what is there first, in f32.
        if let (Some(0), Some(z)) = (writes.first(), wanted.first_mut()) {
            *z = match unrounded(&graph, *z) {
                Unrounded::Value(id) => id,
                Unrounded::Select(operands) => graph.apply(Primitive::Select, &operands),
            };
        }
        let mut planner = Planner::new(&graph, &wanted);
        for (id, node) in graph.nodes() {
            planner.node(id, node);
        }
        let copies = (0..).zip(&wanted).filter(|(w, id)| !planner.sets(**id, *w));
        let copies = copies.map(|(w, id)| (planner.place(*id), w)).collect();
        let Planner { reads, constants, registers, steps, .. } = planner;
        let program = Self { reads, writes, copies, constants, registers, steps, whole: None };
        let whole = program.as_cut().or_else(|| program.as_division());
        Self { whole, ..program }
    }

    pub(super) fn run(&self, storage: DType, block: Block) {
        match self.whole {
            None => self.run_steps(storage, block),
            Some(Whole::Cut(cut, reads, writes)) => cut.on_lanes(block, reads, writes),
            Some(Whole::Division(reads, [z, dx, dy])) => modulo::on_lanes(block, reads, [z, dx, dy, None]),
        }
    }

    fn run_steps(&self, storage: DType, block: Block) {
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

/// A program whose steps are what one loop of a built-in op does, its lanes in vectors throughout: by the numbers of the
/// op's reads and writes.
#[derive(Clone, Copy, Debug)]
enum Whole {
    /// Of `x` and the upstream gradient, `z`, `dx` and the mask.
    Cut(Cut, [usize; 2], [Option<usize>; 3]),
    /// Of `x`, `y` and the upstream gradient, `z`, `dx` and `dy`.
    Division([usize; 3], [Option<usize>; 3]),
}

impl Program {
    /// Cuts of one read by its own fraction: of itself, of another read, and whether it is not cut off.
    fn as_cut(&self) -> Option<Whole> {
        let (mut x, mut most, mut other) = (None, None, None);
        let (mut upstream, mut writes) = (usize::MAX, [None; 3]);
        for Step { work, operands: [a, b, ..], out } in &self.steps {
            let (write, at_most, otherwise) = match *work {
                Work::CutFraction { most, other } => (0, most, Some(other)),
                Work::CutByFraction { most, other } => (1, most, Some(other)),
                Work::FractionAtMost(most) => (2, most, None),
                _ => return None,
            };
            if write == 1 {
                upstream = self.read(*b)?;
            }
            // By their bits: a zero has a sign.
            let same = is_first_or(&mut x, self.read(*a)?)
                && is_first_or(&mut most, at_most.to_bits())
                && otherwise.is_none_or(|value| is_first_or(&mut other, value.to_bits()));
            if !same || writes[write].replace(self.write(*out)?).is_some() {
                return None;
            }
        }
        let cut = Cut { most: f32::from_bits(most?), other: f32::from_bits(other?) };
        self.copies.is_empty().then_some(Whole::Cut(cut, [x?, upstream], writes))
    }

    /// One division of two reads, and at most a copy of the third.
    fn as_division(&self) -> Option<Whole> {
        let [Step { work, operands: [x, y, g, _], out }] = &self.steps[..] else { return None };
        let (z, dy) = match *work {
            Work::Apply(Primitive::FloorMod) => (Some(*out), None),
            Work::Rate => (None, Some(*out)),
            Work::DivisionRate(rate) => (Some(*out), Some(rate)),
            _ => return None,
        };
        let copied = match &self.copies[..] {
            [] => None,
            [copy] => Some(*copy),
            _ => return None,
        };
        let upstream = match (dy, copied) {
            (Some(_), Some((from, _))) if self.read(*g) != self.read(from) => return None,
            (Some(_), _) => self.read(*g)?,
            (None, Some((from, _))) => self.read(from)?,
            (None, None) => usize::MAX,
        };
        let written = |place: Option<Place>| place.map_or(Some(None), |place| self.write(place).map(Some));
        let dx = copied.map(|(_, write)| self.writes[write]);
        Some(Whole::Division([self.read(*x)?, self.read(*y)?, upstream], [written(z)?, dx, written(dy)?]))
    }

    /// The op's read that is in a place.
    fn read(&self, place: Place) -> Option<usize> {
        let Place::Read(read) = place else { return None };
        Some(self.reads[read])
    }

    /// The op's write that is in a place.
    fn write(&self, place: Place) -> Option<usize> {
        let Place::Write(write) = place else { return None };
        Some(self.writes[write])
    }
}

/// Whether a value is the first, or that again.
fn is_first_or<T: Copy + PartialEq>(first: &mut Option<T>, value: T) -> bool {
    *first.get_or_insert(value) == value
}

/// Operands of the usual op.
const FEW: usize = 3;
const MOST_READS: usize = MAX_INPUTS + 1;

/// The numbers, and such as no operand has.
fn padded<const N: usize>(numbers: &[usize]) -> [usize; N] {
    std::array::from_fn(|i| numbers.get(i).copied().unwrap_or(usize::MAX))
}

/// The graph that gives the same results in a storage type, with less rounding to it.
fn specialised(graph: &Graph, results: &[Id], storage: DType) -> (Graph, Vec<Id>) {
    use Primitive::{Le, RoundToStorage};
    let mut special = Graph::roomy();
    let mut here: Vec<Id> = Vec::with_capacity(graph.len());
    for (_, node) in graph.nodes() {
        let of = |id: Id| here[id.index()];
        let id = match node {
            Node::Apply(RoundToStorage, [value, ..]) if storage == DType::F32 => of(value),
            Node::Apply(primitive, operands) => {
                let operands = operands.map(of);
                match rounded_comparison(&special, primitive, operands) {
                    Some((value, bits)) => match most(primitive, storage, bits) {
                        Some(most) => {
                            let most = special.number(most);
                            special.apply(Le, &[value, most])
                        }
                        None => special.truth(false),
                    },
                    None => special.apply(primitive, &operands[..primitive.operands().len()]),
                }
            }
            Node::Written(_, value) => of(value),
            Node::Read(read) => special.read(read),
            Node::Number(bits) => special.number(f32::from_bits(bits)),
            Node::Truth(value) => special.truth(value),
        };
        here.push(id);
    }
    let here = |id: &Id| here[id.index()];
    let results = results.iter().map(here).collect();
    (special, results)
}

/// Gives each node a place.
struct Planner<'a> {
    graph: &'a Graph,
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
    fn new(graph: &'a Graph, wanted: &'a [Id]) -> Self {
        let (needed, places) = (vec![0; graph.len()], vec![None; graph.len()]);
        let (reads, constants, free, steps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut planner = Self { graph, wanted, needed, places, reads, constants, registers: 0, free, steps };
        planner.count();
        planner
    }

    /// How often each node is needed, and a register for each constant, which stays its own.
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

    /// What a step has to do for a node, and of which nodes.
    fn work(&self, primitive: Primitive, operands: [Id; 3]) -> (Work, SmallVec<[Id; OPERANDS]>) {
        use Primitive::{Eq, FloorMod, FloorQuotient, Le, Lt, Mul, Neg, Select};
        let [a, b, c] = operands;
        let one = Node::Number(1.0_f32.to_bits());
        match (primitive, self.graph.node(a), self.graph.node(b)) {
            (Select, Node::Apply(compare @ (Lt | Le | Eq), [x, y, _]), _) => self
                .cut(compare, [x, y, b, c])
                .unwrap_or((Work::Choose(compare), SmallVec::from_slice(&[x, y, b, c]))),
            (Mul, _, Node::Apply(Neg, [inner, ..])) => match self.graph.node(inner) {
                Node::Apply(FloorQuotient, [x, y, _]) => (Work::Rate, SmallVec::from_slice(&[x, y, a])),
                _ => (Work::MulNeg, SmallVec::from_slice(&[a, inner])),
            },
            (Le, Node::Apply(FloorMod, [x, divisor, _]), Node::Number(bits))
                if self.graph.node(divisor) == one =>
            {
                (Work::FractionAtMost(f32::from_bits(bits)), SmallVec::from_slice(&[x]))
            }
            (FloorMod, _, divisor) if divisor == one => (Work::Fraction, SmallVec::from_slice(&[a])),
            _ => (Work::Apply(primitive), SmallVec::from_slice(&operands[..primitive.operands().len()])),
        }
    }

    /// What is cut off where something else is too large: the numbers are part of the step.
    fn cut(
        &self,
        compare: Primitive,
        [x, most, y, other]: [Id; 4],
    ) -> Option<(Work, SmallVec<[Id; OPERANDS]>)> {
        let number = |id: Id| match self.graph.node(id) {
            Node::Number(bits) => Some(f32::from_bits(bits)),
            _ => None,
        };
        let (most, other) = (number(most).filter(|_| compare == Primitive::Le)?, number(other)?);
        Some(match self.graph.node(x) {
            Node::Apply(Primitive::FloorMod, [v, one, _]) if number(one) == Some(1.0) => {
                if x == y {
                    (Work::CutFraction { most, other }, SmallVec::from_slice(&[v]))
                } else {
                    (Work::CutByFraction { most, other }, SmallVec::from_slice(&[v, y]))
                }
            }
            _ => (Work::Cut { most, other }, SmallVec::from_slice(&[x, y])),
        })
    }

    /// The nodes that a node's step reads.
    fn operands(&self, id: Id) -> SmallVec<[Id; OPERANDS]> {
        match self.graph.node(id) {
            Node::Apply(primitive, operands) => self.work(primitive, operands).1,
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
        let (work, inputs) = self.work(primitive, operands);
        // Before this node has a place: its other result may be made of it, and is then not ready.
        let Some((other, other_inputs)) = self.same_division(primitive, operands) else {
            let out = self.out(id);
            self.push(&inputs, work, out);
            return inputs.into_iter().for_each(|operand| self.release(operand));
        };
        // One division gives both; what each was counted to need is needed no more.
        let (out, second) = (self.out(id), self.out(other));
        let (remainder, beside) =
            if primitive == Primitive::FloorMod { (out, second) } else { (second, out) };
        let rate = other_inputs.len() > 2;
        let work = if rate { Work::DivisionRate(beside) } else { Work::Division(beside) };
        self.push(&other_inputs, work, remainder);
        self.operands(other).into_iter().chain(inputs).for_each(|operand| self.release(operand));
    }

    /// The other result of a division that is still to come, and what its step reads.
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
        let to_come = |id: &Id| self.needed[id.index()] > 0 && self.places[id.index()].is_none();
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

    /// A place for what a step gives: the write, where it is one.
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

    /// One use less.
    fn release(&mut self, id: Id) {
        let needed = &mut self.needed[id.index()];
        *needed -= 1;
        if *needed > 0 {
            return;
        }
        if let Some(Place::Register(register)) = self.places[id.index()] {
            self.free.push(register);
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
        for step in &self.program.steps {
            let second = {
                let (out, lanes) = step.lanes(&reads, &mut self.registers, writes);
                work(step.work, vectors, self.storage, lanes, out)
            };
            if let (Work::Division(at) | Work::DivisionRate(at), Some(lanes)) = (step.work, second) {
                match at {
                    Place::Write(write) => writes[write] = lanes,
                    Place::Register(register) | Place::Read(register) => self.registers[register] = lanes,
                }
            }
        }
        for (from, write) in &self.program.copies {
            writes[*write].0 = match from {
                Place::Read(read) => *reads[*read],
                Place::Register(register) => self.registers[*register].0,
                Place::Write(other) => writes[*other].0,
            };
        }
    }
}

impl Step {
    /// What it sets, and its operands.
    #[inline(always)]
    fn lanes<'l>(
        &self,
        reads: &[&'l Wide],
        registers: &'l mut [Aligned<Wide>],
        writes: &'l mut [Aligned<Wide>],
    ) -> (&'l mut Wide, [&'l Wide; OPERANDS]) {
        let (out, registers, writes): (_, Beside<'l>, Beside<'l>) = match self.out {
            Place::Write(w) => {
                let (before, out, after) = around(writes, w);
                (out, [registers, &[]], [before, after])
            }
            Place::Register(r) | Place::Read(r) => {
                let (before, out, after) = around(registers, r);
                (out, [before, after], [writes, &[]])
            }
        };
        let [a, b, c, d] = self.operands;
        let operands = [
            lanes_of(a, reads, registers, writes),
            lanes_of(b, reads, registers, writes),
            lanes_of(c, reads, registers, writes),
            lanes_of(d, reads, registers, writes),
        ];
        (&mut out.0, operands)
    }
}

/// What lies before and after the lanes that a step sets, where they are of the same kind.
type Beside<'l> = [&'l [Aligned<Wide>]; 2];

/// A function, since closures are not compiled for the vectors at hand, and to call them costs.
#[inline(always)]
fn lanes_of<'l>(place: Place, reads: &[&'l Wide], registers: Beside<'l>, writes: Beside<'l>) -> &'l Wide {
    let ([before, after], i) = match place {
        Place::Read(read) => return reads[read],
        Place::Register(r) => (registers, r),
        Place::Write(w) => (writes, w),
    };
    if i < before.len() { &before[i].0 } else { &after[i - before.len() - 1].0 }
}

/// An element, and those before and after it.
#[inline(always)]
fn around<T>(all: &mut [T], i: usize) -> (&[T], &mut T, &[T]) {
    let (before, rest) = all.split_at_mut(i);
    let (it, after) = rest.split_first_mut().expect("a place of the program");
    (before, it, after)
}

/// A step on lanes; what it gives besides `out`.
#[inline(always)]
fn work<V: Vectors>(
    work: Work,
    vectors: V,
    storage: DType,
    lanes: [&Wide; OPERANDS],
    out: &mut Wide,
) -> Option<Aligned<Wide>> {
    let [a, b, c, d] = lanes;
    match work {
        Work::Apply(primitive) => apply(primitive, vectors, storage, [a, b, c], out),
        Work::Choose(Primitive::Lt) => each!(out, i, pick(a[i] < b[i], c[i], d[i])),
        Work::Choose(Primitive::Le) => each!(out, i, pick(a[i] <= b[i], c[i], d[i])),
        Work::Choose(_) => each!(out, i, pick(a[i] == b[i], c[i], d[i])),
        Work::Cut { most, other } => each!(out, i, pick(a[i] <= most, b[i], other)),
        Work::CutByFraction { most, other } => {
            each!(out, i, pick(a[i] - floor::<V>(a[i]) <= most, b[i], other))
        }
        Work::CutFraction { most, other } => each!(out, i, {
            // Where it is NaN, it is cut off.
            let fraction = a[i] - floor::<V>(a[i]);
            pick(fraction <= most, fraction, other)
        }),
        Work::FractionAtMost(most) => each!(out, i, truth(a[i] - floor::<V>(a[i]) <= most)),
        Work::MulNeg => each!(out, i, canonical(a[i] * -b[i])),
        Work::Fraction => each!(out, i, canonical(a[i] - floor::<V>(a[i]))),
        Work::Division(_) => {
            let mut quotients = Aligned([0.0; LANES]);
            floor_mod_lanes::<V>(a, b, |i, z, quotient| (out[i], quotients.0[i]) = (z, quotient));
            return Some(quotients);
        }
        Work::Rate => floor_mod_lanes::<V>(a, b, |i, _, quotient| out[i] = canonical(c[i] * -quotient)),
        Work::DivisionRate(_) => {
            let mut rates = Aligned([0.0; LANES]);
            floor_mod_lanes::<V>(a, b, |i, z, quotient| {
                (out[i], rates.0[i]) = (z, canonical(c[i] * -quotient));
            });
            return Some(rates);
        }
    }
    None
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
        Add => each!(out, i, sum(a[i], b[i])),
        Sub => each!(out, i, canonical(a[i] - b[i])),
        Mul => each!(out, i, canonical(a[i] * b[i])),
        Div => each!(out, i, canonical(a[i] / b[i])),
        Neg => each!(out, i, canonical(-a[i])),
        Abs => each!(out, i, canonical(a[i].abs())),
        Min => each!(out, i, canonical(minimum(a[i], b[i]))),
        Max => each!(out, i, canonical(maximum(a[i], b[i]))),
        Floor => each!(out, i, canonical(floor::<V>(a[i]))),
        Ceil => each!(out, i, canonical(-floor::<V>(-a[i]))),
        Trunc => each!(out, i, canonical(floor::<V>(a[i].abs()).copysign(a[i]))),
        Round if V::NATIVE => each!(out, i, canonical(a[i].round_ties_even())),
        Sqrt => each!(out, i, canonical(a[i].sqrt())),
        FloorMod => floor_mod_lanes::<V>(a, b, |i, remainder, _| out[i] = remainder),
        FloorQuotient => floor_mod_lanes::<V>(a, b, |i, _, quotient| out[i] = quotient),
        RoundToStorage => match storage {
            DType::F32 => *out = *a,
            DType::F16 => {
                let mut stored = Aligned([F16::ONE; LANES]);
                F16::round(vectors, a, &mut stored.0);
                F16::widen(vectors, &stored.0, out);
            }
            DType::Bf16 => each!(out, i, round_bf16(a[i])),
        },
        Lt => each!(out, i, truth(a[i] < b[i])),
        Le => each!(out, i, truth(a[i] <= b[i])),
        Eq => each!(out, i, truth(a[i] == b[i])),
        Not => each!(out, i, truth(a[i] == 0.0)),
        And => each!(out, i, truth(a[i] != 0.0 && b[i] != 0.0)),
        Or => each!(out, i, truth(a[i] != 0.0 || b[i] != 0.0)),
        Select => each!(out, i, pick(a[i] == 0.0, c[i], b[i])),
        _ => each!(out, i, primitive.compute(storage, [a[i], b[i], c[i]])),
    }
}
