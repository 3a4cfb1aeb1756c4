//! Sets of a call's operands: the outputs that it writes, and the reads that they need.

/// The maximum number of inputs of an op.
pub(crate) const MAX_INPUTS: usize = 8;

/// The maximum number of outputs of an op.
pub(crate) const MAX_OUTPUTS: usize = 16;

/// One of the three passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    pub const ALL: &'static [Pass] = &[Pass::Forward, Pass::Backward, Pass::Fused];

    /// The name: `forward`, `backward`, `fused`.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Fused => "fused",
        }
    }
}

/// The set of outputs that a call wants: `z`, gradients, further outputs. Other outputs are neither computed nor
/// written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outputs(u32);

impl Outputs {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// The op's output.
    pub const Z: Self = Self(1);

    /// The gradient of input `i`. If the op lacks that input, a call that wants its gradient fails with
    /// [`Error::Arity`](crate::Error::Arity).
    pub const fn gradient(i: usize) -> Self {
        if i < MAX_INPUTS { Self(2 << i) } else { Self::NOBODYS }
    }

    /// Write `write` of the op alone. If the op lacks it, a call that wants it fails with
    /// [`Error::Arity`](crate::Error::Arity).
    pub const fn of(write: usize) -> Self {
        if write < MAX_OUTPUTS { Self(1 << write) } else { Self::NOBODYS }
    }

    /// A write that no op has.
    const NOBODYS: Self = Self(1 << 31);

    /// The set of the writes that are present. `writes` tells for each write of an op (0 is `z`, 1 the first
    /// gradient) whether it is.
    pub fn present(writes: impl IntoIterator<Item = bool>) -> Self {
        let writes = writes.into_iter().enumerate().filter(|(_, present)| *present);
        writes.fold(Self::NONE, |all, (i, _)| all | Self::of(i))
    }

    /// The outputs that are in either set, or in both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether write `write` of the op is in the set.
    pub const fn contains(self, write: usize) -> bool {
        write < 32 && self.0 >> write & 1 == 1
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The writes in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..32).filter(move |w| self.contains(*w))
    }
}

impl std::ops::BitOr for Outputs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::ops::BitAnd for Outputs {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// A set of an op's reads: inputs, then the upstream gradient, then the saved mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reads(u16);

impl Reads {
    /// Read `read` alone.
    pub(crate) const fn of(read: usize) -> Self {
        Self(1 << read)
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn contains(self, read: usize) -> bool {
        self.0 >> read & 1 == 1
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of reads in the set.
    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The reads in the set, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..MAX_INPUTS + 2).filter(move |read| self.contains(*read))
    }
}
