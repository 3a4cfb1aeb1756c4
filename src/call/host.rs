//! Operands in host memory: what a caller passes, and what the engines get.

use half::{bf16, f16};

use super::{
    check::Given,
    slice::{Slice, SliceMut},
};
use crate::{
    dtype::{DType, Element},
    shape::Layout,
};

/// A slice that a call reads: f32, f16 or bf16 with one axis, or the words of a mask.
///
/// References to slices, arrays and vectors convert into it. [`layout`](View::layout) sets another layout.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(crate) data: Slice<'a>,
    layout: Option<Box<Layout>>,
    /// Whether the layout is the shape of all elements.
    whole: bool,
}

impl<'a> View<'a> {
    pub(crate) fn of(data: Slice<'a>) -> Self {
        Self { data, layout: None, whole: false }
    }

    /// Sets how the elements are arranged in the slice: a shape, and any strides.
    #[must_use]
    pub fn layout(self, layout: Layout) -> Self {
        Self { layout: Some(Box::new(layout)), whole: false, ..self }
    }

    /// Sets the shape of all elements, which are contiguous.
    #[must_use]
    pub fn shape(self, shape: &[u64]) -> Self {
        Self { layout: Some(Box::new(Layout::contiguous(shape))), whole: true, ..self }
    }

    pub(crate) fn given(&self) -> Given<'_> {
        Given {
            len: Some(self.data.len() as u64),
            layout: self.layout.as_deref(),
            whole: self.whole,
            accumulate: false,
        }
    }
}

impl<'a, E: Element> From<&'a [E]> for View<'a> {
    fn from(data: &'a [E]) -> Self {
        Self::of(Slice::new(data))
    }
}

impl<'a, E: Element, const N: usize> From<&'a [E; N]> for View<'a> {
    fn from(data: &'a [E; N]) -> Self {
        data.as_slice().into()
    }
}

impl<'a, E: Element> From<&'a Vec<E>> for View<'a> {
    fn from(data: &'a Vec<E>) -> Self {
        data.as_slice().into()
    }
}

impl<'a> From<&'a [u32]> for View<'a> {
    fn from(words: &'a [u32]) -> Self {
        Self::of(Slice::Bits(words))
    }
}

impl<'a> From<&'a Vec<u32>> for View<'a> {
    fn from(words: &'a Vec<u32>) -> Self {
        words.as_slice().into()
    }
}

/// The target of an output: a slice of the right length, or a vector, which is resized.
///
/// Mutable references to slices, arrays and vectors convert into it.
#[derive(Debug)]
pub struct Output<'a> {
    target: Target<'a>,
    accumulate: bool,
}

#[derive(Debug)]
enum Target<'a> {
    Slice(SliceMut<'a>),
    Vec(&'a mut dyn Growing),
}

/// A vector that is resized to the length of an output.
trait Growing: std::fmt::Debug + Send {
    /// `None` for a mask.
    fn dtype(&self) -> Option<DType>;

    fn len(&self) -> usize;

    /// Reserves memory for `len` elements; whether that succeeded.
    fn reserve(&mut self, len: usize) -> bool;

    fn slice(&mut self, len: usize) -> SliceMut<'_>;

    fn clear(&mut self);
}

impl<T: Elements> Growing for Vec<T> {
    fn dtype(&self) -> Option<DType> {
        T::DTYPE
    }

    fn len(&self) -> usize {
        Vec::len(self)
    }

    /// A new vector is made of the system's zeros, which nobody has to write. Its pages are then first touched by the
    /// threads that compute.
    fn reserve(&mut self, len: usize) -> bool {
        if !self.is_empty() || self.capacity() >= len {
            return self.try_reserve(len.saturating_sub(Vec::len(self))).is_ok();
        }
        let zeros = bytemuck::allocation::try_zeroed_vec(len);
        zeros.map(|zeros| *self = zeros).is_ok()
    }

    fn slice(&mut self, len: usize) -> SliceMut<'_> {
        self.resize(len, T::zeroed());
        T::slice(self)
    }

    fn clear(&mut self) {
        Vec::clear(self);
    }
}

/// The element types of a vector: those of a storage type, or the words of a mask.
trait Elements: bytemuck::Pod + std::fmt::Debug + Send {
    const DTYPE: Option<DType>;

    fn slice(elements: &mut [Self]) -> SliceMut<'_>;
}

impl<'a> Output<'a> {
    pub(crate) fn of(slice: SliceMut<'a>) -> Self {
        Self { target: Target::Slice(slice), accumulate: false }
    }

    /// Adds a gradient to the existing values instead of replacing them. The target must have the right length.
    ///
    /// If a call fails after it has started, part of the gradient may have been added. The contents of a slice are
    /// then useless, and a vector is emptied. The loss of a GPU is not such a failure if the
    /// [`Runner`](crate::Runner) falls back to the CPU.
    #[must_use]
    pub fn accumulate(self) -> Self {
        Self { accumulate: true, ..self }
    }

    pub(crate) fn given(&self) -> Given<'static> {
        let len = match &self.target {
            Target::Slice(slice) => Some(slice.len()),
            Target::Vec(vec) => self.accumulate.then(|| vec.len()),
        };
        Given { len: len.map(|len| len as u64), accumulate: self.accumulate, ..Given::default() }
    }

    /// The storage type; `None` for a mask.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match &self.target {
            Target::Slice(slice) => slice.dtype(),
            Target::Vec(vec) => vec.dtype(),
        }
    }

    /// Reserves memory for `len` elements, or words of a mask; whether that succeeded.
    pub(crate) fn reserve(&mut self, len: u64) -> bool {
        match &mut self.target {
            Target::Slice(_) => true,
            Target::Vec(vec) => usize::try_from(len).is_ok_and(|len| vec.reserve(len)),
        }
    }

    /// Empties a vector whose contents the call would have replaced.
    pub(crate) fn give_up(&mut self) {
        if !self.accumulate {
            self.discard();
        }
    }

    /// The slice to write. A vector is resized first.
    pub(crate) fn slice(&mut self, len: usize) -> SliceMut<'_> {
        match &mut self.target {
            Target::Slice(slice) => slice.part(0, slice.len()),
            Target::Vec(vec) => vec.slice(len),
        }
    }

    /// Empties a vector.
    pub(crate) fn discard(&mut self) {
        if let Target::Vec(vec) = &mut self.target {
            vec.clear();
        }
    }
}

impl<'a, E: Element> From<&'a mut [E]> for Output<'a> {
    fn from(slice: &'a mut [E]) -> Self {
        Self { target: Target::Slice(SliceMut::new(slice)), accumulate: false }
    }
}

impl<'a, E: Element, const N: usize> From<&'a mut [E; N]> for Output<'a> {
    fn from(array: &'a mut [E; N]) -> Self {
        array.as_mut_slice().into()
    }
}

impl<'a> From<&'a mut [u32]> for Output<'a> {
    fn from(words: &'a mut [u32]) -> Self {
        Self { target: Target::Slice(SliceMut::Bits(words)), accumulate: false }
    }
}

macro_rules! vectors {
    ($($ty:ty, $dtype:expr, $slice:expr;)*) => {$(
        impl Elements for $ty {
            const DTYPE: Option<DType> = $dtype;

            fn slice(elements: &mut [Self]) -> SliceMut<'_> {
                $slice(elements)
            }
        }

        impl<'a> From<&'a mut Vec<$ty>> for Output<'a> {
            fn from(vec: &'a mut Vec<$ty>) -> Self {
                Self { target: Target::Vec(vec), accumulate: false }
            }
        }
    )*};
}

vectors! {
    f32, Some(DType::F32), SliceMut::new;
    f16, Some(DType::F16), SliceMut::new;
    bf16, Some(DType::Bf16), SliceMut::new;
    u32, None, SliceMut::Bits;
}
