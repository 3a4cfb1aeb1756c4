//! What an op is, the list of built-in ops, and the arguments of a call.
//!
//! An op has inputs (`x`, `y`), an output `z`, an upstream gradient `dz`, and a gradient for each input (`dx`, `dy`).
//! Everything else (kernels, CPU path, checks, benches, plots) is derived from its [`Definition`] and its scalar twin.

use crate::Error;

mod args;
pub mod modulo;
pub mod spiky;

pub(crate) use args::check;
pub use args::{Args, IntoArgs};

/// The name of the upstream gradient, an operand of every op.
pub const UPSTREAM: &str = "dz";

/// The most inputs of an op.
pub const MAX_INPUTS: usize = 8;

/// The built-in ops, `spiky` and `mod`: what the command, the benches and the tests go through.
pub const BUILT_IN: [&dyn Op; 2] = [&spiky::Spiky, &modulo::Mod];

/// The built-in op of that name (`mod`, not `modulo`); `None` where there is none.
pub fn find(name: &str) -> Option<&'static dyn Op> {
    BUILT_IN.into_iter().find(|op| op.definition().name == name)
}

/// An elementwise op with gradients.
///
/// Operands are numbered: reads are the inputs in order, then the upstream gradient; writes are `z`, then the gradient
/// of each input.
///
/// An op of your own is its WGSL on bits and a scalar twin, and then runs on every device:
///
/// ```
/// use elemgrad::{Op, Runner, op::Definition};
///
/// /// |x|; its gradient is dz with the sign of x.
/// struct Abs;
///
/// static ABS: Definition = Definition {
///     name: "abs",
///     inputs: &["x"],
///     functions: &[],
///     lets: &[("sign", "x & 0x80000000u")],
///     z: "x ^ sign",
///     gradients: &["dz ^ sign"],
///     formulas: &[("z", "|x|"), ("dx", "dz where x >= 0, else -dz")],
/// };
///
/// impl Op for Abs {
///     fn definition(&self) -> &Definition {
///         &ABS
///     }
///
///     fn reference(&self, reads: &[f32], writes: &mut [f32]) {
///         let sign = reads[0].to_bits() & 0x8000_0000;
///         writes[0] = reads[0].abs();
///         writes[1] = f32::from_bits(reads[1].to_bits() ^ sign);
///     }
/// }
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let (z, gradients) = Runner::auto().fused(&Abs, &[&[-2.0, 3.0]], &[1.0, 1.0])?;
/// assert_eq!((z, &gradients[0]), (vec![2.0, 3.0], &vec![-1.0, 1.0]));
/// # Ok(())
/// # }
/// ```
pub trait Op: Send + Sync {
    /// Names and WGSL.
    fn definition(&self) -> &Definition;

    /// All outputs of one element: the oracle that everything else is compared with.
    ///
    /// `reads` are the inputs and the upstream gradient, `writes` is `z` and the gradients.
    fn reference(&self, reads: &[f32], writes: &mut [f32]);

    /// The wanted outputs of a block of elements, with the same bits as [`reference`](Op::reference).
    ///
    /// An operand that the wanted outputs do not need may be an empty slice.
    fn cpu(&self, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
        reference_block(self, reads, writes);
    }
}

/// [`Op::reference`] over a block of elements; a read that is an empty slice counts as zeros.
pub fn reference_block<O: Op + ?Sized>(op: &O, reads: &[&[f32]], writes: &mut [Option<&mut [f32]>]) {
    let len = len(writes);
    let (mut r, mut w) = (vec![0.0; reads.len()], vec![0.0; writes.len()]);
    for i in 0..len {
        for (slot, read) in r.iter_mut().zip(reads) {
            *slot = read.get(i).copied().unwrap_or(0.0);
        }
        op.reference(&r, &mut w);
        for (write, value) in writes.iter_mut().zip(&w) {
            if let Some(write) = write {
                write[i] = *value;
            }
        }
    }
}

/// The length of a call: all its writes have it.
pub(crate) fn len(writes: &[Option<&mut [f32]>]) -> usize {
    writes.iter().flatten().map(|w| w.len()).next().unwrap_or(0)
}

/// The names of an op and its WGSL.
///
/// Values in WGSL are the bits of an f32, in a `u32`. `lets` are computed in order, each only where a wanted output uses
/// it; the expressions name inputs, `dz` and lets. What an output needs is read off its expression.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The op's name, an identifier.
    pub name: &'static str,
    /// The inputs' names, one letter each by convention; the gradient of `x` is named `dx`.
    pub inputs: &'static [&'static str],
    /// WGSL functions that the expressions call, in order of dependence.
    pub functions: &'static [&'static str],
    /// Shared work: name and expression.
    pub lets: &'static [(&'static str, &'static str)],
    /// The expression of `z`.
    pub z: &'static str,
    /// The expression of each input's gradient.
    pub gradients: &'static [&'static str],
    /// The formulas, a row for each output: what the documentation shows.
    pub formulas: &'static [(&'static str, &'static str)],
}

impl Definition {
    /// At most [`MAX_INPUTS`] inputs, a gradient for each, and outputs that the op has, at least one.
    pub(crate) fn check(&self, outputs: Outputs) -> Result<(), Error> {
        let op = || self.name.to_owned();
        let (inputs, writes) = (self.inputs.len(), self.write_count());
        let last = outputs.iter().last().ok_or_else(|| Error::NothingWanted { op: op() })?;
        let counts = [
            ("inputs in its definition", inputs, inputs.min(MAX_INPUTS)),
            ("gradients in its definition", self.gradients.len(), inputs),
            ("outputs", (last + 1).max(writes), writes),
        ];
        match counts.into_iter().find(|(_, got, need)| got != need) {
            Some((what, got, need)) => Err(Error::Arity { op: op(), what, got, need }),
            None => Ok(()),
        }
    }

    /// The names of all reads: inputs, then the upstream gradient.
    pub fn read_names(&self) -> impl Iterator<Item = &'static str> {
        self.inputs.iter().copied().chain([UPSTREAM])
    }

    /// How many reads there are.
    pub fn read_count(&self) -> usize {
        self.inputs.len() + 1
    }

    /// The names of all writes: `z`, then the gradients.
    pub fn write_names(&self) -> Vec<String> {
        std::iter::once("z".to_owned()).chain(self.inputs.iter().map(|i| format!("d{i}"))).collect()
    }

    /// How many writes there are.
    pub fn write_count(&self) -> usize {
        self.inputs.len() + 1
    }

    /// The WGSL expression of write `i`.
    pub fn expression(&self, write: usize) -> &'static str {
        if write == 0 { self.z } else { self.gradients[write - 1] }
    }

    /// The read that write `i` equals, bit for bit, where there is one: a caller may alias it and write nothing.
    pub fn alias(&self, write: usize) -> Option<&'static str> {
        self.read_names().find(|name| *name == self.expression(write))
    }

    /// Everything that a set of outputs uses: reads and lets.
    fn used(&self, outputs: Outputs) -> Vec<&'static str> {
        let mut used: Vec<&str> = outputs.iter().flat_map(|w| identifiers(self.expression(w))).collect();
        for (name, expression) in self.lets.iter().rev() {
            if used.contains(name) {
                used.extend(identifiers(expression));
            }
        }
        used
    }

    /// The numbers of the reads that a set of outputs needs.
    pub fn reads_for(&self, outputs: Outputs) -> Vec<usize> {
        let used = self.used(outputs);
        self.read_names().enumerate().filter(|(_, name)| used.contains(name)).map(|(i, _)| i).collect()
    }

    /// The lets that a set of outputs needs.
    pub fn lets_for(&self, outputs: Outputs) -> Vec<(&'static str, &'static str)> {
        let used = self.used(outputs);
        self.lets.iter().copied().filter(|(name, _)| used.contains(name)).collect()
    }

    /// What a pass can write: `z`, or all gradients, aliases too, or both.
    pub fn all_outputs(&self, pass: Pass) -> Outputs {
        match pass {
            Pass::Forward => Outputs::Z,
            Pass::Backward => Outputs::gradients(self),
            Pass::Fused => Outputs::Z | Outputs::gradients(self),
        }
    }

    /// `z`, or the gradients that are no alias, or both: what a pass writes unless told otherwise. Where all gradients
    /// are aliases, backward writes them.
    pub fn outputs(&self, pass: Pass) -> Outputs {
        let gradients = (1..self.write_count())
            .filter(|w| self.alias(*w).is_none())
            .fold(Outputs::NONE, |all, w| all | Outputs::gradient(w - 1));
        match pass {
            Pass::Forward => Outputs::Z,
            Pass::Backward if gradients.is_empty() => self.all_outputs(pass),
            Pass::Backward => gradients,
            Pass::Fused => Outputs::Z | gradients,
        }
    }
}

/// The identifiers of an expression, members (after a dot) left out.
fn identifiers(expression: &'static str) -> impl Iterator<Item = &'static str> {
    expression
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .filter_map(|word| word.split('.').next())
        .filter(|word| !word.is_empty())
}

/// One of the three passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// `z`.
    Forward,
    /// The gradients.
    Backward,
    /// Both, in one dispatch that reads every input once.
    Fused,
}

impl Pass {
    /// All passes.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::Backward, Pass::Fused];

    /// Its name: `forward`, `backward`, `fused`.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Fused => "fused",
        }
    }
}

/// A set of outputs: `z` and the gradients that a call wants. What is not wanted is neither computed nor written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outputs(u16);

impl Outputs {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The op's output.
    pub const Z: Self = Self(1);

    /// The gradient of input `i`; no op has an input from [`MAX_INPUTS`] on.
    pub const fn gradient(i: usize) -> Self {
        if i < MAX_INPUTS { Self(2 << i) } else { Self::NONE }
    }

    /// All gradients, aliases too.
    pub fn gradients(definition: &Definition) -> Self {
        Self::present((0..definition.write_count()).map(|w| w > 0))
    }

    /// The set of those writes of an op (0 is `z`, 1 the first gradient) that are present.
    pub fn present(writes: impl IntoIterator<Item = bool>) -> Self {
        let writes = writes.into_iter().take(1 + MAX_INPUTS).enumerate();
        writes.fold(Self::NONE, |all, (i, p)| all | Self(u16::from(p) << i))
    }

    /// Whether write `i` of the op is in the set.
    pub const fn contains(self, write: usize) -> bool {
        self.0 >> write & 1 == 1
    }

    /// Whether nothing is wanted.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The writes in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..=MAX_INPUTS).filter(move |w| self.contains(*w))
    }

    /// The pass that computes the set.
    pub fn pass(self) -> Pass {
        match (self.contains(0), self.0 > 1) {
            (true, false) => Pass::Forward,
            (true, true) => Pass::Fused,
            _ => Pass::Backward,
        }
    }
}

impl std::ops::BitOr for Outputs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
