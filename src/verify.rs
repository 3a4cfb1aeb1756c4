//! Comparing a device with the scalar reference, bit for bit.
//!
//! ```
//! use elemgrad::{Runner, modulo, op::Pass, verify::{Inputs, verify}};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), elemgrad::Error> {
//! let inputs = Inputs::Sample { count: 10_000, seed: 1 };
//! let report = verify(&Runner::cpu(), &modulo::Mod, &inputs, &Pass::ALL, &mut |_| ControlFlow::Continue(()))?;
//! assert_eq!((report.checked, report.mismatches), (10_000, 0));
//! # Ok(())
//! # }
//! ```

use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::{
    Args, Error, Op, Outputs, Runner,
    cpu::for_blocks,
    data::Data,
    op::{Definition, Pass, reference_block},
};

/// Elements that are compared at a time: one window of a streamed call.
const CHUNK: u64 = 1 << 20;
/// Mismatches that a report shows in full.
const SHOWN: usize = 10;

/// What to compare on.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// Every f32, for an op of one input.
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
    pub fn count(&self) -> u64 {
        match self {
            Inputs::Exhaustive => 1 << 32,
            Inputs::Sample { count, .. } => *count,
            Inputs::Given(operands) => operands.first().map_or(0, |o| o.len() as u64),
        }
    }

    fn check(&self, op: &dyn Op) -> Result<(), Error> {
        let definition = op.definition();
        let (what, got, need) = match self {
            Inputs::Exhaustive => ("inputs in an exhaustive check", definition.inputs.len(), 1),
            Inputs::Sample { .. } => return Ok(()),
            Inputs::Given(operands) => ("inputs", operands.len(), definition.read_count()),
        };
        let op = || definition.name.to_owned();
        if got != need {
            return Err(Error::Arity { op: op(), what, got, need });
        }
        let names: Vec<_> = definition.read_names().collect();
        let lens = self.given().iter().map(|operand| operand.len() as u64);
        match names.iter().zip(lens).find(|(_, len)| *len != self.count()) {
            None => Ok(()),
            Some((name, got)) => {
                let (argument, other) = ((*name).to_owned(), names[0].to_owned());
                Err(Error::Length { op: op(), argument, got, need: self.count(), other })
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

    fn fill(&self, first: u64, copies: usize, operands: &mut [Vec<f32>]) {
        match self {
            Inputs::Exhaustive => {
                let [x, upstream @ ..] = operands else { return };
                x.par_iter_mut()
                    .enumerate()
                    .for_each(|(i, x)| *x = f32::from_bits((first + i as u64) as u32));
                Data::Mix.fill(1, first, upstream);
            }
            Inputs::Sample { seed, .. } => Data::Mix.fill(*seed, first, operands),
            Inputs::Given(given) => {
                for (operand, given) in operands.iter_mut().zip(given) {
                    for (copies, value) in operand.chunks_mut(copies).zip(&given[first as usize..]) {
                        copies.fill(*value);
                    }
                }
            }
        }
    }
}

/// One output that is not the reference's.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The element's number.
    pub element: u64,
    /// The pass.
    pub pass: Pass,
    /// The output's name.
    pub output: String,
    /// Every input and the upstream gradient, by name.
    pub reads: Vec<(String, f32)>,
    /// What the reference says.
    pub expected: f32,
    /// What the device said.
    pub actual: f32,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "element {}, {}:", self.element, self.pass.name())?;
        for (name, value) in &self.reads {
            write!(f, " {name} = {value:e} ({:08x})", value.to_bits())?;
        }
        let (expected, actual) = (self.expected, self.actual);
        write!(f, ": {} is {actual:e} ({:08x}), ", self.output, actual.to_bits())?;
        write!(f, "expected {expected:e} ({:08x})", expected.to_bits())
    }
}

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The op's name.
    pub op: String,
    /// The device's name.
    pub device: String,
    /// Elements compared.
    pub checked: u64,
    /// Elements of which any output of any pass is wrong: an element counts once.
    pub mismatches: u64,
    /// The first mismatches.
    pub first: Vec<Mismatch>,
}

/// Compares the passes with the reference on every element, on bits: every output, but for one that is an alias (`dx` of
/// `mod`) on every other chunk of elements, since the kernels with it and without it take turns.
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
    inputs: &Inputs,
    passes: &[Pass],
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Report, Error> {
    inputs.check(op)?;
    let definition = op.definition();
    if passes.is_empty() {
        return Err(Error::NothingWanted { op: definition.name.into() });
    }
    for &pass in passes {
        definition.check(definition.all_outputs(pass))?;
    }
    let count = inputs.count();
    if count == 0 {
        return Err(Error::Arity { op: definition.name.into(), what: "elements", got: 0, need: 1 });
    }
    let mut report = Report {
        op: definition.name.into(),
        device: runner.name().into(),
        checked: 0,
        mismatches: 0,
        first: Vec::new(),
    };
    let mut chunk = Chunk::default();
    for turn in 0.. {
        let len = chunk_len(count, turn).min(count - report.checked) as usize;
        if len == 0 {
            break;
        }
        let mut wrong = vec![false; len];
        for &copies in inputs.copies() {
            chunk.prepare(op, inputs, report.checked, len, copies);
            for &pass in passes {
                for outputs in outputs(definition, pass, inputs, turn) {
                    chunk.compare(runner, op, outputs, &mut wrong, &mut report)?;
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

/// Elements of a chunk: by turns a multiple of 4 and not, since these are kernels of their own.
fn chunk_len(count: u64, turn: u64) -> u64 {
    let len = CHUNK.min(count.div_ceil(8).next_multiple_of(4));
    if turn % 4 < 2 { len } else { len - 1 }
}

/// What a pass is compared on: by turns the outputs that it writes unless told otherwise and all of them, aliases too,
/// since these are kernels of their own. Given elements may be few, so they are compared on both.
fn outputs(definition: &Definition, pass: Pass, inputs: &Inputs, turn: u64) -> Vec<Outputs> {
    let (default, all) = (definition.outputs(pass), definition.all_outputs(pass));
    match (inputs, turn % 2) {
        (Inputs::Given(_), _) if default != all => vec![default, all],
        (Inputs::Given(_), _) | (_, 0) => vec![default],
        _ => vec![all],
    }
}

/// Operands, expected outputs and actual outputs of some elements.
#[derive(Default)]
struct Chunk {
    /// Neighbours that are one element.
    copies: usize,
    reads: Vec<Vec<f32>>,
    expected: Vec<Vec<f32>>,
    actual: Vec<Vec<f32>>,
}

impl Chunk {
    fn prepare(&mut self, op: &dyn Op, inputs: &Inputs, first: u64, len: usize, copies: usize) {
        let definition = op.definition();
        self.copies = copies;
        let resize = |vectors: &mut Vec<Vec<f32>>, count| {
            vectors.resize(count, Vec::new());
            for vector in vectors {
                vector.resize(len * copies, 0.0);
            }
        };
        resize(&mut self.reads, definition.read_count());
        resize(&mut self.expected, definition.write_count());
        resize(&mut self.actual, definition.write_count());
        inputs.fill(first, copies, &mut self.reads);
        let reads: Vec<_> = self.reads.iter().map(|r| &r[..]).collect();
        reference(op, &reads, &mut self.expected);
    }

    fn compare(
        &mut self,
        runner: &Runner,
        op: &dyn Op,
        outputs: Outputs,
        wrong: &mut [bool],
        report: &mut Report,
    ) -> Result<(), Error> {
        // A bit pattern that no output has unless it is written: what the CPU path leaves alone counts as wrong.
        let canary = f32::from_bits(0xffed_cba9);
        self.actual.par_iter_mut().for_each(|actual| actual.fill(canary));
        let forward = outputs == Outputs::Z;
        let last = self.reads.len() - 1;
        let reads = (0..).zip(&self.reads).map(|(i, r)| (!forward || i < last).then_some(&r[..])).collect();
        let writes =
            (0..).zip(&mut self.actual).map(|(i, w)| outputs.contains(i).then_some(&mut w[..])).collect();
        runner.run_here(Args { op, reads, writes })?;

        let names = op.definition().write_names();
        for write in outputs.iter() {
            let (expected, actual) = (&self.expected[write], &self.actual[write]);
            for i in differing(expected, actual) {
                let shown = std::mem::replace(&mut wrong[i / self.copies], true);
                if !shown && report.first.len() < SHOWN {
                    let reads = op.definition().read_names().zip(&self.reads);
                    report.first.push(Mismatch {
                        element: report.checked + (i / self.copies) as u64,
                        pass: outputs.pass(),
                        output: names[write].clone(),
                        reads: reads.map(|(name, values)| (name.to_owned(), values[i])).collect(),
                        expected: expected[i],
                        actual: actual[i],
                    });
                }
            }
        }
        Ok(())
    }
}

/// The reference over all elements, on all cores.
pub(crate) fn reference(op: &dyn Op, reads: &[&[f32]], expected: &mut [Vec<f32>]) {
    let mut expected: Vec<_> = expected.iter_mut().map(|e| Some(&mut e[..])).collect();
    for_blocks(reads, &mut expected, |block| reference_block(op, &block.reads, &mut block.writes));
}

/// The elements that differ in any bit: all of them where the lengths do.
pub(crate) fn differing(expected: &[f32], actual: &[f32]) -> Vec<usize> {
    const BLOCK: usize = 1 << 14;
    if expected.len() != actual.len() {
        return (0..expected.len()).collect();
    }
    let blocks = expected.par_chunks(BLOCK).zip(actual.par_chunks(BLOCK)).enumerate();
    let differing = blocks.flat_map_iter(|(block, (expected, actual))| {
        let pairs = expected.iter().zip(actual).enumerate();
        let differ = pairs.filter(|(_, (e, a))| e.to_bits() != a.to_bits());
        differ.map(|(i, _)| block * BLOCK + i).collect::<Vec<_>>()
    });
    differing.collect()
}
