//! The arguments.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use elemgrad::{Choice, Op, op};

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
    /// Run both ops over large buffers, check every bit and show the speed; what the command does unless told otherwise
    Demo(Demo),
    /// List adapters and probe what they do with floating point
    Info(Info),
    /// Run an op on .npy files
    Run(Run),
    /// Compare a device with the scalar reference, bit for bit
    Verify(Verify),
    /// Measure each kernel's bytes per second beside a copy
    Bench(Bench),
    /// Print the WGSL that the library compiles
    Shader(Shader),
    /// Draw an op and its gradients as SVG
    Plot(Plot),
}

/// A built-in op.
#[derive(Clone, Copy)]
pub(crate) struct BuiltIn(pub(crate) &'static dyn Op);

fn op_parser() -> impl TypedValueParser<Value = BuiltIn> {
    let names = op::BUILT_IN.map(|op| op.definition().name);
    PossibleValuesParser::new(names).try_map(|name| op::find(&name).map(BuiltIn).ok_or("no such op"))
}

/// The most elements of one dispatch, and so of one measured call.
const MAX_ELEMENTS: u64 = elemgrad::plan::MAX_DISPATCH;

#[derive(Args)]
pub(crate) struct Demo {
    /// Elements of each call, 67108864 unless told
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
    /// The op; both unless told
    #[arg(value_parser = op_parser())]
    pub(crate) op: Option<BuiltIn>,
    /// All 2^32 inputs of spiky
    #[arg(long)]
    pub(crate) exhaustive: bool,
    /// How many elements to sample; 10^7 for mod and 2^24 for spiky unless told
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) pairs: Option<u64>,
    /// Where the sample starts: the same seed gives the same elements
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// A pass to check, given once for each; all passes unless told
    #[arg(long = "pass", value_enum, value_name = "PASS")]
    pub(crate) passes: Vec<Pass>,
    /// One element alone, by the bits of its operands, as a mismatch prints them
    #[arg(long, value_name = "x=HEX,...", value_delimiter = ',', value_parser = parse_bits, requires = "op",
        conflicts_with_all = ["exhaustive", "pairs", "seed"])]
    pub(crate) bits: Vec<(String, f32)>,
    /// One JSON value
    #[arg(long)]
    pub(crate) json: bool,
}

/// An operand's name and bits, such as `x=3f800000`.
fn parse_bits(text: &str) -> Result<(String, f32), String> {
    let (name, hex) = text.split_once('=').ok_or("needs the form x=3f800000")?;
    let bits =
        u32::from_str_radix(hex, 16).map_err(|e| format!("{hex} is no 32 bits in hexadecimal: {e}"))?;
    Ok((name.to_owned(), f32::from_bits(bits)))
}

#[derive(Args)]
pub(crate) struct Bench {
    /// Elements of each call
    #[arg(long, value_name = "N", default_value_t = 16 << 20, value_parser = value_parser!(u64).range(1..=MAX_ELEMENTS))]
    pub(crate) elements: u64,
    /// One JSON value
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Run {
    /// The op
    #[arg(value_parser = op_parser())]
    pub(crate) op: BuiltIn,
    /// The input x
    #[arg(long, value_name = "X.npy")]
    pub(crate) x: PathBuf,
    /// The input y, where the op has one
    #[arg(long, value_name = "Y.npy")]
    pub(crate) y: Option<PathBuf>,
    /// The upstream gradient: with it, the gradients are written too
    #[arg(long, value_name = "G.npy")]
    pub(crate) grad: Option<PathBuf>,
    /// Where z.npy and the gradients' files go; files of these names are replaced once all outputs are complete
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Round f64 inputs to f32, to nearest, ties to even
    #[arg(long)]
    pub(crate) cast: bool,
}

#[derive(Args)]
pub(crate) struct Shader {
    /// The op
    #[arg(value_parser = op_parser())]
    pub(crate) op: BuiltIn,
    /// What the kernel computes
    #[arg(long, value_enum, required_unless_present = "functions")]
    pub(crate) pass: Option<Pass>,
    /// The op's functions alone, without bindings, for a kernel of your own; those of the fused pass unless told
    #[arg(long, conflicts_with_all = ["access", "json"])]
    pub(crate) functions: bool,
    /// How the kernel accesses memory: word takes any length, vec4 multiples of 4
    #[arg(long, value_enum, default_value_t = Access::Word)]
    pub(crate) access: Access,
    /// One JSON value: the source, and what a host needs to dispatch it
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Plot {
    /// The op
    #[arg(value_parser = op_parser())]
    pub(crate) op: BuiltIn,
    /// The SVG file to write
    #[arg(long, value_name = "F.svg")]
    pub(crate) out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Pass {
    Forward,
    Backward,
    Fused,
}

impl From<Pass> for op::Pass {
    fn from(pass: Pass) -> Self {
        match pass {
            Pass::Forward => Self::Forward,
            Pass::Backward => Self::Backward,
            Pass::Fused => Self::Fused,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Access {
    Word,
    Vec4,
}

impl From<Access> for elemgrad::plan::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::Word => Self::Word,
            Access::Vec4 => Self::Vec4,
        }
    }
}
