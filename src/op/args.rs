use super::{Definition, Op, Outputs};
use crate::Error;

/// The arguments of one call: an op and its operands, `None` where an output is not wanted.
///
/// Calls of the built-in ops are written with structs of named fields ([`spiky::Fused`](crate::spiky::Fused) and its
/// siblings), which turn into this. `I` and `O` are host slices for [`Runner`](crate::Runner) and ranges of buffers for
/// [`Kernels`](crate::gpu::Kernels).
pub struct Args<'o, I, O> {
    /// The op.
    pub op: &'o dyn Op,
    /// The inputs in order, then the upstream gradient, which a forward pass does without: one more than the op has inputs.
    pub reads: Vec<Option<I>>,
    /// `z`, then the gradient of each input: as many as `reads`.
    pub writes: Vec<Option<O>>,
}

/// Anything that is the arguments of one call: the argument structs of the built-in ops, and [`Args`] for any op.
pub trait IntoArgs<'o, I, O> {
    /// The same operands, by number.
    fn into_args(self) -> Args<'o, I, O>;
}

impl<'o, I, O> IntoArgs<'o, I, O> for Args<'o, I, O> {
    fn into_args(self) -> Self {
        self
    }
}

/// The outputs that a call wants and its length, from the lengths of its operands: `None` for an operand that is not
/// given, `Some(None)` for an output that gets the call's length.
///
/// An input that is given though no wanted output needs it has the right length all the same.
#[expect(clippy::option_option, reason = "absent, of any length, and of one length are three cases")]
pub(crate) fn check(
    definition: &Definition,
    reads: &[Option<u64>],
    writes: &[Option<Option<u64>>],
) -> Result<(Outputs, u64), Error> {
    let op = || definition.name.to_owned();
    let counts = [
        ("inputs", reads.len(), definition.read_count()),
        ("outputs", writes.len(), definition.write_count()),
    ];
    if let Some((what, got, need)) = counts.into_iter().find(|(_, got, need)| got != need) {
        return Err(Error::Arity { op: op(), what, got, need });
    }
    let outputs = Outputs::present(writes.iter().map(Option::is_some));
    definition.check(outputs)?;
    let names: Vec<_> = definition.read_names().map(str::to_owned).collect();
    if let Some(missing) = definition.reads_for(outputs).into_iter().find(|&i| reads[i].is_none()) {
        return Err(Error::Missing { op: op(), argument: names[missing].clone() });
    }
    let given = reads.iter().copied().chain(writes.iter().map(|w| w.flatten()));
    let lengths = names.into_iter().chain(definition.write_names()).zip(given);
    let lengths: Vec<(String, u64)> = lengths.filter_map(|(name, len)| Some((name, len?))).collect();
    let Some((other, need)) = lengths.first().cloned() else { return Ok((outputs, 0)) };
    match lengths.into_iter().find(|(_, len)| *len != need) {
        None => Ok((outputs, need)),
        Some((argument, got)) => Err(Error::Length { op: op(), argument, got, need, other }),
    }
}
