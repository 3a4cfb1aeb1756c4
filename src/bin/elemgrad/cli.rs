//! The arguments.

use std::{ops::RangeInclusive, path::PathBuf};

use clap::{
    ArgGroup, Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use elemgrad::{
    Arithmetic, Choice, DType, Op, Pass,
    check::{Data, Extra, Shapes},
    ops,
    shader::Access,
};

#[derive(Parser)]
#[command(version, about, long_about = None)]
pub(crate) struct Cli {
    /// Where to compute: auto (a hardware GPU, else the CPU), cpu, reference, gpu, or a part of an adapter's name or
    /// driver
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: Choice,

    #[command(flatten)]
    pub(crate) demo: Demo,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run both ops over large buffers, check every bit and show the speed. This is also what `elemgrad` alone does
    Demo(Demo),
    /// List adapters and probe what they do with floating point
    Info(Info),
    /// Run an op on .npy files of f32 ('<f4'), f16 ('<f2') or bf16 ('<u2', with --dtype bf16)
    ///
    /// Shapes broadcast as NumPy's do; a gradient has the shape of its input, and is summed where that was broadcast.
    /// Arrays of z's size are read, computed and written piece by piece, in bounded memory. What is broadcast is held
    /// in memory; where a gradient is a sum, everything is.
    Run(Run),
    /// Compare a device with the scalar reference, bit for bit
    Verify(Verify),
    /// Measure each kernel's bytes per second against a copy
    Bench(Bench),
    /// Print the WGSL that the library compiles
    Shader(Shader),
    /// Draw an op and its gradients as SVG
    Plot(Plot),
}

/// A built-in op.
#[derive(Clone, Copy)]
pub(crate) struct BuiltIn(pub(crate) &'static Op);

fn op_parser() -> impl TypedValueParser<Value = BuiltIn> {
    let names = ops::all().map(Op::name);
    PossibleValuesParser::new(names).try_map(|name| ops::find(&name).map(BuiltIn).ok_or("no such op"))
}

/// The op of a call: a built-in one or one of the user's.
#[derive(Args)]
pub(crate) struct OpArgs {
    /// A built-in op
    #[arg(value_name = "OP", value_parser = op_parser(), group = "source")]
    pub(crate) built_in: Option<BuiltIn>,
    /// An op of yours: WGSL whose `fn forward(x: f32, ...) -> f32` gives z; - reads standard input
    ///
    /// The parameters are the inputs. Gradients are derived; `fn d_x(x: f32, ..., z: f32, dz: f32) -> f32` is the one
    /// that you write for x.
    #[arg(long, value_name = "FILE.wgsl", groups = ["source", "custom"])]
    pub(crate) wgsl: Option<PathBuf>,
    /// An op of yours as one WGSL expression, such as `floor_mod(x, 1.0) * y`. The names in it are the inputs
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, groups = ["source", "custom"])]
    pub(crate) expr: Option<String>,
    /// How devices compute an op of yours: native (their own floats, the default) or exact (the same bits everywhere)
    #[arg(long, value_name = "ARITHMETIC", value_parser = one_of(&ARITHMETICS, Arithmetic::name),
        requires = "custom", conflicts_with = "built_in")]
    pub(crate) arithmetic: Option<Arithmetic>,
}

const ARITHMETICS: [Arithmetic; 2] = [Arithmetic::Native, Arithmetic::Exact];

/// For commands that require an op.
fn one_op() -> ArgGroup {
    ArgGroup::new("op").args(["built_in", "wgsl", "expr"]).required(true)
}

/// Parses `NAME=VALUE`.
fn named<T>(text: &str, form: &str, value: impl Fn(&str) -> Option<T>) -> Result<(String, T), String> {
    let parsed = text.split_once('=').and_then(|(name, text)| Some((name.to_owned(), value(text)?)));
    parsed.ok_or_else(|| format!("needs the form {form}"))
}

/// Parses a finite number.
pub(crate) fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|value: &f32| value.is_finite())
}

fn parse_file(text: &str) -> Result<(String, PathBuf), String> {
    named(text, "x=X.npy", |path| (!path.is_empty()).then(|| path.into()))
}

fn parse_value(text: &str) -> Result<(String, f32), String> {
    named(text, "y=0.5", finite)
}

fn parse_range(text: &str) -> Result<(String, RangeInclusive<f32>), String> {
    named(text, "x=-2:2, the lower end first", |ends| {
        let (low, high) = ends.split_once(':')?;
        let (low, high) = (finite(low)?, finite(high)?);
        (low < high).then_some(low..=high)
    })
}

/// Parses one of `all` by its name.
fn one_of<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|value| name(*value)))
        .try_map(move |text| all.iter().copied().find(|value| name(*value) == text).ok_or("no such name"))
}

/// One value of an option that also accepts `all`.
#[derive(Clone)]
pub(crate) struct Several<T>(Vec<T>);

impl<T: Copy> Several<T> {
    /// All values given for an option, or the default if there are none.
    pub(crate) fn told(values: &[Self], default: &[T]) -> Vec<T> {
        let all: Vec<T> = values.iter().flat_map(|several| several.0.iter().copied()).collect();
        if all.is_empty() { default.to_vec() } else { all }
    }
}

/// Parses one of `all` by its name, or `all` for all of them.
fn some_of<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = Several<T>>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|value| name(*value)).chain(["all"])).try_map(move |text| {
        let named = all.iter().copied().filter(|value| text == "all" || name(*value) == text);
        Ok::<_, std::convert::Infallible>(Several(named.collect()))
    })
}

/// The most elements of one dispatch, and so of one measured call.
const MAX_ELEMENTS: u64 = elemgrad::shader::Shader::MAX_ELEMENTS;

#[derive(Args)]
pub(crate) struct Demo {
    /// Elements of each call. The default is 67108864
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=MAX_ELEMENTS))]
    pub(crate) elements: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Info {
    /// One JSON value
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) op: OpArgs,
    /// Check every input. This is for ops of one input, and for ops of two in f16 and bf16
    #[arg(long)]
    pub(crate) exhaustive: bool,
    /// How many elements to sample. The default is 2^24 for ops of one input and 10^7 for others
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) pairs: Option<u64>,
    /// The seed of the sample: the same seed gives the same elements
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The storage type
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = one_of(DType::ALL, DType::name))]
    pub(crate) dtype: DType,
    /// A pass to check, given once for each. The default is all passes
    #[arg(long = "pass", value_name = "PASS", value_parser = one_of(Pass::ALL, Pass::name))]
    pub(crate) passes: Vec<Pass>,
    /// Check one element, by the bits of its operands, as a mismatch prints them: 8 digits in f32, else 4
    #[arg(long, value_name = "x=HEX,...", value_delimiter = ',', value_parser = parse_bits, requires = "source",
        conflicts_with_all = ["exhaustive", "pairs", "seed"])]
    pub(crate) bits: Vec<(String, u32)>,
    /// One JSON value
    #[arg(long)]
    pub(crate) json: bool,
}

/// The kinds of data that the option accepts.
const DATA: [Data; 3] = [Data::Ordinary, Data::Extreme, Data::Mix];

/// Its name, with `none` for no extra.
pub(crate) fn extra_name(extra: Extra) -> &'static str {
    if extra == Extra::None { "none" } else { extra.name() }
}

/// Parses an operand's name and bits, such as `x=3f800000`.
fn parse_bits(text: &str) -> Result<(String, u32), String> {
    let (name, hex) = text.split_once('=').ok_or("needs the form x=3f800000")?;
    let bits =
        u32::from_str_radix(hex, 16).map_err(|e| format!("{hex} is no 32 bits in hexadecimal: {e}"))?;
    Ok((name.to_owned(), bits))
}

#[derive(Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) op: OpArgs,
    /// A pass, given once for each. The default is all passes
    #[arg(long = "pass", value_name = "PASS", value_parser = some_of(Pass::ALL, Pass::name))]
    pub(crate) passes: Vec<Several<Pass>>,
    /// What passes do in addition, given once for each. The default is none. mask: forward of spiky, and of other ops
    /// whose gradients one condition gates, saves its mask, backward reads it. values: mod's forward also writes q.
    /// accumulate: gradients are added to what is there
    #[arg(long = "extra", value_name = "EXTRA", value_parser = some_of(Extra::ALL, extra_name))]
    pub(crate) extras: Vec<Several<Extra>>,
    /// A storage type, given once for each. The default is f32
    #[arg(long = "dtype", value_name = "TYPE", value_parser = some_of(DType::ALL, DType::name))]
    pub(crate) dtypes: Vec<Several<DType>>,
    /// The shapes of the inputs after x, given once for each. The default is contiguous (one shape). For ops of more
    /// than one input: scalar (one y for all), row (x is [rows, 1024], y [1024]), column (y is [rows, 1]), channel (x
    /// is [batch, 64, 1024], y [1, 64, 1])
    #[arg(long = "layout", value_name = "LAYOUT", value_parser = some_of(Shapes::ALL, Shapes::name))]
    pub(crate) layouts: Vec<Several<Shapes>>,
    /// What inputs hold, given once for each. The default is ordinary (ratios x/y below 2^20) and extreme (above)
    #[arg(long = "data", value_name = "DATA", value_parser = some_of(&DATA, Data::name))]
    pub(crate) data: Vec<Several<Data>>,
    /// Elements of each call, at most
    #[arg(long, value_name = "N", default_value_t = 16 << 20, value_parser = value_parser!(u64).range(1..=MAX_ELEMENTS))]
    pub(crate) elements: u64,
    /// One JSON value
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group = one_op())]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) op: OpArgs,
    /// The input x: short for --in x=X.npy
    #[arg(long, value_name = "X.npy")]
    pub(crate) x: Option<PathBuf>,
    /// The input y, where the op has one: short for --in y=Y.npy
    #[arg(long, value_name = "Y.npy")]
    pub(crate) y: Option<PathBuf>,
    /// An input by its name, given once for each: a file, or a number for all elements, such as slope=0.25
    #[arg(long = "in", value_name = "NAME=FILE.npy", value_parser = parse_file)]
    pub(crate) inputs: Vec<(String, PathBuf)>,
    /// The upstream gradient: with it, the gradients are written too
    #[arg(long, value_name = "G.npy")]
    pub(crate) grad: Option<PathBuf>,
    /// Where z.npy and the gradients' files go, dx.npy for x; files of these names are replaced once all outputs are
    /// complete
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The storage type. The default is that of the files. It is for bf16, whose files hold '<u2', and for --cast
    #[arg(long, value_name = "TYPE", value_parser = one_of(DType::ALL, DType::name))]
    pub(crate) dtype: Option<DType>,
    /// Round f64 inputs to f32, or f64 and f32 inputs to what --dtype says: once, to nearest, ties to even
    #[arg(long)]
    pub(crate) cast: bool,
    /// Of mod: write q.npy too, the floor of x / y
    #[arg(long)]
    pub(crate) quotient: bool,
    /// Of spiky, and of other ops whose gradients one condition gates: write mask.npy too, where they pass: element i
    /// is bit i % 32 of word i / 32 ('<u4')
    #[arg(long)]
    pub(crate) mask: bool,
}

#[derive(Args)]
#[command(group = one_op())]
pub(crate) struct Shader {
    #[command(flatten)]
    pub(crate) op: OpArgs,
    /// What the kernel computes
    #[arg(long, required_unless_present = "functions", value_parser = one_of(Pass::ALL, Pass::name))]
    pub(crate) pass: Option<Pass>,
    /// The storage type
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = one_of(DType::ALL, DType::name))]
    pub(crate) dtype: DType,
    /// The op's functions alone, without bindings, for a kernel of your own. The default pass is fused
    #[arg(long, conflicts_with_all = ["access", "json"])]
    pub(crate) functions: bool,
    /// How the kernel accesses memory: word takes any length, vec4 multiples of 4
    #[arg(long, default_value = "word", value_parser = one_of(&[Access::Word, Access::Vec4], Access::name))]
    pub(crate) access: Access,
    /// One JSON value: the source, and what a host needs to dispatch it
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group = one_op())]
pub(crate) struct Plot {
    #[command(flatten)]
    pub(crate) op: OpArgs,
    /// The range of an input, given once for each. The default is -3:3, and for ready-made ops one that shows them
    #[arg(long = "range", value_name = "x=-2:2", value_parser = parse_range)]
    pub(crate) ranges: Vec<(String, RangeInclusive<f32>)>,
    /// The value of an input while another one varies, given once for each. The default is 1
    #[arg(long = "at", value_name = "y=0.5", value_parser = parse_value)]
    pub(crate) at: Vec<(String, f32)>,
    /// The SVG file to write
    #[arg(long, value_name = "F.svg")]
    pub(crate) out: PathBuf,
}
