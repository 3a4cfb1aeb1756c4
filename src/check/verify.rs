//! Compares many elements on a device with the scalar reference.

use std::ops::ControlFlow;

use rayon::prelude::*;
use smallvec::SmallVec;

use super::{column::Column, data::Data, gradient::SHOWN};
use crate::{
    call::host::{Output, View},
    cpu::for_blocks,
    dtype::DType,
    error::Error,
    op::{Op, args::Args},
    run::Runner,
    signature::{
        MAX_INPUTS, Signature,
        enclosure::Enclosure,
        outputs::{Outputs, Pass},
    },
};

/// The number of elements to compare at a time: one window of a streamed call.
const CHUNK: u64 = 1 << 20;
/// A conclusive comparison leaves out at most one of this many elements.
pub(super) const FOR_EACH_LEFT_OUT: u64 = 5;

/// The inputs to compare on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Inputs {
    /// Every input: all values of an op of one input. For an op of two inputs, all pairs, in 2-byte types only.
    Exhaustive,
    /// A sample of the data that [`Data::of`] gives for the op.
    Sample {
        /// The number of elements.
        count: u64,
        /// The seed.
        seed: u64,
    },
    /// One vector for each input, and one for the upstream gradient.
    Given(Vec<Vec<f32>>),
}

impl Inputs {
    /// The number of elements.
    pub fn count(&self, signature: &Signature, dtype: DType) -> u64 {
        match self {
            Inputs::Exhaustive => 1 << exhaustive_bits(signature, dtype).min(32),
            Inputs::Sample { count, .. } => *count,
            Inputs::Given(operands) => operands.first().map_or(0, |o| o.len() as u64),
        }
    }

    fn check(&self, op: &Op, dtype: DType) -> Result<(), Error> {
        let signature = op.signature();
        let (what, got, need) = match self {
            Inputs::Exhaustive => {
                let bits = exhaustive_bits(signature, dtype) as usize;
                ("bits of inputs in an exhaustive check", bits, bits.min(32))
            }
            Inputs::Sample { .. } => return Ok(()),
            Inputs::Given(operands) => ("inputs", operands.len(), signature.upstream() + 1),
        };
        let op = || signature.name().to_owned();
        if got != need {
            return Err(Error::Arity { op: op(), what, got, need });
        }
        let names: Vec<_> = signature.read_names().collect();
        let lens = self.given().iter().map(|operand| operand.len() as u64);
        let need = self.count(signature, dtype);
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

    /// How many neighbours each element is repeated as, one call after the other. A single element would run in
    /// another kernel and another vector lane than it would in a long call, so it is also compared among copies.
    fn copies(&self) -> &[usize] {
        match self {
            Inputs::Given(operands) if operands[0].len() <= 4096 => &[1, 64],
            _ => &[1],
        }
    }

    fn fill(&self, data: Data, dtype: DType, first: u64, copies: usize, operands: &mut [Vec<f32>]) {
        match self {
            Inputs::Exhaustive => {
                let Some((upstream, inputs)) = operands.split_last_mut() else { return };
                let width = 8 * dtype.size();
                for (place, input) in (0..).zip(inputs) {
                    let element = |i: usize| ((first + i as u64) >> (place * width)) as u32;
                    let mask = u32::MAX >> (32 - width);
                    input.par_iter_mut().enumerate().for_each(|(i, v)| *v = dtype.widen(element(i) & mask));
                }
                data.fill(dtype, 1, first, std::slice::from_mut(upstream));
            }
            Inputs::Sample { seed, .. } => data.fill(dtype, *seed, first, operands),
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

/// The number of bits in all inputs together.
fn exhaustive_bits(signature: &Signature, dtype: DType) -> u64 {
    signature.inputs().len() as u64 * 8 * dtype.size()
}

/// One output that differs from the reference.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Mismatch {
    /// The storage type.
    pub dtype: DType,
    /// The element's number.
    pub element: u64,
    /// The pass.
    pub pass: Pass,
    /// The output's name.
    pub output: String,
    /// Whether the output is a mask, whose elements are single bits.
    pub is_mask: bool,
    /// Every input and the upstream gradient, by name. Empty for a sum.
    pub reads: Vec<(String, f32)>,
    /// The reference's bits. A 2-byte type has them in the low half, a mask in the lowest bit.
    pub expected: u32,
    /// The device's bits.
    pub actual: u32,
    /// The allowed results, for an op on a GPU that is not exact.
    pub enclosure: Option<Enclosure>,
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
        write!(f, ": {} is {}, expected {}", self.output, show(self.actual), show(self.expected))?;
        match self.enclosure {
            Some(within @ Enclosure::Within(..)) => write!(f, " or {within}"),
            _ => Ok(()),
        }
    }
}

/// The result of a comparison.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct VerifyReport {
    /// The op's name.
    pub op: String,
    /// The storage type.
    pub dtype: DType,
    /// The device's name.
    pub device: String,
    /// The kind of data in a [sample](Inputs::Sample).
    pub data: Data,
    /// The number of elements compared.
    pub checked: u64,
    /// The number of elements with a wrong output in any pass. An element counts once.
    pub mismatches: u64,
    /// The number of elements with an output that was left out in any pass ([`Enclosure::LeftOut`]). Their other
    /// outputs are compared. An element counts once.
    pub left_out: u64,
    /// The first mismatches.
    pub first: Vec<Mismatch>,
}

impl VerifyReport {
    /// Whether every compared element is right, and the comparison is conclusive.
    pub fn passed(&self) -> bool {
        self.mismatches == 0 && self.checked > 0 && self.is_conclusive()
    }

    /// Whether enough was compared to be conclusive: at most a fifth of the elements was left out.
    pub fn is_conclusive(&self) -> bool {
        self.left_out * FOR_EACH_LEFT_OUT <= self.checked
    }
}

/// Compares the passes with the reference on every element: every output. Outputs that a pass does not write by
/// default (`dx` of `mod`, which is an alias, its `q`, the mask of `spiky`) are compared on every other chunk of
/// elements, since the kernels with and without them take turns. Given elements are compared with both kernels, and
/// so is the forward pass of an exhaustive check.
///
/// The bits must be equal. If the op is not exact, a GPU's outputs need only lie where [`Op::enclose`] allows.
///
/// `progress` receives the number of elements done and may stop the comparison. Then [`VerifyReport::checked`] is
/// less than the full count.
///
/// # Errors
/// [`Error::Arity`] if the inputs do not fit the op (such as an exhaustive check of two f32 inputs) or there are
/// none, [`Error::Length`] if given operands differ in length, [`Error::NothingWanted`] if there are no passes, and
/// what the device reports.
pub fn verify(
    runner: &Runner,
    op: &Op,
    dtype: DType,
    inputs: &Inputs,
    passes: &[Pass],
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<VerifyReport, Error> {
    let signature = op.signature();
    inputs.check(op, dtype)?;
    if passes.is_empty() {
        return Err(Error::NothingWanted { op: signature.name().to_owned() });
    }
    for &pass in passes {
        signature.check(signature.all_outputs(pass))?;
    }
    let count = inputs.count(signature, dtype);
    if count == 0 {
        return Err(Error::Arity { op: signature.name().to_owned(), what: "elements", got: 0, need: 1 });
    }
    let mut report = VerifyReport {
        op: signature.name().to_owned(),
        dtype,
        device: runner.name().into(),
        data: Data::of(op, runner.gpu().is_some()),
        checked: 0,
        mismatches: 0,
        left_out: 0,
        first: Vec::new(),
    };
    let on_gpu = runner.gpu().is_some();
    let mut chunks: Vec<_> =
        inputs.copies().iter().map(|copies| Chunk::new(op, dtype, *copies, on_gpu)).collect();
    let mut found = Vec::new();
    for turn in 0.. {
        let len = chunk_len(count, turn).min(count - report.checked) as usize;
        if len == 0 {
            break;
        }
        found.clear();
        found.resize(len, Found::default());
        for chunk in &mut chunks {
            chunk.fill(inputs, report.checked, len);
            for &pass in passes {
                for (outputs, from_mask) in outputs(signature, pass, inputs, count, turn) {
                    chunk.compare(runner, outputs, from_mask, &mut found, &mut report)?;
                }
            }
        }
        report.mismatches += found.iter().filter(|found| found.wrong).count() as u64;
        report.left_out += found.iter().filter(|found| found.left_out).count() as u64;
        report.checked += len as u64;
        if progress(report.checked).is_break() {
            break;
        }
    }
    Ok(report)
}

/// With at most this many elements, there are few turns.
const FEW: u64 = 1 << 16;

/// The number of elements in a chunk. Multiples of 4 and other lengths take turns, since they have separate kernels.
fn chunk_len(count: u64, turn: u64) -> u64 {
    let len = CHUNK.min(count.div_ceil(8).next_multiple_of(4));
    if turn % 4 < 2 { len } else { len - 1 }
}

/// The outputs to compare a pass on. The default outputs and all outputs take turns, since they have separate
/// kernels. Given elements may be few, and exhaustive ones come only once, so both sets are compared on them.
/// Backward is also done from the saved mask, if the mask gates all gradients.
fn outputs(
    signature: &Signature,
    pass: Pass,
    inputs: &Inputs,
    count: u64,
    turn: u64,
) -> Vec<(Outputs, bool)> {
    let (default, all) = (signature.default_outputs(pass), signature.all_outputs(pass));
    let both = match inputs {
        Inputs::Given(_) => true,
        // Forward gives the outputs that are neither z nor a gradient.
        Inputs::Exhaustive => pass == Pass::Forward || count <= FEW,
        Inputs::Sample { .. } => false,
    };
    let sets = match turn % 2 {
        _ if both && default != all => vec![default, all],
        0 => vec![default],
        _ => vec![all],
    };
    let from_mask = pass == Pass::Backward && signature.gated_by_mask(all);
    sets.iter().map(|set| (*set, false)).chain(from_mask.then_some((all, true))).collect()
}

/// The findings about an element, over all passes.
#[derive(Clone, Copy, Default)]
struct Found {
    wrong: bool,
    left_out: bool,
}

/// The operands and outputs of some elements, in memory that is reused for one chunk after the other.
struct Chunk<'a> {
    op: &'a Op,
    dtype: DType,
    /// The number of neighbours that repeat one element.
    copies: usize,
    on_gpu: bool,
    values: Vec<Vec<f32>>,
    reads: Vec<Column>,
    expected: Expected,
    actual: Vec<Column>,
}

impl<'a> Chunk<'a> {
    fn new(op: &'a Op, dtype: DType, copies: usize, on_gpu: bool) -> Self {
        let reads = op.signature().upstream() + 1;
        let expected = Expected::empty(op.signature(), dtype);
        Self {
            op,
            dtype,
            copies,
            on_gpu,
            values: vec![Vec::new(); reads],
            reads: vec![Column::zeros(Some(dtype), 0); reads],
            actual: expected.bits.clone(),
            expected,
        }
    }

    /// Fills in `len` elements from `first` on.
    fn fill(&mut self, inputs: &Inputs, first: u64, len: usize) {
        let (op, dtype, len) = (self.op, self.dtype, len * self.copies);
        self.values.iter_mut().for_each(|values| values.resize(len, 0.0));
        inputs.fill(Data::of(op, self.on_gpu), dtype, first, self.copies, &mut self.values);
        for (read, values) in self.reads.iter_mut().zip(&self.values) {
            read.set(values);
        }
        self.expected.set(op, dtype, &self.values, len, self.on_gpu);
    }

    fn compare(
        &mut self,
        runner: &Runner,
        outputs: Outputs,
        from_mask: bool,
        found: &mut [Found],
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let signature = self.op.signature();
        let needed = signature.reads(outputs, from_mask);
        let mut reads: Vec<Option<View>> =
            (0..).zip(&self.reads).map(|(i, r)| needed.contains(i).then(|| r.view())).collect();
        reads.extend(signature.mask().filter(|_| from_mask).map(|w| Some(self.expected.bits[w].view())));
        let mut writes: Vec<Option<Output>> = self.actual.iter().map(|_| None).collect();
        for (w, actual) in self.actual.iter_mut().enumerate().filter(|(w, _)| outputs.contains(*w)) {
            actual.unwrite(&self.expected.bits[w]);
            writes[w] = Some(actual.output());
        }
        runner.run_here(Args { dtype: Some(self.dtype), ..Args::new(self.op, reads, writes) })?;

        for w in outputs.iter() {
            let actual = &self.actual[w];
            for i in self.expected.left_out(w) {
                found[i / self.copies].left_out = true;
            }
            for i in self.expected.wrong(w, actual) {
                let shown = std::mem::replace(&mut found[i / self.copies].wrong, true);
                if !shown && report.first.len() < SHOWN {
                    let reads = signature.read_names().zip(&self.values);
                    report.first.push(Mismatch {
                        dtype: self.dtype,
                        element: report.checked + (i / self.copies) as u64,
                        pass: signature.pass_of(outputs),
                        output: signature.write_name(w).to_owned(),
                        is_mask: signature.mask() == Some(w),
                        reads: reads.map(|(name, values)| (name.to_owned(), values[i])).collect(),
                        expected: self.expected.bits[w].bits(i),
                        actual: actual.bits(i),
                        enclosure: self.expected.enclosure(w, i),
                    });
                }
            }
        }
        Ok(())
    }
}

/// What is expected of a device: the reference's bits, or else the outputs' enclosures.
pub(crate) struct Expected {
    /// The reference's values, by output.
    values: Vec<Vec<f32>>,
    /// Those values as stored.
    bits: Vec<Column>,
    /// By element, then by output. Empty if the bits count.
    enclosures: Vec<Enclosure>,
}

impl Expected {
    fn empty(signature: &Signature, dtype: DType) -> Self {
        let column = |w| Column::zeros((signature.mask() != Some(w)).then_some(dtype), 0);
        let bits: Vec<_> = (0..signature.write_count()).map(column).collect();
        Self { values: vec![Vec::new(); bits.len()], bits, enclosures: Vec::new() }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn new(op: &Op, dtype: DType, reads: &[Vec<f32>], len: usize, on_gpu: bool) -> Self {
        let mut expected = Self::empty(op.signature(), dtype);
        expected.set(op, dtype, reads, len, on_gpu);
        expected
    }

    /// Computes what the reference gives for `len` elements, on all cores. On a GPU, also computes the outputs'
    /// enclosures.
    fn set(&mut self, op: &Op, dtype: DType, reads: &[Vec<f32>], len: usize, on_gpu: bool) {
        let reads_of: Vec<_> = reads.iter().map(Vec::as_slice).collect();
        self.values.iter_mut().for_each(|values| values.resize(len, 0.0));
        let mut targets: Vec<_> = self.values.iter_mut().map(|values| Some(&mut values[..])).collect();
        for_blocks(&reads_of, &mut targets, |block| {
            reference(op, dtype, &block.reads, &mut block.writes);
        });
        for (bits, values) in self.bits.iter_mut().zip(&self.values) {
            bits.set(values);
        }
        if on_gpu && !op.is_exact() {
            enclosures(op, dtype, reads, len, &mut self.enclosures);
        }
    }

    /// An output as stored.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn output(&self, w: usize) -> &Column {
        &self.bits[w]
    }

    fn enclosure(&self, w: usize, i: usize) -> Option<Enclosure> {
        self.enclosures.get(i * self.bits.len() + w).copied()
    }

    /// The elements of output `w` about which nothing is guaranteed.
    fn left_out(&self, w: usize) -> impl Iterator<Item = usize> {
        let of_output = self.enclosures.iter().skip(w).step_by(self.bits.len()).enumerate();
        of_output.filter(|(_, enclosure)| enclosure.is_left_out()).map(|(i, _)| i)
    }

    /// The elements of output `w` that neither equal the reference's nor lie within their enclosure.
    pub(crate) fn wrong(&self, w: usize, actual: &Column) -> Vec<usize> {
        let mut wrong = self.bits[w].differing(actual);
        // The unused bits count as part of a mask's last element. No enclosure covers them.
        let same = |i| self.bits[w].bits(i) == actual.bits(i);
        let allowed = |i| self.enclosure(w, i).is_some_and(|e| e.allows(actual.slice().get(i)));
        wrong.retain(|i| same(*i) || !allowed(*i));
        wrong
    }
}

/// [`Op::reference`] for a block of elements. An empty read counts as zeros.
fn reference(op: &Op, storage: DType, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
    let signature = op.signature();
    let len = writes.iter().flatten().map(|write| write.len()).next().unwrap_or(0);
    let (mut of_reads, mut of_writes) =
        (vec![0.0; signature.upstream() + 1], vec![0.0; signature.write_count()]);
    for i in 0..len {
        for (slot, read) in of_reads.iter_mut().zip(reads) {
            *slot = read.get(i).copied().unwrap_or(0.0);
        }
        op.reference(storage, &of_reads, &mut of_writes);
        for (write, value) in writes.iter_mut().zip(&of_writes) {
            if let Some(write) = write {
                write[i] = *value;
            }
        }
    }
}

/// The enclosures of all outputs of each element, as stored, computed on all cores. An empty read counts as zeros.
fn enclosures(op: &Op, dtype: DType, reads: &[Vec<f32>], len: usize, all: &mut Vec<Enclosure>) {
    let signature = op.signature();
    let writes = signature.write_count();
    all.resize(len * writes, Enclosure::Exact(0.0));
    all.par_chunks_mut(writes).enumerate().for_each(|(i, enclosures)| {
        let reads: SmallVec<[f32; MAX_INPUTS + 1]> =
            reads.iter().map(|read| read.get(i).copied().unwrap_or(0.0)).collect();
        op.enclose(dtype, &reads, enclosures);
        for (w, enclosure) in enclosures.iter_mut().enumerate() {
            if signature.mask() != Some(w) {
                *enclosure = enclosure.rounded(dtype);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{expr::Arithmetic, op::Op};

    /// Only the enclosures decide about a non-exact op on a GPU.
    #[test]
    fn enclosures_decide_on_a_gpu() -> Result<(), Error> {
        let op = Op::new("thirds", ["x"], |[x]| (x / 3.0).floor())?;
        let reads = [vec![1.0, 3.0, f32::NAN], vec![1.0; 3]];
        let expected = Expected::new(&op, DType::F32, &reads, 3, true);
        assert_eq!(expected.left_out(0).collect::<Vec<_>>(), [1, 2], "at a jump, and of NaN");
        assert_eq!(expected.left_out(1).count(), 0, "the gradient is 0");
        let wrong = |values: &[f32]| expected.wrong(0, &Column::of(Some(DType::F32), values));
        assert!(wrong(&[-0.0, 0.0, 5.0]).is_empty());
        assert_eq!(wrong(&[1.0, 0.0, 5.0]), [0]);

        for (op, on_gpu) in [(op.clone().with_arithmetic(Arithmetic::Exact)?, true), (op, false)] {
            let expected = Expected::new(&op, DType::F32, &reads, 3, on_gpu);
            assert_eq!(expected.left_out(0).count(), 0);
            assert_eq!(expected.wrong(0, &Column::of(Some(DType::F32), &[-0.0, 1.0, f32::NAN])), [0]);
        }
        Ok(())
    }

    #[test]
    fn a_mismatch_shows_the_interval() {
        let mismatch = Mismatch {
            dtype: DType::F32,
            element: 3,
            pass: Pass::Forward,
            output: "z".into(),
            is_mask: false,
            reads: vec![("x".into(), 1.0)],
            expected: 0.5_f32.to_bits(),
            actual: 0.75_f32.to_bits(),
            enclosure: Some(Enclosure::Within(0.25, 0.625)),
        };
        assert_eq!(
            mismatch.to_string(),
            "element 3, forward: x = 1e0 (3f800000): z is 7.5e-1 (3f400000), expected 5e-1 (3f000000) or 2.5e-1 to 6.25e-1"
        );
    }
}
