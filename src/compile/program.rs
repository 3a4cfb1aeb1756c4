//! Runs an expression on the CPU path: each building block over many lanes, with its operands in a core's first-level
//! cache.

use crate::{
    blocks::{Primitive, high_part, maximum, minimum, truth},
    cpu::{
        block::{Block, Lanes},
        cut::Cut,
        division::{floor_mod_lanes, on_lanes},
        simd::{Vectors, floor, pick},
        storage::{Aligned, F16, LANES, Storage, Wide, round_bf16},
    },
    dtype::DType,
    functions::{self, Function, Function2},
    numeric::{NAN, canonical, division::rate, sum},
    signature::{MAX_INPUTS, MAX_OUTPUTS},
};

/// Sets every lane. It is not a closure, since a closure might not be compiled for the vectors at hand.
macro_rules! each {
    ($out:ident, $i:ident, $value:expr) => {
        for $i in 0..LANES {
            $out[$i] = $value;
        }
    };
}

/// The place of lanes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// A read, by its place among the program's reads.
    Read(usize),
    Register(usize),
    /// An output, by its place among the program's writes.
    Write(usize),
}

/// The maximum number of operands of a step.
pub(super) const OPERANDS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) work: Work,
    pub(super) operands: [Place; OPERANDS],
    /// The place that the step sets. It is none of the operands.
    pub(super) out: Place,
}

/// What a step does: a building block, or several that often go together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Apply(Primitive),
    /// `select` by a comparison of the first two operands.
    Choose(Primitive),
    /// `y` where `x` is at most a number, else another number.
    Cut {
        most: f32,
        other: f32,
    },
    /// `y` where `floor_mod(x, 1)` is at most a number, else another number.
    CutByFraction {
        most: f32,
        other: f32,
    },
    /// `floor_mod(x, 1)` where that is at most a number, else another number.
    CutFraction {
        most: f32,
        other: f32,
    },
    /// Whether `floor_mod(x, 1)` is at most a number.
    FractionAtMost(f32),
    /// `x * -y`.
    MulNeg,
    /// `x * y`, but `+0` where `x` is a zero and the product NaN.
    MulGuarded,
    /// `x * -y`, but `+0` where `x` is a zero and the product NaN.
    MulNegGuarded,
    /// Two functions of `x`, the second in this place.
    Both(Both, Place),
    /// `floor_mod(x, 1)`.
    Fraction,
    /// `floor_mod`, and `floor_quotient` in this place.
    Division(Place),
    /// `w * -floor_quotient(x, y)`: the gradient that `floor_mod` passes to its divisor.
    Rate,
    /// `floor_mod`, and in this place the gradient that it passes to its divisor.
    DivisionRate(Place),
}

/// Two functions that share most of their work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Both {
    SinCos,
    SinhCosh,
    /// `sigmoid(x)` and `sigmoid(-x)`.
    Sigmoids,
    SoftplusSigmoid,
    /// `tanh(x)` and `exp(-2 * abs(x))`.
    TanhExp,
}

/// The steps of an expression. Registers are used again as soon as possible.
#[derive(Debug)]
pub(super) struct Steps {
    /// The op's reads and writes that the program uses.
    pub(super) reads: Vec<usize>,
    pub(super) writes: Vec<usize>,
    /// Writes that no step sets, and the places that they copy.
    pub(super) copies: Vec<(Place, usize)>,
    /// The constants, which fill the first registers.
    pub(super) constants: Vec<f32>,
    pub(super) registers: usize,
    pub(super) in_order: Vec<Step>,
}

/// Computes some outputs of an op in a storage type. Operands are the numbers of the op's reads and writes.
#[derive(Debug)]
pub(super) enum Program {
    /// One block after the other.
    Steps(Steps),
    /// `z`, `dx` and the mask, of `x` and the upstream gradient. This loop of its own keeps its lanes in vectors
    /// throughout.
    Cut(Cut, [usize; 2], [Option<usize>; 3]),
    /// `z`, `dx`, `dy` and the quotient, of `x`, `y` and the upstream gradient. This loop does the same.
    Division([usize; 3], [Option<usize>; 4]),
}

impl Program {
    pub(super) fn run(&self, storage: DType, block: Block) {
        match self {
            Self::Steps(steps) => steps.run(storage, block),
            Self::Cut(cut, reads, writes) => cut.on_lanes(block, *reads, *writes),
            Self::Division(reads, writes) => on_lanes(block, *reads, *writes),
        }
    }
}

impl Steps {
    fn run(&self, storage: DType, block: Block) {
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

/// The maximum number of reads, and of writes, of a usual op.
const FEW: usize = 3;
const MOST_READS: usize = MAX_INPUTS + 1;

/// The numbers, padded with a number that no operand has.
fn padded<const N: usize>(numbers: &[usize]) -> [usize; N] {
    std::array::from_fn(|i| numbers.get(i).copied().unwrap_or(usize::MAX))
}

/// A running program.
struct Machine<'p> {
    program: &'p Steps,
    storage: DType,
    registers: Vec<Aligned<Wide>>,
}

impl<const R: usize, const W: usize> Lanes<R, W> for Machine<'_> {
    #[inline(always)]
    fn lanes<V: Vectors>(&mut self, vectors: V, reads: [&Wide; R], writes: &mut [Aligned<Wide>; W]) {
        for step in &self.program.in_order {
            let second = {
                let (out, lanes) = step.lanes(&reads, &mut self.registers, writes);
                work(step.work, vectors, self.storage, lanes, out)
            };
            if let (Work::Division(at) | Work::DivisionRate(at) | Work::Both(_, at), Some(lanes)) =
                (step.work, second)
            {
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
    /// The lanes that the step sets, and its operands.
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

/// The lanes before and after those that a step sets, if they are of the same kind.
type Beside<'l> = [&'l [Aligned<Wide>]; 2];

/// The lanes of a place. This is a function, since closures are not compiled for the vectors at hand, and calling
/// them is expensive.
#[inline(always)]
fn lanes_of<'l>(place: Place, reads: &[&'l Wide], registers: Beside<'l>, writes: Beside<'l>) -> &'l Wide {
    let ([before, after], i) = match place {
        Place::Read(read) => return reads[read],
        Place::Register(r) => (registers, r),
        Place::Write(w) => (writes, w),
    };
    if i < before.len() { &before[i].0 } else { &after[i - before.len() - 1].0 }
}

/// The elements before an element, the element, and the elements after it.
#[inline(always)]
fn around<T>(all: &mut [T], i: usize) -> (&[T], &mut T, &[T]) {
    let (before, rest) = all.split_at_mut(i);
    let (it, after) = rest.split_first_mut().expect("a place of the program");
    (before, it, after)
}

/// Runs a step on lanes. Returns what it gives besides `out`.
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
            // A NaN is cut off.
            let fraction = a[i] - floor::<V>(a[i]);
            pick(fraction <= most, fraction, other)
        }),
        Work::FractionAtMost(most) => each!(out, i, truth(a[i] - floor::<V>(a[i]) <= most)),
        Work::MulNeg => each!(out, i, canonical(a[i] * -b[i])),
        Work::MulGuarded => each!(out, i, guarded(a[i], a[i] * b[i])),
        Work::MulNegGuarded => each!(out, i, guarded(a[i], a[i] * -b[i])),
        Work::Both(both, _) => {
            let mut second = Aligned([0.0; LANES]);
            match both {
                Both::SinCos => of_both::<V, functions::SinCos>(vectors, a, out, &mut second),
                Both::SinhCosh => of_both::<V, functions::SinhCosh>(vectors, a, out, &mut second),
                Both::Sigmoids => of_both::<V, functions::Sigmoids>(vectors, a, out, &mut second),
                Both::SoftplusSigmoid => {
                    of_both::<V, functions::SoftplusSigmoid>(vectors, a, out, &mut second);
                }
                Both::TanhExp => of_both::<V, functions::TanhExp>(vectors, a, out, &mut second),
            }
            return Some(second);
        }
        Work::Fraction => each!(out, i, canonical(a[i] - floor::<V>(a[i]))),
        Work::Division(_) => {
            let mut quotients = Aligned([0.0; LANES]);
            floor_mod_lanes::<V>(a, b, |i, z, quotient| (out[i], quotients.0[i]) = (z, quotient));
            return Some(quotients);
        }
        Work::Rate => floor_mod_lanes::<V>(a, b, |i, _, quotient| out[i] = rate(quotient, c[i])),
        Work::DivisionRate(_) => {
            let mut rates = Aligned([0.0; LANES]);
            floor_mod_lanes::<V>(a, b, |i, z, quotient| {
                (out[i], rates.0[i]) = (z, rate(quotient, c[i]));
            });
            return Some(rates);
        }
    }
    None
}

/// A product with `g`, but `+0` where `g` is a zero and the product NaN.
#[inline(always)]
fn guarded(g: f32, product: f32) -> f32 {
    pick(product.is_nan(), pick(g == 0.0, 0.0, NAN), product)
}

/// [`Primitive::compute`] on many lanes. Each building block has an arm.
#[inline(always)]
fn apply<V: Vectors>(
    primitive: Primitive,
    vectors: V,
    storage: DType,
    [a, b, c]: [&Wide; 3],
    out: &mut Wide,
) {
    use Primitive::{
        Abs, Acos, Acosh, Add, And, Asin, Asinh, Atan, Atan2, Atanh, Cbrt, Ceil, Clamp, Cos, Cosh, Div, Eq,
        Erf, Erfc, Exp, Exp2, Expm1, Floor, FloorMod, FloorQuotient, Guard, HighPart, Hypot, InverseSqrt, Le,
        Log, Log1p, Log2, Log10, Lt, Max, Min, Mul, Neg, Not, Or, Pow, QuantizeToF16, Round, RoundToStorage,
        Select, Sigmoid, Sin, Sinh, Softplus, Sqrt, Sub, Tan, Tanh, Trunc, TruncMod,
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
        Clamp => each!(out, i, canonical(minimum(maximum(a[i], b[i]), c[i]))),
        Guard => each!(out, i, pick(a[i] == 0.0 && b[i].is_nan(), 0.0, b[i])),
        HighPart => each!(out, i, high_part(a[i])),
        QuantizeToF16 => {
            let mut stored = Aligned([F16::ONE; LANES]);
            F16::round(vectors, a, &mut stored.0);
            F16::widen(vectors, &stored.0, out);
            // A rounded NaN may be infinite.
            each!(out, i, pick(a[i].is_nan(), NAN, out[i]));
        }
        InverseSqrt => of_one::<V, functions::InverseSqrt>(vectors, a, out),
        Cbrt => of_one::<V, functions::Cbrt>(vectors, a, out),
        Hypot => of_two::<V, functions::Hypot>(vectors, a, b, out),
        Exp => of_one::<V, functions::Exp>(vectors, a, out),
        Exp2 => of_one::<V, functions::Exp2>(vectors, a, out),
        Expm1 => of_one::<V, functions::Expm1>(vectors, a, out),
        Log => of_one::<V, functions::Log>(vectors, a, out),
        Log2 => of_one::<V, functions::Log2>(vectors, a, out),
        Log10 => of_one::<V, functions::Log10>(vectors, a, out),
        Log1p => of_one::<V, functions::Log1p>(vectors, a, out),
        Pow => of_two::<V, functions::Pow>(vectors, a, b, out),
        Sin => of_one::<V, functions::Sin>(vectors, a, out),
        Cos => of_one::<V, functions::Cos>(vectors, a, out),
        Tan => of_one::<V, functions::Tan>(vectors, a, out),
        Asin => of_one::<V, functions::Asin>(vectors, a, out),
        Acos => of_one::<V, functions::Acos>(vectors, a, out),
        Atan => of_one::<V, functions::Atan>(vectors, a, out),
        Atan2 => of_two::<V, functions::Atan2>(vectors, a, b, out),
        Sinh => of_one::<V, functions::Sinh>(vectors, a, out),
        Cosh => of_one::<V, functions::Cosh>(vectors, a, out),
        Tanh => of_one::<V, functions::Tanh>(vectors, a, out),
        Asinh => of_one::<V, functions::Asinh>(vectors, a, out),
        Acosh => of_one::<V, functions::Acosh>(vectors, a, out),
        Atanh => of_one::<V, functions::Atanh>(vectors, a, out),
        Erf => of_one::<V, functions::Erf>(vectors, a, out),
        Erfc => of_one::<V, functions::Erfc>(vectors, a, out),
        Sigmoid => of_one::<V, functions::Sigmoid>(vectors, a, out),
        Softplus => of_one::<V, functions::Softplus>(vectors, a, out),
        Round | TruncMod => {
            let value = primitive.row().f32;
            each!(out, i, value(storage, [a[i], b[i], c[i]]));
        }
    }
}

/// A function on many lanes. It is compiled once for each set of instructions, apart from the loops that call it.
#[inline(never)]
fn of_one<V: Vectors, F: Function>(vectors: V, a: &Wide, out: &mut Wide) {
    vectors.vectorize(
        #[inline(always)]
        || {
            if V::NATIVE {
                functions::lanes::<F, true, LANES>(a, out);
            } else {
                functions::lanes::<F, false, LANES>(a, out);
            }
        },
    );
}

/// The same for a function of two operands.
#[inline(never)]
fn of_two<V: Vectors, F: Function2>(vectors: V, a: &Wide, b: &Wide, out: &mut Wide) {
    vectors.vectorize(
        #[inline(always)]
        || {
            if V::NATIVE {
                functions::lanes2::<F, true, LANES>(a, b, out);
            } else {
                functions::lanes2::<F, false, LANES>(a, b, out);
            }
        },
    );
}

/// Two functions of one operand.
#[inline(never)]
fn of_both<V: Vectors, B: functions::Both>(vectors: V, a: &Wide, out: &mut Wide, second: &mut Aligned<Wide>) {
    vectors.vectorize(
        #[inline(always)]
        || {
            if V::NATIVE {
                functions::lanes_of_both::<B, true, LANES>(a, out, &mut second.0);
            } else {
                functions::lanes_of_both::<B, false, LANES>(a, out, &mut second.0);
            }
        },
    );
}
