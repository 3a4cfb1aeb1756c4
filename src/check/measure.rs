//! Speed: a call's bytes per second, compared with a copy in the same run.

use std::time::{Duration, Instant};

use super::{
    case::{Case, Extra, Shapes},
    column::Column,
    copy::{PlainCopy, copy},
    data::Data,
    verify::{Expected, Inputs, verify},
};
use crate::{
    call::{host::View, traffic::Traffic},
    dtype::DType,
    error::Error,
    gpu::{
        bind::{Bound, Operand},
        kernels::Kernels,
        timing::Timer,
    },
    op::args::Args,
    run::Runner,
    shape::Layout,
};

/// The number of timed rounds. The figures are medians.
const ROUNDS: usize = 9;
/// One measurement.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use = "it says whether the outputs were right"]
pub struct Measurement {
    /// The device's name.
    pub device: String,
    /// The number of elements of `z`.
    pub elements: u64,
    /// The bytes that a call reads and writes.
    pub traffic: Traffic,
    /// The time of one call, the median.
    pub seconds: f64,
    /// The copy for comparison: `plain` (the fastest plain copy, on the CPU) or `same-mix` (on a GPU, a kernel that
    /// reads and writes as many operands).
    pub copy: &'static str,
    /// The copy's bytes per second, reads plus writes.
    pub copy_bytes_per_second: f64,
    /// Whether the times come from a GPU's own clock.
    pub timestamps: bool,
    /// The number of wrong output elements: [`Prepared::mismatches`]. None if nothing was compared.
    pub mismatches: Option<u64>,
}

impl Measurement {
    /// Whether outputs were compared, and none is wrong.
    pub fn passed(&self) -> bool {
        self.mismatches == Some(0)
    }

    /// The call's bytes per second, reads plus writes.
    pub fn bytes_per_second(&self) -> f64 {
        (self.traffic.read + self.traffic.written) as f64 / self.seconds
    }

    /// The call's bytes per second divided by the copy's.
    pub fn ratio_to_copy(&self) -> f64 {
        self.bytes_per_second() / self.copy_bytes_per_second
    }
}

/// Measures a call on data that is already where the device computes: host slices for the CPU, buffers for a GPU.
///
/// It first checks the pass on a sample of all kinds of data. Then it compares every element that a first call writes
/// with the reference. Large calls with broadcasts or extras on a GPU are compared with the CPU path instead. Calls
/// and copies take turns in the timing.
///
/// # Errors
/// The errors of [`Prepared::new`], and what the device reports.
pub fn measure(runner: &Runner, case: &Case) -> Result<Measurement, Error> {
    let mut prepared = Prepared::new(runner, case)?;
    let mismatches = prepared.mismatches()?;
    // The first calls are not timed. On a GPU one submission holds enough calls to make its own cost negligible.
    prepared.calls(1)?;
    let once = prepared.copies(0, 1)?.as_secs_f64();
    let repeat = if runner.gpu().is_some() { (0.02 / once).ceil().clamp(1.0, 64.0) as u32 } else { 1 };
    let (mut calls, mut copies) = (Vec::new(), vec![Vec::new(); prepared.copy_kinds()]);
    for _ in 0..ROUNDS {
        for (kind, times) in copies.iter_mut().enumerate() {
            times.push(prepared.copies(kind, repeat)?.as_secs_f64() / f64::from(repeat));
        }
        calls.push(prepared.calls(repeat)?.as_secs_f64() / f64::from(repeat));
    }
    let fastest = copies.into_iter().map(median).fold(f64::INFINITY, f64::min);
    Ok(Measurement {
        device: runner.name().to_owned(),
        elements: case.len(),
        traffic: case.traffic()?,
        seconds: median(calls),
        copy: if runner.gpu().is_some() { "same-mix" } else { "plain" },
        copy_bytes_per_second: case.copy_bytes(runner.gpu().is_some())? as f64 / fastest,
        timestamps: prepared.has_timestamps(),
        mismatches,
    })
}

/// A case to time: its operands are where the device computes, next to those of a copy.
pub struct Prepared<'a> {
    call: Call<'a>,
    place: Place<'a>,
}

enum Place<'a> {
    Cpu { runner: &'a Runner, results: Vec<Option<Column>>, copy: PlainCopy },
    Gpu { timer: Timer<'a>, results: Vec<Option<wgpu::Buffer>>, bound: Bound, copy: Bound },
}

impl<'a> Prepared<'a> {
    /// Checks the pass on a sample, and places the operands.
    ///
    /// # Errors
    /// [`Error::Wrong`] if the sample is not right to the bit, [`Error::Limit`] if a GPU's buffers cannot hold that
    /// many elements, and what the device reports.
    pub fn new(runner: &'a Runner, case: &'a Case) -> Result<Self, Error> {
        let signature = case.op.signature();
        let op = || signature.name().to_owned();
        if case.elements == 0 {
            return Err(Error::Arity { op: op(), what: "elements", got: 0, need: 1 });
        }
        let sample = Inputs::Sample { count: 1 << 16, seed: 1 };
        let report = verify(runner, case.op, case.dtype, &sample, &[case.pass], &mut |_| {
            std::ops::ControlFlow::Continue(())
        })?;
        if let Some(mismatch) = report.first.first() {
            return Err(Error::Wrong { op: op(), device: report.device, message: mismatch.to_string() });
        }
        let call = Call::new(case);
        let place = match runner.gpu() {
            None => {
                let copy = PlainCopy::new(case.words() as usize);
                Place::Cpu { runner, results: call.before.clone(), copy }
            }
            Some((kernels, queue)) => {
                let timer = Timer::new(kernels.device(), queue, signature.name())?;
                call.on_gpu(kernels, timer)?
            }
        };
        Ok(Self { call, place })
    }

    /// The number of kinds of copy. Compare with the fastest.
    pub fn copy_kinds(&self) -> usize {
        match &self.place {
            Place::Cpu { .. } => PlainCopy::KINDS,
            Place::Gpu { .. } => 1,
        }
    }

    /// Whether the times come from a GPU's own clock.
    pub fn has_timestamps(&self) -> bool {
        matches!(&self.place, Place::Gpu { timer, .. } if timer.has_timestamps())
    }

    /// The time of `count` calls.
    ///
    /// # Errors
    /// What the device reports.
    pub fn calls(&mut self, count: u32) -> Result<Duration, Error> {
        match &mut self.place {
            Place::Cpu { runner, results, .. } => {
                let start = Instant::now();
                for _ in 0..count {
                    self.call.run(runner, results)?;
                }
                Ok(start.elapsed())
            }
            Place::Gpu { timer, bound, .. } => timer.time(bound, count),
        }
    }

    /// The time of `count` copies of one kind.
    ///
    /// # Errors
    /// What the device reports.
    pub fn copies(&mut self, kind: usize, count: u32) -> Result<Duration, Error> {
        match &mut self.place {
            Place::Cpu { copy, .. } => {
                let start = Instant::now();
                (0..count).for_each(|_| copy.copy(kind));
                Ok(start.elapsed())
            }
            Place::Gpu { timer, copy, .. } => timer.time(copy, count),
        }
    }

    /// Counts the wrong output elements of one call. Elements must equal the reference's to the bit. For an op that
    /// is not [exact](crate::Op::is_exact) on a GPU, each element must lie within its enclosure. Make this the first
    /// call, since gradients may be added to existing values. None if nothing is compared: broadcasts and extras of
    /// such an op on a GPU, which [`self_test`](super::self_test) compares.
    ///
    /// # Errors
    /// What the device reports.
    pub fn mismatches(&mut self) -> Result<Option<u64>, Error> {
        self.calls(1)?;
        let got = match &self.place {
            Place::Cpu { results, .. } => results.clone(),
            Place::Gpu { timer, results, .. } => {
                let mut columns = self.call.before.clone();
                for (buffer, column) in results.iter().zip(&mut columns) {
                    if let (Some(buffer), Some(column)) = (buffer, column) {
                        timer.read_back(buffer, column.slice_mut().bytes())?;
                    }
                }
                columns
            }
        };
        self.call.wrong(&got, matches!(self.place, Place::Gpu { .. }))
    }
}

/// A case with its operands.
struct Call<'a> {
    case: &'a Case<'a>,
    /// The reads that the call needs, each with its layout.
    reads: Vec<Option<(Column, Layout)>>,
    /// The outputs' values before the call.
    before: Vec<Option<Column>>,
}

impl<'a> Call<'a> {
    fn new(case: &'a Case) -> Self {
        let signature = case.op.signature();
        let (dtype, len, shape) = (Some(case.dtype), case.len() as usize, case.shape());
        let mut shapes = case.input_shapes();
        shapes.push(shape.clone());
        let mut values = vec![vec![0.0; len]; shapes.len()];
        case.data.fill(case.dtype, 1, 0, &mut values);
        for (values, shape) in values.iter_mut().zip(&shapes) {
            values.truncate(shape.iter().product::<u64>() as usize);
        }
        let needed = signature.reads(case.outputs(), case.reads_mask());
        let read = |(i, values): (usize, &Vec<f32>)| {
            needed.contains(i).then(|| (Column::of(dtype, values), Layout::contiguous(&shapes[i])))
        };
        let mut reads: Vec<_> = values.iter().enumerate().map(read).collect();
        if let Some(w) = signature.mask().filter(|_| case.reads_mask()) {
            let mask = Expected::new(case.op, case.dtype, &values, len, false).output(w).clone();
            reads.push(Some((mask, Layout::contiguous(&shape))));
        }
        let before = |w: usize| {
            let kind = if signature.mask() == Some(w) { None } else { dtype };
            let shape = signature.gradient_of(w).map_or(&shape, |i| &shapes[i]);
            let mut values = vec![vec![0.0; shape.iter().product::<u64>() as usize]];
            if case.adds(w) {
                // Not zeros: adding to zeros is like overwriting.
                Data::Ordinary.fill(case.dtype, 2, 0, &mut values);
            }
            Column::of(kind, &values[0])
        };
        let wanted = case.outputs();
        let before = (0..signature.write_count()).map(|w| wanted.contains(w).then(|| before(w))).collect();
        Self { case, reads, before }
    }

    /// Counts the wrong output elements of the first call, by the reference. That would take long for many elements
    /// from a GPU, so those are compared with the CPU path, whose bits are compared with the reference elsewhere.
    fn wrong(&self, got: &[Option<Column>], on_gpu: bool) -> Result<Option<u64>, Error> {
        const MANY: u64 = 1 << 22;
        let case = self.case;
        let got = || got.iter().enumerate().filter_map(|(w, column)| Some((w, column.as_ref()?)));
        if case.shapes == Shapes::Contiguous && case.extra == Extra::None {
            let values = self.reads.iter();
            let values =
                values.map(|read| read.as_ref().map_or_else(Vec::new, |(column, _)| column.values()));
            let (values, len) = (values.collect::<Vec<_>>(), case.len() as usize);
            let expected = Expected::new(case.op, case.dtype, &values, len, on_gpu);
            return Ok(Some(got().map(|(w, column)| expected.wrong(w, column).len() as u64).sum()));
        }
        if on_gpu && !case.op.is_exact() {
            return Ok(None);
        }
        let runner = if on_gpu && case.len() > MANY { Runner::cpu() } else { Runner::reference() };
        let mut expected = self.before.clone();
        self.run(&runner, &mut expected)?;
        let differing =
            |(w, column): (usize, &Column)| expected[w].as_ref().map_or(0, |e| e.differing(column).len());
        Ok(Some(got().map(differing).sum::<usize>() as u64))
    }

    fn args<'b, O>(&'b self, writes: Vec<Option<O>>) -> Args<'b, View<'b>, O> {
        let view = |(i, read): (usize, &'b Option<(Column, Layout)>)| {
            let (column, layout) = read.as_ref()?;
            let is_mask = self.case.op.signature().is_mask_read(i);
            Some(if is_mask { column.view() } else { column.view().layout(layout.clone()) })
        };
        let reads = self.reads.iter().enumerate().map(view).collect();
        Args { dtype: Some(self.case.dtype), ..Args::new(self.case.op, reads, writes) }
    }

    /// One call on host slices.
    fn run(&self, runner: &Runner, results: &mut [Option<Column>]) -> Result<(), Error> {
        let writes = results.iter_mut().enumerate().map(|(w, column)| {
            let output = column.as_mut()?.output();
            Some(if self.case.adds(w) { output.accumulate() } else { output })
        });
        runner.run_here(self.args(writes.collect()))
    }

    /// Puts the operands in buffers of a GPU.
    fn on_gpu<'t>(&self, kernels: &Kernels, timer: Timer<'t>) -> Result<Place<'t>, Error> {
        let signature = self.case.op.signature();
        let upload = |column: &Column| timer.upload(column.slice().bytes());
        let inputs = self.reads.iter().map(|r| r.as_ref().map(|(c, _)| upload(c)).transpose());
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let results = self.before.iter().map(|c| c.as_ref().map(upload).transpose());
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let reads = (0..).zip(&inputs).zip(&self.reads).map(|((i, buffer), read)| {
            let (buffer, (column, layout)) = (buffer.as_ref()?, read.as_ref()?);
            let operand = Operand::new(buffer, 0, column.slice().len() as u64);
            Some(if signature.is_mask_read(i) { operand } else { operand.layout(layout.clone()) })
        });
        let writes = (0..).zip(&results).zip(&self.before).map(|((w, buffer), column)| {
            let operand = Operand::new(buffer.as_ref()?, 0, column.as_ref()?.slice().len() as u64);
            Some(if self.case.adds(w) { operand.accumulate() } else { operand })
        });
        let args: Args<Operand, Operand> = Args::new(self.case.op, reads.collect(), writes.collect());
        let bound = kernels.bind(Args { dtype: Some(self.case.dtype), ..args })?;
        let copy = self.copy(kernels, &timer)?;
        Ok(Place::Gpu { timer, results, bound, copy })
    }

    /// A copy of the same mix of reads and writes.
    fn copy(&self, kernels: &Kernels, timer: &Timer) -> Result<Bound, Error> {
        let ([reads, writes], words) = (self.case.copied()?, self.case.words());
        let copy = copy(reads)?;
        let mut random = vec![vec![0.0; words as usize]];
        Data::Ordinary.fill(DType::F32, 3, 0, &mut random);
        let buffer = || timer.upload(bytemuck::cast_slice(&random[0]));
        let inputs = (0..reads).map(|_| buffer()).collect::<Result<Vec<_>, _>>()?;
        let outputs = (0..writes).map(|_| buffer()).collect::<Result<Vec<_>, _>>()?;
        let operand = |buffer| Some(Operand::new(buffer, 0, words));
        let args: Args<Operand, Operand> =
            Args::new(&copy, inputs.iter().map(operand).collect(), outputs.iter().map(operand).collect());
        kernels.bind(args)
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
