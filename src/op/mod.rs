//! What an op is, the list of built-in ops, and the arguments of a call.
//!
//! An op has inputs (`x`, `y`), an output `z`, an upstream gradient `dz`, and a gradient for each input (`dx`, `dy`).
//! Everything else (kernels, CPU path, checks, benches, plots) is derived from its [`Definition`] and its scalar twin.

use std::{borrow::Cow, collections::BTreeSet};

pub use crate::cpu::block::Block;
use crate::{DType, Error};

mod args;
mod enclosure;
pub mod modulo;
pub mod spiky;
mod traffic;

pub use args::{Args, IntoArgs};
pub(crate) use args::{Call, Given, Operands, Write, check, mask_words};
pub use enclosure::{Enclosure, Reason};
pub(crate) use enclosure::{above, below};
pub use traffic::Traffic;

/// The name of the upstream gradient, an operand of every op.
pub const UPSTREAM: &str = "dz";

/// The most inputs of an op.
pub const MAX_INPUTS: usize = 8;

/// The most outputs of an op.
pub const MAX_OUTPUTS: usize = 16;

/// The built-in ops, `spiky` and `mod`: what the command, the benches and the tests go through.
pub static BUILT_IN: [&dyn Op; 2] = [&spiky::Spiky, &modulo::Mod];

/// The built-in op of that name (`mod`, not `modulo`); `None` where there is none.
pub fn find(name: &str) -> Option<&'static dyn Op> {
    BUILT_IN.into_iter().find(|op| op.definition().name == name)
}

/// An elementwise op with gradients.
///
/// Operands are numbered: reads are the inputs in order, then the upstream gradient, then the saved mask where the op has
/// one; writes are `z`, the gradient of each input, and what else the op gives.
///
/// An op of your own is its WGSL on bits and a scalar twin, and then runs on every device, in every storage type and
/// layout:
///
/// ```
/// use elemgrad::{DType, Op, Runner, op::{Definition, OutputDefinition}};
///
/// /// |x|; its gradient is dz with the sign of x.
/// struct Abs(Definition);
///
/// impl Abs {
///     fn new() -> Self {
///         Self(Definition {
///             name: "abs".into(),
///             inputs: vec!["x".into()],
///             functions: vec![],
///             lets: vec![("sign".into(), "x & 0x80000000u".into())],
///             outputs: vec![
///                 OutputDefinition::z("x ^ sign", "|x|"),
///                 OutputDefinition::gradient("x", "dz ^ sign", "dz where x >= 0, else -dz"),
///             ],
///         })
///     }
/// }
///
/// impl Op for Abs {
///     fn definition(&self) -> &Definition {
///         &self.0
///     }
///
///     fn reference(&self, _: DType, reads: &[f32], writes: &mut [f32]) {
///         let sign = reads[0].to_bits() & 0x8000_0000;
///         writes[0] = reads[0].abs();
///         writes[1] = f32::from_bits(reads[1].to_bits() ^ sign);
///     }
/// }
///
/// # fn main() -> Result<(), elemgrad::Error> {
/// let (z, gradients) = Runner::auto().fused(&Abs::new(), &[&[-2.0, 3.0]], &[1.0, 1.0])?;
/// assert_eq!((z, &gradients[0]), (vec![2.0, 3.0], &vec![-1.0, 1.0]));
/// # Ok(())
/// # }
/// ```
pub trait Op: Send + Sync {
    /// Names and WGSL.
    fn definition(&self) -> &Definition;

    /// All outputs of one element: the oracle that everything else is compared with.
    ///
    /// `reads` are the inputs and the upstream gradient, `writes` are all outputs, a mask's as 1 or 0. They are f32
    /// whatever the storage type: the caller widens and rounds. `storage` is for an op that rounds on its way.
    fn reference(&self, storage: DType, reads: &[f32], writes: &mut [f32]);

    /// The wanted outputs of some elements, with the same bits as [`reference`](Op::reference): the CPU path.
    ///
    /// A block may lack operands that its [`outputs`](Block::outputs) do not need.
    fn cpu(&self, storage: DType, block: Block) {
        block.for_each(|reads, writes| self.reference(storage, reads, writes));
    }

    /// Whether every device gives the bits of [`reference`](Op::reference). The CPU path does in any case.
    fn is_exact(&self) -> bool {
        true
    }

    /// Where the outputs of one element may lie on a device: operands as those of [`reference`](Op::reference), and, as
    /// there, not yet rounded to the storage type. Of an op that is exact, and unless told otherwise, at the reference.
    fn enclose(&self, storage: DType, reads: &[f32], writes: &mut [Enclosure]) {
        let mut values = [0.0; MAX_OUTPUTS];
        let values = &mut values[..writes.len()];
        self.reference(storage, reads, values);
        for (write, value) in writes.iter_mut().zip(values) {
            *write = Enclosure::Exact(*value);
        }
    }
}

/// [`Op::reference`] over a block of elements; a read that is an empty slice counts as zeros.
pub fn reference_block<O: Op + ?Sized>(
    op: &O,
    storage: DType,
    reads: &[&[f32]],
    writes: &mut [Option<&mut [f32]>],
) {
    let len = len(writes);
    let definition = op.definition();
    let (mut r, mut w) = (vec![0.0; definition.upstream() + 1], vec![0.0; definition.write_count()]);
    for i in 0..len {
        for (slot, read) in r.iter_mut().zip(reads) {
            *slot = read.get(i).copied().unwrap_or(0.0);
        }
        op.reference(storage, &r, &mut w);
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
/// Values in WGSL are the bits of an f32, in a `u32`; a 16-bit operand is widened when loaded and rounded when stored.
/// `lets` are computed in order, each only where a wanted output uses it; the expressions name inputs, `dz` and lets.
/// What an output needs is read off its expression.
///
/// Besides the functions of its own an op may call those of `shaders/numeric/f32.wgsl`, and `storage_widen` and
/// `storage_round`, which are of the call's storage type.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The op's name, an identifier.
    pub name: Text,
    /// The inputs' names, one letter each by convention; the gradient of `x` is named `dx`.
    pub inputs: Vec<Text>,
    /// WGSL functions that the expressions call, in order of dependence.
    pub functions: Vec<Text>,
    /// Shared work: name and expression.
    pub lets: Vec<(Text, Text)>,
    /// `z`, the gradient of each input, and whatever else the op can give.
    pub outputs: Vec<OutputDefinition>,
}

/// A text of a definition.
pub type Text = Cow<'static, str>;

/// One output of an op.
#[derive(Clone, Debug)]
pub struct OutputDefinition {
    /// Its name: `z`, `dx`.
    pub name: Text,
    /// What it is.
    pub kind: Kind,
    /// Its WGSL expression. That of a mask is the name of a let, a `bool`.
    pub expression: Text,
    /// Whether a gradient passes only where the op's mask is 1. Elsewhere it is `+0`, or is left alone where gradients are
    /// added. Its expression is the name of a read.
    pub gated: bool,
    /// Its formula: what the documentation shows.
    pub formula: Text,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Value,
    /// A gradient, of the shape of its input; it can be added to what is there.
    Gradient,
    /// A bit: element `i` is bit `i % 32` of word `i / 32`. Given back as an operand of that name, it stands for the let.
    Mask,
}

impl OutputDefinition {
    /// The output `z`.
    pub fn z(expression: impl Into<Text>, formula: impl Into<Text>) -> Self {
        Self::new("z", Kind::Value, expression, formula)
    }

    /// The gradient of an input.
    pub fn gradient(input: &str, expression: impl Into<Text>, formula: impl Into<Text>) -> Self {
        Self::new(format!("d{input}"), Kind::Gradient, expression, formula)
    }

    /// One more output that is a number.
    pub fn value(name: impl Into<Text>, expression: impl Into<Text>, formula: impl Into<Text>) -> Self {
        Self::new(name, Kind::Value, expression, formula)
    }

    /// The let `name`, a `bool`, as bits.
    pub fn mask(name: impl Into<Text>, formula: impl Into<Text>) -> Self {
        let name = name.into();
        Self::new(name.clone(), Kind::Mask, name, formula)
    }

    /// A gradient that passes only where the op's mask is 1; its expression is the name of a read.
    #[must_use]
    pub fn gated(self) -> Self {
        Self { gated: true, ..self }
    }

    fn new(name: impl Into<Text>, kind: Kind, expression: impl Into<Text>, formula: impl Into<Text>) -> Self {
        let (name, expression, formula) = (name.into(), expression.into(), formula.into());
        Self { name, kind, expression, gated: false, formula }
    }
}

impl Definition {
    /// At most [`MAX_INPUTS`] inputs, `z` and a gradient for each, and outputs that the op has, at least one.
    pub(crate) fn check(&self, outputs: Outputs) -> Result<(), Error> {
        let op = || self.name.to_string();
        let (inputs, writes) = (self.inputs.len(), self.write_count());
        let last = outputs.iter().last().ok_or_else(|| Error::NothingWanted { op: op() })?;
        let count = |kind| self.outputs.iter().filter(|o| o.kind == kind).count();
        let leading = self.outputs.iter().skip(1).take_while(|o| o.kind == Kind::Gradient).count();
        let (gradients, masks) = (count(Kind::Gradient), count(Kind::Mask));
        let right = |w: usize| !self.outputs[w].gated || self.mask().is_some() && self.copied(w).is_some();
        let ungated = (0..writes).filter(|w| !right(*w)).count();
        let counts = [
            ("inputs in its definition", inputs, inputs.min(MAX_INPUTS)),
            ("gradients behind z in its definition", leading, inputs),
            ("gradients in its definition", gradients, inputs),
            ("masks in its definition", masks, masks.min(1)),
            ("outputs in its definition", writes, writes.max(1 + inputs).min(MAX_OUTPUTS)),
            ("gated outputs without a mask or of a value of their own", ungated, 0),
            ("outputs", (last + 1).max(writes), writes),
        ];
        match counts.into_iter().find(|(_, got, need)| got != need) {
            Some((what, got, need)) => Err(Error::Arity { op: op(), what, got, need }),
            None => Ok(()),
        }
    }

    /// The names of all reads: inputs, then the upstream gradient, then the saved mask where the op has one.
    pub fn read_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|i| &**i).chain([UPSTREAM]).chain(self.mask_name())
    }

    /// How many reads there are.
    pub fn read_count(&self) -> usize {
        self.inputs.len() + 1 + usize::from(self.mask().is_some())
    }

    /// The number of the upstream gradient among the reads.
    pub fn upstream(&self) -> usize {
        self.inputs.len()
    }

    /// The output that is a mask; read back, it is the last read.
    pub fn mask(&self) -> Option<usize> {
        self.outputs.iter().position(|o| o.kind == Kind::Mask)
    }

    /// Whether all these outputs are gradients that a saved mask gates, without the inputs.
    pub fn gated_by_mask(&self, outputs: Outputs) -> bool {
        self.mask().is_some() && outputs.iter().all(|w| self.outputs.get(w).is_some_and(|o| o.gated))
    }

    /// How many writes there are.
    pub fn write_count(&self) -> usize {
        self.outputs.len()
    }

    /// The name of write `i`.
    pub fn write_name(&self, write: usize) -> &str {
        &self.outputs[write].name
    }

    /// The input of which write `i` is the gradient.
    pub fn gradient_of(&self, write: usize) -> Option<usize> {
        if self.outputs[write].kind == Kind::Gradient { write.checked_sub(1) } else { None }
    }

    /// The read whose bits write `i` has, everywhere or where its gate is open.
    pub(crate) fn copied(&self, write: usize) -> Option<usize> {
        let mut reads = self.read_names().take(1 + self.upstream());
        reads.position(|name| name == self.outputs[write].expression)
    }

    /// The read that write `i` equals, bit for bit, where there is one: a caller may alias it and write nothing.
    pub fn alias(&self, write: usize) -> Option<usize> {
        if self.outputs[write].gated { None } else { self.copied(write) }
    }

    /// The name of the mask.
    pub(crate) fn mask_name(&self) -> Option<&str> {
        self.mask().map(|w| &*self.outputs[w].name)
    }

    /// Everything that a set of outputs uses: reads and lets. With `from_mask` the mask is read, not computed. Each call
    /// asks, so it is a tree: of few names faster than to hash one.
    fn used(&self, outputs: Outputs, from_mask: bool) -> BTreeSet<&str> {
        let wanted = || outputs.iter().map(|w| &self.outputs[w]);
        let mut used: BTreeSet<&str> = wanted().flat_map(|o| identifiers(&o.expression)).collect();
        used.extend(self.mask_name().filter(|_| wanted().any(|o| o.gated)));
        let mask = self.mask_name().filter(|_| from_mask);
        for (name, expression) in self.lets.iter().rev() {
            if used.contains(&**name) && mask != Some(&**name) {
                used.extend(identifiers(expression));
            }
        }
        used
    }

    /// The numbers of the reads that a set of outputs needs, of which there is one at least: what is the same
    /// everywhere still has a length. With `from_mask` the mask is one, where it is used at all.
    pub fn reads_for(&self, outputs: Outputs, from_mask: bool) -> Vec<usize> {
        let used = self.used(outputs, from_mask);
        let reads = self.read_names().enumerate().take(self.upstream() + 1 + usize::from(from_mask));
        let reads: Vec<usize> = reads.filter(|(_, name)| used.contains(name)).map(|(i, _)| i).collect();
        let has_gradients = outputs.iter().any(|w| self.gradient_of(w).is_some());
        let for_length = if has_gradients { self.upstream() } else { 0 };
        if reads.is_empty() { vec![for_length] } else { reads }
    }

    /// The lets that a set of outputs needs.
    pub fn lets_for(&self, outputs: Outputs, from_mask: bool) -> Vec<(&str, &str)> {
        let used = self.used(outputs, from_mask);
        let mask = self.mask_name().filter(|_| from_mask);
        let lets = self.lets.iter().map(|(name, expression)| (&**name, &**expression));
        lets.filter(|(name, _)| used.contains(name) && mask != Some(*name)).collect()
    }

    /// What a pass can write: all that is no gradient, all gradients, aliases too, or both.
    pub fn all_outputs(&self, pass: Pass) -> Outputs {
        let wanted = |o: &OutputDefinition| match pass {
            Pass::Forward => o.kind != Kind::Gradient,
            Pass::Backward => o.kind == Kind::Gradient,
            Pass::Fused => true,
        };
        Outputs::present(self.outputs.iter().map(wanted))
    }

    /// `z`, or the gradients that are no alias, or both: what a pass writes unless told otherwise. Where all gradients
    /// are aliases, backward writes them.
    pub fn outputs(&self, pass: Pass) -> Outputs {
        let wanted = |w| self.gradient_of(w).is_some() && self.alias(w).is_none();
        let gradients = Outputs::present((0..self.write_count()).map(wanted));
        match pass {
            Pass::Forward => Outputs::Z,
            Pass::Backward if gradients.is_empty() => self.all_outputs(pass),
            Pass::Backward => gradients,
            Pass::Fused => Outputs::Z | gradients,
        }
    }

    /// The pass that computes a set of outputs.
    pub fn pass(&self, outputs: Outputs) -> Pass {
        let gradients = outputs & self.all_outputs(Pass::Backward);
        match (gradients.is_empty(), gradients == outputs) {
            (true, _) => Pass::Forward,
            (_, true) => Pass::Backward,
            _ => Pass::Fused,
        }
    }
}

/// The identifiers of an expression, members (after a dot) left out.
pub(crate) fn identifiers(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| c.is_ascii() && !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
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

    /// Write `i` of the op alone.
    pub const fn of(write: usize) -> Self {
        if write < MAX_OUTPUTS { Self(1 << write) } else { Self::NONE }
    }

    /// The set of those writes of an op (0 is `z`, 1 the first gradient) that are present.
    pub fn present(writes: impl IntoIterator<Item = bool>) -> Self {
        let writes = writes.into_iter().take(MAX_OUTPUTS).enumerate();
        writes.fold(Self::NONE, |all, (i, p)| all | Self(u16::from(p) << i))
    }

    /// This set and another.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether write `i` of the op is in the set.
    pub const fn contains(self, write: usize) -> bool {
        write < MAX_OUTPUTS && self.0 >> write & 1 == 1
    }

    /// Whether nothing is wanted.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The writes in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_OUTPUTS).filter(move |w| self.contains(*w))
    }
}

impl std::ops::BitOr for Outputs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl std::ops::BitAnd for Outputs {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
