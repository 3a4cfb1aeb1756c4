//! Comparing a device with the scalar reference, bit for bit, on many elements ([`verify`]) and in every way in which an op
//! can be called ([`self_test`]); and gradients with central differences ([`gradient_check`]).
//!
//! ```
//! use elemgrad::{DType, Runner, modulo, op::Pass, verify::{Inputs, verify}};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), elemgrad::Error> {
//! let inputs = Inputs::Sample { count: 10_000, seed: 1 };
//! let go_on = &mut |_| ControlFlow::Continue(());
//! let report = verify(&Runner::cpu(), &modulo::Mod, DType::F32, &inputs, &Pass::ALL, go_on)?;
//! assert_eq!((report.checked, report.mismatches), (10_000, 0));
//! # Ok(())
//! # }
//! ```

mod gradient;
#[cfg(not(target_arch = "wasm32"))]
mod self_test;

use std::ops::ControlFlow;

pub use gradient::{GradientComparison, GradientOptions, GradientReport, LeftOut, gradient_check};
use rayon::prelude::*;
#[cfg(not(target_arch = "wasm32"))]
pub use self_test::{SelfTest, SelfTestCase, self_test};

use crate::{
    Args, DType, Error, Op, Outputs, Runner, View,
    cpu::for_blocks,
    data::Data,
    host::Column,
    op::{Definition, Pass, reference_block},
};

/// Elements that are compared at a time: one window of a streamed call.
const CHUNK: u64 = 1 << 20;
/// Mismatches that a report shows in full.
const SHOWN: usize = 10;

/// What to compare on.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// Every input: all f32 for an op of one input; of the types of 2 bytes also all pairs for an op of two.
    Exhaustive,
    /// [`Data::Mix`].
    Sample {
        /// How many elements.
        count: u64,
        /// Where they start.
        seed: u64,
    },
    /// One vector for each input, and one for the upstream gradient.
    Given(Vec<Vec<f32>>),
}

impl Inputs {
    /// How many elements there are.
    pub fn count(&self, definition: &Definition, dtype: DType) -> u64 {
        match self {
            Inputs::Exhaustive => 1 << exhaustive_bits(definition, dtype).min(32),
            Inputs::Sample { count, .. } => *count,
            Inputs::Given(operands) => operands.first().map_or(0, |o| o.len() as u64),
        }
    }

    fn check(&self, op: &dyn Op, dtype: DType) -> Result<(), Error> {
        let definition = op.definition();
        let (what, got, need) = match self {
            Inputs::Exhaustive => {
                let bits = exhaustive_bits(definition, dtype) as usize;
                ("bits of inputs in an exhaustive check", bits, bits.min(32))
            }
            Inputs::Sample { .. } => return Ok(()),
            Inputs::Given(operands) => ("inputs", operands.len(), definition.upstream() + 1),
        };
        let op = || definition.name.to_string();
        if got != need {
            return Err(Error::Arity { op: op(), what, got, need });
        }
        let names: Vec<_> = definition.read_names().collect();
        let lens = self.given().iter().map(|operand| operand.len() as u64);
        let need = self.count(definition, dtype);
        match names.iter().zip(lens).find(|(_, len)| *len != need) {
            None => Ok(()),
            Some((name, got)) => {
                let (argument, other) = ((*name).to_owned(), names[0].to_owned());
                Err(Error::Length { op: op(), argument, got, need, other })
            }
        }
    }

    fn given(&self) -> &[Vec<f32>] {
        match self {
            Inputs::Given(operands) => operands,
            _ => &[],
        }
    }

    /// How many neighbours each element becomes, one call after the other. An element that is given alone takes a kernel
    /// and a vector lane that a long call would not, so it is also compared in company.
    fn copies(&self) -> &[usize] {
        match self {
            Inputs::Given(operands) if operands[0].len() <= 4096 => &[1, 64],
            _ => &[1],
        }
    }

    fn fill(&self, dtype: DType, first: u64, copies: usize, operands: &mut [Vec<f32>]) {
        match self {
            Inputs::Exhaustive => {
                let Some((upstream, inputs)) = operands.split_last_mut() else { return };
                let width = 8 * dtype.size();
                for (place, input) in (0..).zip(inputs) {
                    let element = |i: usize| ((first + i as u64) >> (place * width)) as u32;
                    let mask = u32::MAX >> (32 - width);
                    input.par_iter_mut().enumerate().for_each(|(i, v)| *v = dtype.widen(element(i) & mask));
                }
                Data::Mix.fill(dtype, 1, first, std::slice::from_mut(upstream));
            }
            Inputs::Sample { seed, .. } => Data::Mix.fill(dtype, *seed, first, operands),
            Inputs::Given(given) => {
                for (operand, given) in operands.iter_mut().zip(given) {
                    for (copies, value) in operand.chunks_mut(copies).zip(&given[first as usize..]) {
                        copies.fill(dtype.widen(dtype.round(*value)));
                    }
                }
            }
        }
    }
}

/// How many bits all inputs have.
fn exhaustive_bits(definition: &Definition, dtype: DType) -> u64 {
    definition.inputs.len() as u64 * 8 * dtype.size()
}

/// One output that is not the reference's.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The storage type.
    pub dtype: DType,
    /// The element's number.
    pub element: u64,
    /// The pass.
    pub pass: Pass,
    /// The output's name.
    pub output: String,
    /// Whether that output is a mask, whose elements are single bits.
    pub is_mask: bool,
    /// Every input and the upstream gradient, by name; none of a sum.
    pub reads: Vec<(String, f32)>,
    /// The bits that the reference says: of a type of 2 bytes the low half, of a mask the lowest.
    pub expected: u32,
    /// The bits that the device said.
    pub actual: u32,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let digits = 2 * self.dtype.size() as usize;
        let number = |bits: u32| format!("{:e} ({bits:0digits$x})", self.dtype.widen(bits));
        let show = |bits: u32| if self.is_mask { bits.to_string() } else { number(bits) };
        write!(f, "element {}, {}", self.element, self.pass.name())?;
        for (i, (name, value)) in self.reads.iter().enumerate() {
            let before = if i == 0 { ": " } else { " " };
            write!(f, "{before}{name} = {}", number(self.dtype.round(*value)))?;
        }
        write!(f, ": {} is {}, expected {}", self.output, show(self.actual), show(self.expected))
    }
}

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The op's name.
    pub op: String,
    /// The storage type.
    pub dtype: DType,
    /// The device's name.
    pub device: String,
    /// Elements compared.
    pub checked: u64,
    /// Elements of which any output of any pass is wrong: an element counts once.
    pub mismatches: u64,
    /// The first mismatches.
    pub first: Vec<Mismatch>,
}

/// Compares the passes with the reference on every element, on bits: every output, but for those that a pass does not write
/// unless told (`dx` of `mod`, which is an alias, its `q`, the mask of `spiky`) on every other chunk of elements, since the
/// kernels with them and without them take turns. Given elements, and forward of an exhaustive check, are compared on both.
///
/// `progress` hears how many elements are done and may break off, which leaves [`Report::checked`] short of the count.
///
/// # Errors
/// [`Error::Arity`] for inputs that are not the op's (an exhaustive check of two f32 among them) and for none;
/// [`Error::Length`] for given operands of different lengths, [`Error::NothingWanted`] for no passes, and what the device
/// reports.
pub fn verify(
    runner: &Runner,
    op: &dyn Op,
    dtype: DType,
    inputs: &Inputs,
    passes: &[Pass],
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Report, Error> {
    let definition = op.definition();
    inputs.check(op, dtype)?;
    if passes.is_empty() {
        return Err(Error::NothingWanted { op: definition.name.to_string() });
    }
    for &pass in passes {
        definition.check(definition.all_outputs(pass))?;
    }
    let count = inputs.count(definition, dtype);
    if count == 0 {
        return Err(Error::Arity { op: definition.name.to_string(), what: "elements", got: 0, need: 1 });
    }
    let mut report = Report {
        op: definition.name.to_string(),
        dtype,
        device: runner.name().into(),
        checked: 0,
        mismatches: 0,
        first: Vec::new(),
    };
    for turn in 0.. {
        let len = chunk_len(count, turn).min(count - report.checked) as usize;
        if len == 0 {
            break;
        }
        let mut wrong = vec![false; len];
        for &copies in inputs.copies() {
            let chunk = Chunk::new(op, dtype, inputs, report.checked, len, copies);
            for &pass in passes {
                for (outputs, from_mask) in outputs(definition, pass, inputs, count, turn) {
                    chunk.compare(runner, outputs, from_mask, &mut wrong, &mut report)?;
                }
            }
        }
        report.mismatches += wrong.iter().filter(|w| **w).count() as u64;
        report.checked += len as u64;
        if progress(report.checked).is_break() {
            break;
        }
    }
    Ok(report)
}

/// So many elements take few turns.
const FEW: u64 = 1 << 16;

/// Elements of a chunk: by turns a multiple of 4 and not, since these are kernels of their own.
fn chunk_len(count: u64, turn: u64) -> u64 {
    let len = CHUNK.min(count.div_ceil(8).next_multiple_of(4));
    if turn % 4 < 2 { len } else { len - 1 }
}

/// What a pass is compared on: by turns the outputs that it writes unless told otherwise and all of them, since these are
/// kernels of their own. Given elements may be few, and exhaustive ones come once: they are compared on both. Backward is
/// also done from the saved mask, where it gates all gradients.
fn outputs(
    definition: &Definition,
    pass: Pass,
    inputs: &Inputs,
    count: u64,
    turn: u64,
) -> Vec<(Outputs, bool)> {
    let (default, all) = (definition.outputs(pass), definition.all_outputs(pass));
    let both = match inputs {
        Inputs::Given(_) => true,
        // What a pass gives beside z and the gradients is forward's.
        Inputs::Exhaustive => pass == Pass::Forward || count <= FEW,
        Inputs::Sample { .. } => false,
    };
    let sets = match turn % 2 {
        _ if both && default != all => vec![default, all],
        0 => vec![default],
        _ => vec![all],
    };
    let from_mask = pass == Pass::Backward && definition.gated_by_mask(all);
    sets.iter().map(|set| (*set, false)).chain(from_mask.then_some((all, true))).collect()
}

/// Operands and expected outputs of some elements.
struct Chunk<'a> {
    op: &'a dyn Op,
    dtype: DType,
    /// Neighbours that are one element.
    copies: usize,
    values: Vec<Vec<f32>>,
    reads: Vec<Column>,
    expected: Vec<Column>,
}

impl<'a> Chunk<'a> {
    fn new(op: &'a dyn Op, dtype: DType, inputs: &Inputs, first: u64, len: usize, copies: usize) -> Self {
        let mut values = vec![vec![0.0; len * copies]; op.definition().upstream() + 1];
        inputs.fill(dtype, first, copies, &mut values);
        let reads = values.iter().map(|v| Column::of(Some(dtype), v)).collect();
        let expected = reference(op, dtype, &values, len * copies);
        Self { op, dtype, copies, values, reads, expected }
    }

    fn compare(
        &self,
        runner: &Runner,
        outputs: Outputs,
        from_mask: bool,
        wrong: &mut [bool],
        report: &mut Report,
    ) -> Result<(), Error> {
        let definition = self.op.definition();
        let needed = definition.reads_for(outputs, from_mask);
        let mut reads: Vec<Option<View>> =
            (0..).zip(&self.reads).map(|(i, r)| needed.contains(&i).then(|| r.view())).collect();
        reads.extend(definition.mask().filter(|_| from_mask).map(|w| Some(self.expected[w].view())));
        let mut actual: Vec<Option<Column>> = (0..)
            .zip(&self.expected)
            .map(|(w, expected)| outputs.contains(w).then(|| unwritten(expected)))
            .collect();
        let writes = actual.iter_mut().map(|w| w.as_mut().map(Column::output)).collect();
        runner.run_here(Args { dtype: Some(self.dtype), ..Args::new(self.op, reads, writes) })?;

        for (w, actual) in actual.iter().enumerate() {
            let (Some(actual), expected) = (actual, &self.expected[w]) else { continue };
            for i in expected.differing(actual) {
                let shown = std::mem::replace(&mut wrong[i / self.copies], true);
                if !shown && report.first.len() < SHOWN {
                    let reads = definition.read_names().zip(&self.values);
                    report.first.push(Mismatch {
                        dtype: self.dtype,
                        element: report.checked + (i / self.copies) as u64,
                        pass: definition.pass(outputs),
                        output: definition.write_name(w).to_owned(),
                        is_mask: definition.mask() == Some(w),
                        reads: reads.map(|(name, values)| (name.to_owned(), values[i])).collect(),
                        expected: expected.bits(i),
                        actual: actual.bits(i),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Bit patterns that no output has unless it is written: what a device leaves alone counts as wrong.
fn unwritten(expected: &Column) -> Column {
    let mut column = expected.clone();
    match &mut column {
        Column::F32(values) => values.fill(f32::from_bits(0xffed_cba9)),
        Column::Half(DType::F16, values) => values.fill(0xfeab),
        Column::Half(_, values) => values.fill(0xffab),
        Column::Bits(_, words) => words.iter_mut().for_each(|word| *word = !*word),
    }
    column
}

/// The reference over so many elements, on all cores: every output.
pub(crate) fn reference(op: &dyn Op, dtype: DType, reads: &[Vec<f32>], len: usize) -> Vec<Column> {
    let definition = op.definition();
    let mut values = vec![vec![0.0; len]; definition.write_count()];
    let slices: Vec<_> = reads.iter().map(Vec::as_slice).collect();
    let mut targets: Vec<_> = values.iter_mut().map(|e| Some(&mut e[..])).collect();
    for_blocks(&slices, &mut targets, |block| reference_block(op, dtype, &block.reads, &mut block.writes));
    let kind = |w: usize| if definition.mask() == Some(w) { None } else { Some(dtype) };
    values.iter().enumerate().map(|(w, values)| Column::of(kind(w), values)).collect()
}
