//! `elemgrad run`: an op on `.npy` files of any size, in chunks.

use elemgrad::{Args, Choice, Op, Runner};

use crate::{cli, failure::Failure, interrupt, npy, outputs::Outputs, print, progress::Progress};

/// Elements that are in memory at a time, of each operand: 32 MiB.
const CHUNK: u64 = 8 << 20;

/// A file of one of the op's reads.
struct Input {
    option: String,
    reader: npy::Reader,
}

pub(crate) fn execute(args: &cli::Run, device: &Choice) -> Result<(), Failure> {
    let op = args.op.0;
    let mut inputs = open_inputs(args)?;
    check_shapes(&inputs)?;
    let runner = Runner::open(device)?;
    let writes = op.definition().write_names();
    let wanted = if args.grad.is_some() { writes.len() } else { 1 };
    let names: Vec<_> = writes[..wanted].iter().map(|name| format!("{name}.npy")).collect();
    let mut outputs = Outputs::create(&args.out, &names, inputs[0].reader.shape())?;
    stream(op, &runner, &mut inputs, wanted, &mut outputs)?;
    if runner.fell_back() {
        print::note(&format!(
            "elemgrad: {} was lost or ran out of memory, so the CPU took over\n",
            runner.name()
        ));
    }
    outputs.complete()
}

/// Opens the op's inputs, and the upstream gradient where there is one.
fn open_inputs(args: &cli::Run) -> Result<Vec<Input>, Failure> {
    let definition = args.op.0.definition();
    let given = [("x", Some(&args.x)), ("y", args.y.as_ref())];
    let mut files = Vec::new();
    for (name, path) in given {
        match (definition.inputs.contains(&name), path) {
            (true, Some(path)) => files.push((name, path)),
            (true, None) => {
                return Err(Failure::Usage(format!("{} needs --{name}: give a .npy file", definition.name)));
            }
            (false, Some(_)) => {
                return Err(Failure::Usage(format!(
                    "{} has no input {name}: leave out --{name}",
                    definition.name
                )));
            }
            (false, None) => {}
        }
    }
    files.extend(args.grad.as_ref().map(|path| ("grad", path)));
    files
        .into_iter()
        .map(|(name, path)| {
            let reader =
                npy::Reader::open(path, args.cast).map_err(|e| Failure::Usage(format!("--{name} {e}")))?;
            Ok(Input { option: format!("--{name}"), reader })
        })
        .collect()
}

fn check_shapes(inputs: &[Input]) -> Result<(), Failure> {
    let shape = inputs[0].reader.shape();
    match inputs.iter().find(|input| input.reader.shape() != shape) {
        None => Ok(()),
        Some(other) => Err(Failure::Usage(format!(
            "{} has the shape {}, needs {} as {} has it: give arrays of one shape",
            other.option,
            npy::tuple(other.reader.shape()),
            npy::tuple(shape),
            inputs[0].option,
        ))),
    }
}

/// Reads, computes and writes chunk by chunk.
fn stream(
    op: &dyn Op,
    runner: &Runner,
    inputs: &mut [Input],
    wanted: usize,
    outputs: &mut Outputs,
) -> Result<(), Failure> {
    let definition = op.definition();
    let names: Vec<_> = definition.read_names().collect();
    // An output that equals an input is written from it.
    let alias = |write| definition.alias(write).and_then(|name| names.iter().position(|n| *n == name));
    let aliases: Vec<Option<usize>> = (0..wanted).map(alias).collect();
    let (mut reads, mut writes) =
        (vec![Vec::new(); inputs.len()], vec![Vec::new(); definition.write_count()]);
    let elements = inputs[0].reader.elements();
    let progress = Progress::new(definition.name, elements);
    let mut done = 0;
    while done < elements {
        let len = CHUNK.min(elements - done) as usize;
        for (input, read) in inputs.iter_mut().zip(&mut reads) {
            read.resize(len, 0.0);
            input.reader.read(read).map_err(Failure::on_the_way)?;
        }
        let computed = |write: usize| write < wanted && aliases[write].is_none();
        runner.run(Args {
            op,
            reads: (0..names.len()).map(|i| reads.get(i)).collect(),
            writes: writes.iter_mut().enumerate().map(|(i, w)| computed(i).then_some(w)).collect(),
        })?;
        for (i, alias) in aliases.iter().enumerate() {
            let values = alias.map_or(&writes[i], |read| &reads[read]);
            outputs.write(i, values)?;
        }
        interrupt::check()?;
        done += len as u64;
        progress.set(done);
    }
    inputs.iter_mut().try_for_each(|input| input.reader.finish()).map_err(Failure::on_the_way)
}
