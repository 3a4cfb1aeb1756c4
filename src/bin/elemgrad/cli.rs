//! The arguments.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use elemgrad::{Choice, Op, op};

#[derive(Parser)]
#[command(version, about, long_about = None)]
pub(crate) struct Cli {
    /// Where to compute: auto (a hardware GPU, else the CPU), cpu, reference, gpu, or a part of an adapter's name or
    /// driver
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: Choice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run an op on .npy files
    Run(Run),
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
    /// The op's functions alone, without bindings, for a kernel of your own
    #[arg(long, conflicts_with_all = ["pass", "access", "json"])]
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
