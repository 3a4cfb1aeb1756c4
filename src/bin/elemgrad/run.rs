//! `elemgrad run`: an op on `.npy` files.
//!
//! If no gradient is a sum, `z` is computed chunk by chunk. For files of the size of `z`, one chunk is in memory; for
//! files that are broadcast, everything is. A sum needs all of its terms in one call, so then everything is in
//! memory.

use std::path::Path;

use elemgrad::{
    Args, Choice, DType, Element, Layout, Op, Pass, Runner, View, broadcast,
    half::{bf16, f16},
    signature::{OutputKind, Signature},
};

use crate::{
    cli,
    failure::Failure,
    interrupt, npy,
    outputs::{Output, Outputs},
    print,
    progress::Progress,
};

/// The number of elements of each streamed operand that are in memory at a time: 32 MiB of f32. A multiple of 32, so
/// a mask's words are whole.
const CHUNK: u64 = 8 << 20;

/// The file of one of the op's reads.
struct Input {
    option: String,
    reader: npy::Reader,
}

/// The computation to run.
struct Job<'a> {
    op: &'a Op,
    outputs: elemgrad::Outputs,
    /// The shape of `z`.
    shape: Vec<u64>,
    /// The number of elements of `z`.
    len: u64,
    /// The number of elements of each output, or of words for a mask. 0 for an output that is not wanted.
    lens: Vec<u64>,
}

pub(crate) fn execute(args: &cli::Run, device: &Choice) -> Result<(), Failure> {
    let given = args.op.one()?;
    let (op, signature) = (given.op(), given.op().signature());
    let mut inputs = open_inputs(args, signature)?;
    let dtype = storage_type(args, &inputs)?;
    let outputs = wanted(args, signature)?;
    let shape = shape(op, &inputs)?;
    let (job, files) = Job::new(op, dtype, outputs, shape, &inputs)?;
    let runner = Runner::open(device)?;
    let mut outputs = Outputs::create(&args.out, &files)?;
    match dtype {
        DType::F32 => job.run::<f32>(&runner, &mut inputs, &mut outputs)?,
        DType::F16 => job.run::<f16>(&runner, &mut inputs, &mut outputs)?,
        DType::Bf16 => job.run::<bf16>(&runner, &mut inputs, &mut outputs)?,
        other => {
            return Err(Failure::Usage(format!("run: {} has no files: use f32, f16 or bf16", other.name())));
        }
    }
    inputs.iter_mut().try_for_each(|input| input.reader.finish()).map_err(Failure::on_the_way)?;
    if runner.fell_back() {
        print::note(&format!(
            "elemgrad: {} was lost or ran out of memory, so the CPU took over\n",
            runner.name()
        ));
    }
    outputs.complete()
}

/// A file given for an input: the input's name, the option and the path.
type Named<'a> = (&'a str, String, &'a Path);

/// Opens the op's inputs, and the upstream gradient if it is given.
fn open_inputs(args: &cli::Run, signature: &Signature) -> Result<Vec<Input>, Failure> {
    let short = [("x", &args.x), ("y", &args.y)].into_iter();
    let short = short.filter_map(|(name, path)| Some((name, format!("--{name}"), path.as_deref()?)));
    let long = args.inputs.iter().map(|(name, path)| (&**name, format!("--in {name}"), &**path));
    let named: Vec<Named> = short.chain(long).collect();
    if let Some((name, option, _)) = named.iter().find(|(name, ..)| !has_input(signature, name)) {
        let inputs = signature.inputs().join(", ");
        return Err(Failure::Usage(format!(
            "{} has no input {name}, only {inputs}: leave out {option}",
            signature.name()
        )));
    }
    let mut files = Vec::new();
    for input in signature.inputs() {
        files.push(file_of(input, &named, signature.name())?);
    }
    let inputs = files.into_iter().map(|(_, option, value)| Input::given(option, value));
    let upstream = args.grad.as_deref().map(|path| Input::open("--grad", path));
    inputs.chain(upstream).collect()
}

fn has_input(signature: &Signature, name: &str) -> bool {
    signature.inputs().iter().any(|input| input == name)
}

/// The only file given for an input.
fn file_of<'a, 'b>(input: &str, named: &'b [Named<'a>], op: &str) -> Result<&'b Named<'a>, Failure> {
    let mut files = named.iter().filter(|(name, ..)| *name == input);
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        (Some((_, first, _)), Some((_, second, _))) => Err(Failure::Usage(format!(
            "{input} is given twice, by {first} and {second}: leave out one of them"
        ))),
        _ if ["x", "y"].contains(&input) => Err(Failure::Usage(format!(
            "{op} needs --{input}: give a .npy file, or a number for all elements"
        ))),
        _ => Err(Failure::Usage(format!("{op} needs --in {input}=FILE.npy, or a number for all elements"))),
    }
}

/// The type of all operands: the value of `--dtype`, else the type of the first file, with f32 for f64.
fn storage_type(args: &cli::Run, inputs: &[Input]) -> Result<DType, Failure> {
    // A number is rounded to the type.
    let files = || inputs.iter().filter(|input| !input.reader.is_number());
    let own = match files().next().map(|first| first.reader.stored()) {
        Some(npy::Stored::F16) => DType::F16,
        _ => DType::F32,
    };
    let dtype = args.dtype.unwrap_or(own);
    let need = npy::Stored::from(dtype);
    for (i, input) in files().enumerate() {
        let stored = input.reader.stored();
        // f64 becomes f32 without `--dtype`. Rounding to 16 bits requires it.
        let is_wider = stored == npy::Stored::F64 || stored == npy::Stored::F32 && dtype != DType::F32;
        let told = args.dtype.is_some() || stored == npy::Stored::F64 && dtype == DType::F32;
        if stored == need || is_wider && told && args.cast {
            continue;
        }
        let but = match (args.dtype, i) {
            (Some(_), _) => format!(", but --dtype says {}", dtype.name()),
            (None, 0) => String::new(),
            (None, _) => files().next().map_or(String::new(), |first| {
                format!(", but {} holds {}", first.option, first.reader.stored().name())
            }),
        };
        let remedy = match stored {
            _ if is_wider && told => format!("pass --cast to round it to {}", dtype.name()),
            _ if is_wider => format!("pass --dtype {} and --cast to round it", dtype.name()),
            npy::Stored::U16 if i == 0 && args.dtype.is_none() => {
                "pass --dtype bf16 if that is what its words are".into()
            }
            _ if args.dtype.is_some() => "give arrays of that type, or leave out --dtype".into(),
            _ => "give arrays of one type".into(),
        };
        let (option, path) = (&input.option, input.reader.path().display());
        return Err(Failure::Usage(format!("{option} {path}: holds {}{but}: {remedy}", stored.name())));
    }
    Ok(dtype)
}

/// `z`, the gradients if the upstream gradient is given, and the other outputs that the options ask for.
fn wanted(args: &cli::Run, signature: &Signature) -> Result<elemgrad::Outputs, Failure> {
    let mut outputs = elemgrad::Outputs::Z;
    if args.grad.is_some() {
        outputs = outputs | signature.all_outputs(Pass::Backward);
    }
    for (option, output, given) in [("quotient", "q", args.quotient), ("mask", "mask", args.mask)] {
        match (given, signature.outputs().iter().position(|o| o.name == output)) {
            (true, Some(w)) => outputs = outputs | elemgrad::Outputs::of(w),
            (true, None) => {
                return Err(Failure::Usage(format!(
                    "{} has no output {output}: leave out --{option}",
                    signature.name()
                )));
            }
            (false, _) => {}
        }
    }
    Ok(outputs)
}

/// The shape of `z`. The upstream gradient must have this shape too.
fn shape(op: &Op, inputs: &[Input]) -> Result<Vec<u64>, Failure> {
    let (inputs, upstream) = inputs.split_at(op.signature().inputs().len());
    let mut shape = inputs[0].reader.shape().to_vec();
    for (i, input) in inputs.iter().enumerate() {
        let own = input.reader.shape();
        shape = broadcast(&shape, own).ok_or_else(|| {
            Failure::Usage(format!(
                "{} has the shape {}, which does not broadcast with {} of {}: give arrays of one \
                 shape, or with axes of one element",
                input.option,
                npy::tuple(own),
                npy::tuple(&shape),
                options(&inputs[..i]),
            ))
        })?;
    }
    match upstream.iter().find(|input| input.reader.shape() != shape) {
        None => Ok(shape),
        Some(other) => Err(Failure::Usage(format!(
            "{} has the shape {}, needs {}, that of z, which comes from {}",
            other.option,
            npy::tuple(other.reader.shape()),
            npy::tuple(&shape),
            options(inputs),
        ))),
    }
}

/// The options of the inputs, such as `--x and --y`.
fn options(inputs: &[Input]) -> String {
    inputs.iter().map(|input| input.option.as_str()).collect::<Vec<_>>().join(" and ")
}

/// The computed values of an output.
enum Values<E> {
    Numbers(Vec<E>),
    /// The words of a mask.
    Words(Vec<u32>),
    /// Nothing: the output has the bits of the upstream gradient.
    Upstream,
}

impl<'a> Job<'a> {
    /// The computation, and the files to write.
    fn new(
        op: &'a Op,
        dtype: DType,
        outputs: elemgrad::Outputs,
        shape: Vec<u64>,
        inputs: &[Input],
    ) -> Result<(Self, Vec<Output>), Failure> {
        let signature = op.signature();
        let len = Layout::contiguous(&shape).len().filter(|len| len.checked_mul(dtype.size()).is_some());
        let len = len.ok_or_else(|| {
            Failure::Usage(format!("z would have the shape {}: too many elements", npy::tuple(&shape)))
        })?;
        let mut job = Self { op, outputs, shape, len, lens: vec![0; signature.write_count()] };
        let mut files = Vec::new();
        for w in outputs.iter() {
            let is_mask = signature.outputs()[w].kind == OutputKind::Mask;
            let (shape, len) = match signature.gradient_of(w) {
                Some(i) => (inputs[i].reader.shape().to_vec(), inputs[i].reader.elements()),
                None if is_mask => (vec![len.div_ceil(32)], len.div_ceil(32)),
                None => (job.shape.clone(), len),
            };
            job.lens[w] = len;
            let name = format!("{}.npy", signature.outputs()[w].name);
            files.push(Output { name, dtype: (!is_mask).then_some(dtype), shape });
        }
        Ok((job, files))
    }

    /// Whether an output is the gradient of a broadcast input.
    fn is_sum(&self, write: usize) -> bool {
        self.op.signature().gradient_of(write).is_some() && self.lens[write] != self.len
    }

    fn run<E: Element>(
        &self,
        runner: &Runner,
        inputs: &mut [Input],
        outputs: &mut Outputs,
    ) -> Result<(), Failure> {
        let signature = self.op.signature();
        let values = |w: usize| {
            if signature.alias(w) == Some(signature.upstream()) && !self.is_sum(w) {
                Values::Upstream
            } else if signature.outputs()[w].kind == OutputKind::Mask {
                Values::Words(Vec::new())
            } else {
                Values::Numbers(Vec::new())
            }
        };
        let mut results: Vec<(usize, Values<E>)> = self.outputs.iter().map(|w| (w, values(w))).collect();
        if self.outputs.iter().any(|w| self.is_sum(w)) {
            self.at_once(runner, inputs, &mut results, outputs)
        } else {
            self.stream(runner, inputs, &mut results, outputs)
        }
    }

    /// Reads all inputs, computes everything at once and writes the outputs.
    fn at_once<E: Element>(
        &self,
        runner: &Runner,
        inputs: &mut [Input],
        results: &mut [(usize, Values<E>)],
        outputs: &mut Outputs,
    ) -> Result<(), Failure> {
        let progress = Progress::spinner(self.op.name());
        let reads = inputs.iter_mut().map(Input::read_all).collect::<Result<Vec<Vec<E>>, _>>()?;
        let views = reads.iter().zip(inputs.iter()).map(|(read, i)| View::from(read).shape(i.reader.shape()));
        for (w, values) in &mut *results {
            values.resize(self.lens[*w])?;
        }
        self.compute(runner, views.collect(), results)?;
        drop(progress);
        write(outputs, results, &reads)
    }

    /// Reads, computes and writes chunk by chunk.
    fn stream<E: Element>(
        &self,
        runner: &Runner,
        inputs: &mut [Input],
        results: &mut [(usize, Values<E>)],
        outputs: &mut Outputs,
    ) -> Result<(), Failure> {
        let mut held = Vec::new();
        for input in inputs.iter_mut() {
            let whole = input.reader.elements() == self.len;
            held.push(if whole { None } else { Some(Held::new(input, &self.shape)?) });
        }
        let mut reads: Vec<Vec<E>> = vec![Vec::new(); inputs.len()];
        let progress = Progress::new(self.op.name(), self.len);
        let mut done = 0;
        while done < self.len {
            let len = CHUNK.min(self.len - done);
            for ((read, input), held) in reads.iter_mut().zip(inputs.iter_mut()).zip(&held) {
                resize(read, len)?;
                match held {
                    Some(held) => held.copy(done, read),
                    None => input.reader.read(read).map_err(Failure::on_the_way)?,
                }
            }
            for (w, values) in &mut *results {
                let is_mask = self.op.signature().outputs()[*w].kind == OutputKind::Mask;
                values.resize(if is_mask { len.div_ceil(32) } else { len })?;
            }
            self.compute(runner, reads.iter().map(View::from).collect(), results)?;
            write(outputs, results, &reads)?;
            interrupt::check()?;
            done += len;
            progress.set(done);
        }
        Ok(())
    }

    fn compute<E: Element>(
        &self,
        runner: &Runner,
        reads: Vec<View>,
        results: &mut [(usize, Values<E>)],
    ) -> Result<(), Failure> {
        let mut writes: Vec<Option<elemgrad::Output>> = (0..self.lens.len()).map(|_| None).collect();
        for (w, values) in results {
            writes[*w] = match values {
                Values::Numbers(numbers) => Some(numbers.as_mut_slice().into()),
                Values::Words(words) => Some(words.as_mut_slice().into()),
                Values::Upstream => None,
            };
        }
        let reads = reads.into_iter().map(Some).collect();
        let mut args = Args::new(self.op, reads, writes);
        args.dtype = Some(E::DTYPE);
        Ok(runner.run(args)?)
    }
}

impl<E: Element> Values<E> {
    fn resize(&mut self, len: u64) -> Result<(), Failure> {
        match self {
            Values::Numbers(numbers) => resize(numbers, len),
            Values::Words(words) => resize(words, len),
            Values::Upstream => Ok(()),
        }
    }
}

fn write<E: Element>(
    outputs: &mut Outputs,
    results: &[(usize, Values<E>)],
    reads: &[Vec<E>],
) -> Result<(), Failure> {
    results.iter().enumerate().try_for_each(|(i, (_, values))| {
        let bytes = match values {
            Values::Numbers(numbers) => bytemuck::cast_slice(numbers),
            Values::Words(words) => bytemuck::cast_slice(words),
            // The upstream gradient follows the inputs.
            Values::Upstream => bytemuck::cast_slice(reads.last().map_or(&[][..], Vec::as_slice)),
        };
        outputs.write(i, bytes)
    })
}

fn resize<T: bytemuck::Zeroable + Clone>(values: &mut Vec<T>, len: u64) -> Result<(), Failure> {
    let more = usize::try_from(len).map(|len| len.saturating_sub(values.len()));
    if more.is_ok_and(|more| values.try_reserve_exact(more).is_ok()) {
        values.resize(len as usize, T::zeroed());
        return Ok(());
    }
    Err(Failure::OnTheWay(format!("there is not enough memory for {} elements at once", print::count(len))))
}

impl Input {
    fn open(option: &str, path: &Path) -> Result<Self, Failure> {
        let reader = npy::Reader::open(path).map_err(|e| Failure::Usage(format!("{option} {e}")))?;
        Ok(Self { option: option.to_owned(), reader })
    }

    /// A number, which broadcasts, or else a file.
    fn given(option: &str, value: &Path) -> Result<Self, Failure> {
        match value.to_str().and_then(cli::finite) {
            Some(number) => Ok(Self { option: option.to_owned(), reader: npy::Reader::number(number) }),
            None => Self::open(option, value),
        }
    }

    /// Reads all elements.
    fn read_all<E: Element>(&mut self) -> Result<Vec<E>, Failure> {
        let mut values = Vec::new();
        resize(&mut values, self.reader.elements())?;
        for chunk in values.chunks_mut(CHUNK as usize) {
            self.reader.read(chunk).map_err(Failure::on_the_way)?;
            interrupt::check()?;
        }
        Ok(values)
    }
}

/// A broadcast array.
struct Held<E> {
    values: Vec<E>,
    /// For each axis of `z`: its size, and the array's step along it.
    axes: Vec<(u64, u64)>,
}

impl<E: Element> Held<E> {
    fn new(input: &mut Input, shape: &[u64]) -> Result<Self, Failure> {
        let own = input.reader.shape().iter().rev().copied().chain(std::iter::repeat(1));
        let mut next = 1;
        let axes = shape.iter().rev().zip(own).map(|(d, own)| {
            let step = if own == 1 { 0 } else { next };
            next *= own;
            (*d, step)
        });
        let mut axes: Vec<_> = axes.collect();
        axes.reverse();
        Ok(Self { values: input.read_all()?, axes })
    }

    /// Copies the elements for those of `z` from `first` on.
    fn copy(&self, first: u64, mut to: &mut [E]) {
        let Some(((row, step), outer)) = self.axes.split_last() else { return };
        let mut at = first;
        while !to.is_empty() {
            let (mut rest, column) = (at / row, at % row);
            let mut start = 0;
            for (d, step) in outer.iter().rev() {
                start += rest % d * step;
                rest /= d;
            }
            let len = to.len().min((row - column) as usize);
            let (part, others) = to.split_at_mut(len);
            if *step == 0 {
                part.fill(self.values[start as usize]);
            } else {
                part.copy_from_slice(&self.values[(start + column) as usize..][..len]);
            }
            (to, at) = (others, at + len as u64);
        }
    }
}
