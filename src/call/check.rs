//! Checks a call's operands against each other and against the op's signature: shapes, lengths, layouts, missing
//! operands.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::{
    error::Error,
    shape::{Axes, Layout, broadcast, contiguous_strides, count, dimension, is_contiguous, step_to},
    signature::{
        OutputKind, Signature,
        outputs::{Outputs, Reads},
    },
};

/// What a call gives for one operand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given<'a> {
    /// The number of elements in its range, or of words for a mask. `None` for an output that is resized to fit.
    pub(crate) len: Option<u64>,
    /// `None`: an input has one axis, other operands have the shape that is needed.
    pub(crate) layout: Option<&'a Layout>,
    /// Whether the layout is the shape of all elements in the range.
    pub(crate) whole: bool,
    /// Whether the output is added to existing values.
    pub(crate) accumulate: bool,
}

/// One item for each given operand. Few ops have more than four operands.
pub(crate) type Operands<T> = SmallVec<[Option<T>; 4]>;

/// A call with shapes that fit. It lacks only the memory of the operands.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) outputs: Outputs,
    /// Whether the mask is read instead of computed.
    pub(crate) from_mask: bool,
    /// The shape of `z`, to which the inputs broadcast.
    pub(crate) shape: Axes<u64>,
    /// The reads that the outputs need.
    needed: Reads,
    pub(crate) reads: Operands<Place>,
    /// For each given read, its layout over its own shape. Empty if no output is a sum, which alone asks for it.
    pub(crate) own: Vec<Option<Layout>>,
    pub(crate) writes: Operands<Write>,
}

/// Where a read's elements are in its range. The usual case takes no memory of its own, so that short calls are cheap.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// One for each element of `z`, in order. The words of a mask, too.
    InOrder,
    /// By strides over the shape of `z`.
    Strided(Box<Layout>),
}

impl Place {
    fn of(layout: Layout) -> Self {
        if layout.offset() == 0 && is_contiguous(layout.shape(), layout.strides()) {
            return Self::InOrder;
        }
        Self::Strided(Box::new(layout))
    }

    /// The position of the element with index (0, 0, ..).
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::InOrder => 0,
            Self::Strided(layout) => layout.offset(),
        }
    }

    /// The position of the element for element `i` of `z`.
    pub(crate) fn at(&self, i: u64) -> u64 {
        match self {
            Self::InOrder => i,
            Self::Strided(layout) => {
                (layout.offset() as i64 + step_to(layout.shape(), layout.strides(), i)) as u64
            }
        }
    }

    /// The layout over the shape of `z`.
    pub(crate) fn layout(&self, shape: &[u64]) -> Cow<'_, Layout> {
        match self {
            Self::InOrder => Cow::Owned(Layout::contiguous(shape)),
            Self::Strided(layout) => Cow::Borrowed(layout),
        }
    }
}

/// One output of a call. Outputs are contiguous.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// The number of elements, or of words for a mask.
    pub(crate) len: u64,
    pub(crate) accumulate: bool,
    /// The axes that it is summed over, if there is one.
    pub(crate) sum: Option<Box<Sum>>,
}

/// An output that is a sum over some axes of the call's shape.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    /// For each axis, the output's stride: 0 if the axis is summed over.
    pub(crate) strides: Axes<i64>,
    /// For each axis, whether it is summed over.
    pub(crate) over: Axes<bool>,
}

impl Write {
    /// Its strides over the call's shape.
    pub(crate) fn strides(&self, shape: &[u64]) -> Axes<i64> {
        self.sum.as_ref().map_or_else(|| contiguous_strides(shape), |sum| sum.strides.clone())
    }
}

impl Call {
    /// The number of elements of `z`.
    pub(crate) fn len(&self) -> u64 {
        count(&self.shape).unwrap_or(0)
    }

    /// The operands that the call uses.
    pub(crate) fn reads_for(&self, signature: &Signature, outputs: Outputs) -> Reads {
        if outputs == self.outputs { self.needed } else { signature.reads(outputs, self.from_mask) }
    }
}

/// The number of words in a mask of `len` elements.
pub(crate) fn mask_words(len: u64) -> u64 {
    len.div_ceil(32)
}

/// Checks a call's operands against each other.
pub(crate) fn check(
    signature: &Signature,
    reads: &[Option<Given<'_>>],
    writes: &[Option<Given<'_>>],
) -> Result<Call, Error> {
    let checker = Checker { signature, reads, writes };
    checker.counts()?;
    let outputs = Outputs::present(writes.iter().map(Option::is_some));
    signature.check(outputs)?;
    let mask = checker.read(signature.upstream() + 1);
    // A mask replaces the inputs if nothing else depends on them, neither a value nor a sum's shape.
    let gated = outputs.iter().all(|w| signature.outputs()[w].gated);
    let from_mask = mask.is_some() && gated && checker.one_shape();
    let needed = signature.reads(outputs, from_mask);
    checker.missing(needed)?;
    let shape = checker.shape()?;
    let len = checker.count(&shape)?;
    let mut places = Operands::new();
    for i in 0..signature.read_count() {
        places.push(checker.read(i).map(|given| checker.place(i, given, &shape, len)).transpose()?);
    }
    let mut targets = Operands::new();
    for i in 0..signature.write_count() {
        let given = writes.get(i).and_then(Option::as_ref);
        targets.push(given.map(|given| checker.write(i, given, &shape, len)).transpose()?);
    }
    let own = |i: usize| {
        let given = checker.read(i)?;
        let whole = i >= signature.upstream() && given.layout.is_none();
        let shape = if whole { shape.clone() } else { own_shape(given) };
        let layout = given.layout.filter(|layout| !layout.is_empty());
        Some(layout.cloned().unwrap_or_else(|| Layout::contiguous(&shape)))
    };
    let has_sums = targets.iter().flatten().any(|write: &Write| write.sum.is_some());
    let own = if has_sums { (0..signature.read_count()).map(own).collect() } else { Vec::new() };
    Ok(Call { outputs, from_mask, shape, needed, reads: places, own, writes: targets })
}

/// What determines the length of an operand that has the shape of `z`.
const Z_LENGTH: &str = "the broadcast inputs";
/// What determines the length of a mask.
const MASK_LENGTH: &str = "words of 32 bits for the broadcast inputs";

struct Checker<'a> {
    signature: &'a Signature,
    reads: &'a [Option<Given<'a>>],
    writes: &'a [Option<Given<'a>>],
}

impl Checker<'_> {
    fn op(&self) -> String {
        self.signature.name().to_owned()
    }

    fn read(&self, i: usize) -> Option<&Given<'_>> {
        self.reads.get(i).and_then(Option::as_ref)
    }

    fn read_name(&self, i: usize) -> String {
        self.signature.read_names().nth(i).unwrap_or_default().to_owned()
    }

    /// Checks the numbers of operands: at least a read for each input, and at most as many operands as the op has.
    fn counts(&self) -> Result<(), Error> {
        let signature = self.signature;
        let (least, reads, writes) =
            (signature.inputs().len(), signature.read_count(), signature.write_count());
        let counts = [
            ("inputs", self.reads.len(), self.reads.len().clamp(least, reads)),
            ("outputs", self.writes.len(), self.writes.len().min(writes)),
        ];
        match counts.into_iter().find(|(_, got, need)| got != need) {
            Some((what, got, need)) => Err(Error::Arity { op: self.op(), what, got, need }),
            None => Ok(()),
        }
    }

    fn missing(&self, needed: Reads) -> Result<(), Error> {
        match needed.iter().find(|i| self.read(*i).is_none()) {
            Some(i) => Err(Error::Missing { op: self.op(), argument: self.read_name(i) }),
            None => Ok(()),
        }
    }

    /// The shape that all given inputs broadcast to. Without any input, the shape of the upstream gradient.
    fn shape(&self) -> Result<Axes<u64>, Error> {
        let upstream = self.signature.upstream();
        let mut all: Option<Axes<u64>> = None;
        for i in 0..upstream {
            let Some(shape) = self.read(i).map(own_shape) else { continue };
            all = Some(match all {
                None => shape,
                Some(broader) if broader == shape => shape,
                Some(broader) => {
                    broadcast(&broader, &shape).ok_or_else(|| self.unlike(i, &shape, &broader))?.into()
                }
            });
        }
        Ok(all.or_else(|| self.read(upstream).map(own_shape)).unwrap_or_default())
    }

    /// Whether all given inputs have the same shape.
    fn one_shape(&self) -> bool {
        let mut shapes = (0..self.signature.upstream()).filter_map(|i| self.read(i)).map(own_shape);
        shapes.next().is_none_or(|first| shapes.all(|shape| shape == first))
    }

    /// The error for an input whose shape does not broadcast with the shape of the inputs before it.
    fn unlike(&self, i: usize, got: &[u64], need: &[u64]) -> Error {
        let before: Vec<_> = (0..i).filter(|i| self.read(*i).is_some()).map(|i| self.read_name(i)).collect();
        let (got, need, other) = (got.to_vec(), need.to_vec(), before.join(" and "));
        Error::Shape { op: self.op(), argument: self.read_name(i), got, need, other }
    }

    fn count(&self, shape: &[u64]) -> Result<u64, Error> {
        let len = count(shape).filter(|len| i64::try_from(*len).is_ok());
        len.ok_or_else(|| Error::TooMany { op: self.op(), shape: shape.to_vec() })
    }

    /// Where a read's elements are, for those of the call's shape.
    fn place(&self, i: usize, given: &Given, shape: &[u64], len: u64) -> Result<Place, Error> {
        let argument = || self.read_name(i);
        let is_mask = self.signature.is_mask_read(i);
        let layout = match &given.layout {
            Some(layout) if is_mask => {
                self.contiguous(argument, layout, shape, "z, contiguous")?;
                self.length(argument, given, mask_words(len), || MASK_LENGTH.into())?;
                return Ok(Place::InOrder);
            }
            Some(layout) => Cow::Borrowed(*layout),
            // An input without a layout has one axis.
            None if i < self.signature.upstream() && given.len.is_some_and(|len| *shape == [len]) => {
                return Ok(Place::InOrder);
            }
            None if i < self.signature.upstream() => Cow::Owned(Layout::contiguous(&own_shape(given))),
            None => {
                let (need, other) = if is_mask { (mask_words(len), MASK_LENGTH) } else { (len, Z_LENGTH) };
                self.length(argument, given, need, || other.into())?;
                return Ok(Place::InOrder);
            }
        };
        self.strides(argument, &layout)?;
        if given.whole {
            let need = self.count(layout.shape())?;
            self.length(argument, given, need, || "its shape has".into())?;
        }
        if i == self.signature.upstream() && layout.shape() != shape {
            let (got, need) = (layout.shape().to_vec(), shape.to_vec());
            return Err(Error::Shape { op: self.op(), argument: argument(), got, need, other: "z".into() });
        }
        if layout.is_empty() {
            // An empty call accesses no element, so any offset is valid.
            return Ok(Place::InOrder);
        }
        if layout.extent().is_none_or(|(_, high)| given.len.is_some_and(|len| high >= len)) {
            let len = given.len.unwrap_or(0);
            let (op, layout) = (self.op(), Box::new(layout.into_owned()));
            return Err(Error::Layout { op, argument: argument(), len, layout });
        }
        let rank = shape.len();
        let strides: Axes<i64> = (0..rank)
            .map(|axis| match (axis + layout.shape().len()).checked_sub(rank) {
                // An axis of one element needs no stride, and a broadcast axis has stride 0.
                Some(own) if layout.shape()[own] != 1 => layout.strides()[own],
                _ => 0,
            })
            .collect();
        Ok(Place::of(Layout::strided(shape, &strides, layout.offset())))
    }

    /// Checks that there is a stride for each axis.
    fn strides(&self, argument: impl Fn() -> String, layout: &Layout) -> Result<(), Error> {
        let (got, need) = (layout.strides().len(), layout.shape().len());
        if got == need {
            return Ok(());
        }
        Err(Error::Strides { op: self.op(), argument: argument(), got, need })
    }

    /// Checks a layout that may only be the implied one.
    fn contiguous(
        &self,
        argument: impl Fn() -> String,
        layout: &Layout,
        need: &[u64],
        other: &str,
    ) -> Result<(), Error> {
        self.strides(&argument, layout)?;
        if layout.shape() == need && layout.offset() == 0 && is_contiguous(need, layout.strides()) {
            return Ok(());
        }
        let (got, need, other) = (layout.shape().to_vec(), need.to_vec(), other.to_owned());
        Err(Error::Shape { op: self.op(), argument: argument(), got, need, other })
    }

    fn length(
        &self,
        argument: impl Fn() -> String,
        given: &Given,
        need: u64,
        other: impl Fn() -> String,
    ) -> Result<(), Error> {
        match given.len {
            Some(got) if got != need => {
                Err(Error::Length { op: self.op(), argument: argument(), got, need, other: other() })
            }
            _ => Ok(()),
        }
    }

    fn write(&self, i: usize, given: &Given, shape: &[u64], len: u64) -> Result<Write, Error> {
        let output = &self.signature.outputs()[i];
        let argument = || output.name.to_string();
        let input = self.signature.gradient_of(i).filter(|input| self.read(*input).is_some());
        let own = input.and_then(|input| self.read(input)).map_or_else(|| shape.into(), own_shape);
        let own_len = self.count(&own)?;
        let need = if output.kind == OutputKind::Mask { mask_words(len) } else { own_len };
        if given.accumulate && output.kind != OutputKind::Gradient {
            return Err(Error::Accumulate { op: self.op(), argument: argument() });
        }
        if let Some(layout) = given.layout {
            self.contiguous(argument, layout, &own, "the output, contiguous")?;
        }
        self.length(argument, given, need, || match input {
            Some(input) => self.read_name(input),
            None if output.kind == OutputKind::Mask => MASK_LENGTH.into(),
            None => Z_LENGTH.into(),
        })?;
        Ok(Write { len: need, accumulate: given.accumulate, sum: sum(&own, shape) })
    }
}

/// The sum that an output is if it has its own shape, and not that of the call.
fn sum(own: &[u64], shape: &[u64]) -> Option<Box<Sum>> {
    let rank = shape.len();
    let is_summed = |axis: usize| dimension(own, rank, axis) != shape[axis];
    if !(0..rank).any(is_summed) {
        return None;
    }
    let own_strides = contiguous_strides(own);
    let stride = |axis: usize| match (axis + own.len()).checked_sub(rank) {
        Some(own_axis) if own[own_axis] != 1 => own_strides[own_axis],
        _ => 0,
    };
    Some(Box::new(Sum { strides: (0..rank).map(stride).collect(), over: (0..rank).map(is_summed).collect() }))
}

/// The shape of an operand: one axis if it has no layout.
fn own_shape(given: &Given) -> Axes<u64> {
    given
        .layout
        .as_ref()
        .map_or_else(|| Axes::from_elem(given.len.unwrap_or(0), 1), |layout| layout.shape().into())
}
