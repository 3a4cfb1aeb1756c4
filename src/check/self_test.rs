//! Compares an op on a device with the scalar reference, in every way to call the op.

use std::fmt::{Display, Formatter};

use super::{
    column::Column,
    data::Data,
    verify::{FOR_EACH_LEFT_OUT, Mismatch},
};
use crate::{
    call::{
        check::mask_words,
        host::{Output, View},
    },
    dtype::DType,
    error::Error,
    gpu::{bind::Operand, timing::Timer},
    op::{Op, args::Args},
    run::Runner,
    shape::Layout,
    signature::{
        OutputKind, Signature,
        enclosure::{Enclosure, Reason},
        outputs::{Outputs, Pass},
    },
};

/// Lengths around the boundaries of a kernel: a vector, a workgroup, several workgroups, more than one row of blocks.
const LENGTHS: [u64; 10] = [1, 3, 4, 255, 256, 257, 1023, 1024, 1025, 70_000];
/// Lengths for calls in place, of which there are many.
const FEW_LENGTHS: [u64; 4] = [1, 257, 1024, 1025];
/// Shapes of calls that broadcast: one with few elements, and one with sums of several stages.
const SHAPES: [([u64; 2], Data); 2] = [([5, 31], Data::Mix), ([67, 1025], Data::Ordinary)];
/// Why no call on the host is in place.
const NO_ALIAS: &str = "on the host no output can be an input: in place is for buffers of a GPU";

/// The result of a self-test: one case for each way to call the op, pass and storage type.
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct SelfTest {
    /// The op's name.
    pub op: String,
    /// The device's name.
    pub device: String,
    /// The cases.
    pub cases: Vec<SelfTestCase>,
}

/// One way to call an op.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SelfTestCase {
    /// The storage type.
    pub dtype: DType,
    /// The pass.
    pub pass: Pass,
    /// The layout of the operands, such as `contiguous` or `y a row`.
    pub way: String,
    /// The number of output elements compared.
    pub checked: u64,
    /// The number of elements about which nothing is guaranteed: [`Enclosure::LeftOut`].
    pub left_out: u64,
    /// The number of wrong elements.
    pub mismatches: u64,
    /// The first wrong element.
    pub first: Option<Mismatch>,
    /// Why nothing was compared.
    pub skipped: Option<&'static str>,
}

impl SelfTest {
    /// Whether elements were compared, all of them were right, and every case is
    /// [conclusive](SelfTestCase::is_conclusive).
    pub fn passed(&self) -> bool {
        self.cases.iter().any(|case| case.checked > 0)
            && self.cases.iter().all(|case| case.mismatches == 0 && case.is_conclusive())
    }

    /// The cases with wrong elements.
    pub fn failures(&self) -> impl Iterator<Item = &SelfTestCase> {
        self.cases.iter().filter(|case| case.mismatches > 0)
    }
}

impl SelfTestCase {
    fn new(dtype: DType, pass: Pass, way: &str) -> Self {
        Self {
            dtype,
            pass,
            way: way.into(),
            checked: 0,
            left_out: 0,
            mismatches: 0,
            first: None,
            skipped: None,
        }
    }

    /// Its name, such as `f16 fused, y a row`.
    pub fn name(&self) -> String {
        format!("{} {}, {}", self.dtype.name(), self.pass.name(), self.way)
    }

    /// Whether at most a fifth of the elements was left out.
    pub fn is_conclusive(&self) -> bool {
        self.left_out * FOR_EACH_LEFT_OUT <= self.checked
    }

    fn result(&self) -> String {
        match (self.skipped, self.mismatches) {
            (Some(_), _) => "skipped".into(),
            (None, 0) if self.left_out > 0 => format!("{} of {}", self.checked - self.left_out, self.checked),
            (None, 0) => self.checked.to_string(),
            (None, wrong) => format!("{wrong} wrong"),
        }
    }
}

/// One line for each way and pass, with the elements compared in each storage type. Then what is wrong and what was
/// skipped.
impl Display for SelfTest {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{} on {}", self.op, self.device)?;
        let of = |dtype: DType| self.cases.iter().filter(move |case| case.dtype == dtype);
        let label = |case: &SelfTestCase| format!("{}, {}", case.way, case.pass.name());
        let width = self.cases.iter().map(|case| label(case).len()).max().unwrap_or(0);
        write!(f, "\n{:width$}", "")?;
        DType::ALL.iter().try_for_each(|dtype| write!(f, " {:>12}", dtype.name()))?;
        for case in of(DType::F32) {
            write!(f, "\n{:width$}", label(case))?;
            for &dtype in DType::ALL {
                let same = of(dtype).find(|other| label(other) == label(case));
                write!(f, " {:>12}", same.map_or_else(String::new, SelfTestCase::result))?;
            }
        }
        for case in self.failures() {
            write!(f, "\n{}: {} of {} are wrong", case.name(), case.mismatches, case.checked)?;
            case.first.iter().try_for_each(|first| write!(f, ", first {first}"))?;
        }
        let reason = self.cases.iter().find_map(|case| case.skipped);
        reason.iter().try_for_each(|reason| write!(f, "\nskipped: {reason}"))
    }
}

/// Calls an op on a device in every way that its kernels distinguish, and compares every element of every output with
/// [`Op::reference`], by bits. If the op is not [exact](Op::is_exact), on a GPU each element must lie within its
/// enclosure instead.
///
/// The calls cover each pass in each storage type: at lengths around the boundaries of workgroups, strided, with
/// inputs that broadcast and gradients that are summed, with gradients that are added to existing values, from a
/// saved mask, and on a GPU in place. The inputs include NaN, infinities and subnormals.
///
/// Use it on an op of your own: it checks the op's WGSL, its CPU path and its outputs' signatures against its
/// reference. [`gradient_check`](super::gradient_check) checks the reference itself.
///
/// ```
/// use elemgrad::{Runner, check::self_test, ops};
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let report = self_test(&Runner::cpu(), ops::spiky())?;
/// assert!(report.passed(), "{report}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Arity`] if the signature fits no op, [`Error::Shader`] if the WGSL does not compile, and what the device
/// reports.
pub fn self_test(runner: &Runner, op: &Op) -> Result<SelfTest, Error> {
    let signature = op.signature();
    let mut cases = Vec::new();
    for &dtype in DType::ALL {
        for way in ways(signature) {
            cases.extend(way.cases(runner, op, dtype)?);
        }
        for &pass in Pass::ALL {
            cases.push(in_place(runner, op, dtype, pass)?);
        }
    }
    Ok(SelfTest { op: signature.name().to_owned(), device: runner.name().into(), cases })
}

/// Calls that differ only in shape or contents. They make one case for each pass.
struct Way {
    name: String,
    settings: Vec<Setting>,
    /// Whether gradients are added to existing values.
    adds: bool,
    /// Whether gradients come from the saved mask instead of the inputs.
    from_mask: bool,
}

/// The layouts of the inputs and of the upstream gradient, and their data.
#[derive(Clone)]
struct Setting {
    shape: Vec<u64>,
    reads: Vec<Layout>,
    data: Data,
}

impl Setting {
    fn contiguous(signature: &Signature, shape: &[u64], data: Data) -> Self {
        let reads = vec![Layout::contiguous(shape); signature.upstream() + 1];
        Self { shape: shape.to_vec(), reads, data }
    }

    fn len(&self) -> usize {
        self.shape.iter().product::<u64>() as usize
    }

    /// The number of elements of output `w`.
    fn output_len(&self, signature: &Signature, w: usize) -> usize {
        let own = signature.gradient_of(w).map(|input| &self.reads[input]);
        own.map_or(self.len(), |layout| layout.len().unwrap_or(0) as usize)
    }
}

/// The ways to call an op of this signature on host memory.
fn ways(signature: &Signature) -> Vec<Way> {
    let way = |name: &str, settings| Way { name: name.into(), settings, adds: false, from_mask: false };
    let plain = |len: &u64| Setting::contiguous(signature, &[*len], Data::Mix);
    let contiguous: Vec<_> = LENGTHS.iter().map(plain).collect();
    let mut ways = vec![
        Way { adds: true, ..way("added", contiguous.clone()) },
        way("contiguous", contiguous.clone()),
        way("strided", strided(signature)),
    ];
    if signature.gated_by_mask(signature.all_outputs(Pass::Backward)) {
        ways.push(Way { from_mask: true, ..way("from the mask", contiguous) });
    }
    if let [first, others @ ..] = signature.inputs()
        && !others.is_empty()
    {
        for (i, input) in signature.inputs().iter().enumerate() {
            let one = |own: Own| broadcast(signature, |other| if other == i { own } else { Own::Whole });
            ways.push(way(&format!("one {input}"), one(Own::Scalar)));
            ways.push(way(&format!("{input} a row"), one(Own::Row)));
            ways.push(way(&format!("{input} a column"), one(Own::Column)));
        }
        let crossed = broadcast(signature, |input| if input == 0 { Own::Column } else { Own::Row });
        let name = format!("{first} a column, {} rows", others.join(" and "));
        ways.push(Way { adds: true, ..way(&format!("added, {name}"), crossed.clone()) });
        ways.push(way(&name, crossed));
    }
    ways
}

/// Each operand in each of several layouts. No two operands of a call share a layout.
fn strided(signature: &Signature) -> Vec<Setting> {
    let [rows, columns] = [37, 41];
    let shape = [rows as u64, columns as u64];
    let last = (2 * rows * columns - 2) as u64;
    let orders = [
        Layout::strided(&shape, &[1, rows], 0),
        Layout::strided(&shape, &[-2 * columns, -2], last),
        Layout::strided(&shape, &[0, 3], 5),
        Layout::strided(&shape, &[1, 0], 1),
        Layout::contiguous(&shape),
    ];
    let setting = |turn: usize| {
        let plain = Setting::contiguous(signature, &shape, Data::Mix);
        let order = |operand: usize| orders[(operand + turn) % orders.len()].clone();
        Setting { reads: (0..plain.reads.len()).map(order).collect(), ..plain }
    };
    (0..orders.len()).map(setting).collect()
}

/// The part of the shape that an input has.
#[derive(Clone, Copy)]
enum Own {
    Whole,
    Scalar,
    Row,
    Column,
}

fn broadcast(signature: &Signature, own: impl Fn(usize) -> Own) -> Vec<Setting> {
    let setting = |(shape, data): ([u64; 2], Data)| {
        let mut setting = Setting::contiguous(signature, &shape, data);
        for (i, layout) in setting.reads.iter_mut().enumerate().take(signature.upstream()) {
            *layout = match own(i) {
                Own::Whole => continue,
                Own::Scalar => Layout::contiguous(&[]),
                Own::Row => Layout::contiguous(&shape[1..]),
                Own::Column => Layout::contiguous(&[shape[0], 1]),
            };
        }
        setting
    };
    SHAPES.map(setting).to_vec()
}

impl Way {
    /// One case for each pass of this way.
    fn cases(&self, runner: &Runner, op: &Op, dtype: DType) -> Result<Vec<SelfTestCase>, Error> {
        let passes: &[Pass] = match (self.adds, self.from_mask) {
            (false, false) => Pass::ALL,
            (true, _) => &[Pass::Backward, Pass::Fused],
            (false, true) => &[Pass::Backward],
        };
        let mut cases: Vec<_> =
            passes.iter().map(|pass| SelfTestCase::new(dtype, *pass, &self.name)).collect();
        for setting in &self.settings {
            let call = Call::new(runner, op, dtype, setting, self.adds)?;
            for case in &mut cases {
                for outputs in sets(op.signature(), case.pass) {
                    let actual = call.on_host(runner, outputs, self.from_mask)?;
                    call.compare(&actual, case);
                }
            }
        }
        Ok(cases)
    }
}

/// The default outputs of a pass, and all outputs that it can write. These have separate kernels.
fn sets(signature: &Signature, pass: Pass) -> Vec<Outputs> {
    let mut sets = vec![signature.default_outputs(pass), signature.all_outputs(pass)];
    sets.dedup();
    sets
}

/// The operands of a call, its outputs' values before the call, and the expected values of all of them after it.
struct Call<'a> {
    op: &'a Op,
    dtype: DType,
    setting: &'a Setting,
    adds: bool,
    reads: Vec<Column>,
    before: Vec<Column>,
    expected: Vec<Column>,
    /// For each output; empty if the bits count.
    enclosures: Vec<Vec<Enclosure>>,
}

impl<'a> Call<'a> {
    fn new(
        runner: &Runner,
        op: &'a Op,
        dtype: DType,
        setting: &'a Setting,
        adds: bool,
    ) -> Result<Self, Error> {
        let signature = op.signature();
        let reach = |layout: &Layout| layout.extent().map_or(0, |(_, last)| last as usize + 1);
        // What a device makes of NaN, infinities and subnormals is not specified for an op that is not exact.
        let bounded = runner.gpu().is_some() && !op.is_exact();
        let contents = if bounded { Data::of(op, true) } else { setting.data };
        let reads = drawn(contents, dtype, 1, &setting.reads.iter().map(reach).collect::<Vec<_>>());
        let lens: Vec<_> = (0..signature.write_count()).map(|w| setting.output_len(signature, w)).collect();
        let mut before = drawn(contents, dtype, 2, &lens);
        for (w, column) in before.iter_mut().enumerate() {
            let kind = signature.outputs()[w].kind;
            if kind == OutputKind::Mask {
                *column = Column::of(None, &vec![0.0; lens[w]]);
            }
            if kind != OutputKind::Gradient || !adds {
                column.unwrite(&column.clone());
            }
        }
        let (expected, enclosures) = (Vec::new(), Vec::new());
        let mut call = Self { op, dtype, setting, adds, reads, before, expected, enclosures };
        let all = call.on_host(&Runner::reference(), signature.all_outputs(Pass::Fused), false)?;
        call.expected = all.into_iter().flatten().collect();
        if bounded {
            call.enclosures = call.enclose();
        }
        Ok(call)
    }

    /// Runs the call on host memory and returns its outputs.
    fn on_host(
        &self,
        runner: &Runner,
        outputs: Outputs,
        from_mask: bool,
    ) -> Result<Vec<Option<Column>>, Error> {
        let signature = self.op.signature();
        let given = self.given(outputs, from_mask);
        let view = |i: usize| {
            let (view, layout) = (self.reads[i].view(), &self.setting.reads[i]);
            // A single axis needs no layout.
            if layout.shape().len() == 1 && self.setting.shape.len() == 1 {
                view
            } else {
                view.layout(layout.clone())
            }
        };
        let mut reads: Vec<Option<View>> =
            (0..self.reads.len()).map(|i| Some(i).filter(|i| given.contains(i)).map(view)).collect();
        reads.extend(signature.mask().filter(|_| from_mask).map(|w| Some(self.expected[w].view())));
        let mut columns: Vec<Option<Column>> = self
            .before
            .iter()
            .enumerate()
            .map(|(w, before)| outputs.contains(w).then(|| before.clone()))
            .collect();
        let writes = columns.iter_mut().enumerate().map(|(w, column)| {
            let output = column.as_mut()?.output();
            Some(if self.is_added(w) { output.accumulate() } else { output })
        });
        let writes: Vec<Option<Output>> = writes.collect();
        runner.run_here(Args { dtype: Some(self.dtype), ..Args::new(self.op, reads, writes) })?;
        Ok(columns)
    }

    /// The reads of a call: all inputs, which determine the shape, and what else the outputs need.
    fn given(&self, outputs: Outputs, from_mask: bool) -> Vec<usize> {
        let signature = self.op.signature();
        let needed = signature.reads_for(outputs, from_mask);
        (0..=signature.upstream()).filter(|i| *i < signature.upstream() || needed.contains(i)).collect()
    }

    fn is_added(&self, w: usize) -> bool {
        self.adds && self.op.signature().outputs()[w].kind == OutputKind::Gradient
    }

    /// Adds the results for the outputs' elements to a case.
    fn compare(&self, actual: &[Option<Column>], case: &mut SelfTestCase) {
        for (w, actual) in actual.iter().enumerate() {
            let Some(actual) = actual else { continue };
            let wrong = self.wrong(w, actual);
            case.checked += self.expected[w].len() as u64;
            case.mismatches += wrong.len() as u64;
            let of = self.enclosures.get(w).into_iter().flatten();
            case.left_out += of.filter(|enclosure| enclosure.is_left_out()).count() as u64;
            if case.first.is_none() {
                case.first = wrong.first().map(|element| self.mismatch(case.pass, w, *element, actual));
            }
        }
    }

    /// The elements of output `w` that neither equal the reference's to the bit nor lie within their enclosure.
    fn wrong(&self, w: usize, actual: &Column) -> Vec<usize> {
        let mut wrong = self.expected[w].differing(actual);
        if let Some(enclosures) = self.enclosures.get(w) {
            wrong.retain(|i| {
                // Equal bits: the unused bits of a mask's last word differ.
                let unused = self.expected[w].bits(*i) == actual.bits(*i);
                unused || !enclosures[*i].allows(actual.slice().get(*i))
            });
        }
        wrong
    }

    /// The enclosure of each element of each output.
    fn enclose(&self) -> Vec<Vec<Enclosure>> {
        let signature = self.op.signature();
        let count = signature.write_count();
        let own = |w: usize| {
            let shape =
                signature.gradient_of(w).map_or(&self.setting.shape[..], |i| self.setting.reads[i].shape());
            Layout::contiguous(shape)
        };
        let layouts: Vec<Layout> = (0..count).map(own).collect();
        let lens = (0..count).map(|w| self.setting.output_len(signature, w));
        let mut sums: Vec<Vec<Sum>> = lens.map(|len| vec![Sum::default(); len]).collect();
        let mut enclosures = vec![Enclosure::Exact(0.0); count];
        for element in 0..self.setting.len() {
            let value =
                |(layout, column): (&Layout, &Column)| column.slice().get(self.place(layout, element));
            let reads: Vec<f32> = self.setting.reads.iter().zip(&self.reads).map(value).collect();
            self.op.enclose(self.dtype, &reads, &mut enclosures);
            for (w, enclosure) in enclosures.iter().enumerate() {
                sums[w][self.place(&layouts[w], element)].add(*enclosure);
            }
        }
        let finished = |(w, sums): (usize, Vec<Sum>)| {
            let old = self.before[w].slice();
            let finish = |(i, sum): (usize, Sum)| {
                let sum = if self.is_added(w) { sum.over(old.get(i)) } else { sum.finish() };
                if signature.mask() == Some(w) { sum } else { sum.rounded(self.dtype) }
            };
            sums.into_iter().enumerate().map(finish).collect()
        };
        sums.into_iter().enumerate().map(finished).collect()
    }

    fn mismatch(&self, pass: Pass, w: usize, element: usize, actual: &Column) -> Mismatch {
        let signature = self.op.signature();
        // A sum depends on many elements.
        let is_sum = self.setting.output_len(signature, w) != self.setting.len();
        let layouts = self.setting.reads.iter().filter(|_| !is_sum);
        let value = |(layout, column): (&Layout, &Column)| column.slice().get(self.place(layout, element));
        let values = layouts.zip(&self.reads).map(value);
        Mismatch {
            dtype: self.dtype,
            element: element as u64,
            pass,
            output: signature.write_name(w).to_owned(),
            is_mask: signature.mask() == Some(w),
            reads: signature.read_names().map(str::to_owned).zip(values).collect(),
            expected: self.expected[w].bits(element),
            actual: actual.bits(element),
            enclosure: self.enclosures.get(w).map(|of| of[element]),
        }
    }

    /// The index in an operand that belongs to an element of `z`.
    fn place(&self, layout: &Layout, element: usize) -> usize {
        let (mut rest, mut place) = (element as u64, layout.offset() as i64);
        let own = layout.shape().iter().zip(layout.strides()).rev();
        for (axis, (dimension, stride)) in self.setting.shape.iter().rev().zip(own) {
            place += if *dimension == 1 { 0 } else { (rest % axis) as i64 * stride };
            rest /= axis;
        }
        place as usize
    }
}

/// The enclosure of the sum of some terms.
#[derive(Clone, Copy)]
struct Sum {
    terms: u32,
    /// The result for no term, or for one term, unchanged.
    first: Enclosure,
    low: f64,
    high: f64,
    size: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { terms: 0, first: Enclosure::Exact(0.0), low: 0.0, high: 0.0, size: 0.0 }
    }
}

impl Sum {
    fn add(&mut self, term: Enclosure) {
        let (low, high) = match term {
            Enclosure::Exact(value) => (value.into(), value.into()),
            Enclosure::Within(low, high) => (low, high),
            Enclosure::LeftOut(_) => (f64::NAN, f64::NAN),
        };
        if self.terms == 0 || term.is_left_out() && !self.first.is_left_out() {
            self.first = term;
        }
        self.terms += 1;
        self.low += low;
        self.high += high;
        self.size += low.abs().max(high.abs());
    }

    /// The sum of the terms. A tree of this many levels rounds each term that often.
    fn finish(self) -> Enclosure {
        if self.terms < 2 || self.first.is_left_out() {
            return self.first;
        }
        let levels = f64::from(self.terms).log2().ceil();
        let slack = self.size * levels * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE);
        // In some order of terms, a partial sum is as large as the sum of all magnitudes.
        if self.size + slack > f64::from(f32::MAX) {
            return Enclosure::LeftOut(Reason::NotFinite);
        }
        within(self.low - slack, self.high + slack)
    }

    /// The sum, added to the old value.
    fn over(self, old: f32) -> Enclosure {
        let (low, high) = match self.finish() {
            Enclosure::Exact(value) => (value.into(), value.into()),
            Enclosure::Within(low, high) => (low, high),
            left_out @ Enclosure::LeftOut(_) => return left_out,
        };
        let [low, high] = [low, high].map(|v: f64| v + f64::from(old));
        let slack = low.abs().max(high.abs()) * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE);
        within(low - slack, high + slack)
    }
}

/// The interval, or left out if an end exceeds the range of f32.
fn within(low: f64, high: f64) -> Enclosure {
    let most = f64::from(f32::MAX);
    if low >= -most && high <= most {
        Enclosure::Within(low, high)
    } else {
        Enclosure::LeftOut(Reason::NotFinite)
    }
}

/// Columns of these lengths, cut from the same rows.
fn drawn(data: Data, dtype: DType, seed: u64, lens: &[usize]) -> Vec<Column> {
    let mut values = vec![vec![0.0; lens.iter().copied().max().unwrap_or(0)]; lens.len()];
    data.fill(dtype, seed, 0, &mut values);
    values.iter().zip(lens).map(|(values, len)| Column::of(Some(dtype), &values[..*len])).collect()
}

/// Writes each output in place of an input, for each input in turn.
fn in_place(runner: &Runner, op: &Op, dtype: DType, pass: Pass) -> Result<SelfTestCase, Error> {
    let mut case = SelfTestCase::new(dtype, pass, "in place");
    let Some((kernels, queue)) = runner.gpu() else {
        return Ok(SelfTestCase { skipped: Some(NO_ALIAS), ..case });
    };
    let signature = op.signature();
    let timer = Timer::new(kernels.device(), queue, signature.name())?;
    for len in FEW_LENGTHS {
        let setting = Setting::contiguous(signature, &[len], Data::Mix);
        let call = Call::new(runner, op, dtype, &setting, false)?;
        for outputs in sets(signature, pass) {
            let inputs = signature.reads_for(outputs, false);
            for turn in 0..inputs.len() {
                let over = |place: usize| inputs.get(place).map(|_| inputs[(place + turn) % inputs.len()]);
                let actual = call.in_place(&timer, kernels, outputs, over)?;
                call.compare(&actual, &mut case);
            }
        }
    }
    Ok(case)
}

impl Call<'_> {
    /// Runs the call on buffers and returns its outputs. `over` gives the read that the n-th output, masks not
    /// counted, is written over.
    fn in_place(
        &self,
        timer: &Timer,
        kernels: &crate::gpu::Kernels,
        outputs: Outputs,
        over: impl Fn(usize) -> Option<usize>,
    ) -> Result<Vec<Option<Column>>, Error> {
        let signature = self.op.signature();
        let upload = |column: &Column| timer.upload(column.slice().bytes());
        let reads = self.reads.iter().map(upload).collect::<Result<Vec<_>, _>>()?;
        let mut writes = Vec::new();
        let mut numbers = 0..;
        for (w, before) in self.before.iter().enumerate() {
            let place =
                (outputs.contains(w) && signature.mask() != Some(w)).then(|| numbers.next()).flatten();
            writes.push(match place.and_then(&over) {
                Some(read) => reads[read].clone(),
                None => upload(before)?,
            });
        }
        let len = self.setting.len() as u64;
        let given = self.given(outputs, false);
        let read = |(i, buffer)| given.contains(&i).then(|| Operand::new(buffer, 0, len));
        let write = |(w, buffer)| {
            let len = if signature.mask() == Some(w) { mask_words(len) } else { len };
            outputs.contains(w).then(|| Operand::new(buffer, 0, len))
        };
        let args: Args<Operand, Operand> = Args::new(
            self.op,
            reads.iter().enumerate().map(read).collect(),
            writes.iter().enumerate().map(write).collect(),
        );
        let bound = kernels.bind(Args { dtype: Some(self.dtype), ..args })?;
        timer.time(&bound, 1)?;
        let back = |(w, buffer): (usize, &wgpu::Buffer)| {
            let mut column = self.before[w].clone();
            timer.read_back(buffer, column.slice_mut().bytes())?;
            Ok(outputs.contains(w).then_some(column))
        };
        writes.iter().enumerate().map(back).collect()
    }
}
